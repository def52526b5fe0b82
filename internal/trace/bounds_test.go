package trace_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/trace"
)

// endless is a file of any number of rows that is never held whole.
type endless struct {
	header string
	row    func(to []byte, i int) []byte // appends row i without its line end
	rows   int

	made int
	left []byte
}

func (e *endless) Read(p []byte) (int, error) {
	if e.made == 0 && len(e.left) == 0 {
		e.left = append(e.left, e.header+"\n"...)
	}
	for len(e.left) < len(p) && e.made < e.rows {
		e.left = append(e.row(e.left, e.made), '\n')
		e.made++
	}
	if len(e.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, e.left)
	e.left = append(e.left[:0], e.left[n:]...)
	return n, nil
}

// numbers appends numbers with a comma between them.
func numbers(to []byte, list ...int) []byte {
	for i, n := range list {
		if i > 0 {
			to = append(to, ',')
		}
		to = strconv.AppendInt(to, int64(n), 10)
	}
	return to
}

// inMemory returns the bytes that live beside those that lived before.
func inMemory(before uint64) int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) - int64(before)
}

// However long a file, what is held of it is bounded; the heap is looked at
// while the reader is alive, near its end.
func TestMemoryIsBounded(t *testing.T) {
	const rows = 300_000
	request := func(to []byte, i int) []byte { return numbers(append(numbers(to, i), ",7,1,chat,tenant-"...), i) }
	minute := func(to []byte, i int) []byte { return numbers(to, i, 1) }
	for what, tc := range map[string]struct {
		most int64 // bytes, a fraction of what all rows would take
		open func() (trace.Source, error)
	}{
		"requests of as many tenants": {12 << 20, func() (trace.Source, error) {
			return trace.NewReader("f", &endless{header: "t_ms,in_tokens,out_tokens,model,tenant", row: request, rows: rows})
		}},
		"counts": {1 << 20, func() (trace.Source, error) {
			return trace.Counts{Draw: trace.Draw{Seed: 1}}.Read("f", &endless{header: "t_s,n", row: minute, rows: rows})
		}},
		"one huge bin": {1 << 20, func() (trace.Source, error) {
			return trace.Counts{Draw: trace.Draw{Seed: 1}}.Read("f", strings.NewReader("t_s,n\n0,300000\n60,0\n"))
		}},
		"clients with huge windows": {1 << 20, func() (trace.Source, error) {
			return trace.Clients{Seed: 1}.Read("f", strings.NewReader("client,t_s,rps,dist,shape\na,0,250,G,0.4\nb,0,250,W,0.9\n"))
		}},
	} {
		before := uint64(inMemory(0))
		source, err := tc.open()
		if err != nil {
			t.Fatal(err)
		}
		for range rows - 1 {
			if _, err := source.Next(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		if held := inMemory(before); held > tc.most {
			t.Errorf("%s: %d bytes are held of %d rows", what, held, rows)
		}
		if _, err := source.Next(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A sample of a long file keeps rows from all of it.
func TestSampleOfALongFileIsBounded(t *testing.T) {
	const rows = 400_000
	row := func(to []byte, i int) []byte { return numbers(to, i, i) }
	before := uint64(inMemory(0))
	s, err := trace.ReadSample("f", &endless{header: "in_tokens,out_tokens", row: row, rows: rows})
	if err != nil {
		t.Fatal(err)
	}
	if held := inMemory(before); held > 5<<20 {
		t.Errorf("%d bytes are held", held)
	}
	late, draws := 0, 10_000
	random := newRandom()
	for range draws {
		if p, _ := s.Draw(0, random); p >= rows/2 {
			late++
		}
	}
	if late < draws*47/100 || late > draws*53/100 {
		t.Errorf("%d of %d draws are from the second half", late, draws)
	}
}

// What must be held says how much that may be.
func TestWhatIsHeldWholeHasALimit(t *testing.T) {
	curve := func(to []byte, i int) []byte { return numbers(to, i, 1) }
	_, tooLong := trace.Curve{}.Read("f", &endless{header: "t_s,n", row: curve, rows: 1<<20 + 1})
	_, tooMany := trace.Clients{}.Read("f", &endless{header: "client,t_s,rps,dist,shape", rows: 1<<19 + 1, row: func(to []byte, i int) []byte {
		return append(numbers(to, i/1000, i%1000*600), ",1,G,1"...)
	}})
	_, windows := trace.ReadWindows("f", &endless{header: "t_s,field,mean,q0,q100", rows: 40_000, row: func(to []byte, i int) []byte {
		return append(numbers(to, i/2), []string{",input_tokens,1,1,1", ",output_tokens,1,1,1"}[i%2]...)
	}})
	for want, err := range map[string]error{
		"f:1048578: a curve is held in memory and may have 1048576 rows; use wider bins": tooLong,
		"f:524290: a file of clients is held in memory and may have 524288 rows":         tooMany,
		"f:32770: windows are held in memory, and there may be 16384":                    windows,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
}

func newRandom() *rand.Rand { return rand.New(rand.NewPCG(1, 1)) }

func fuzzed(t *testing.T, source trace.Source, err error) {
	t.Helper()
	if err != nil {
		if !strings.HasPrefix(err.Error(), "read trace f") {
			t.Errorf("error without a place: %v", err)
		}
		return
	}
	last := trace.Epoch()
	for range 10_000 {
		r, err := source.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "read trace") {
				t.Errorf("error without a place: %v", err)
			}
			return
		}
		if r.At.Before(last) || r.PromptTokens < 0 || r.OutputTokens < 0 {
			t.Errorf("%+v after %s", r, last)
		}
		last = r.At
	}
}

// heavy says whether a file may hold numbers that take seconds to draw.
func heavy(data []byte) bool { return regexp.MustCompile(`[\d.][eExXpP_]|\d{7}`).Match(data) }

func FuzzCurve(f *testing.F) {
	f.Add([]byte("t_s,requests\n0,3\n60,0.5\n120,7\n240,2\n"))
	f.Add([]byte("t_s,requests\n0,1e-300\n60,1e15\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		source, err := trace.Curve{MeanRPS: 1e-3, Draw: trace.Draw{CV: 3}}.Read("f", strings.NewReader(string(data)))
		fuzzed(t, source, err)
	})
}

func FuzzClients(f *testing.F) {
	f.Add([]byte("client,t_s,rps,cv,dist,shape\na,0,1.5,2,G,0.25\na,600,0,1,W,0.7\nb,1200,3,1,W,14900\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if heavy(data) {
			t.Skip("too much to be drawn in a moment")
		}
		source, err := trace.Clients{Scale: 1e-4}.Read("f", strings.NewReader(string(data)))
		fuzzed(t, source, err)
	})
}

func FuzzWindows(f *testing.F) {
	f.Add([]byte("t_s,field,mean,q0,q50,q99.9,q100\n0,input_tokens,9,0,3,4,90\n0,output_tokens,1,1,1,1,1\n"), uint32(7))
	f.Fuzz(func(t *testing.T, data []byte, at uint32) {
		w, err := trace.ReadWindows("f", strings.NewReader(string(data)))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "read trace f:") {
				t.Errorf("error without a place: %v", err)
			}
			return
		}
		random := newRandom()
		for range 50 {
			if p, o := w.Draw(time.Duration(at)*time.Second, random); p < 0 || o < 0 || p > 10_000_001 || o > 10_000_001 {
				t.Fatalf("%d and %d tokens", p, o)
			}
		}
	})
}

func FuzzSample(f *testing.F) {
	f.Add([]byte("t_ms,in_tokens,out_tokens\n0,374,44\n4315,396,109\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := trace.ReadSample("f", strings.NewReader(string(data)))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "read trace f:") {
				t.Errorf("error without a place: %v", err)
			}
			return
		}
		if p, o := s.Draw(0, newRandom()); p < 0 || o < 0 {
			t.Errorf("%d and %d tokens", p, o)
		}
	})
}

func FuzzAvailability(f *testing.F) {
	f.Add([]byte("t_s,nodes\n480,1\n540,2\n600,21\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		changes, span, err := trace.ReadAvailability("f", strings.NewReader(string(data)))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "read trace f:") {
				t.Errorf("error without a place: %v", err)
			}
			return
		}
		if len(changes) == 0 || changes[0].At != 0 || changes[len(changes)-1].At != span {
			t.Errorf("%v in %s", changes, span)
		}
	})
}
