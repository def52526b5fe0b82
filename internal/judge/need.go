package judge

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"time"

	"github.com/penstock/penstock/internal/capacity"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

const (
	// A pool is tried at one rate for probePatience times as long as a request may
	// wait and still be good, for else a queue that grows without end would not
	// be noticed, and with requests enough to tell an objective of 99 % from 98.5.
	probeLeast    = 6000
	probeMost     = 60_000
	probePatience = 60
	// probeWarm is the share of them that only fills the pool.
	probeWarm = 0.2
	// probes halve the interval of rates so often.
	probes = 7
	// mostReplicas is the largest pool that is tried.
	mostReplicas = 4096
)

// pool is what a constant number of equal replicas is asked to do.
type pool struct {
	profile scale.Profile // what serving really takes
	slo     scale.SLO
	cv      float64 // of the gaps between arrivals
	mix     *mix
	seed    uint64

	batch     float64 // B* as a share of what the model predicts
	objective float64 // of the SLO, or what is attainable at all
}

// curve is how many requests/s pools of some sizes serve within the SLO; both
// ascend.
type curve struct {
	sizes []int
	rates []float64
}

// replicas is the smallest pool that serves a rate.
func (c curve) replicas(rate float64) int { return whole(c.exact(rate)) }

// whole is the smallest pool that is at least as large as one in fractions.
func whole(exact float64) int { return int(math.Ceil(exact - 1e-9)) }

// exact is the pool that serves a rate, in fractions of a replica: between two
// sizes that were tried, linear.
func (c curve) exact(rate float64) float64 {
	i := sort.SearchFloat64s(c.rates, rate)
	last := len(c.rates) - 1
	switch {
	case rate <= 0:
		return 0
	case i == 0:
		return float64(c.sizes[0]) * rate / c.rates[0]
	case i > last:
		return float64(c.sizes[last]) * rate / c.rates[last]
	}
	share := (rate - c.rates[i-1]) / (c.rates[i] - c.rates[i-1])
	return float64(c.sizes[i-1]) + share*float64(c.sizes[i]-c.sizes[i-1])
}

// perReplica is the most that one replica serves in a pool of any size tried.
func (c curve) perReplica() float64 {
	best := 0.0
	for i, n := range c.sizes {
		best = max(best, c.rates[i]/float64(n))
	}
	return best
}

// of is how many requests/s each of n replicas serves.
func (c curve) of(n int) float64 {
	i := sort.SearchInts(c.sizes, n)
	last := len(c.sizes) - 1
	switch {
	case i > last:
		return c.rates[last] / float64(c.sizes[last])
	case c.sizes[i] == n || i == 0:
		return c.rates[i] / float64(c.sizes[i])
	}
	share := float64(n-c.sizes[i-1]) / float64(c.sizes[i]-c.sizes[i-1])
	return (c.rates[i-1] + share*(c.rates[i]-c.rates[i-1])) / float64(n)
}

// measure simulates pools of 1, 2, 4 … replicas until one serves the rate, and
// returns what each serves. Batches of fewer and of more than the model
// predicts are tried, and the best is taken: who knows the future knows that.
func (p pool) measure(ctx context.Context, rate float64) (curve, error) {
	if err := p.settle(ctx); err != nil {
		return curve{}, err
	}
	var c curve
	for n := 1; n <= mostReplicas; n *= 2 {
		served, err := p.most(ctx, n)
		if err != nil {
			return curve{}, err
		}
		if last := len(c.rates) - 1; last >= 0 {
			served = max(served, c.rates[last]*float64(n)/float64(c.sizes[last])) // a probe's luck aside, more replicas serve no less each
		}
		c.sizes, c.rates = append(c.sizes, n), append(c.rates, served)
		if served >= rate {
			break
		}
	}
	return c, nil
}

// settle finds the batch that serves most, and an objective that can be met.
func (p *pool) settle(ctx context.Context) error {
	p.batch, p.objective = 1, p.slo.Objective
	alone, err := p.attainment(ctx, 1, p.limit().PerReplica/20)
	if err != nil {
		return err
	}
	// What not even an idle replica serves in time is lost to everybody.
	if reach := alone - (1-p.slo.Objective)/2; reach < p.objective {
		p.objective = reach
	}
	best := 0.0
	for _, share := range []float64{0.6, 0.8, 1, 1.25, 1.6} {
		try := *p
		try.batch = share
		served, err := try.most(ctx, 4)
		if err != nil {
			return err
		}
		if served > best*1.01 {
			best, p.batch = served, share
		}
	}
	if best == 0 {
		return errors.New("not even four replicas serve a trickle within the SLO")
	}
	return nil
}

func (p *pool) limit() capacity.Limit {
	return (&capacity.Server{Profile: p.profile, Mix: p.mix.Mix}).Solve(p.slo)
}

// most is the largest rate at which a pool of n still meets the objective.
func (p *pool) most(ctx context.Context, n int) (float64, error) {
	limit := p.limit()
	low, high := 0.0, 1.5*float64(n)*math.Max(limit.PerReplica, 1/limit.At.Service)
	if s := p.profile.Service; !p.profile.Tokens() {
		high = float64(n*s.Concurrency) / s.Mean.Seconds() // more than that is a queue that grows
	}
	for range probes {
		rate := (low + high) / 2
		at, err := p.attainment(ctx, n, rate)
		if err != nil {
			return 0, err
		}
		if at >= p.objective {
			low = rate
		} else {
			high = rate
		}
	}
	return low, nil
}

// slack is how many seconds a request may wait and still be good.
func (p *pool) slack() float64 {
	if p.slo.Tokens() {
		return p.slo.TTFT.Seconds()
	}
	return max(0, (p.slo.Latency - p.profile.Service.Mean).Seconds())
}

// attainment simulates a pool of n at a rate (requests/s).
func (p *pool) attainment(ctx context.Context, n int, rate float64) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	limit := p.limit()
	fleet := sim.Fleet{
		Profile: p.profile, Replicas: n, SLO: p.slo, Seed: p.seed,
		BatchLimit: max(1, int(p.batch*float64(limit.Batch)+0.5)), KVTokens: limit.KVTokens, PrefillTokens: limit.Prefill,
	}
	if most := p.profile.Service.Concurrency; !p.profile.Tokens() {
		fleet.BatchLimit = most
	}
	requests := min(max(probeLeast, int(probePatience*rate*p.slack())), probeMost)
	arrivals, err := trace.Renewal(trace.Draw{Seed: p.seed, CV: p.cv, Tokens: p.mix}, rate, requests)
	if err != nil {
		return 0, fmt.Errorf("try %d replicas: %w", n, err)
	}
	good, judged := 0, 0
	_, err = fleet.Run(ctx, arrivals, func(r scale.Request, s scale.Served) {
		if float64(r.ID) <= float64(requests)*probeWarm {
			return
		}
		judged++
		if p.slo.Good(s) {
			good++
		}
	})
	if err != nil {
		return 0, fmt.Errorf("try %d replicas at %.3g requests/s: %w", n, rate, err)
	}
	return float64(good) / float64(judged), nil
}

// Draw implements trace.Tokens: any request of the sample.
func (m *mix) Draw(_ time.Duration, random *rand.Rand) (prompt, output int) {
	t := m.sample[random.IntN(len(m.sample))]
	return t.prompt, t.output
}
