package judge

import (
	"cmp"
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
	// mostMinutes bounds a survey: a year.
	mostMinutes = 366 * 24 * 60
)

// survey is what one reading of a series says of it: how many requests come in
// each minute, by model, and what they are made of.
type survey struct {
	requests int
	span     time.Duration  // to the last arrival
	rates    [][]float32    // requests in each minute, by model
	mixes    []mix          // distinct ones
	mixOf    []int          // by span of mixSpan: index into mixes
	all      mix            // over the whole series
	tokens   [2][]float64   // prompt and output tokens in each minute, all models
	models   map[string]int // index by name
}

// mix is a sample of requests, and its means.
type mix struct {
	sample []tokens
	seen   int
	capacity.Mix
}

type tokens struct{ prompt, output int }

// read surveys a series for the models named. A request that names no model is
// the first one's.
func read(source sim.Source, models []string, seed uint64) (*survey, error) {
	s := &survey{models: make(map[string]int, len(models)), rates: make([][]float32, len(models))}
	for i, name := range models {
		s.models[name] = i
	}
	draws := rand.New(rand.NewPCG(seed, 5))
	var spans []mix
	for {
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
		if err := s.count(r, bin); err != nil {
			return nil, err
		}
		s.requests++
		s.span = at
		for len(spans) <= int(at/mixSpan) {
			spans = append(spans, mix{})
		}
		one := tokens{max(1, r.PromptTokens), max(1, r.OutputTokens)}
		spans[len(spans)-1].see(one, draws)
		s.all.see(one, draws)
	}
	if s.requests == 0 {
		return nil, errors.New("the series has no request")
	}
	s.merge(spans)
	s.all.settle()
	return s, nil
}

func (s *survey) count(r scale.Request, bin int) error {
	model, known := s.models[r.Model]
	if !known {
		if r.Model != "" {
			return fmt.Errorf("request %d asks for model %q, which nothing serves", r.ID, r.Model)
		}
		model = 0
	}
	for len(s.rates[model]) <= bin {
		s.rates[model] = append(s.rates[model], 0)
	}
	s.rates[model][bin]++
	for i, n := range [2]int{r.PromptTokens, r.OutputTokens} {
		for len(s.tokens[i]) <= bin {
			s.tokens[i] = append(s.tokens[i], 0)
		}
		s.tokens[i][bin] += float64(n)
	}
	return nil
}

// merge gives every span its mix, and those alike the same one.
func (s *survey) merge(spans []mix) {
	for i := range spans {
		m := &spans[i]
		if m.seen == 0 { // nobody asked for anything
			s.mixOf = append(s.mixOf, max(0, len(s.mixes)-1))
			continue
		}
		m.settle()
		at := slices.IndexFunc(s.mixes, func(o mix) bool { return o.like(m) })
		if at < 0 {
			at, s.mixes = len(s.mixes), append(s.mixes, *m)
		}
		s.mixOf = append(s.mixOf, at)
	}
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
