package toll

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHeldRequestsAreJudgedByTheirWaves(t *testing.T) {
	for name, c := range map[string]struct {
		numbers []int
		want    Held
	}{
		"in order":                 {[]int{1, 2, 3, 4, 5, 6}, Held{Requests: 6}},
		"in order but in a wave":   {[]int{2, 1, 4, 3, 6, 5}, Held{Requests: 6}},
		"one behind a later wave":  {[]int{1, 3, 2, 4, 5, 6}, Held{Requests: 6, OutOfOrder: 1}},
		"two behind the last wave": {[]int{5, 1, 2, 3, 4, 6}, Held{Requests: 6, OutOfOrder: 4}},
		"one missing":              {[]int{1, 2, 3, 4, 5}, Held{Requests: 6, NotOnce: 1}},
		"one twice":                {[]int{1, 2, 3, 4, 5, 5, 6}, Held{Requests: 6, NotOnce: 1}},
		"one that was never sent":  {[]int{1, 2, 3, 4, 5, 6, 7}, Held{Requests: 6, NotOnce: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Held{Requests: 6}
			got.judge(c.numbers, 2)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestANoisyRoundCountsOnce(t *testing.T) {
	ms := func(values ...int) slice {
		s := slice{cpu: time.Millisecond}
		for _, v := range values {
			s.Delays = append(s.Delays, time.Duration(v)*time.Millisecond)
		}
		return s
	}
	f := &field{tracks: []track{{name: Direct}, {name: TCP}, {name: Penstock}}}
	ways := f.added([][]slice{
		{ms(1, 1, 1), ms(90, 90, 90), ms(1, 1, 1)},
		{ms(2, 2, 2), ms(92, 92, 92), ms(2, 2, 2)},
		{ms(4, 4, 4), ms(95, 95, 95), ms(4, 4, 4)},
	})
	for i, want := range []float64{0, 1000, 3000} {
		if ways[i].AddedP50 != want {
			t.Errorf("%s adds %v µs at the median, want %v", ways[i].Name, ways[i].AddedP50, want)
		}
	}
	if w := ways[2]; w.OverHopP50 != 2000 || w.Samples != 9 || w.CPU != 3000./9 {
		t.Errorf("%+v", w)
	}
}

func TestARequestHasTheSizeThatWasAskedFor(t *testing.T) {
	for _, size := range []int{200, 2 << 10, 64 << 10} {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request(size, "X-Toll-Number: 7\r\n"))))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		var fields struct{ Model string }
		if err := errors.Join(err, json.Unmarshal(body, &fields)); err != nil {
			t.Fatal(err)
		}
		if len(body) != size || fields.Model != Model || r.Header.Get(fieldNumber) != "7" {
			t.Errorf("%d bytes that name %q, header %v", len(body), fields.Model, r.Header)
		}
	}
}

// TestEveryWayReachesTheUpstream has the ways but nginx serve in this process,
// for requests, streams and numbers, and then end.
func TestEveryWayReachesTheUpstream(t *testing.T) {
	up := &upstream{}
	address := run(t, up)
	for _, name := range []string{Direct, TCP, Reverse, Tuned, Penstock} {
		t.Run(name, func(t *testing.T) {
			target := address
			if name != Direct {
				p, err := newPart(name, []string{address})
				if err != nil {
					t.Fatal(err)
				}
				target = run(t, p)
				if name == Penstock {
					obey(t, p, order{Do: doRoute, Target: address, Count: 2})
				}
			}
			c := newClient()
			defer c.close()
			for _, o := range []order{
				{Do: doRate, Target: target, Body: 2 << 10, Rate: 1000, For: 20 * time.Millisecond},
				{Do: doFlood, Target: target, Body: 64 << 10, Conns: 2, For: 20 * time.Millisecond},
				{Do: doStream, Target: target, Conns: 2, Rate: 500, For: 20 * time.Millisecond},
			} {
				got, ok := obey(t, c, o).(timings)
				if !ok || got.Failed > 0 || got.Requests == 0 || (o.Do != doFlood && len(got.Delays) != 20) {
					t.Errorf("%s: %+v", o.Do, got)
				}
			}
			obey(t, c, order{Do: doHold, Target: target, Body: 2 << 10, Count: 3})
			if got, ok := obey(t, c, order{Do: doAwait}).(ended); !ok || got.Answered != 3 || got.Lost != 0 {
				t.Errorf("held: %+v", got)
			}
			if got, ok := obey(t, up, order{Do: doNumbers}).([]int); !ok || len(got) != 3 {
				t.Errorf("numbers %v", got)
			}
		})
	}
}

// run runs a part until the test ends and returns its address.
func run(t *testing.T, p part) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- p.run(ctx, func(address string) { ready <- address }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections() // of a ReverseProxy with its defaults
	})
	select {
	case address := <-ready:
		return address
	case err := <-ended:
		ended <- err
		t.Fatalf("it ended: %v", err)
		return ""
	}
}

func obey(t *testing.T, p part, o order) any {
	t.Helper()
	answer, err := p.obey(t.Context(), o)
	if err != nil {
		t.Fatalf("%s: %v", o.Do, err)
	}
	return answer
}

func TestAPartObeysUntilItsInputEnds(t *testing.T) {
	in, orders := io.Pipe()
	out := new(bytes.Buffer)
	ended := make(chan error, 1)
	go func() { ended <- Part(t.Context(), roleUpstream, nil, in, out) }()
	for _, text := range []string{`{"do":"numbers"}`, `{"do":"dance"}`} {
		if _, err := io.WriteString(orders, text+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	orders.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], `"address":"127.0.0.1:`) || lines[1] != `{"answer":null}` || !strings.Contains(lines[2], `"error":`) {
		t.Errorf("it said %q", lines)
	}
	if err := Part(t.Context(), "nobody", nil, in, out); err == nil {
		t.Error("there is a part that nobody knows")
	}
}

func TestAnythingButASuccessIsAFault(t *testing.T) {
	for name, reply := range map[string]string{
		"an error":          "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
		"no length":         "HTTP/1.1 200 OK\r\n\r\n",
		"half a head":       "HTTP/1.1 200 OK\r\nContent-Le",
		"half a body":       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
		"half a chunk":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		"a length of words": "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := &wire{from: bufio.NewReader(strings.NewReader(reply))}
			if err := w.read(); err == nil {
				t.Errorf("%q is a success", reply)
			}
		})
	}
}
