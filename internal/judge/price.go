package judge

import (
	"context"
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

// clairvoyant prices the fleets of one who knows the future. Where a model has
// a choice of kinds of replica, that is the relaxed fleet.
func (d *drawn) clairvoyant() {
	budget, chooses := 0.0, false
	for i, m := range d.Models {
		best := d.best(i)
		boot := d.meanBoot(best.variant)
		fleet := bound.Clairvoyant(d.needs[i], minute, boot, m.Replicas.Min)
		d.bound.fleets = append(d.bound.fleets, fleet)
		d.bound.floor += float64(m.Replicas.Min) * d.survey.span.Hours() * d.cheapest(m)
		if len(d.lanes(i)) > 1 || len(best.variant.Capacities) > 1 {
			chooses = true
			d.bound.clairvoyant += bound.Relaxed(d.relax(i)).Cost
			continue
		}
		d.bound.clairvoyant += fleet.Time.Hours() * best.price
		load, weight := d.load(i, best)
		budget += bound.Budget(bound.BudgetProblem{
			Load: load, Weight: weight, Step: minute, Boot: boot, Minimum: m.Replicas.Min, Loss: 1 - m.SLO.Objective,
		}).Time.Hours() * best.price
	}
	d.bound.budget, d.bound.relaxed = report.Number(budget), report.Unknown()
	if chooses { // the budget is for one kind
		d.bound.budget, d.bound.relaxed = report.Unknown(), report.Number(d.bound.clairvoyant)
	}
}

// relax is a model's fleet of several kinds as a linear programme.
func (d *drawn) relax(i int) bound.RelaxedProblem {
	p := bound.RelaxedProblem{Step: minute, Minimum: d.Models[i].Replicas.Min}
	for _, l := range d.lanes(i) {
		need := make([]float64, d.survey.minutes())
		for t := range need {
			need[t] = d.exact(i, l, t)
		}
		for _, c := range l.variant.Capacities {
			k := bound.Kind{PricePerHour: d.price(l.variant, c), Boot: d.meanBoot(l.variant), Need: need}
			if most := d.ceiling(i, l.variant); float64(most) < slices.Max(need) {
				k.Available = slices.Repeat([]int{most}, len(need))
			}
			if c == scale.Spot && len(d.Zones) > 0 {
				k.Available = d.spot(len(need))
			}
			p.Kinds = append(p.Kinds, k)
		}
	}
	return p
}

// spot is how many spot nodes there are in each minute, at the least.
func (d *drawn) spot(minutes int) []int {
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
	load, weight = make([]float64, d.survey.minutes()), slices.Repeat([]float64{1}, d.survey.minutes())
	if len(l.curves) == 0 { // nobody asks for it
		return load, weight
	}
	for t := range load {
		per := l.curves[d.asked(i).at(t)].perReplica()
		load[t], weight[t] = d.survey.rate(i, t)/per, per
	}
	return load, weight
}

// cheapest is the least that a replica of a model costs an hour.
func (q Question) cheapest(m scale.Model) float64 {
	least := 0.0
	for _, v := range m.Variants {
		for _, c := range v.Capacities {
			if p := q.price(v, c); least == 0 || p < least {
				least = p
			}
		}
	}
	return least
}

// alone adds up what the work of each request costs at the least.
func (d *drawn) alone(ctx context.Context) error {
	ways := make([][]bound.Way, len(d.classes))
	times := sim.NewServiceTimes(d.seed)
	for i, c := range d.classes {
		var sample []bound.Tokens
		for _, t := range d.survey.asked[i].all.sample {
			sample = append(sample, bound.Tokens{Prompt: t.prompt, Output: t.output})
		}
		for _, l := range c.lanes {
			price := l.price
			for _, c := range l.variant.Capacities {
				price = min(price, d.price(l.variant, c))
			}
			ways[i] = append(ways[i], bound.Way{Bound: bound.WorkFor(l.truth.Profile, sample), PricePerHour: price})
		}
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
		if r.ID%lookEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		model := d.survey.models[r.Model] // one without a name is the first one's
		class := d.class[model]
		truths := d.services[model].Truths
		cheapest := math.Inf(1)
		for i, way := range ways[class] {
			takes := way.Bound.Time(max(1, r.PromptTokens), max(1, r.OutputTokens))
			if p := truths[i].Profile; !p.Tokens() {
				takes = way.Bound.Service(times.Of(model, r.ID, p.Service))
			}
			cheapest = min(cheapest, takes.Hours()*way.PricePerHour)
		}
		d.bound.work.Add(cheapest)
	}
	return nil
}
