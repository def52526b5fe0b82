package local

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	// Recorded from Linux 6.18; the name is the process's own choice.
	const rest = ` S 1 4711 4711 0 -1 4194560 1056 0 0 0 3 1 0 0 20 0 9 0 98765 1269424128 2048 18446744073709551615`
	for name, want := range map[string]stat{
		"4711 (penstock)" + rest:            {processID{4711, 98765}, 1, false},
		"4711 (a ) S 2 (b) c)" + rest:       {processID{4711, 98765}, 1, false},
		"4711 (x)" + " Z" + rest[2:] + "\n": {processID{4711, 98765}, 1, true},
	} {
		got, err := parseStat([]byte(name))
		if err != nil || got != want {
			t.Errorf("parseStat(%q) = %+v, %v, want %+v", name, got, err, want)
		}
	}
	for _, text := range []string{"", "4711", "4711 (x) S 1", "x (y)" + rest, ")(", "4711 (x) S one" + rest[4:]} {
		if got, err := parseStat([]byte(text)); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", text, got)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("4711 (penstock) S 1 4711 4711 0 -1 4194560 1056 0 0 0 3 1 0 0 20 0 9 0 98765 1 2"))
	f.Add([]byte(")("))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = parseStat(text) })
}

func TestSignalSparesALaterProcess(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/proc/self/exe", "stay")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	s, err := readStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	earlier := processID{PID: s.PID, Start: s.Start - 1}
	if err := earlier.signal(9); err != nil {
		t.Errorf("signal to one that is no more: %v", err)
	}
	if !s.alive() || earlier.alive() {
		t.Error("it was killed for another with its number")
	}
	if err := s.signal(9); err != nil {
		t.Error(err)
	}
	eventually(t, "its end", func() bool { return !s.alive() })
	_ = cmd.Wait()
	if err := s.signal(9); err != nil {
		t.Errorf("signal to one that has ended: %v", err)
	}
}

func TestParseGPUs(t *testing.T) {
	t.Parallel()
	// What nvidia-smi --query-gpu=index,name,memory.total --format=csv,noheader
	// prints, as users of each recorded it; the indices are made to fit.
	text := strings.Join([]string{
		"0, NVIDIA A100-SXM4-80GB, 81920 MiB",
		"1, NVIDIA A100-SXM4-40GB, 40960 MiB",
		"2, NVIDIA H100 80GB HBM3, 81559 MiB",
		"3, NVIDIA L4, 23034 MiB",
		"4, NVIDIA L40S, 46068 MiB",
		"5, Tesla T4, 15360 MiB",
		"6, NVIDIA H100 PCIe, 81559 MiB",
		"10, Tesla P100-PCIE-16GB, 16384 MiB",
		"",
	}, "\n")
	got, err := parseGPUs([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []GPU{
		{0, "nvidia-a100-80gb"},
		{1, "nvidia-a100-40gb"},
		{2, "nvidia-h100-80gb"},
		{3, "nvidia-l4"},
		{4, "nvidia-l40s"},
		{5, "nvidia-t4"},
		{6, "nvidia-h100-80gb"}, // told by its memory
		{10, "tesla-p100-pcie-16gb"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("GPUs (-want +got):\n%s", diff)
	}
	for _, bad := range []string{
		"No devices were found\n", "zero, NVIDIA L4, 23034 MiB\n", "0, NVIDIA L4, 23034 MiB\n0, NVIDIA L4, 23034 MiB\n",
	} {
		if got, err := parseGPUs([]byte(bad)); err == nil {
			t.Errorf("parseGPUs(%q) = %v, want an error", bad, got)
		}
	}
}

func TestDeclaredGPUsAreNumberedInOrder(t *testing.T) {
	t.Parallel()
	got, err := GPUs(t.Context(), config.GPUs{Declared: []scale.Accelerator{{Type: "b", Count: 2}, {Type: "a", Count: 1}}})
	want := []GPU{{0, "b"}, {1, "b"}, {2, "a"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("GPUs: %v (-want +got):\n%s", err, diff)
	}
}

// Whatever is taken and freed: no accelerator has two holders, none is given
// that is of another type, and a Replica gets all that it wants or nothing.
func TestSlotsNeverGiveTwice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var gpus []GPU
		for i := range rapid.IntRange(0, 8).Draw(t, "gpus") {
			gpus = append(gpus, GPU{Index: i, Type: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "type")})
		}
		s := newSlots(gpus)
		held := map[scale.ReplicaID][]int{}
		for n := range rapid.IntRange(1, 30).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "free") && len(held) > 0 {
				id := rapid.SampledFrom(slices.Sorted(keys(held))).Draw(t, "id")
				s.free(id)
				delete(held, id)
				continue
			}
			id := scale.ReplicaID(fmt.Sprint(n))
			want := scale.Accelerator{Type: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "want"), Count: rapid.IntRange(0, 4).Draw(t, "count")}
			free := s.total(want.Type)
			for _, indices := range held {
				for _, i := range indices {
					if gpus[i].Type == want.Type {
						free--
					}
				}
			}
			got, ok := s.take(id, want)
			if ok != (free >= want.Count) || ok && len(got) != want.Count || !ok && len(got) > 0 {
				t.Fatalf("take %+v with %d free: %v, %v", want, free, got, ok)
			}
			for _, i := range got {
				if gpus[i].Type != want.Type {
					t.Fatalf("GPU %d is a %s", i, gpus[i].Type)
				}
				for other, indices := range held {
					if slices.Contains(indices, i) {
						t.Fatalf("GPU %d is held by %s", i, other)
					}
				}
			}
			if ok {
				held[id] = got
			}
		}
	})
}

func keys[V any](m map[scale.ReplicaID]V) func(func(scale.ReplicaID) bool) {
	return func(yield func(scale.ReplicaID) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	var b backoff
	for i, seconds := range []int{1, 2, 4, 8, 16, 32, 64, 120, 120} {
		want := time.Duration(seconds) * time.Second
		if got := b.bootFailed(now, now); got != want || !b.notBefore.Equal(now.Add(got)) {
			t.Errorf("failure %d: wait %s until %s", i+1, got, b.notBefore)
		}
	}
	if got := b.bootFailed(now.Add(-time.Second), now); got != 0 || b.failed != 9 {
		t.Errorf("one that was ordered before the last failure: wait %s after %d", got, b.failed)
	}
	b.failed = 10_000
	if got := b.bootFailed(now, now); got != longestDelay {
		t.Errorf("after 10,001 failures: %s", got)
	}
	b.ready()
	if !b.notBefore.IsZero() {
		t.Error("a boot that succeeds ends it")
	}
	if got := b.bootFailed(now, now); got != time.Second {
		t.Errorf("a failure after a success: %s", got)
	}
	b.ready()
	for i, seconds := range []int{0, 1, 2, 4} {
		want := time.Duration(seconds) * time.Second
		if got := b.died(time.Second, now); got != want {
			t.Errorf("early death %d: wait %s", i+1, got)
		}
		b.ready()
	}
	if got := b.died(time.Hour, now); got != 0 {
		t.Errorf("death after an hour: wait %s", got)
	}
	if got := b.died(time.Second, now); got != 0 {
		t.Errorf("first early death after a long life: wait %s", got)
	}
}

func TestPortsAreFreeAndNotPromisedTwice(t *testing.T) {
	t.Parallel()
	p := ports{promised: map[int]bool{}}
	seen := map[int]bool{}
	for range 100 {
		port, err := p.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] || port < lowPort || port >= ephemeralPorts() {
			t.Fatalf("port %d", port)
		}
		seen[port] = true
	}
	for port := range seen {
		p.release(port)
	}
	if len(p.promised) > 0 {
		t.Errorf("%d promises left", len(p.promised))
	}
}

func TestOrdersCombineToTheSooner(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	late := now.Add(time.Hour)
	for name, tc := range map[string]struct{ a, b, want order }{
		"no bound and a bound":           {order{}, order{until: now}, order{until: now}},
		"two bounds":                     {order{until: late}, order{until: now}, order{until: now}},
		"each has one of the two bounds": {order{killBy: now}, order{until: late}, order{until: late, killBy: now}},
		"the later one is more patient":  {order{until: now, killBy: now}, order{until: late}, order{until: now, killBy: now}},
	} {
		if got := tc.a.sooner(tc.b); got != tc.want {
			t.Errorf("%s: %+v", name, got)
		}
		if got := tc.b.sooner(tc.a); got != tc.want {
			t.Errorf("%s, the other way round: %+v", name, got)
		}
	}
}

func TestBusyIsSampled(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	load := func(inFlight float64) scale.Load { return scale.Load{InFlight: scale.Observe(inFlight, now)} }
	var m measured
	for _, step := range []struct {
		what string
		load scale.Load
		want time.Duration
	}{
		{"the first look begins a span", load(1), 0},
		{"busy at both ends", load(2), time.Second},
		{"busy at its begin", load(0), time.Second / 2},
		{"idle", load(0), 0},
		{"finished between", scale.Load{InFlight: scale.Observe(0, now), Latency: scale.Latency{Requests: 3, Service: 100 * time.Millisecond}}, 300 * time.Millisecond},
		{"never more than the span", scale.Load{Latency: scale.Latency{Requests: 30, Service: 100 * time.Millisecond}}, time.Second},
		{"busy at its end", load(1), time.Second / 2},
	} {
		if got := m.busy(step.load, now); got != step.want {
			t.Errorf("%s: %s, want %s", step.what, got, step.want)
		}
		now = now.Add(time.Second)
	}
}

func TestLogRotates(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "chat.log")
	r, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	r.max = 100
	var written bytes.Buffer
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		line := fmt.Appendf(nil, "line %03d %s\n", i, strings.Repeat("x", random.IntN(30)))
		written.Write(line)
		if n, err := r.Write(line); err != nil || n != len(line) {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	var kept []byte
	for _, name := range []string{path + ".2", path + ".1", path} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 100 {
			t.Errorf("%s has %d bytes", name, len(text))
		}
		kept = append(kept, text...)
	}
	if !bytes.HasSuffix(written.Bytes(), kept) || len(kept) < 100 {
		t.Errorf("what is kept is not the end of what was written:\n%s", kept)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != logFiles {
		t.Errorf("files: %v, %v", files, err)
	}
	if got := lastWords(path); !strings.HasPrefix(got, "line 199") {
		t.Errorf("last line %q", got)
	}
	again, err := openLog(path) // as after a retry: it goes on, and counts what is there
	if err != nil {
		t.Fatal(err)
	}
	if again.size == 0 {
		t.Error("an old file counts as empty")
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOldLogsArePruned(t *testing.T) {
	t.Parallel()
	p := paths(t.TempDir())
	if err := os.MkdirAll(p.logs(), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name string, at time.Time) {
		path := filepath.Join(p.logs(), name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	write("living-001.log", begin) // the oldest of all
	for i := range keepLogs + 5 {
		at := begin.Add(time.Duration(i+1) * time.Minute)
		write(fmt.Sprintf("chat-%03d.log", i), at)
		write(fmt.Sprintf("chat-%03d.log.1", i), at.Add(-time.Second))
	}
	if err := pruneLogs(p, map[scale.ReplicaID]bool{"living-001": true}); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(p.logs())
	if err != nil || len(left) != 1+2*keepLogs {
		t.Fatalf("%d files left, %v", len(left), err)
	}
	if left[0].Name() != "chat-005.log" || left[len(left)-1].Name() != "living-001.log" {
		t.Errorf("left: %s … %s", left[0].Name(), left[len(left)-1].Name())
	}
}

func TestLogThatCannotBeWrittenDoesNotStall(t *testing.T) {
	t.Parallel()
	r := start(t, testRun())
	r.apply(t, grow("chat", 0, 1))
	first := r.phase(t, 1, scale.Ready)[0]
	// From now on no log can be made: the directory is a file.
	logs := paths(r.StateDir).logs()
	if err := errors.Join(os.Rename(logs, logs+".old"), os.WriteFile(logs, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	r.apply(t, grow("chat", 1, 2))
	s := r.until(t, "a failed boot", func(s scale.Snapshot) bool { return s.Models[0].Failures == 1 })
	if len(s.Models[0].Replicas) != 1 || s.Models[0].Replicas[0].ID != first.ID {
		t.Errorf("replicas: %+v", s.Models[0].Replicas)
	}
	if r.log.count("open log") != 1 {
		t.Error("the log does not say why")
	}
}
