package signals

import "github.com/penstock/penstock/internal/scale"

// tgi names the families of Hugging Face's Text Generation Inference. It counts
// no time to the first token; the KV cache is known only roughly, as the most
// tokens that the batch may come to by those that fit. Counts of tokens are the
// sums of histograms. Source: huggingface/text-generation-inference
// router/src/server.rs @db931fcf.
func tgi() dialect {
	return dialect{
		engine: "tgi", title: "Text Generation Inference", scope: OfReplica,
		measures: []measure{
			gauge(scale.SignalRunning, "tgi_batch_current_size"),
			gauge(scale.SignalWaiting, "tgi_queue_size"),
			{scale.SignalKVCacheUsage, []source{{form: quotient, name: "tgi_batch_current_max_tokens", by: "tgi_batch_max_total_tokens"}}},
			total(scale.SignalFinished, "tgi_request_success"),
			total(scale.SignalFailed, "tgi_request_failure"),
			gauge(scale.SignalPromptTokens, "tgi_request_input_length_sum"),
			gauge(scale.SignalOutputTokens, "tgi_request_generated_tokens_sum"),
			timed(scale.SignalTPOT, seconds, "tgi_request_mean_time_per_token_duration"),
			timed(scale.SignalEndToEnd, seconds, "tgi_request_duration"),
			timed(scale.SignalQueueTime, seconds, "tgi_request_queue_duration"),
		},
	}
}
