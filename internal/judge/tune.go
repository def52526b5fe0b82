package judge

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/penstock/penstock/internal/rival"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

// A knob is tried, request by request, on the busiest seventh of the workload,
// within these bounds: a day of a week.
const (
	tryLeast = 6 * time.Hour
	tryMost  = 24 * time.Hour
)

// tune finds a rival's best knob in hindsight. A fluid model of the whole
// workload says what each knob of the grid costs; of those, from the cheapest
// up, the first is sought by halving that keeps the objective on the busiest
// seventh request by request, for a fluid has no bursts. Where none does, the one that
// missed it least of those tried is taken. Where there are many models, the
// busiest one's knob is everyone's.
func (d *drawn) tune(ctx context.Context, p policy) (float64, error) {
	order := d.byCost(p.rival)
	objective := d.objective()
	best, most := order[len(order)-1], -1.0
	var failed error
	found := sort.Search(len(order), func(i int) bool {
		if failed != nil {
			return true
		}
		at, err := d.try(ctx, p, order[i])
		if err != nil {
			failed = err
			return true
		}
		if at > most {
			best, most = order[i], at
		}
		return at >= objective
	})
	if failed != nil {
		return 0, fmt.Errorf("tune: %w", failed)
	}
	if found < len(order) {
		return order[found], nil
	}
	return best, nil
}

// byCost orders the knobs of a rival by what they cost as a fluid.
func (d *drawn) byCost(r rival.Rival) []float64 {
	i := d.survey.busiest()
	s := d.setting(i)
	v, _ := d.Models[i].Variant(s.Target.Variant)
	fluid := sim.Fluid{
		Setting: s, Boot: d.meanBoot(v), Patience: patience(d.Models[i].SLO),
		Start: d.services[i].Start, Bin: minute, Bins: d.inflow(i, s.Target),
	}
	type priced struct{ knob, cost float64 }
	all := make([]priced, len(r.Grid))
	for j, knob := range r.Grid {
		s.Knob = knob
		all[j] = priced{knob, fluid.Run(r.New(s)).Cost}
	}
	slices.SortStableFunc(all, func(a, b priced) int { return cmp.Compare(a.cost, b.cost) })
	knobs := make([]float64, len(all))
	for j, k := range all {
		knobs[j] = k.knob
	}
	return knobs
}

// try is the attainment of a policy with a knob on the busiest part. Faults have
// their time elsewhere and are left out.
func (d *drawn) try(ctx context.Context, p policy, knob float64) (float64, error) {
	source, err := d.Open(d.seed)
	if err != nil {
		return 0, err
	}
	defer func() { _ = trace.Close(source) }() // only a part was wanted
	from, to := d.busiest()
	world := d.world(&excerpt{Source: source, from: from, to: to})
	world.Faults = sim.Faults{}
	world.Services = slices.Clone(world.Services)
	for i := range world.Services {
		world.Services[i].Start = max(d.Models[i].Replicas.Min, d.needs[i][from/minute])
	}
	world.Governor, _ = d.governor(p, knob)
	result, err := world.Run(ctx)
	if err != nil {
		return 0, err
	}
	at, _ := result.Attainment()
	return at, nil
}

// busiest is the part of the series, as long as a knob is tried on, in which
// most requests come.
func (d *drawn) busiest() (from, to time.Duration) {
	bins := d.survey.minutes()
	width := min(int(min(max(d.survey.span/7, tryLeast), tryMost)/minute), bins)
	sum, most, best := 0.0, -1.0, 0
	for t := range bins {
		for i := range d.Models {
			sum += d.survey.rate(i, t)
			if t >= width {
				sum -= d.survey.rate(i, t-width)
			}
		}
		if t >= width-1 && sum > most+1e-6 {
			most, best = sum, t-width+1
		}
	}
	return time.Duration(best) * minute, time.Duration(best+width) * minute
}

// patience is how long a request may wait and still be good.
func patience(slo scale.SLO) time.Duration {
	if slo.Tokens() {
		return slo.TTFT / 2
	}
	return slo.Latency / 2
}
