package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/signals"
)

// readPrometheus reads a model's demand out of a Prometheus.
func readPrometheus(ctx context.Context, h signals.History, q signals.Queries, p *past, m scale.Model) error {
	until := p.from.Add(time.Duration(len(p.known)) * p.step)
	into := p.model(m)
	read := func(query string, put func(step int, value float64)) error {
		points, err := h.Range(ctx, query, p.from.Add(p.step), until, p.step)
		if err != nil {
			return err
		}
		for _, point := range points {
			// A value is of the step that ends with it.
			step := int(math.Round(float64(point.At.Sub(p.from))/float64(p.step))) - 1
			if step >= 0 && step < len(p.known) && point.Value >= 0 {
				put(step, point.Value)
			}
		}
		return nil
	}
	if err := read(q.Requests, func(step int, rate float64) {
		p.known[step], into.requests[step] = true, rate*p.step.Seconds()
	}); err != nil {
		return err
	}
	if !into.tokens {
		return nil
	}
	for query, means := range map[string][]float64{q.PromptTokens: into.prompt, q.OutputTokens: into.output} {
		if query == "" {
			continue
		}
		if err := read(query, func(step int, tokens float64) { means[step] = tokens }); err != nil {
			return err
		}
	}
	return nil
}

// queries are those that the flags ask for.
func (c *replayCmd) queries(m scale.Model) (signals.Queries, error) {
	if c.QueryRate != "" {
		return signals.Queries{Requests: c.QueryRate, PromptTokens: c.QueryPrompt, OutputTokens: c.QueryOutput}, nil
	}
	if c.Engine == "" {
		return signals.Queries{}, errors.New("--engine is missing: say which engine's metrics are to be asked for, such as --engine vllm, or give a query of your own with --query-rate")
	}
	called := ""
	if c.Selector == "" && labelled(c.Engine) {
		called = m.Name
		if c.Model != "" {
			called = c.Model
		}
	}
	q, err := signals.QueriesOf(c.Engine, called, c.Selector, c.Step)
	if err != nil {
		return signals.Queries{}, fmt.Errorf("--engine: %w", err)
	}
	if c.QueryPrompt != "" {
		q.PromptTokens = c.QueryPrompt
	}
	if c.QueryOutput != "" {
		q.OutputTokens = c.QueryOutput
	}
	return q, nil
}

// labelled says whether an engine's metrics name the model.
func labelled(engine string) bool { return engine != "tgi" }

// asked are the models that are asked about: one, where a Prometheus is.
func (c *replayCmd) asked(models []scale.Model) ([]scale.Model, error) {
	names := make([]string, len(models))
	for i, m := range models {
		names[i] = m.Name
	}
	switch m, served := servedAs(models, c.Model); {
	case served:
		return []scale.Model{m}, nil
	case c.Model == "" && (len(models) == 1 || c.Prometheus == ""):
		return models, nil
	case c.Model == "":
		return nil, fmt.Errorf("%s serves %d models: say with --model which of them is asked about: %s", c.File, len(models), strings.Join(names, ", "))
	case len(models) == 1 && c.Prometheus != "":
		return models, nil // under which name its engines go is their matter
	}
	return nil, fmt.Errorf("--model: %s does not serve %q; it serves %s", c.File, c.Model, strings.Join(names, ", "))
}
