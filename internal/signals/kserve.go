package signals

import "github.com/penstock/penstock/internal/scale"

// kservePython names the families of KServe's Python model server, which times
// its steps and counts nothing else; predicting is the one that a replica's
// size decides. Source: kserve/kserve python/kserve/kserve/metrics.py @aaac4e29.
func kservePython() dialect {
	return dialect{
		engine: "kserve-python", title: "KServe Python server", scope: OfReplica, identity: []string{"model_name"},
		marks: []string{
			"request_predict_seconds_count", "request_preprocess_seconds_count", "request_postprocess_seconds_count", "request_explain_seconds_count",
		},
		measures: []measure{
			gauge(scale.SignalFinished, "request_predict_seconds_count"),
			timed(scale.SignalEndToEnd, seconds, "request_predict_seconds"),
		},
	}
}
