package signals

import (
	"slices"

	"github.com/penstock/penstock/internal/scale"
)

// triton names the families of NVIDIA Triton, on port 8002. Its counters of time
// are in microseconds, its histogram of first responses in milliseconds, which
// it has with --metrics-config histogram_latencies=true; summaries likewise.
// Requests in execution are not exposed. Sources: triton-inference-server/server
// docs/user_guide/metrics.md @e1db8a60, core src/metrics.cc @73aad7c3.
func triton() dialect {
	return dialect{
		engine: "triton", title: "NVIDIA Triton", scope: OfReplica, identity: []string{"model", "version"},
		measures: append([]measure{
			gauge(scale.SignalWaiting, "nv_inference_pending_request_count"),
		}, tritonMeasures()...),
	}
}

func tritonMeasures() []measure {
	// perRequest prefers the summary, which has quantiles.
	perRequest := func(signal scale.Signal, summary, counter string) measure {
		return measure{signal, []source{
			{form: buckets, name: summary, unit: microseconds},
			{form: mean, name: counter, by: "nv_inference_request_success", unit: microseconds},
		}}
	}
	return []measure{
		total(scale.SignalFinished, "nv_inference_request_success"),
		total(scale.SignalFailed, "nv_inference_request_failure"),
		timed(scale.SignalTTFT, milliseconds, "nv_inference_first_response_histogram_ms"),
		perRequest(scale.SignalEndToEnd, "nv_inference_request_summary_us", "nv_inference_request_duration_us"),
		perRequest(scale.SignalQueueTime, "nv_inference_queue_summary_us", "nv_inference_queue_duration_us"),
		fullest(scale.SignalGPUUsage, "nv_gpu_utilization"),
		gauge(scale.SignalGPUMemoryUsed, "nv_gpu_memory_used_bytes"),
		gauge(scale.SignalGPUMemoryTotal, "nv_gpu_memory_total_bytes"),
	}
}

// tritonTRTLLM names what the TensorRT-LLM backend adds to Triton: while it is
// busy, Triton's own counters stand still. The share of the KV cache is the used
// blocks by all of them; the family's own fraction stands in where those are
// not there, for what it is a fraction of differs between versions. Source:
// triton-inference-server/tensorrtllm_backend README.md @0b9d7d5.
func tritonTRTLLM() dialect {
	const requests, blocks = "nv_trt_llm_request_metrics", "nv_trt_llm_kv_cache_block_metrics"
	kind := func(value string) []match { return []match{{name: "request_type", value: value}} }
	block := func(value string) []match { return []match{{name: "kv_cache_block_type", value: value}} }
	return dialect{
		engine: "triton-trtllm", title: "TensorRT-LLM in Triton", scope: OfReplica, identity: []string{"model", "version"},
		marks: []string{requests, blocks},
		measures: slices.Concat([]measure{
			{scale.SignalRunning, []source{{form: plain, name: requests, where: kind("scheduled")}}},
			{scale.SignalWaiting, []source{{form: plain, name: requests, where: kind("waiting")}}},
			{scale.SignalKVCacheUsage, []source{
				{form: quotient, name: blocks, where: block("used"), by: blocks, byWhere: block("max")},
				{form: plain, name: blocks, where: block("fraction"), highest: true},
			}},
		}, tritonMeasures()),
	}
}
