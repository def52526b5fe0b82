package signals_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/signals"
)

var now = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

func known(v float64) scale.Observation { return scale.Observe(v, now) }

func TestParseRecorded(t *testing.T) {
	t.Parallel()
	tests := map[string]signals.Sample{
		// Two models in one server add up; the KV cache has its old name.
		"vllm-0.5.prom": {
			Engine: "vllm", Running: known(3), Waiting: known(5),
			KVCacheUsage: known(0.0026235242675994863), Preemptions: known(0),
		},
		// The breakdown by reason is not added, and families without a type are read.
		"vllm-0.26.prom": {
			Engine: "vllm", Running: known(11), Waiting: known(719),
			KVCacheUsage: known(0.231717933836332), Preemptions: known(353),
		},
		// What is not said stays unknown.
		"vllm-docs.prom": {Engine: "vllm", Running: known(8)},
		// None of the families that are asked for: no Sample, and no error.
		"openmetrics-edge.prom": {},
	}
	for file, want := range tests {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile("testdata/" + file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := signals.Parse(bytes.NewReader(text), now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("sample (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	running := func(v float64) signals.Sample { return signals.Sample{Engine: "vllm", Running: known(v)} }
	tests := map[string]struct {
		text string
		want signals.Sample
	}{
		"zero said is zero, not unknown":                    {"vllm:num_requests_running 0\n", running(0)},
		"nothing said is unknown":                           {"", signals.Sample{}},
		"another server's metrics are not ours":             {"http_requests_total 7\n", signals.Sample{}},
		"engines side by side add up":                       {"vllm:num_requests_running{engine=\"0\"} 2\nvllm:num_requests_running{engine=\"1\"} 3\n", running(5)},
		"one part not a number makes the sum unknown":       {"vllm:num_requests_running{engine=\"0\"} 2\nvllm:num_requests_running{engine=\"1\"} NaN\n", signals.Sample{}},
		"an infinite gauge is unknown":                      {"vllm:num_requests_running +Inf\n", signals.Sample{}},
		"a negative gauge is unknown":                       {"vllm:num_requests_running -1\n", signals.Sample{}},
		"a KV cache use above one is unknown":               {"vllm:num_requests_running 1\nvllm:kv_cache_usage_perc 37\n", running(1)},
		"the fullest KV cache counts":                       {"vllm:kv_cache_usage_perc{engine=\"0\"} 0.2\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.7\n", signals.Sample{Engine: "vllm", KVCacheUsage: known(0.7)}},
		"the new name goes before the old":                  {"vllm:gpu_cache_usage_perc 0.9\nvllm:kv_cache_usage_perc 0.4\n", signals.Sample{Engine: "vllm", KVCacheUsage: known(0.4)}},
		"a malformed line of an unwanted family is skipped": {"broken{ 1 2 3\nvllm:num_requests_running 4\n", running(4)},
		"braces, commas and number signs inside a label":    {"vllm:num_requests_running{model_name=\"a } # , \\\" b\", engine=\"0\",} 6 # {trace_id=\"x\"} 1\n", running(6)},
		"scientific notation, no final newline":             {"vllm:num_requests_running 1.2e1", running(12)},
		"carriage returns at the ends":                      {"vllm:num_requests_running 3\r\n", running(3)},
		"an older timestamp is the time of the value": {
			"vllm:num_requests_running 4 1795000000000\n",
			signals.Sample{Engine: "vllm", Running: scale.Observe(4, time.UnixMilli(1795000000000))},
		},
		"a timestamp from the future is not believed": {"vllm:num_requests_running 4 1895000000000\n", running(4)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := signals.Parse(strings.NewReader(tc.text), now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("sample (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	line := "vllm:num_requests_running{engine=\"0\"} 1\n"
	for name, text := range map[string]string{
		"a wanted line without a value":      "vllm:num_requests_running{engine=\"0\"}\n",
		"a wanted line with a broken number": "vllm:num_requests_running 1x\n",
		"an unclosed label":                  "vllm:num_requests_running{engine=\"0} 1\n",
		"too many bytes":                     "# " + strings.Repeat("x", 2<<20),
		"too many series":                    strings.Repeat(line, 20_001),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := signals.Parse(strings.NewReader(text), now)
			if err == nil {
				t.Error("accepted")
			}
			if got != (signals.Sample{}) {
				t.Errorf("a refused text gave %+v", got)
			}
		})
	}
}

func TestIncrease(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		before, after scale.Observation
		want          float64
		known         bool
	}{
		"grown":                         {known(3), known(10), 7, true},
		"still":                         {known(3), known(3), 0, true},
		"reset: what it shows is new":   {known(100), known(4), 4, true},
		"nothing before":                {scale.Observation{}, known(4), 0, false},
		"nothing after: absent, not −3": {known(3), scale.Observation{}, 0, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := signals.Increase(tc.before, tc.after)
			if got != tc.want || ok != tc.known {
				t.Errorf("Increase = %v, %v, want %v, %v", got, ok, tc.want, tc.known)
			}
		})
	}
}

func TestScrape(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/plain; version=0.0.4" {
			w.WriteHeader(http.StatusNotAcceptable)
			return
		}
		io.WriteString(w, "vllm:num_requests_running 2\n")
	})
	mux.HandleFunc("/loading", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "vllm:num_requests_running 2\n")
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/metrics", http.StatusFound)
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, strings.Repeat("x 1\n", 10_000)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)

	scraper := signals.Scraper{Transport: server.Client().Transport, Timeout: 30 * time.Second}
	before := time.Now()
	got, err := scraper.Scrape(t.Context(), server.URL+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if got.Running.Value != 2 || got.Running.At.Before(before) || got.Waiting.Known() {
		t.Errorf("sample = %+v, want 2 running as of now and nothing else", got)
	}
	for _, path := range []string{"/loading", "/moved", "/endless", "/absent"} {
		if got, err := scraper.Scrape(t.Context(), server.URL+path); err == nil || got != (signals.Sample{}) {
			t.Errorf("%s: sample %+v, error %v, want an error and nothing observed", path, got, err)
		}
	}
	impatient := signals.Scraper{Transport: scraper.Transport, Timeout: time.Millisecond}
	if _, err := impatient.Scrape(context.Background(), server.URL+"/silent"); err == nil {
		t.Error("a silent server was waited for without end")
	}
}

func FuzzParse(f *testing.F) {
	entries, err := os.ReadDir("testdata")
	if err != nil {
		f.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".prom") {
			text, err := os.ReadFile("testdata/" + entry.Name())
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := signals.Parse(bytes.NewReader(text), now)
		if err != nil && got != (signals.Sample{}) {
			t.Errorf("an error and a sample: %v, %+v", err, got)
		}
		for _, o := range []scale.Observation{got.Running, got.Waiting, got.KVCacheUsage, got.Preemptions} {
			if o.Known() && (o.Value < 0 || o.Value != o.Value || o.At.After(now)) {
				t.Errorf("impossible observation %+v", o)
			}
		}
		if got.KVCacheUsage.Value > 1 {
			t.Errorf("KV cache use %v", got.KVCacheUsage.Value)
		}
	})
}
