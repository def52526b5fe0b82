// Package capacity says how much one Replica serves within its SLO: how long
// requests take there at a given concurrency (Predict), the largest
// concurrency that holds the SLO and fits GPU memory (Solve), and what was
// learned of both from Replicas that really serve (Learned).
//
// Symbols as in queueing theory: c requests at the replica at once, S(c) the
// time a request spends there, λ arrivals/s at the replica, with Little's law
// c = λ·S(c) tying them together.
package capacity

import (
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Margin is the share of each SLO time that the predicted tail may use up. The
// rest absorbs that TTFT and TPOT are each held at the objective, while a good
// request needs both.
const Margin = 0.95

// shortOutput is the output, as a share of the mean, that stands for the short
// replies which dominate the TPOT tail: their mean is over few tokens, so that
// one long prompt beside them shows.
const shortOutput = 0.25

// Mix is what requests are made of, in tokens per request.
type Mix struct {
	Prompt     float64 // mean
	LongPrompt float64 // 0.95 quantile
	Output     float64 // mean
}

// Times is what requests experience at a Replica, in seconds.
type Times struct {
	TTFT     float64 // mean
	TTFTTail float64 // at the quantile that was asked for
	TPOT     float64 // mean
	TPOTTail float64 // of short replies, at the same quantile
	Service  float64 // mean whole time at the replica
}

// Server is one Replica as a queueing system.
type Server struct {
	Profile scale.Profile
	Learned Learned
	Mix     Mix
}

// Predict returns what requests experience when concurrency requests are at
// the Replica on average; tail (0..1) is the quantile of TTFTTail.
func (s *Server) Predict(concurrency, tail float64) Times {
	if !s.Profile.Tokens() {
		return s.predictService(concurrency)
	}
	t := s.prior(concurrency, tail)
	f := s.Learned.factors(concurrency)
	t.TPOT *= f.TPOT
	t.TPOTTail *= f.TPOT
	t.TTFT *= f.TTFT
	t.TTFTTail *= f.TTFT
	t.Service = t.TTFT + t.TPOT*math.Max(0, s.Mix.Output-1)
	return t
}

func (s *Server) predictService(concurrency float64) Times {
	mean := s.Profile.Service.Mean.Seconds() * s.Learned.factors(concurrency).TTFT
	slots := float64(max(1, s.Profile.Service.Concurrency))
	return Times{TTFT: mean, TTFTTail: mean, Service: mean * math.Max(1, concurrency/slots)}
}

// prior predicts from the Profile alone. The replica is a closed system of c
// requests that alternate between two stations: prefill, served first come
// first served, and decode, where all run at once but slow down while somebody
// is prefilled. By approximate mean value analysis (Schweitzer 1979) each of
// the two takes 1/(1−u) of its time alone, u being the share of time that the
// engine spends on the other requests' prefill; that every request is
// somewhere, c = X·(prefill + decode + own), then is a quadratic in u. A closed
// system is the right worst case, since admission never lets more than c in.
func (s *Server) prior(concurrency, tail float64) Times {
	p, mix := s.Profile, s.Mix
	c := math.Max(1, concurrency)
	steps := math.Max(1, mix.Output) - 1
	decode := p.LinearTime(c)
	base := p.IterationTimeOver(decode, c*(mix.Prompt+mix.Output/2))
	work := s.prefill(mix.Prompt, c, decode)
	own := 1.5 * base // the rest of the running iteration, and one of its own

	u := 0.0
	if c > 1 && work > 0 {
		k := c / ((c - 1) * work) // X = k·u
		b := k*(work+base*steps) + k*own + c
		u = (b - math.Sqrt(b*b-4*k*own*c)) / (2 * k * own)
	}
	slow := 1 / (1 - u)
	wait := work*slow - work
	t := Times{
		TTFT:    work + wait + own,
		TPOT:    base * slow,
		Service: work + wait + own + base*slow*steps,
	}
	if tail <= 0.5 { // the median of a spread that is taken to be symmetric
		t.TTFTTail, t.TPOTTail = own+s.prefill(math.Max(mix.Prompt, mix.LongPrompt), c, decode)+wait, t.TPOT
		return t
	}
	z := math.Sqrt2 * math.Erfinv(2*math.Min(tail, 0.9999)-1)
	t.TTFTTail = own + s.prefill(math.Max(mix.Prompt, mix.LongPrompt), c, decode) + wait + math.Max(0, z-s.Learned.Late.Shift)*math.Sqrt(wait*work)
	// A short reply of n steps meets Poisson(u/work · n·TPOT) prefills.
	short := math.Max(1, shortOutput*steps)
	t.TPOTTail = t.TPOT + math.Max(leastDeviations, z-s.Learned.Slow.Shift)*math.Sqrt(u*work*(1+mix.promptCV2())*t.TPOT/short)
	return t
}

const (
	// median is the quantile of what is expected.
	median = 0.5
	// leastDeviations is how far above the mean a tail is at least.
	leastDeviations = 0.25
)

// promptCV2 is the squared coefficient of variation of prompts, from how far
// their 0.95 quantile is above the mean, as for an exponential.
func (m Mix) promptCV2() float64 {
	if m.Prompt <= 0 {
		return 0
	}
	return math.Pow(math.Max(0, m.LongPrompt/m.Prompt-1)/2, 2)
}

// prefill returns the seconds that prompt tokens add to iterations in which c
// requests decode, whose linear operators take so many seconds.
func (s *Server) prefill(tokens, c, decode float64) float64 {
	chunk := math.Max(1, float64(s.Profile.PrefillChunk))
	whole := math.Floor(tokens / chunk)
	rest := s.Profile.LinearTime(tokens-whole*chunk+c) - decode
	if whole == 0 {
		return rest
	}
	return whole*(s.Profile.LinearTime(chunk+c)-decode) + rest
}

// Concurrency returns the c that solves c = rate·S(c): how many requests are
// at the Replica on average when rate of them arrive each second. It returns
// +Inf when the Replica cannot keep up at its engine's own batch limit.
func (s *Server) Concurrency(rate float64) float64 {
	if rate <= 0 {
		return 0
	}
	limit := s.engineLimit()
	throughput := func(c float64) float64 { return c / s.Predict(c, median).Service }
	if throughput(limit) < rate {
		return math.Inf(1)
	}
	low, high := 0.0, limit
	for range 40 {
		mid := (low + high) / 2
		// Below one request at a time S is that of a lone request.
		if mid/s.Predict(math.Max(1, mid), median).Service < rate {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

func (s *Server) engineLimit() float64 {
	if !s.Profile.Tokens() {
		return float64(max(1, s.Profile.Service.Concurrency))
	}
	return float64(max(1, s.Profile.MaxBatch))
}

// Bound is what a batch limit is bound by.
type Bound int

// The bounds.
const (
	ByEngine Bound = iota + 1 // the engine's own batch limit
	ByTPOT
	ByTTFT
	ByLatency
	ByMemory // KV cache
)

func (b Bound) String() string {
	switch b {
	case ByEngine:
		return "the engine's own limit"
	case ByTPOT:
		return "TPOT"
	case ByTTFT:
		return "TTFT"
	case ByLatency:
		return "latency"
	case ByMemory:
		return "KV cache"
	}
	return "nothing"
}

// Limit is B* and what follows from it.
type Limit struct {
	Batch      int     // B*: requests at once; 0 when not even one holds the SLO
	KVTokens   int     // tokens at once; 0 where tokens do not matter
	Prefill    int     // prompt tokens that may wait for prefill at once; 0 where tokens do not matter
	PerReplica float64 // requests/s served at B*
	At         Times   // predicted at B* (at one request when Batch is 0)
	Bound      Bound   // what keeps B* from being larger
}

// Solve returns B*: the largest concurrency at which the predicted TTFT (at
// the SLO's objective) and TPOT still hold within Margin, and whose KV cache
// fits beside the weights.
func (s *Server) Solve(slo scale.SLO) Limit {
	limit := Limit{Batch: int(s.engineLimit()), Bound: ByEngine}
	if s.Profile.Tokens() {
		kv := s.Profile.KVCapacity()
		limit.KVTokens = max(0, kv)
		if fit := int(float64(kv) / math.Max(1, s.Mix.Prompt+s.Mix.Output)); fit < limit.Batch {
			limit.Batch, limit.Bound = max(0, fit), ByMemory
		}
	}
	// Predictions grow with concurrency, so the largest that holds is found by
	// bisection.
	low, high := 0, limit.Batch
	for low < high {
		mid := (low + high + 1) / 2
		if bound := s.breaks(slo, float64(mid)); bound == 0 {
			low = mid
		} else {
			high, limit.Bound = mid-1, bound
		}
	}
	limit.Batch = low
	limit.At = s.Predict(math.Max(1, float64(low)), slo.Objective)
	if low > 0 {
		limit.PerReplica = float64(low) / limit.At.Service
	}
	limit.Prefill = s.prefillRoom(slo, math.Max(1, float64(low)))
	return limit
}

// prefillRoom returns how many prompt tokens may wait for prefill so that a
// long prompt behind them still meets its TTFT; at least one mean prompt.
func (s *Server) prefillRoom(slo scale.SLO, concurrency float64) int {
	if !s.Profile.Tokens() || !slo.Tokens() || s.Mix.Prompt <= 0 {
		return 0
	}
	f := s.Learned.factors(concurrency)
	decode := s.Profile.LinearTime(concurrency)
	own := 1.5*s.Profile.IterationTimeOver(decode, concurrency*(s.Mix.Prompt+s.Mix.Output/2)) +
		s.prefill(math.Max(s.Mix.Prompt, s.Mix.LongPrompt), concurrency, decode)
	left := slo.TTFT.Seconds()*Margin/f.TTFT - own
	perToken := s.prefill(s.Mix.Prompt, concurrency, decode) / s.Mix.Prompt
	return int(math.Max(s.Mix.Prompt, left/perToken))
}

// Alone returns how many such Replicas, not rounded, carry a rate (requests/s)
// with headRoom standard deviations of room for bursts, and the mean
// concurrency at each of them then. The number in the system fluctuates like a
// Poisson variable of its mean, n·c (infinite-server approximation), so the
// rule is square-root staffing: n·(B* − c) ≥ headRoom·√(n·c), together with
// Little's law n = rate·S(c)/c. It returns +Inf when B* is 0.
func (s *Server) Alone(limit Limit, rate, headRoom float64) (replicas, concurrency float64) {
	if rate <= 0 {
		return 0, 0
	}
	if limit.Batch < 1 {
		return math.Inf(1), 0
	}
	batch := float64(limit.Batch)
	if headRoom == 0 {
		return rate / limit.PerReplica, batch
	}
	needed := func(c float64) float64 { return rate * s.Predict(math.Max(1, c), median).Service / c }
	low, high := 0.0, batch
	for range 14 {
		c := (low + high) / 2
		if n := needed(c); n*(batch-c) >= headRoom*math.Sqrt(n*c) {
			low = c
		} else {
			high = c
		}
	}
	if low == 0 {
		low = high
	}
	return needed(low), low
}

// breaks returns which part of the SLO does not hold at that concurrency, or 0.
func (s *Server) breaks(slo scale.SLO, concurrency float64) Bound {
	t := s.Predict(concurrency, slo.Objective)
	switch {
	case !slo.Tokens():
		if t.Service > slo.Latency.Seconds()*margin(concurrency) {
			return ByLatency
		}
	case t.TPOTTail > slo.TPOT.Seconds()*margin(concurrency):
		return ByTPOT
	case t.TTFTTail > slo.TTFT.Seconds()*margin(concurrency):
		return ByTTFT
	}
	return 0
}

// margin leaves no slack to a lone request: it shares its batch with nobody.
func margin(concurrency float64) float64 {
	if concurrency <= 1 {
		return 1
	}
	return Margin
}

// Boots is what is known of how long a Variant takes from start to Ready.
type Boots struct {
	Took []time.Duration // newest last, bounded
}

const keepBoots = 16

// Observe adds one boot.
func (b Boots) Observe(took time.Duration) Boots {
	if took <= 0 {
		return b
	}
	kept := b.Took[max(0, len(b.Took)-keepBoots+1):]
	return Boots{Took: append(append([]time.Duration(nil), kept...), took)}
}

// Quantile returns the q-quantile (0..1) of boots seen, or the prior when none
// was.
func (b Boots) Quantile(q float64, prior time.Duration) time.Duration {
	if len(b.Took) == 0 {
		return prior
	}
	sorted := slices.Sorted(slices.Values(b.Took))
	i := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}
