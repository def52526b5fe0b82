package judge

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/bound"
	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

// bounds is what those pay who know the future of a drawn Question, in US
// dollars.
type bounds struct {
	clairvoyant float64
	budget      report.Number
	relaxed     report.Number
	fleets      []bound.Fleet // the clairvoyant's, by model; on the best variant
	work        bound.Least   // dollars of each request's work
	floor       float64       // dollars that the minimum costs in any case
}

// sameAttainment is the least that anybody pays who serves a share of the
// requests.
func (b *bounds) sameAttainment(share float64) float64 {
	return max(b.work.Total(share), b.floor)
}

// lane is a variant with what pools of it serve, by mix.
type lane struct {
	variant scale.Variant
	truth   sim.Truth
	price   float64 // of the cheapest capacity type, an hour
	curves  []curve
}

// foresee measures what pools of every variant serve under the truth, and from
// that what each minute needs and what the clairvoyant fleet costs.
func (d *drawn) foresee(ctx context.Context) error {
	var lanes []lane
	peak := d.survey.peak()
	for i, v := range d.Models[0].Variants {
		l := lane{variant: v, truth: d.services[0].Truths[i], price: d.price(v, scale.OnDemand)}
		for m := range d.survey.mixes {
			p := pool{profile: l.truth.Profile, slo: d.Models[0].SLO, cv: d.CV, mix: &d.survey.mixes[m], seed: d.seed}
			c, err := p.measure(ctx, peak[m])
			if err != nil {
				return fmt.Errorf("measure pools of %s: %w", v.Name, err)
			}
			l.curves = append(l.curves, c)
		}
		lanes = append(lanes, l)
	}
	d.lanes = lanes
	best := slices.MinFunc(lanes, func(a, b lane) int {
		return compare(a.price/a.curves[0].perReplica(), b.price/b.curves[0].perReplica())
	})
	d.Models = slices.Clone(d.Models)
	for i := range d.Models {
		d.needs = append(d.needs, d.need(i, best))
		d.limit(i)
		d.services[i].Start = max(d.Models[i].Replicas.Min, d.needs[i][0])
	}
	d.clairvoyant(best)
	return d.alone()
}

// maxFactor is how many times the largest need a model may have replicas, and
// maxLeast the least that it may: what an operator sets so that a controller
// that runs away does not take the whole cloud.
const (
	maxFactor = 4
	maxLeast  = 8
)

// limit sets a model's largest number of replicas, the same for every policy.
func (d *drawn) limit(i int) {
	most := maxLeast
	for _, l := range d.lanes {
		most = max(most, maxFactor*slices.Max(d.need(i, l)))
	}
	m := d.Models[i]
	m.Replicas.Max = min(m.Replicas.Max, most)
	m.Variants = slices.Clone(m.Variants)
	for j := range m.Variants {
		m.Variants[j].Max = min(m.Variants[j].Max, most)
	}
	d.Models[i], d.services[i].Model = m, m
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// peak is the largest rate of any one model under each mix.
func (s *survey) peak() []float64 {
	peaks := make([]float64, len(s.mixes))
	for i := range s.rates {
		for t := range s.rates[i] {
			m := s.mixAt(t)
			peaks[m] = max(peaks[m], s.rate(i, t))
		}
	}
	return peaks
}

// mixAt is the index of a minute's mix.
func (s *survey) mixAt(bin int) int {
	return s.mixOf[min(bin/int(mixSpan/minute), len(s.mixOf)-1)]
}

// need is how many replicas of a lane a model needs in each minute.
func (d *drawn) need(i int, l lane) []int {
	needs := make([]int, d.survey.minutes())
	for t := range needs {
		needs[t] = max(d.Models[i].Replicas.Min, l.curves[d.survey.mixAt(t)].replicas(d.survey.rate(i, t)))
	}
	return needs
}

// meanBoot is the mean of a variant's starts.
func (d *drawn) meanBoot(variant string) time.Duration {
	sum, shares := 0.0, 0.0
	for _, m := range d.Boots[variant].Mixture {
		sum += m.Share * float64(m.Mean)
		shares += m.Share
	}
	if shares == 0 {
		v, _ := d.Models[0].Variant(variant)
		return v.ColdStart
	}
	return time.Duration(sum / shares)
}

// clairvoyant prices the fleets of one who knows the future.
func (d *drawn) clairvoyant(best lane) {
	d.bound.budget, d.bound.relaxed = report.Unknown(), report.Unknown()
	boot := d.meanBoot(best.variant.Name)
	budget := 0.0
	for i, m := range d.Models {
		fleet := bound.Clairvoyant(d.needs[i], minute, boot, m.Replicas.Min)
		d.bound.fleets = append(d.bound.fleets, fleet)
		d.bound.clairvoyant += fleet.Time.Hours() * best.price
		d.bound.floor += float64(m.Replicas.Min) * d.survey.span.Hours() * d.cheapest()
		load, weight := d.load(i, best)
		budget += bound.Budget(bound.BudgetProblem{
			Load: load, Weight: weight, Step: minute, Boot: boot, Minimum: m.Replicas.Min, Loss: 1 - m.SLO.Objective,
		}).Time.Hours() * best.price
	}
	d.bound.budget = report.Number(budget)
	if len(d.Models) == 1 && (len(d.lanes) > 1 || len(d.Zones) > 0) {
		d.relax()
	}
}

// relax prices the fleet of several kinds of one who knows the future, where
// there is a choice of kinds: then that is the clairvoyant.
func (d *drawn) relax() {
	p := bound.RelaxedProblem{Step: minute, Minimum: d.Models[0].Replicas.Min}
	for _, l := range d.lanes {
		need := make([]float64, d.survey.minutes())
		for t := range need {
			need[t] = l.curves[d.survey.mixAt(t)].exact(d.survey.rate(0, t))
		}
		for _, c := range l.variant.Capacities {
			k := bound.Kind{PricePerHour: d.price(l.variant, c), Boot: d.meanBoot(l.variant.Name), Need: need}
			if c == scale.Spot {
				k.Available = d.spot(len(need))
			}
			p.Kinds = append(p.Kinds, k)
		}
	}
	relaxed := bound.Relaxed(p).Cost
	d.bound.relaxed, d.bound.clairvoyant = report.Number(relaxed), relaxed
}

// spot is how many spot nodes there are in each minute, at the least; nil where
// there is no end of them.
func (d *drawn) spot(minutes int) []int {
	if len(d.Zones) == 0 {
		return nil
	}
	all := make([]int, minutes)
	for _, z := range d.Zones {
		for t := range all {
			all[t] += fewest(z, time.Duration(t)*minute)
		}
	}
	return all
}

// fewest is the smallest count of a zone in the minute that begins at a time.
func fewest(z sim.Zone, from time.Duration) int {
	if z.Repeat > 0 {
		from %= z.Repeat
	}
	count, low := 0, math.MaxInt
	for _, s := range z.Nodes {
		switch {
		case s.At <= from:
			count = s.Count
		case s.At < from+minute:
			low = min(low, s.Count)
		}
	}
	return min(count, low)
}

// load is the work of each minute in replicas, as a fluid, and the requests
// that a replica's worth of it is.
func (d *drawn) load(i int, l lane) (load, weight []float64) {
	load, weight = make([]float64, d.survey.minutes()), make([]float64, d.survey.minutes())
	for t := range load {
		per := l.curves[d.survey.mixAt(t)].perReplica()
		load[t], weight[t] = d.survey.rate(i, t)/per, per
	}
	return load, weight
}

// cheapest is the least that a replica of anything costs an hour.
func (d *drawn) cheapest() float64 {
	least := 0.0
	for _, v := range d.Models[0].Variants {
		for _, c := range v.Capacities {
			if p := d.price(v, c); least == 0 || p < least {
				least = p
			}
		}
	}
	return least
}

// alone adds up what the work of each request costs at the least.
func (d *drawn) alone() error {
	var ways []bound.Way
	var sample []bound.Tokens
	for _, t := range d.survey.all.sample {
		sample = append(sample, bound.Tokens{Prompt: t.prompt, Output: t.output})
	}
	for _, l := range d.lanes {
		price := l.price
		for _, c := range l.variant.Capacities {
			price = min(price, d.price(l.variant, c))
		}
		ways = append(ways, bound.Way{Bound: bound.WorkFor(l.truth.Profile, sample), PricePerHour: price})
	}
	source, err := d.Open(d.seed)
	if err != nil {
		return err
	}
	defer func() { _ = trace.Close(source) }() // it was read to its end, or that failed
	for r, err := range trace.All(source) {
		if err != nil {
			return err
		}
		d.bound.work.Add(bound.Cheapest(ways, func(w bound.WorkBound) time.Duration {
			return w.Time(max(1, r.PromptTokens), max(1, r.OutputTokens))
		}))
	}
	return nil
}

// inflow is what a model's series is to a fluid, on a variant.
func (d *drawn) inflow(i int, v scale.Variant) []sim.Inflow {
	at := slices.IndexFunc(d.lanes, func(l lane) bool { return l.variant.Name == v.Name })
	bins := make([]sim.Inflow, d.survey.minutes())
	for t := range bins {
		m := d.survey.mixAt(t)
		rate := d.survey.rate(i, t)
		bins[t] = sim.Inflow{
			Requests:     rate * minute.Seconds(),
			PromptTokens: d.survey.mixes[m].Prompt, LongPrompt: d.survey.mixes[m].LongPrompt, OutputTokens: d.survey.mixes[m].Output,
			PerReplica: d.lanes[at].curves[m].perReplica(),
		}
		if n := d.lanes[at].curves[m].replicas(rate); n > 0 {
			bins[t].PerReplica = min(bins[t].PerReplica, d.lanes[at].curves[m].of(n))
		}
	}
	return bins
}
