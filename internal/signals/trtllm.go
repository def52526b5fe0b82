package signals

import "github.com/penstock/penstock/internal/scale"

// trtllm names the families of trtllm-serve, at /prometheus/metrics: its
// /metrics answers JSON. Source: NVIDIA/TensorRT-LLM
// tensorrt_llm/metrics/collector.py @050f80de.
func trtllm() dialect {
	return dialect{
		engine: "trtllm", title: "TensorRT-LLM (trtllm-serve)", scope: OfReplica, identity: []string{"model_name"},
		measures: []measure{
			gauge(scale.SignalRunning, "trtllm_num_requests_running"),
			gauge(scale.SignalWaiting, "trtllm_num_requests_waiting"),
			fullest(scale.SignalKVCacheUsage, "trtllm_kv_cache_utilization"),
			total(scale.SignalFinished, "trtllm_request_success"),
			total(scale.SignalFailed, "trtllm_request_error"),
			total(scale.SignalPromptTokens, "trtllm_prompt_tokens"),
			total(scale.SignalOutputTokens, "trtllm_generation_tokens"),
			timed(scale.SignalTTFT, seconds, "trtllm_time_to_first_token_seconds"),
			timed(scale.SignalTPOT, seconds, "trtllm_time_per_output_token_seconds"),
			timed(scale.SignalEndToEnd, seconds, "trtllm_e2e_request_latency_seconds"),
			timed(scale.SignalQueueTime, seconds, "trtllm_request_queue_time_seconds"),
			gauge(scale.SignalGPUMemoryUsed, "trtllm_gpu_memory_usage_bytes"),
		},
	}
}
