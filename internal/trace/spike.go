package trace

import (
	"math"
	"math/rand/v2"
	"sort"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// ConversationPrompt returns the prompt lengths of Azure's conversation trace
// of November 2023: maximum likelihood over the logarithms of its 19,366
// requests (AzureLLMInferenceTrace_conv.csv, CC-BY 4.0,
// github.com/Azure/AzurePublicDataset), longest 14,050. Mean 1,220 tokens
// against the trace's 1,155; prompt and output correlate by 0.09 there and not
// at all here.
func ConversationPrompt(scale float64) Lengths {
	return Lengths{Mu: 6.633, Sigma: 0.985, Max: 14050, Scale: scale}
}

// ConversationOutput returns the output lengths of the same trace, likewise:
// longest 1,000, mean 213 tokens against the trace's 211.
func ConversationOutput(scale float64) Lengths {
	return Lengths{Mu: 5.019, Sigma: 0.859, Max: 1000, Scale: scale}
}

// Spike is a series of the shape that makes fleets fail: one request after
// which nothing comes for a while, a rise like a morning's, a steep spike, and
// a fall to nothing. The same Spike gives the same requests.
type Spike struct {
	Seed  uint64
	Model string

	Quiet time.Duration // after the first request, at the Epoch, which comes alone
	Ramp  time.Duration // the rate rises from nothing to Base, along half a cosine
	Climb time.Duration // steeply on from Base to Peak, in a straight line
	Hold  time.Duration // at Peak
	Fall  time.Duration // from Peak to nothing, along half a cosine

	Base, Peak float64 // requests/s
	CV         float64 // coefficient of variation of the gaps at an even rate; 1 is Poisson, 1.5 a public API

	Prompt, Output Lengths
}

// Span returns how long arrivals go on at most.
func (s Spike) Span() time.Duration { return s.Quiet + s.Ramp + s.Climb + s.Hold + s.Fall }

// Rate returns the requests/s that are expected at an offset from the Epoch,
// the first request apart.
func (s Spike) Rate(at time.Duration) float64 {
	at -= s.Quiet
	if at < 0 {
		return 0
	}
	phases := []struct {
		length time.Duration
		rate   func(done float64) float64
	}{
		{s.Ramp, func(done float64) float64 { return s.Base * (1 - math.Cos(math.Pi*done)) / 2 }},
		{s.Climb, func(done float64) float64 { return s.Base + (s.Peak-s.Base)*done }},
		{s.Hold, func(float64) float64 { return s.Peak }},
		{s.Fall, func(done float64) float64 { return s.Peak * (1 + math.Cos(math.Pi*done)) / 2 }},
	}
	for _, p := range phases {
		if at < p.length {
			return p.rate(at.Seconds() / p.length.Seconds())
		}
		at -= p.length
	}
	return 0
}

// Requests draws the series: a Gamma renewal process of shape 1/CV² in the
// time in which the rate is even, carried over into real time, so that
// burstiness is the same at every rate.
func (s Spike) Requests() []scale.Request {
	random := rand.New(rand.NewPCG(s.Seed, 0x7370696b65))
	clock := s.clock()
	requests := []scale.Request{s.request(1, 0, random)}
	gaps := newGaps(gammaLaw, 1/(s.CV*s.CV))
	for work := 0.0; ; {
		work += gaps.draw(random) / gaps.mean()
		at, ok := clock.at(work)
		if !ok {
			return requests
		}
		at = min(at, s.Span()) // the last step may go beyond it
		requests = append(requests, s.request(scale.RequestID(len(requests)+1), at, random))
	}
}

func (s Spike) request(id scale.RequestID, at time.Duration, random *rand.Rand) scale.Request {
	return scale.Request{
		ID: id, At: Epoch().Add(at), Model: s.Model,
		PromptTokens: s.Prompt.draw(random), OutputTokens: s.Output.draw(random),
	}
}

// clock maps expected arrivals to the time by which they are expected.
type clock struct {
	step     time.Duration
	expected []float64 // arrivals expected by i × step
}

func (s Spike) clock() clock {
	const step = 10 * time.Millisecond
	c := clock{step: step, expected: []float64{0}}
	sum := 0.0
	for at := time.Duration(0); at < s.Span(); at += step {
		sum += s.Rate(at+step/2) * step.Seconds()
		c.expected = append(c.expected, sum)
	}
	return c
}

// at returns when so many arrivals are expected; false when never.
func (c clock) at(arrivals float64) (time.Duration, bool) {
	i := sort.SearchFloat64s(c.expected, arrivals)
	switch i {
	case 0:
		return 0, true
	case len(c.expected):
		return 0, false
	}
	before, after := c.expected[i-1], c.expected[i]
	part := (arrivals - before) / (after - before)
	return time.Duration((float64(i-1) + part) * float64(c.step)), true
}
