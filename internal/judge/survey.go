package judge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/capacity"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

const (
	minute = time.Minute
	// mixSpan is over how long the token mix is taken to stand still: the grain
	// at which ServeGen publishes it.
	mixSpan = 6 * time.Hour
	// mixSample is how many requests stand for a mix.
	mixSample = 2000
	// sameMix is how far the means of two mixes may be apart to count as one.
	sameMix = 0.05
	// nominalPrompt and nominalOutput stand for the requests of a model that
	// nobody asks for, in what those know who configure a rival for it.
	nominalPrompt = 1000
	nominalOutput = 200
	// mostMinutes bounds a survey: a year.
	mostMinutes = 366 * 24 * 60
)

// survey is what one reading of a series says of it: how many requests come in
// each minute, by model, and what they are made of.
type survey struct {
	requests int
	span     time.Duration  // to the last arrival
	rates    [][]float32    // requests in each minute, by model
	asked    []asked        // by class of models
	models   map[string]int // index by name
	pulses   []pulse        // by model
}

// asked is what the requests at the models of a class are made of.
type asked struct {
	spans []mix // by mixSpan, while the series is read
	mixes []mix // distinct ones; none where nobody asked
	mixOf []int // by mixSpan: index into mixes
	all   mix   // over the whole series
}

// mix is a sample of requests, and its means.
type mix struct {
	sample []tokens
	seen   int
	capacity.Mix
}

type tokens struct{ prompt, output int }

// lookEvery is after how many requests a reading looks at its context.
const lookEvery = 1 << 16

// read surveys a series for the models named, of which each belongs to a
// class. A request that names no model is the first one's.
func read(ctx context.Context, source sim.Source, models []string, class []int, seed uint64) (*survey, error) {
	s := &survey{
		models: make(map[string]int, len(models)), rates: make([][]float32, len(models)),
		asked: make([]asked, slices.Max(class)+1), pulses: make([]pulse, len(models)),
	}
	for i, name := range models {
		s.models[name] = i
	}
	draws := rand.New(rand.NewPCG(seed, 5))
	for {
		if s.requests%lookEvery == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r, err := source.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		at := r.At.Sub(trace.Epoch())
		bin := int(at / minute)
		if bin >= mostMinutes {
			return nil, fmt.Errorf("request %d comes after %v: at most a year is simulated", r.ID, at.Round(time.Hour))
		}
		model, err := s.count(r, bin)
		if err != nil {
			return nil, err
		}
		s.requests++
		s.span = at
		s.pulses[model].beat(at)
		s.asked[class[model]].see(at, tokens{max(1, r.PromptTokens), max(1, r.OutputTokens)}, draws)
	}
	if s.requests == 0 {
		return nil, errors.New("the series has no request")
	}
	for i := range s.asked {
		s.asked[i].settle(draws)
	}
	return s, nil
}

// count counts a request, and says whose it is.
func (s *survey) count(r scale.Request, bin int) (model int, err error) {
	model, known := s.models[r.Model]
	if !known {
		if r.Model != "" {
			return 0, fmt.Errorf("request %d asks for model %q, which nothing serves", r.ID, r.Model)
		}
		model = 0
	}
	for len(s.rates[model]) <= bin {
		s.rates[model] = append(s.rates[model], 0)
	}
	s.rates[model][bin]++
	return model, nil
}

// see counts what arrives at a time.
func (a *asked) see(at time.Duration, t tokens, draws *rand.Rand) {
	for len(a.spans) <= int(at/mixSpan) {
		a.spans = append(a.spans, mix{})
	}
	a.spans[len(a.spans)-1].see(t, draws)
	a.all.see(t, draws)
}

// settle gives every span its mix, and those alike the same one.
func (a *asked) settle(draws *rand.Rand) {
	for i := range a.spans {
		m := &a.spans[i]
		if m.seen == 0 { // nobody asked for anything
			a.mixOf = append(a.mixOf, max(0, len(a.mixes)-1))
			continue
		}
		m.settle()
		at := slices.IndexFunc(a.mixes, func(o mix) bool { return o.like(m) })
		if at < 0 {
			at, a.mixes = len(a.mixes), append(a.mixes, *m)
		}
		a.mixOf = append(a.mixOf, at)
	}
	a.spans = nil
	if a.all.seen == 0 {
		a.all.see(tokens{nominalPrompt, nominalOutput}, draws)
	}
	a.all.settle()
}

// at is the index of a minute's mix.
func (a *asked) at(bin int) int {
	return a.mixOf[min(bin/int(mixSpan/minute), len(a.mixOf)-1)]
}

// minutes is how many minutes the series lasts, begun ones included.
func (s *survey) minutes() int { return int(s.span/minute) + 1 }

// rate is the requests/s of a model in a minute.
func (s *survey) rate(model, bin int) float64 {
	if bin >= len(s.rates[model]) {
		return 0
	}
	return float64(s.rates[model][bin]) / minute.Seconds()
}

// busiest is the model with the most requests.
func (s *survey) busiest() int {
	best, most := 0, float32(-1)
	for i, rates := range s.rates {
		sum := float32(0)
		for _, n := range rates {
			sum += n
		}
		if sum > most {
			best, most = i, sum
		}
	}
	return best
}

// see adds a request to the sample (reservoir sampling, Vitter 1985, R).
func (m *mix) see(t tokens, draws *rand.Rand) {
	m.seen++
	if len(m.sample) < mixSample {
		m.sample = append(m.sample, t)
		return
	}
	if i := draws.IntN(m.seen); i < mixSample {
		m.sample[i] = t
	}
}

// settle computes the means of the sample.
func (m *mix) settle() {
	var prompt, output float64
	for _, t := range m.sample {
		prompt += float64(t.prompt)
		output += float64(t.output)
	}
	n := float64(len(m.sample))
	sorted := slices.SortedFunc(slices.Values(m.sample), func(a, b tokens) int { return cmp.Compare(a.prompt, b.prompt) })
	m.Mix = capacity.Mix{Prompt: prompt / n, LongPrompt: float64(sorted[int(0.95*(n-1)+0.5)].prompt), Output: output / n}
}

// like says whether two mixes are about the same work.
func (m *mix) like(o *mix) bool {
	near := func(a, b float64) bool { return math.Abs(a-b) <= sameMix*max(a, b, 1) }
	return near(m.Prompt, o.Prompt) && near(m.Output, o.Output)
}
