package signals

import "github.com/penstock/penstock/internal/scale"

// tfServing names the families of TensorFlow Serving, at
// /monitoring/prometheus/metrics where its monitoring_config_file enables them.
// Names begin with a colon; times are in microseconds. Source:
// tensorflow/serving tensorflow_serving/servables/tensorflow/util.cc @9d981c5c.
func tfServing() dialect {
	const requests = ":tensorflow:serving:request_count"
	ok := match{name: "status", value: "OK"}
	bad := ok
	bad.not = true
	return dialect{
		engine: "tfserving", title: "TensorFlow Serving", scope: OfReplica, identity: []string{"model_name"},
		measures: []measure{
			{scale.SignalFinished, []source{{form: plain, name: requests, where: []match{ok}}}},
			{scale.SignalFailed, []source{{form: plain, name: requests, where: []match{bad}}}},
			timed(scale.SignalEndToEnd, microseconds, ":tensorflow:serving:request_latency"),
			timed(scale.SignalQueueTime, microseconds, ":tensorflow:serving:batching_session:queuing_latency"),
		},
	}
}
