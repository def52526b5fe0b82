package cli

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

// past is demand as it was measured, in steps of one length. A step in which
// nothing was measured is left out, with its time: what follows it comes at
// once. It is neither taken for quiet nor filled with what nobody saw.
type past struct {
	from   time.Time
	step   time.Duration
	known  []bool // by step
	models map[string]*pastModel
}

// pastModel is one model's, by step. Means are 0 where they are unknown.
type pastModel struct {
	tokens                   bool
	requests, prompt, output []float64
}

func newPast(from, until time.Time, step time.Duration) *past {
	return &past{from: from, step: step, known: make([]bool, max(0, int(until.Sub(from)/step))), models: map[string]*pastModel{}}
}

// model returns a model's part, which is made where there is none.
func (p *past) model(m scale.Model) *pastModel {
	part := p.models[m.Name]
	if part == nil {
		n := len(p.known)
		part = &pastModel{tokens: m.SLO.Tokens(), requests: make([]float64, n), prompt: make([]float64, n), output: make([]float64, n)}
		p.models[m.Name] = part
	}
	return part
}

// measured is a past without what is unknown.
type measured struct {
	from, until time.Time
	missing     time.Duration // of that, left out
	models      []string      // sorted
	demand      map[string]trace.Measured
	tokens      trace.Tokens // of all; nil for those of the demand
	cv          float64
}

// measured leaves out what is unknown. There is an error where nothing is
// known.
func (p *past) measured() (measured, error) {
	first, last := slices.Index(p.known, true), len(p.known)
	if first < 0 {
		return measured{}, fmt.Errorf("nothing was measured between %s and %s", instantText(p.from), instantText(p.from.Add(time.Duration(len(p.known))*p.step)))
	}
	for !p.known[last-1] {
		last--
	}
	out := measured{
		from: p.from.Add(time.Duration(first) * p.step), until: p.from.Add(time.Duration(last) * p.step),
		demand: map[string]trace.Measured{},
	}
	for _, known := range p.known[first:last] {
		if !known {
			out.missing += p.step
		}
	}
	for name, m := range p.models {
		d := trace.Measured{Bin: p.step, Requests: p.kept(m.requests)}
		if m.tokens {
			d.PromptTokens, d.OutputTokens = p.kept(m.prompt), p.kept(m.output)
		}
		out.models, out.demand[name] = append(out.models, name), d
	}
	slices.Sort(out.models)
	return out, nil
}

// kept are the values of the steps that are known.
func (p *past) kept(values []float64) []float64 {
	var out []float64
	for i, v := range values {
		if p.known[i] {
			out = append(out, v)
		}
	}
	return out
}

// open draws requests.
func (m measured) open(seed uint64) (sim.Source, error) {
	var sources []trace.Source
	for i, name := range m.models {
		d := m.demand[name]
		draw := trace.Draw{Seed: seed + uint64(i)<<32, CV: m.cv, Model: name}
		if d.PromptTokens != nil {
			draw.Tokens = m.tokens
		}
		source, err := d.Source(draw)
		if err != nil {
			return nil, fmt.Errorf("model %s: %w", name, err)
		}
		sources = append(sources, source)
	}
	return trace.Merge(sources...), nil
}

// what says which time it is, and how much of it is not there.
func (m measured) what() string {
	const short = "2006-01-02 15:04"
	text := fmt.Sprintf("%s to %s UTC", m.from.UTC().Format(short), m.until.UTC().Format(short))
	if m.missing > 0 {
		text += fmt.Sprintf(", %s missing", report.Duration(m.missing))
	}
	return text
}

// note is what the reader of the result has to know of it.
func (m measured) note() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Demand was measured from %s to %s, in steps of %s.\n", instantText(m.from), instantText(m.until), m.demand[m.models[0]].Bin)
	if m.missing > 0 {
		share := 100 * m.missing.Seconds() / m.until.Sub(m.from).Seconds()
		fmt.Fprintf(&b, "For %s of that, %.1f %%, nothing was measured. It is left out: what follows comes at once.\n", report.Duration(m.missing), math.Max(share, 0.1))
	}
	return b.String()
}

func instantText(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05") + " UTC" }
