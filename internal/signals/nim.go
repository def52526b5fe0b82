package signals

// nim names the families of NVIDIA NIM for LLMs: vLLM's, without a prefix, at
// /v1/metrics. Source: NVIDIA NIM documentation; no text of a real server was to
// be had. Names as plain as request_success_total tell nothing, so two that
// others do not have are its marks.
func nim() dialect {
	return dialect{
		engine: "nim", title: "NVIDIA NIM", scope: OfReplica, identity: []string{"model_name"},
		marks:    []string{"num_requests_running", "gpu_cache_usage_perc"},
		measures: vllmMeasures(""),
	}
}
