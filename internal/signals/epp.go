package signals

import "github.com/penstock/penstock/internal/scale"

// endpointPicker names the families of the Gateway API inference extension's
// endpoint picker (EPP): a router's view of a pool. What waits is what waits in
// the router; inference_pool_average_queue_size is a mean over replicas and must
// not be read as a total. Source: llm-d/llm-d-inference-scheduler
// pkg/epp/metrics @520af478; older versions say inference_model_ for
// inference_objective_.
func endpointPicker() dialect {
	const now, old = "inference_objective_", "inference_model_"
	return dialect{
		engine: "endpoint-picker", title: "Gateway API endpoint picker", scope: OfPool, identity: []string{"model_name"},
		measures: []measure{
			gauge(scale.SignalRunning, now+"running_requests", old+"running_requests"),
			gauge(scale.SignalWaiting, "inference_extension_flow_control_queue_size"),
			fullest(scale.SignalKVCacheUsage, "inference_pool_average_kv_cache_utilization"),
			total(scale.SignalFinished, now+"request", old+"request"),
			total(scale.SignalFailed, now+"request_error", old+"request_error"),
			timed(scale.SignalTTFT, seconds, now+"request_ttft_seconds", old+"request_ttft_seconds"),
			timed(scale.SignalTPOT, seconds, now+"request_tpot_seconds", old+"request_tpot_seconds"),
			timed(scale.SignalEndToEnd, seconds, now+"request_duration_seconds", old+"request_duration_seconds"),
		},
	}
}
