package signals

// vllm names the families of vLLM. Source: vllm-project/vllm
// vllm/v1/metrics/loggers.py @005a810b; the old KV-cache name was deprecated
// in 0.9 and hidden later. num_requests_waiting_by_reason is a breakdown of
// num_requests_waiting and must not be added to it.
func vllm() dialect {
	return dialect{
		engine:       "vllm",
		running:      []string{"vllm:num_requests_running"},
		waiting:      []string{"vllm:num_requests_waiting"},
		kvCacheUsage: []string{"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"},
		preemptions:  []string{"vllm:num_preemptions_total", "vllm:num_preemptions"},
	}
}
