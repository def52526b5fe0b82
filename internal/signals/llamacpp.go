package signals

import "github.com/penstock/penstock/internal/scale"

// llamacpp names the families of llama.cpp's server, which has them with
// --metrics. A slot is a request. It gives no time to the first token, and no
// KV-cache use since ggml-org/llama.cpp #13660; its averages since the last
// scrape may be NaN and are left alone. In router mode a scrape wakes sleeping
// models and keeps them awake. Source: tools/server/README.md @25d5b0c5.
func llamacpp() dialect {
	return dialect{
		engine: "llamacpp", title: "llama.cpp", scope: OfReplica,
		measures: []measure{
			gauge(scale.SignalRunning, "llamacpp:requests_processing"),
			gauge(scale.SignalWaiting, "llamacpp:requests_deferred"),
			fullest(scale.SignalKVCacheUsage, "llamacpp:kv_cache_usage_ratio"),
			total(scale.SignalPromptTokens, "llamacpp:prompt_tokens"),
			total(scale.SignalOutputTokens, "llamacpp:tokens_predicted"),
			{scale.SignalTPOT, []source{{form: mean, name: "llamacpp:tokens_predicted_seconds_total", by: "llamacpp:tokens_predicted_total"}}},
		},
	}
}
