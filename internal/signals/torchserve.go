package signals

import "github.com/penstock/penstock/internal/scale"

// torchServe names the families of TorchServe, on port 8082. Its times are
// counters in microseconds. Source: pytorch/serve docs/metrics_api.md @62c4d6a1.
func torchServe() dialect {
	const requests = "ts_inference_requests_total"
	return dialect{
		engine: "torchserve", title: "TorchServe", scope: OfReplica, identity: []string{"model_name", "model_version"},
		marks: []string{requests, "ts_inference_latency_microseconds", "ts_queue_latency_microseconds"},
		measures: []measure{
			gauge(scale.SignalFinished, requests),
			{scale.SignalEndToEnd, []source{{form: mean, name: "ts_inference_latency_microseconds", by: requests, unit: microseconds}}},
			{scale.SignalQueueTime, []source{{form: mean, name: "ts_queue_latency_microseconds", by: requests, unit: microseconds}}},
			{scale.SignalGPUUsage, []source{{form: plain, name: "GPUUtilization", unit: percent, highest: true}}},
			{scale.SignalGPUMemoryUsed, []source{{form: plain, name: "GPUMemoryUsed", unit: mebibytes}}},
		},
	}
}
