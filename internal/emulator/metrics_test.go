package emulator_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/emulator"
)

func TestMetricsAreVLLMs(t *testing.T) {
	s := start(t, &emulator.Server{Profile: quick()})
	for range 3 {
		if res := s.post("/v1/completions", `{"model":"org/m","max_tokens":5,"prompt":"abc def"}`); res.status != http.StatusOK {
			t.Fatal(res.body)
		}
	}
	const labels = `engine="0",model_name="org/m"`
	for sample, want := range map[string]string{
		"vllm:num_requests_running{" + labels + "}":                                          "0",
		"vllm:num_requests_waiting{" + labels + "}":                                          "0",
		"vllm:kv_cache_usage_perc{" + labels + "}":                                           "0",
		"vllm:prompt_tokens_total{" + labels + "}":                                           "6",
		"vllm:generation_tokens_total{" + labels + "}":                                       "15",
		"vllm:num_preemptions_total{" + labels + "}":                                         "0",
		`vllm:request_success_total{engine="0",finished_reason="length",model_name="org/m"}`: "3",
		`vllm:request_success_total{engine="0",finished_reason="stop",model_name="org/m"}`:   "0",
		`vllm:request_success_total{engine="0",finished_reason="abort",model_name="org/m"}`:  "0",
		"vllm:time_to_first_token_seconds_count{" + labels + "}":                             "3",
		"vllm:inter_token_latency_seconds_count{" + labels + "}":                             "12",
		"vllm:request_time_per_output_token_seconds_count{" + labels + "}":                   "3",
		"vllm:e2e_request_latency_seconds_count{" + labels + "}":                             "3",
		"vllm:request_queue_time_seconds_count{" + labels + "}":                              "3",
		`vllm:cache_config_info{block_size="16",cache_dtype="auto",enable_prefix_caching="False",engine="0",gpu_memory_utilization="1",kv_cache_size_tokens="100000",model_name="org/m",num_gpu_blocks="6250"}`: "1",
	} {
		if got := s.gauge(sample); got != want {
			t.Errorf("%s is %s, want %s", sample, got, want)
		}
	}
	text := s.get("/metrics").body
	for family, want := range map[string]string{
		"vllm:time_to_first_token_seconds":           "0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10 20 40 80 160 640 2560 +Inf",
		"vllm:inter_token_latency_seconds":           "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1 2.5 5 7.5 10 20 40 80 +Inf",
		"vllm:request_time_per_output_token_seconds": "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1 2.5 5 7.5 10 20 40 80 +Inf",
		"vllm:e2e_request_latency_seconds":           "0.3 0.5 0.8 1 1.5 2 2.5 5 10 15 20 30 40 50 60 120 240 480 960 1920 7680 +Inf",
		"vllm:request_queue_time_seconds":            "0.3 0.5 0.8 1 1.5 2 2.5 5 10 15 20 30 40 50 60 120 240 480 960 1920 7680 +Inf",
	} {
		var got []string
		for _, match := range regexp.MustCompile(regexp.QuoteMeta(family)+`_bucket\{.*le="([^"]+)"\}`).FindAllStringSubmatch(text, -1) {
			got = append(got, match[1])
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("bounds of %s: %s", family, diff)
		}
	}
	if !strings.Contains(text, "\npenstock_emulator_lag_seconds ") || !strings.Contains(text, "\nprocess_cpu_seconds_total ") {
		t.Error("lag or CPU time is missing")
	}
}

func TestTheQueueShows(t *testing.T) {
	p := quick()
	p.MaxBatch = 2
	s := start(t, &emulator.Server{Profile: p})
	var open []io.Closer
	for i := range 5 {
		open = append(open, s.open(fmt.Sprintf("abc %d", i), 15000))
	}
	state := func() []string {
		return []string{
			s.gauge(`vllm:num_requests_running{engine="0",model_name="org/m"}`),
			s.gauge(`vllm:num_requests_waiting{engine="0",model_name="org/m"}`),
		}
	}
	s.until("two running and three waiting", func() bool { return slices.Equal(state(), []string{"2", "3"}) })
	open[0].Close() // runs
	open[4].Close() // waits
	s.until("two running and one waiting", func() bool { return slices.Equal(state(), []string{"2", "1"}) })
	for _, body := range open {
		body.Close()
	}
	s.until("empty", func() bool { return slices.Equal(state(), []string{"0", "0"}) })
}
