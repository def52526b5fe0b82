package bound

import (
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Tokens is the length of one request.
type Tokens struct {
	Prompt, Output int
}

// WorkBound says how much of a replica's working time a request takes at the
// least, whatever it is batched with: a price on each thing that an iteration
// has only so much of. Over any set of requests that were served to the end,
// the replicas were at work for at least the sum of Time, or of Service.
//
// Proof. Let b ≥ 0 and F = min over T of L(T) + c − b·T, where L is the time of
// the linear operators, c the overhead, and T, the tokens in the iteration, at
// most PrefillChunk + MaxBatch; b is such that F ≥ 0. Then every iteration
// takes at least b·T + F + the KV cache read. The first and the last are sums
// over the requests in it. F is shared out: an iteration holds at most MaxBatch
// requests, at most KVCapacity tokens of cache, and computes at most
// PrefillChunk tokens of prompts, so that F is at least F·x, where x is the sum
// over its requests of 1/MaxBatch, or of tokens held/KVCapacity, or of prompt
// tokens computed/PrefillChunk. A request of P and O tokens computes at least
// P+O−1 of them, P of prompt; it is in at least O−1+⌈P/PrefillChunk⌉
// iterations, for a token comes out of no iteration twice; it holds at least
// P+j tokens when token j comes out, and P in every iteration of prefill
// before. What it reads of the cache is what it holds of earlier iterations. A
// preemption saves reading P+j tokens for one decode step, and has P+j
// computed anew; that is no saving while a token is read for at most b, the
// price taken. All of it holds for one pair of b and x for all requests, and
// Work and WorkFor differ in which they take.
type WorkBound struct {
	price       amounts // seconds for one of each
	chunk       int     // of prefill; 0 where there are no tokens
	concurrency int     // where there are none
	mean        time.Duration
}

// amounts are what a request takes of iterations.
type amounts struct {
	tokens     float64 // computed
	reads      float64 // of cached tokens
	iterations float64 // in which it is
	held       float64 // tokens in the cache, summed over iterations
	prompt     float64 // tokens of prompt computed, which are among tokens
}

// tick is how much shorter than computed an iteration can be, rounded to the
// nanosecond.
const tick = 0.5e-9

// Work returns the bound with b as large as it may be: a token costs what it
// costs in the iteration that does most with its time.
func Work(p scale.Profile) WorkBound {
	if !p.Tokens() {
		return WorkBound{concurrency: p.Service.Concurrency, mean: p.Service.Mean}
	}
	b := math.Inf(1)
	for _, n := range corners(p) {
		b = min(b, fixed(p, n)/float64(n))
	}
	return priced(p, max(0, b))
}

// WorkFor returns the bound under which the sample, some requests of the
// workload, costs most. It is a bound for all requests, of the sample or not.
func WorkFor(p scale.Profile, sample []Tokens) WorkBound {
	best := Work(p)
	if !p.Tokens() {
		return best
	}
	var all amounts
	for _, r := range sample {
		all = all.plus(best.least(r))
	}
	ns := corners(p)
	for i, n := range ns {
		for _, m := range ns[i+1:] {
			b := (fixed(p, m) - fixed(p, n)) / float64(m-n)
			if b < 0 {
				continue
			}
			for _, w := range shared(p, b) {
				if w.price.times(all) > best.price.times(all) {
					best = w
				}
			}
		}
	}
	return best
}

// Time returns the least time of a replica at work that a request takes; with
// a profile without tokens, that of the mean service time.
func (w WorkBound) Time(prompt, output int) time.Duration {
	if w.chunk == 0 {
		return w.Service(w.mean)
	}
	return time.Duration(w.seconds(Tokens{prompt, output}) * float64(time.Second))
}

// Service returns the least time of a replica at work that a request takes
// whose service takes so long: with a profile without tokens, each of those
// that are served at once takes its share.
func (w WorkBound) Service(drawn time.Duration) time.Duration {
	return drawn / time.Duration(max(1, w.concurrency))
}

// Way is one way to serve requests: a variant and what an hour of a replica of
// it costs at the least, in US dollars.
type Way struct {
	Bound        WorkBound
	PricePerHour float64
}

func (w WorkBound) seconds(r Tokens) float64 { return w.price.times(w.least(r)) }

// least returns the least amounts that a request takes.
func (w WorkBound) least(r Tokens) amounts {
	prompt, output := max(1, r.Prompt), max(1, r.Output)
	p, o, chunk := float64(prompt), float64(output), float64(w.chunk)
	full := float64((prompt - 1) / w.chunk) // chunks behind the first, which may be a part of one
	first := p - full*chunk
	return amounts{
		tokens:     p + o - 1,
		reads:      full*first + chunk*full*(full-1)/2 + (o-1)*(p+(o-2)/2),
		iterations: full + o,
		held:       full*p + o*(p+(o-1)/2),
		prompt:     p,
	}
}

func (a amounts) times(b amounts) float64 {
	return a.tokens*b.tokens + a.reads*b.reads + a.iterations*b.iterations + a.held*b.held + a.prompt*b.prompt
}

func (a amounts) plus(b amounts) amounts {
	return amounts{a.tokens + b.tokens, a.reads + b.reads, a.iterations + b.iterations, a.held + b.held, a.prompt + b.prompt}
}

// corners returns the token counts between which the time of an iteration is
// linear, from the least to the most that an iteration can have.
func corners(p scale.Profile) []int {
	most := p.PrefillChunk + p.MaxBatch
	ns := []int{1}
	for _, point := range p.Linear {
		if point.Tokens > 1 && point.Tokens < most {
			ns = append(ns, point.Tokens)
		}
	}
	return append(ns, most)
}

// fixed returns the seconds of an iteration over n tokens without what it
// reads of the cache.
func fixed(p scale.Profile, n int) float64 { return p.IterationTime(float64(n), 0) - tick }

// priced returns the bound with so many seconds per token and nothing else but
// reading.
func priced(p scale.Profile, b float64) WorkBound {
	w := WorkBound{price: amounts{tokens: b}, chunk: p.PrefillChunk}
	if p.Bandwidth > 0 {
		w.price.reads = min(b, p.KVBytesPerToken/p.Bandwidth)
	}
	return w
}

// shared returns the bounds with so many seconds per token, by what F is
// shared.
func shared(p scale.Profile, b float64) []WorkBound {
	f := math.Inf(1)
	for _, n := range corners(p) {
		f = min(f, fixed(p, n)-b*float64(n))
	}
	if f <= 0 {
		return nil
	}
	byBatch, byCache, byPrompt := priced(p, b), priced(p, b), priced(p, b)
	byBatch.price.iterations = f / float64(p.MaxBatch)
	byCache.price.held = f / float64(max(1, p.KVCapacity()))
	byPrompt.price.prompt = f / float64(p.PrefillChunk)
	return []WorkBound{byBatch, byCache, byPrompt}
}
