package judge

import (
	"maps"
	"slices"

	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/scale"
)

// result sums up a contest for the report.
func (c *contest) result() (report.Workload, report.Series) {
	seeds := slices.Sorted(maps.Keys(c.draws))
	first := c.draws[seeds[0]]
	objective := first.objective()
	w := report.Workload{
		Name: c.question.Name, What: c.question.What, Objective: report.Number(objective),
		Days: report.Number(first.survey.span.Hours() / 24), Requests: first.survey.requests, Seeds: seeds,
	}
	var cost, budget, relaxed, work mean
	for _, seed := range seeds {
		d := c.draws[seed]
		truth := report.Truth{Seed: seed, Factors: map[string]report.Number{}}
		for name, f := range d.factors {
			truth.Factors[name] = report.Number(f)
		}
		w.Truths = append(w.Truths, truth)
		cost.add(d.bound.clairvoyant)
		budget.add(float64(d.bound.budget))
		relaxed.add(float64(d.bound.relaxed))
		work.add(d.bound.sameAttainment(objective))
	}
	w.Bound = report.Bound{Cost: cost.value(), BudgetCost: budget.value(), RelaxedCost: relaxed.value(), WorkCost: work.value()}
	for _, p := range c.policies {
		var runs []outcome
		for _, o := range c.runs {
			if o.policy.name == p.name {
				runs = append(runs, o)
			}
		}
		slices.SortFunc(runs, func(a, b outcome) int { return int(a.seed) - int(b.seed) })
		if len(runs) > 0 {
			w.Policies = append(w.Policies, c.policy(p, runs))
		}
	}
	return w, c.series(first)
}

// objective is the share of all requests that must be good: that of each
// model's.
func (d *drawn) objective() float64 {
	if len(d.classes) == 1 {
		return d.Models[0].SLO.Objective
	}
	sum := 0.0
	for i, m := range d.Models {
		for _, n := range d.survey.rates[i] {
			sum += m.SLO.Objective * float64(n)
		}
	}
	return sum / float64(d.survey.requests)
}

// mean is of what was added; Unknown when nothing known was.
type mean struct {
	sum float64
	n   int
}

func (m *mean) add(x float64) {
	if report.Number(x).Known() {
		m.sum += x
		m.n++
	}
}

func (m *mean) value() report.Number {
	if m.n == 0 {
		return report.Unknown()
	}
	return report.Number(m.sum / float64(m.n))
}

// policy sums up one policy's runs, which are in order of their seeds.
func (c *contest) policy(p policy, runs []outcome) report.Policy {
	out := report.Policy{Name: p.name, Knob: runs[0].knob, Outcomes: report.Tally{}, ObjectiveMet: true, WorstTenMinutes: 1}
	var m struct {
		attainment, cost, ratio, same, actions, reversals, goodput, decision, p99 mean
		hours                                                                     [5]mean
	}
	for _, o := range runs {
		s := c.seed(o)
		out.Seeds = append(out.Seeds, s)
		m.attainment.add(float64(s.Attainment))
		m.cost.add(float64(s.Cost))
		m.ratio.add(float64(s.Ratio))
		m.same.add(float64(s.RatioSame))
		m.actions.add(float64(s.ActionsPerHour))
		m.reversals.add(float64(s.Reversals))
		m.goodput.add(float64(o.Good) / o.Span.Seconds())
		m.decision.add(float64(o.DecisionTime.Mean.Nanoseconds()) / 1e3)
		m.p99.add(float64(o.DecisionTime.P99.Nanoseconds()) / 1e3)
		for i, h := range []report.Number{s.GPUHours.Total, s.GPUHours.Serving, s.GPUHours.Idle, s.GPUHours.Loading, s.GPUHours.Draining} {
			m.hours[i].add(float64(h))
		}
		for outcome, n := range o.Outcomes {
			out.Outcomes[outcome] += n
		}
		out.Good += o.Good
		out.Judged += o.Judged
		out.ObjectiveMet = out.ObjectiveMet && o.met(c.draws[o.seed])
		out.WorstTenMinutes = min(out.WorstTenMinutes, s.WorstTenMinutes)
		out.MemoryBytes = max(out.MemoryBytes, o.MemoryBytes)
		out.PeakReplicas = max(out.PeakReplicas, o.Peak)
		out.DownsInFaults += o.downs
		out.Wall += s.Wall
	}
	out.Attainment, out.Cost, out.Ratio, out.RatioSame = m.attainment.value(), m.cost.value(), m.ratio.value(), m.same.value()
	out.ActionsPerHour, out.Reversals, out.Goodput = m.actions.value(), m.reversals.value(), m.goodput.value()
	out.Decision = report.Latencies{Mean: m.decision.value(), P99: m.p99.value()}
	out.GPUHours = report.Hours{
		Total: m.hours[0].value(), Serving: m.hours[1].value(), Idle: m.hours[2].value(), Loading: m.hours[3].value(), Draining: m.hours[4].value(),
	}
	requests := 0
	for _, o := range runs {
		requests += o.Requests
	}
	out.RequestsPerS = report.Number(float64(requests)) / out.Wall
	out.CostPer1kGood = report.Unknown()
	if out.Good > 0 {
		out.CostPer1kGood = out.Cost * report.Number(len(runs)) / report.Number(out.Good) * 1000
	}
	return out
}

// seed is one run in the report.
func (c *contest) seed(o outcome) report.Seed {
	d := c.draws[o.seed]
	attainment, ok := o.Attainment()
	s := report.Seed{
		Seed: o.seed, Requests: o.Requests, Good: o.Good, Judged: o.Judged,
		Attainment: report.Number(attainment), WorstTenMinutes: report.Number(o.WorstTenMinutes),
		Cost: report.Number(o.Cost), Ratio: report.Number(o.Cost / d.bound.clairvoyant), RatioSame: report.Number(o.Cost / d.bound.sameAttainment(attainment)),
		GPUHours: report.Hours{
			Serving: report.Number(o.Hours[scale.Serving]), Idle: report.Number(o.Hours[scale.IdleTime]),
			Loading: report.Number(o.Hours[scale.Loading]), Draining: report.Number(o.Hours[scale.DrainingTime]),
		},
		ActionsPerHour: report.Number(float64(o.Actions) / max(o.Account.Hours(), 1.0/60)), Reversals: o.Reversals,
		Outcomes: o.Outcomes, PeakReplicas: o.Peak, Wall: report.Number(o.wall.Seconds()),
	}
	if !ok {
		s.Attainment = report.Unknown()
	}
	s.GPUHours.Total = s.GPUHours.Serving + s.GPUHours.Idle + s.GPUHours.Loading + s.GPUHours.Draining
	return s
}

// series are the first seed's, for the charts.
func (c *contest) series(first *drawn) report.Series {
	s := report.Series{Workload: c.question.Name}
	if !c.trial.Series {
		return s
	}
	for _, p := range c.policies {
		for _, o := range c.runs {
			if o.policy.name != p.name || o.seed != first.seed {
				continue
			}
			one, demand := chart(o)
			if s.Demand == nil {
				s.Demand, s.Bin, s.Need = demand, o.Bin, first.fleet(int(o.Bin/minute), len(demand))
			}
			if o.diary != nil && p.name == report.Penstock {
				s.Decisions, s.Untold = o.diary.Told()
			}
			s.Policies = append(s.Policies, one)
		}
	}
	return s
}

// chart is one run as a chart shows it, and the requests/s that came.
func chart(o outcome) (one report.PolicySeries, demand []float64) {
	one.Name = o.policy.name
	for _, m := range o.Minutes {
		demand = append(demand, float64(m.Arrivals)/o.Bin.Seconds())
		ready := 0.0
		for _, n := range m.Ready {
			ready += float64(n)
		}
		one.Ready = append(one.Ready, ready)
		one.Good, one.Judged = append(one.Good, float64(m.Good)), append(one.Judged, float64(m.Judged))
		one.Held, one.Cost = append(one.Held, float64(m.Held)), append(one.Cost, m.Cost)
	}
	return one, demand
}

// fleet is how many replicas the clairvoyant has in each bin of some minutes,
// all models together.
func (d *drawn) fleet(width, bins int) []float64 {
	out := make([]float64, bins)
	for _, f := range d.bound.fleets {
		for t, n := range f.Counts {
			if bin := t / max(1, width); bin < bins {
				out[bin] = max(out[bin], 0) + float64(n)/float64(max(1, width))
			}
		}
	}
	return out
}
