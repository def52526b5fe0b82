package signals

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// Queries are PromQL over what an engine counted: the past demand for a model.
// Each gives one series for History.Range.
type Queries struct {
	Requests     string // requests/s that ended
	PromptTokens string // mean of a request; "" where the engine does not count them
	OutputTokens string // mean of a request; "" where the engine does not count them
}

// counters are the families in which an engine counts its work. Tokens over
// requests is their mean.
type counters struct {
	label          string // that names the model; "" where none does
	requests       string
	prompt, output ratio
}

// ratio is a counter of tokens and one of the requests that had them.
type ratio struct{ tokens, requests string }

// engines lists the counters by engine. Sources: vllm-project/vllm
// vllm/v1/metrics/loggers.py @005a810b; sgl-project/sglang metrics_collector.py
// @016d8605; huggingface/text-generation-inference router/src/server.rs
// @db931fcf; triton-inference-server/server docs/user_guide/metrics.md
// @e1db8a60, which counts no tokens.
func engines() map[string]counters {
	return map[string]counters{
		"vllm": {
			label: "model_name", requests: "vllm:request_success_total",
			prompt: ratio{"vllm:prompt_tokens_total", "vllm:request_success_total"},
			output: ratio{"vllm:generation_tokens_total", "vllm:request_success_total"},
		},
		"sglang": {
			label: "model_name", requests: "sglang:num_requests_total",
			prompt: ratio{"sglang:prompt_tokens_total", "sglang:num_requests_total"},
			output: ratio{"sglang:generation_tokens_total", "sglang:num_requests_total"},
		},
		"tgi": {
			requests: "tgi_request_success",
			prompt:   ratio{"tgi_request_input_length_sum", "tgi_request_input_length_count"},
			output:   ratio{"tgi_request_generated_tokens_sum", "tgi_request_generated_tokens_count"},
		},
		"triton": {label: "model", requests: "nv_inference_request_success"},
	}
}

// QueriesOf returns the queries for an engine ("vllm", "sglang", "tgi",
// "triton") and a model as its label names it; "" is every model. Selector is
// what else picks the series, as PromQL has it between braces, such as
// namespace="chat"; "" for nothing. A value is of the step that ends with it, so
// that no request is counted twice: a step must hold two scrapes, and is better
// four times as long as the time between them.
func QueriesOf(engine, modelName, selector string, step time.Duration) (Queries, error) {
	c, known := engines()[engine]
	switch {
	case !known:
		return Queries{}, fmt.Errorf("engine %q is none whose past can be asked for: known are %s; give a query of your own", engine, strings.Join(slices.Sorted(maps.Keys(engines())), ", "))
	case step < time.Millisecond:
		return Queries{}, fmt.Errorf("a step of %s is below a millisecond", step)
	case modelName != "" && c.label == "":
		return Queries{}, fmt.Errorf("the metrics of %s name no model: leave %q out, and say by a selector which servers serve it, such as job=\"chat\"", engine, modelName)
	}
	var matchers []string
	if modelName != "" {
		matchers = append(matchers, c.label+"="+strconv.Quote(modelName))
	}
	if selector != "" {
		matchers = append(matchers, selector)
	}
	rate := func(counter string) string {
		return fmt.Sprintf("sum(rate(%s{%s}[%s]))", counter, strings.Join(matchers, ","), model.Duration(step))
	}
	mean := func(r ratio) string {
		if r.tokens == "" {
			return ""
		}
		return rate(r.tokens) + " / " + rate(r.requests)
	}
	return Queries{Requests: rate(c.requests), PromptTokens: mean(c.prompt), OutputTokens: mean(c.output)}, nil
}
