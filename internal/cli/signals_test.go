package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/cli"
)

// hear runs penstock signals.
func hear(t *testing.T, in string, args ...string) (out, errs string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = cli.Main(t.Context(), append([]string{"signals"}, args...), cli.Streams{In: strings.NewReader(in), Out: &stdout, Err: &stderr})
	return stdout.String(), stderr.String(), code
}

const twoModels = "../signals/testdata/vllm-0.5.prom"

func TestSignalsShowsWhatIsUnderstood(t *testing.T) {
	out, errs, code := hear(t, "", twoModels, "--parts")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	want := twoModels + ` speaks as vLLM (vllm), of one replica.
  running         3 requests
  waiting         5 requests
  kv-cache-usage  0.2624 %
  preemptions     0 requests since it began
  finished        6 requests since it began
  prompt-tokens   90 tokens since it began
  output-tokens   2546 tokens since it began
  ttft            mean 56.7 ms, median 54 ms, p95 77 ms of 9
  tpot        absent: not exposed: vllm:request_time_per_output_token_seconds or vllm:inter_token_latency_seconds or vllm:time_per_output_token_seconds
  end-to-end  absent: not exposed: vllm:e2e_request_latency_seconds
  queue-time  absent: not exposed: vllm:request_queue_time_seconds
  asleep      absent: not exposed: vllm:engine_sleep_state
It has no metric for: failed, gpu-usage, gpu-memory-used, gpu-memory-total.

model_name="neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8"
  running         3 requests
  waiting         2 requests
  kv-cache-usage  0.2624 %
  preemptions     0 requests since it began
  finished        6 requests since it began
  prompt-tokens   90 tokens since it began
  output-tokens   2546 tokens since it began
  ttft            mean 56.7 ms, median 54 ms, p95 77 ms of 9

model_name="other/OTHER"
  waiting  3 requests

`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestSignalsAsJSON(t *testing.T) {
	text, err := os.ReadFile(twoModels)
	if err != nil {
		t.Fatal(err)
	}
	out, errs, code := hear(t, string(text), "-", "--json")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	var got struct {
		From     string
		Dialects []struct {
			Engine  string
			Signals []struct {
				Signal, Unit, Absent string
				Value                *float64
				Timing               *struct{ Count, Mean float64 }
			}
			Without []string `json:"without_metric"`
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got.From != "standard input" || len(got.Dialects) != 1 || got.Dialects[0].Engine != "vllm" || len(got.Dialects[0].Signals) != 12 || len(got.Dialects[0].Without) != 4 {
		t.Fatalf("got %+v", got)
	}
	for _, s := range got.Dialects[0].Signals {
		known := s.Value != nil || s.Timing != nil
		if known == (s.Absent != "") {
			t.Errorf("%s is neither known nor absent with a reason: %+v", s.Signal, s)
		}
		if s.Signal == "ttft" && (s.Unit != "seconds" || s.Timing == nil || s.Timing.Count != 9 || s.Timing.Mean != 0.05674) {
			t.Errorf("ttft is %+v", s)
		}
	}
}

func TestSignalsOverATimeShowsWhatCameBetween(t *testing.T) {
	var reads atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		n := reads.Add(1)
		fmt.Fprintf(w, "vllm:generation_tokens_total %d\nvllm:e2e_request_latency_seconds_sum %d\nvllm:e2e_request_latency_seconds_count %d\n", 100*n, 3*n, n)
	}))
	t.Cleanup(server.Close)
	out, errs, code := hear(t, "", strings.TrimPrefix(server.URL, "http://"), "--over", "100ms")
	if code != 0 || !strings.Contains(out, "1000 tokens/s") || !strings.Contains(out, "mean 3 s of 1\n") {
		t.Errorf("exit code %d, %s%s", code, out, errs)
	}
}

func TestSignalsThatAreNone(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"error": "metrics are off"}`) }))
	t.Cleanup(server.Close)
	for name, c := range map[string]struct {
		in   string
		args []string
		code int
		want string
	}{
		"another's metrics":     {"http_requests_total 7\n", []string{"-"}, 1, "nothing in the metrics of standard input is understood: penstock knows those of vLLM, SGLang,"},
		"JSON":                  {"", []string{server.URL}, 1, "the answer is JSON, no exposition: is this the path of the metrics?"},
		"nobody there":          {"", []string{"127.0.0.1:1"}, 1, "scrape http://127.0.0.1:1/metrics: dial tcp"},
		"no such file":          {"", []string{"nothing.prom"}, 2, "no such file"},
		"a file over some time": {"", []string{twoModels, "--over", "1s"}, 2, "does not change; name a server"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, errs, code := hear(t, c.in, c.args...); code != c.code || !strings.Contains(errs, c.want) {
				t.Errorf("exit code %d, %s\nwant %d, %s", code, errs, c.code, c.want)
			}
		})
	}
}
