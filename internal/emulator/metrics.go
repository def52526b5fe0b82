package emulator

import (
	"maps"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// The values of finish_reason, and of the label finished_reason.
const (
	reasonStop   = "stop"
	reasonLength = "length"
	reasonAbort  = "abort"
)

// blockSize is how many tokens vLLM puts into a block of KV cache. The engine
// counts tokens; only cache_config_info speaks of blocks.
const blockSize = 16

// metrics are vLLM's, by its names, labels and bucket bounds
// (vllm/v1/metrics/loggers.py), penstock_emulator_lag_seconds and
// penstock_emulator_peak_requests. The owner
// writes them.
type metrics struct {
	registry *prometheus.Registry

	running, waiting, kvUsage, lag, peak     prometheus.Gauge
	most                                     int // of requests at once
	promptTokens, outputTokens, preemptions  prometheus.Counter
	finished                                 map[string]prometheus.Counter // by reason
	ttft, itl, tpot, e2e                     prometheus.Observer
	queueTime, prefill, decode, inferenceAll prometheus.Observer
}

func newMetrics(p scale.Profile, model string) *metrics {
	registry := prometheus.NewRegistry()
	// Not the process and Go collectors: a scrape of them costs milliseconds, and
	// a machine may run dozens of emulators.
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "process_cpu_seconds_total", Help: "Total user and system CPU time spent in seconds.",
	}, cpuSeconds))
	f := factory{registry, prometheus.Labels{"model_name": model, "engine": "0"}}
	ttftBounds := []float64{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560}
	itlBounds := []float64{.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}
	requestBounds := []float64{.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}
	m := &metrics{
		registry:     registry,
		running:      f.gauge("vllm:num_requests_running", "Number of requests in model execution batches."),
		waiting:      f.gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed."),
		kvUsage:      f.gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage."),
		promptTokens: f.counter("vllm:prompt_tokens_total", "Number of prefill tokens processed."),
		outputTokens: f.counter("vllm:generation_tokens_total", "Number of generation tokens processed."),
		preemptions:  f.counter("vllm:num_preemptions_total", "Cumulative number of preemptions from the engine."),
		ttft:         f.histogram("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.", ttftBounds),
		itl:          f.histogram("vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", itlBounds),
		tpot:         f.histogram("vllm:request_time_per_output_token_seconds", "Histogram of time_per_output_token_seconds per request.", itlBounds),
		e2e:          f.histogram("vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", requestBounds),
		queueTime:    f.histogram("vllm:request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", requestBounds),
		prefill:      f.histogram("vllm:request_prefill_time_seconds", "Histogram of time spent in PREFILL phase for request.", requestBounds),
		decode:       f.histogram("vllm:request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.", requestBounds),
		inferenceAll: f.histogram("vllm:request_inference_time_seconds", "Histogram of time spent in RUNNING phase for request.", requestBounds),
		finished:     map[string]prometheus.Counter{},
	}
	finished := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vllm:request_success_total", Help: "Count of successfully processed requests.", ConstLabels: f.labels,
	}, []string{"finished_reason"})
	registry.MustRegister(finished)
	for _, reason := range []string{reasonStop, reasonLength, reasonAbort} {
		m.finished[reason] = finished.WithLabelValues(reason)
	}
	m.lag = factory{registry, nil}.gauge("penstock_emulator_lag_seconds",
		"How late the newest iteration of the emulated engine ended: above a few milliseconds the machine, not the profile, sets the latencies.")
	m.peak = factory{registry, nil}.gauge("penstock_emulator_peak_requests", "The most requests that were here at once.")
	f.cacheInfo(p)
	return m
}

// cpuSeconds is the CPU time of this process.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0 // it fails for no other argument
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// factory makes and registers metrics with the same constant labels.
type factory struct {
	registry *prometheus.Registry
	labels   prometheus.Labels
}

func (f factory) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: f.labels})
	f.registry.MustRegister(g)
	return g
}

func (f factory) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: f.labels})
	f.registry.MustRegister(c)
	return c
}

func (f factory) histogram(name, help string, bounds []float64) prometheus.Observer {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, ConstLabels: f.labels, Buckets: bounds})
	f.registry.MustRegister(h)
	return h
}

func (f factory) cacheInfo(p scale.Profile) {
	capacity := max(0, p.KVCapacity())
	labels := prometheus.Labels{
		"block_size":             strconv.Itoa(blockSize),
		"num_gpu_blocks":         strconv.Itoa(capacity / blockSize),
		"gpu_memory_utilization": strconv.FormatFloat(p.MemoryUtilisation, 'g', -1, 64),
		"cache_dtype":            "auto",
		"enable_prefix_caching":  "False",
		"kv_cache_size_tokens":   strconv.Itoa(capacity),
	}
	maps.Copy(labels, f.labels)
	factory{f.registry, labels}.gauge("vllm:cache_config_info", "Information of the LLMEngine CacheConfig").Set(1)
}

// state publishes how the engine stands.
func (m *metrics) state(e *engine.Engine, running int) {
	m.running.Set(float64(running))
	m.waiting.Set(float64(e.Waiting()))
	if here := running + e.Waiting(); here > m.most {
		m.most = here
		m.peak.Set(float64(here))
	}
	m.kvUsage.Set(e.KVUsage())
}

// emitted counts a token of a query that comes into being now.
func (m *metrics) emitted(q *query, now time.Time) {
	m.outputTokens.Inc()
	if q.first.IsZero() {
		q.first = now
		m.promptTokens.Add(float64(q.promptTokens))
		m.ttft.Observe(now.Sub(q.arrived).Seconds())
		return
	}
	m.itl.Observe(now.Sub(q.last).Seconds())
}

// ended counts a query that ends now.
func (m *metrics) ended(q *query, now time.Time, reason string) {
	m.finished[reason].Inc()
	if reason == reasonAbort {
		return
	}
	m.e2e.Observe(now.Sub(q.arrived).Seconds())
	m.queueTime.Observe(max(0, q.scheduled.Sub(q.arrived).Seconds()))
	m.prefill.Observe(q.first.Sub(q.scheduled).Seconds())
	m.decode.Observe(now.Sub(q.first).Seconds())
	m.inferenceAll.Observe(now.Sub(q.scheduled).Seconds())
	if q.outputTokens > 1 {
		m.tpot.Observe(now.Sub(q.first).Seconds() / float64(q.outputTokens-1))
	}
}
