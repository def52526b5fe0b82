package signals

import "github.com/penstock/penstock/internal/scale"

// sglang names the families of SGLang, which has them with --enable-metrics.
// Source: sgl-project/sglang metrics_collector.py @016d8605; older versions
// count the gaps between tokens under time_per_output_token_seconds.
func sglang() dialect {
	return dialect{
		engine: "sglang", title: "SGLang", scope: OfReplica, identity: []string{"model_name", "tp_rank", "pp_rank"},
		measures: []measure{
			gauge(scale.SignalRunning, "sglang:num_running_reqs"),
			gauge(scale.SignalWaiting, "sglang:num_queue_reqs"),
			fullest(scale.SignalKVCacheUsage, "sglang:token_usage"),
			total(scale.SignalFinished, "sglang:num_requests"),
			total(scale.SignalFailed, "sglang:num_aborted_requests"),
			total(scale.SignalPromptTokens, "sglang:prompt_tokens"),
			total(scale.SignalOutputTokens, "sglang:generation_tokens"),
			timed(scale.SignalTTFT, seconds, "sglang:time_to_first_token_seconds"),
			timed(scale.SignalTPOT, seconds, "sglang:inter_token_latency_seconds", "sglang:time_per_output_token_seconds"),
			timed(scale.SignalEndToEnd, seconds, "sglang:e2e_request_latency_seconds"),
		},
	}
}
