package judge

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
)

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

// cv is how uneven the arrivals at one model of a class are: where the Question
// does not say it, as measured at the one with the most.
func (d *drawn) cv(index int) float64 {
	if d.CV > 0 {
		return d.CV
	}
	var most pulse
	for i, p := range d.survey.pulses {
		if d.class[i] == index && p.mean >= most.mean {
			most = p
		}
	}
	return most.cv()
}

// measure measures the lanes of a class.
func (d *drawn) measure(ctx context.Context, index int) error {
	c := &d.classes[index]
	m, asked := d.Models[c.of], &d.survey.asked[index]
	peak := d.peak(index)
	for i, v := range m.Variants {
		l := lane{variant: v, truth: d.services[c.of].Truths[i], price: d.price(v, v.Capacities[0])}
		for j := range asked.mixes {
			p := pool{profile: l.truth.Profile, slo: m.SLO, cv: d.cv(index), mix: &asked.mixes[j], seed: d.seed}
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
