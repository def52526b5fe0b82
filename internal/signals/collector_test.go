package signals_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/signals"
)

func TestAServerIsNotTrusted(t *testing.T) {
	t.Parallel()
	const text = "vllm:num_requests_running 2\n"
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
	mux.HandleFunc("/loading", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, text)
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/metrics", http.StatusFound) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, strings.Repeat("x 1\n", 10_000)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, text)
	})
	mux.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/drip", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			io.WriteString(w, "#\n")
			w.(http.Flusher).Flush()
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)

	c := signals.Collector{Transport: server.Client().Transport, Timeout: 30 * time.Second}
	before := time.Now()
	e, err := c.Ask(t.Context(), server.URL+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Sample().Value(scale.SignalRunning); got.Value != 2 || got.At.Before(before) {
		t.Errorf("running is %+v, want 2 as of now", got)
	}
	impatient := signals.Collector{Transport: c.Transport, Timeout: 50 * time.Millisecond}
	for path, want := range map[string]string{
		"/loading": "status 503", "/moved": "status 302: it sends elsewhere", "/endless": "exceeds 2097152 bytes",
		"/absent": "status 404", "/cut": "unexpected EOF", "/silent": "deadline", "/drip": "deadline",
	} {
		from := &c
		if want == "deadline" {
			from = &impatient
		}
		e, err := from.Ask(t.Context(), server.URL+path)
		if err == nil || !strings.Contains(err.Error(), want) || len(e.Samples()) > 0 {
			t.Errorf("%s: samples %+v, error %v, want an error with %q and nothing observed", path, e.Samples(), err, want)
		}
	}
	if _, err := c.Ask(t.Context(), "http://me:secret@127.0.0.1:1/"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v, want one without the password", err)
	}
}

// fleet is servers that answer with a text, each on a port of its own, and their
// URLs.
func fleet(tb testing.TB, n int, text []byte) []string {
	tb.Helper()
	urls := make([]string, n)
	for i := range urls {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(text) }))
		tb.Cleanup(server.Close)
		urls[i] = server.URL + "/metrics"
	}
	return urls
}

// blackHole is an address that takes connections and never answers.
func blackHole(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	return "http://" + l.Addr().String() + "/metrics"
}

// watch watches all URLs until the test ends, and counts Samples and errors of
// each.
func watch(tb testing.TB, c *signals.Collector, urls []string) (samples, failures []atomic.Int64) {
	tb.Helper()
	samples, failures = make([]atomic.Int64, len(urls)), make([]atomic.Int64, len(urls))
	ctx, cancel := context.WithCancel(tb.Context())
	var all sync.WaitGroup
	for i, url := range urls {
		all.Go(func() {
			c.Watch(ctx, url, func(s signals.Sample, err error) {
				if err != nil || s.Engine != "vllm" {
					failures[i].Add(1)
				} else {
					samples[i].Add(1)
				}
			})
		})
	}
	tb.Cleanup(func() { cancel(); all.Wait() })
	return samples, failures
}

// eventually waits for a condition.
func eventually(tb testing.TB, within time.Duration, what string, holds func() bool) {
	tb.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			tb.Fatalf("not within %s: %s", within, what)
		case <-ticker.C:
		}
	}
}

// TestServersThatNeverAnswerDelayNobody has servers that never answer, and three
// times as many as the lanes have places that answer drop by drop without end;
// and one that answers.
func TestServersThatNeverAnswerDelayNobody(t *testing.T) {
	t.Parallel()
	urls := fleet(t, 1, []byte("vllm:num_requests_running 2\n"))
	drip := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "#")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(drip.Close)
	for range 12 {
		urls = append(urls, blackHole(t), drip.URL)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c := &signals.Collector{Transport: transport, Every: 50 * time.Millisecond, Timeout: time.Minute, Lane: 4}
	samples, failures := watch(t, c, urls)
	// All that read drops in front of it take 12/4 times the patience of 500 ms at
	// most; then nothing holds it up.
	eventually(t, 20*time.Second, "20 samples", func() bool { return samples[0].Load() >= 20 })
	if failures[0].Load() > 0 {
		t.Errorf("%d of its scrapes failed", failures[0].Load())
	}
}

func TestAServerThatFailsIsAskedLessAndLess(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(server.Close)
	urls := append(fleet(t, 1, []byte("vllm:num_requests_running 2\n")), server.URL)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	samples, _ := watch(t, &signals.Collector{Transport: transport, Every: 10 * time.Millisecond}, urls)
	eventually(t, 20*time.Second, "100 samples of the other", func() bool { return samples[0].Load() >= 100 })
	if n := asked.Load(); n < 3 || n > 20 { // 10 ms, 20 ms, 40 ms, … of a second
		t.Errorf("it was asked %d times while another was 100 times", n)
	}
}

// TestAThousandServersEveryFiveSeconds scrapes a thousand real servers, and one
// that never answers, at two and a half times that pace, and reports what a
// scrape costs. The servers, which run in this process too, cost their share.
func TestAThousandServersEveryFiveSeconds(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand servers take a while")
	}
	text, n := load1000(t), 1000
	if raceDetector {
		n = 50 // a thousand are for `make test`'s second part
	}
	const rounds = 3
	urls := append(fleet(t, n, text), blackHole(t))
	transport := &http.Transport{DisableCompression: true, MaxIdleConns: 2 * n}
	t.Cleanup(transport.CloseIdleConnections)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	cpu, began := cpuTime(t), time.Now()
	samples, failures := watch(t, &signals.Collector{Transport: transport, Every: 2 * time.Second, Timeout: time.Minute}, urls) // a busy machine is not what is tested
	eventually(t, 2*time.Minute, fmt.Sprintf("%d samples of each of %d", rounds, n), func() bool {
		for i := range n {
			if samples[i].Load() < rounds {
				return false
			}
		}
		return true
	})
	took, used := time.Since(began), cpuTime(t)-cpu
	runtime.GC()
	runtime.ReadMemStats(&after)
	var scrapes, failed int64
	for i := range n {
		scrapes += samples[i].Load()
		failed += failures[i].Load()
	}
	if failed > 0 {
		t.Errorf("%d scrapes of servers that answer failed", failed)
	}
	grown := float64(after.HeapInuse+after.StackInuse) - float64(before.HeapInuse+before.StackInuse)
	t.Logf("%d scrapes of %d bytes in %s: %s of CPU each, server's side included; %.0f KiB for each of %d servers watched, both sides; %d goroutines",
		scrapes, len(text), took.Round(time.Millisecond), (used / time.Duration(scrapes)).Round(time.Microsecond), grown/float64(n)/1024, n, runtime.NumGoroutine())
	if most := 200.0 * 1024 * float64(n); grown > most {
		t.Errorf("%.0f MiB for %d servers", grown/(1<<20), n)
	}
}

// load1000 is the recorded vLLM text with as many histograms as a real server
// has.
func load1000(tb testing.TB) []byte {
	tb.Helper()
	text, err := os.ReadFile("testdata/vllm-0.5.prom")
	if err != nil {
		tb.Fatal(err)
	}
	const ttft = "vllm:time_to_first_token_seconds"
	var more []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, ttft) {
			for _, name := range []string{
				"vllm:time_per_output_token_seconds", "vllm:e2e_request_latency_seconds", "vllm:request_queue_time_seconds", "vllm:request_prompt_tokens",
				"vllm:request_generation_tokens", "vllm:iteration_tokens_total", "vllm:request_decode_time_seconds", "http_request_duration_seconds",
			} {
				more = append(more, strings.Replace(line, ttft, name, 1))
			}
		}
	}
	return append(text, strings.Join(more, "")...)
}

func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func BenchmarkRead(b *testing.B) {
	text := load1000(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		e, err := signals.Read(strings.NewReader(string(text)), now)
		if err != nil || !e.Sample().Value(scale.SignalRunning).Known() {
			b.Fatal(err)
		}
	}
}
