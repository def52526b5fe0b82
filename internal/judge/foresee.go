package judge

import (
	"context"
	"fmt"
	"math"
	"reflect"
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

// class is models that are served alike and asked for alike: what was measured
// for one of them holds for all.
type class struct {
	of    int // the first of its models
	lanes []lane
	best  int // the lane that serves the most for its price
}

// classify finds the classes of a Question's models.
func (d *drawn) classify() {
	for i, m := range d.Models {
		at := slices.IndexFunc(d.classes, func(c class) bool {
			o := d.Models[c.of]
			return d.Alike && o.SLO == m.SLO && reflect.DeepEqual(o.Variants, m.Variants)
		})
		if at < 0 {
			at, d.classes = len(d.classes), append(d.classes, class{of: i})
		}
		d.class = append(d.class, at)
	}
}

// lanes are those of a model.
func (d *drawn) lanes(i int) []lane { return d.classes[d.class[i]].lanes }

// best is a model's lane that serves the most for its price.
func (d *drawn) best(i int) lane {
	c := d.classes[d.class[i]]
	return c.lanes[c.best]
}

// lane is a model's lane of a target's variant.
func (d *drawn) lane(i int, t scale.ScaleTarget) lane {
	lanes := d.lanes(i)
	return lanes[slices.IndexFunc(lanes, func(l lane) bool { return l.variant.Name == t.Variant })]
}

// asked is what a model's requests are made of.
func (d *drawn) asked(i int) *asked { return &d.survey.asked[d.class[i]] }

// foresee measures what pools of every variant serve under the truth, and from
// that what each minute needs and what the clairvoyant fleet costs.
func (d *drawn) foresee(ctx context.Context) error {
	for c := range d.classes {
		if err := d.measure(ctx, c); err != nil {
			return err
		}
	}
	d.Models = slices.Clone(d.Models)
	for i := range d.Models {
		d.needs = append(d.needs, d.need(i, d.best(i)))
		d.limit(i)
	}
	d.start()
	d.clairvoyant()
	return d.alone(ctx)
}

// measure measures the lanes of a class.
func (d *drawn) measure(ctx context.Context, index int) error {
	c := &d.classes[index]
	m, asked := d.Models[c.of], &d.survey.asked[index]
	peak := d.peak(index)
	for i, v := range m.Variants {
		l := lane{variant: v, truth: d.services[c.of].Truths[i], price: d.price(v, v.Capacities[0])}
		for j := range asked.mixes {
			p := pool{profile: l.truth.Profile, slo: m.SLO, cv: d.CV, mix: &asked.mixes[j], seed: d.seed}
			curve, err := p.measure(ctx, peak[j])
			if err != nil {
				return fmt.Errorf("measure pools of %s: %w", v.Name, err)
			}
			l.curves = append(l.curves, curve)
		}
		c.lanes = append(c.lanes, l)
	}
	dear := func(l lane) float64 {
		if len(l.curves) == 0 { // nobody asks for it
			return l.price
		}
		return l.price / l.curves[0].perReplica()
	}
	for i, l := range c.lanes {
		if dear(l) < dear(c.lanes[c.best]) {
			c.best = i
		}
	}
	return nil
}

// start says with how many replicas of its first variant each model begins: as
// many as the first minute needs, while there are accelerators, the models of
// higher priority first.
func (d *drawn) start() {
	order := make([]int, len(d.Models))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return d.Models[b].Priority - d.Models[a].Priority })
	taken := map[string]int{} // accelerators by type
	for _, i := range order {
		v := d.Models[i].Variants[0]
		n := d.need(i, d.lanes(i)[0])[0]
		if slots, limited := d.slots(v); limited {
			n = min(n, (slots-taken[v.Accelerator.Type])/v.Accelerator.Count)
		}
		taken[v.Accelerator.Type] += n * v.Accelerator.Count
		d.services[i].Start = n
	}
}

// slots are the accelerators that there are for a variant, where they are
// limited.
func (q Question) slots(v scale.Variant) (n int, limited bool) {
	for _, o := range q.Offerings {
		if o.Accelerator == v.Accelerator.Type && o.Capacity == v.Capacities[0] && o.Limited {
			n, limited = n+o.Slots, true
		}
	}
	return n, limited
}

// ceiling is how many replicas of a variant a model may ever have.
func (d *drawn) ceiling(i int, v scale.Variant) int {
	most := min(d.Models[i].Replicas.Max, v.Max)
	if slots, limited := d.slots(v); limited {
		most = min(most, slots/v.Accelerator.Count)
	}
	return most
}

// maxFactor is how many times the largest need a model may have replicas, and
// maxLeast the least that it may: what an operator sets so that a controller
// that runs away does not take the whole cloud.
const (
	maxFactor = 4
	maxLeast  = 8
)

// limit sets the largest number of replicas, the same for every policy, of a
// model that has none.
func (d *drawn) limit(i int) {
	m := d.Models[i]
	if m.Replicas.Max < unlimited {
		return
	}
	most := maxLeast
	for _, l := range d.lanes(i) {
		most = max(most, maxFactor*slices.Max(d.need(i, l)))
	}
	m.Replicas.Max = min(m.Replicas.Max, most)
	m.Variants = slices.Clone(m.Variants)
	for j := range m.Variants {
		m.Variants[j].Max = min(m.Variants[j].Max, most)
	}
	d.Models[i], d.services[i].Model = m, m
}

// peak is the largest rate of any one model of a class under each mix.
func (d *drawn) peak(index int) []float64 {
	asked := &d.survey.asked[index]
	peaks := make([]float64, len(asked.mixes))
	for i, class := range d.class {
		for t := range d.survey.rates[i] {
			if class == index {
				m := asked.at(t)
				peaks[m] = max(peaks[m], d.survey.rate(i, t))
			}
		}
	}
	return peaks
}

// exact is how many replicas of a lane a model needs in a minute, not rounded.
func (d *drawn) exact(i int, l lane, bin int) float64 {
	rate := d.survey.rate(i, bin)
	if rate == 0 {
		return 0
	}
	return l.curves[d.asked(i).at(bin)].exact(rate)
}

// need is how many replicas of a lane a model needs in each minute, as far as
// it may have them.
func (d *drawn) need(i int, l lane) []int {
	needs := make([]int, d.survey.minutes())
	least, most := d.Models[i].Replicas.Min, d.ceiling(i, l.variant)
	for t := range needs {
		needs[t] = min(most, max(least, whole(d.exact(i, l, t))))
	}
	return needs
}

// meanBoot is the mean of a variant's starts.
func (q Question) meanBoot(v scale.Variant) time.Duration {
	sum, shares := 0.0, 0.0
	for _, m := range q.Boot(v).Mixture {
		sum += m.Share * float64(m.Mean)
		shares += m.Share
	}
	if shares == 0 {
		return v.ColdStart
	}
	return time.Duration(sum / shares)
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

// inflow is what a model's series is to a fluid, at a target.
func (d *drawn) inflow(i int, target scale.ScaleTarget) []sim.Inflow {
	l, asked := d.lane(i, target), d.asked(i)
	bins := make([]sim.Inflow, d.survey.minutes())
	for t := range bins {
		m := asked.at(t)
		rate := d.survey.rate(i, t)
		curve, mix := l.curves[m], asked.mixes[m]
		bins[t] = sim.Inflow{
			Requests:     rate * minute.Seconds(),
			PromptTokens: mix.Prompt, LongPrompt: mix.LongPrompt, OutputTokens: mix.Output,
			PerReplica: curve.perReplica(),
		}
		if n := curve.replicas(rate); n > 0 {
			bins[t].PerReplica = min(bins[t].PerReplica, curve.of(n))
		}
	}
	return bins
}
