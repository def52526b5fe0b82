package signals

import "github.com/penstock/penstock/internal/scale"

// vllm names the families of vLLM. Source: vllm-project/vllm
// vllm/v1/metrics/loggers.py @005a810b; the old KV-cache name was deprecated
// in 0.9 and hidden later. num_requests_waiting_by_reason is a breakdown of
// num_requests_waiting and must not be added to it; iteration_tokens_total is a
// histogram, whatever its name. Of the times per token the mean of each request
// is what an SLO promises; older versions count every gap between two tokens.
func vllm() dialect {
	return dialect{
		engine: "vllm", title: "vLLM", scope: OfReplica, identity: []string{"model_name", "engine"},
		measures: append(vllmMeasures("vllm:"), measure{scale.SignalAsleep, []source{{
			form: plain, name: "vllm:engine_sleep_state", where: []match{{name: "sleep_state", value: "awake", not: true}}, highest: true,
		}}}),
	}
}

// vllmMeasures are the families as vLLM names them after a prefix.
func vllmMeasures(prefix string) []measure {
	return []measure{
		gauge(scale.SignalRunning, prefix+"num_requests_running"),
		gauge(scale.SignalWaiting, prefix+"num_requests_waiting"),
		fullest(scale.SignalKVCacheUsage, prefix+"kv_cache_usage_perc", prefix+"gpu_cache_usage_perc"),
		total(scale.SignalPreemptions, prefix+"num_preemptions"),
		total(scale.SignalFinished, prefix+"request_success"),
		total(scale.SignalPromptTokens, prefix+"prompt_tokens"),
		total(scale.SignalOutputTokens, prefix+"generation_tokens"),
		timed(scale.SignalTTFT, seconds, prefix+"time_to_first_token_seconds"),
		timed(scale.SignalTPOT, seconds, prefix+"request_time_per_output_token_seconds", prefix+"inter_token_latency_seconds", prefix+"time_per_output_token_seconds"),
		timed(scale.SignalEndToEnd, seconds, prefix+"e2e_request_latency_seconds"),
		timed(scale.SignalQueueTime, seconds, prefix+"request_queue_time_seconds"),
	}
}
