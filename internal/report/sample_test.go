package report_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/scale"
)

// sample is a result that looks like a real one: workloads of so many minutes,
// each with so many policies.
func sample(workloads, policies, minutes int) (report.Scaling, []report.Series) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := report.Scaling{
		Title: "Scaling benchmark", Command: "penstock bench scaling --traces ../shared/traces --report report.html", Seeds: 3, Wall: 1834,
		Targets: []report.Target{
			{Name: "ratio, geometric mean of W1, W3, W5, W8", Target: 1.06, Value: 1.0604, Met: false},
			{Name: "ratio of W1", Target: 1.05, Value: 1.043, Met: true},
			{Name: "GPU-hours saved against static peak, W11", Target: 60, AtLeast: true, Value: 63.4, Unit: "%", Met: true},
			{Name: "decision, mean", Target: 20, Value: 11.2, Unit: "µs", Met: true},
			{Name: "spot, cheaper than on-demand alone", Target: 45, AtLeast: true, Value: report.Unknown(), Unit: "%", Note: "W10 did not run"},
		},
		Failures: []report.Failure{{Workload: "W10", Policy: "skyserve", Seed: 1, Error: "read spot_bamboo_p3_nodes.csv.gz: line 14: unexpected EOF"}},
	}
	whats := []string{"enterprise day", "bursty API", "long context on a day curve", "steps", "steps", "flash crowds over a long history", "sparse fleet", "spot", "heterogeneous", "faults", "head of line"}
	names := []string{"W1", "W3", "W5", "W6a", "W6b", "W8", "W9", "W10", "W11", "W12", "W13"}
	var all []report.Series
	for i := range workloads {
		w, series := sampleWorkload(rng, policies, minutes)
		w.Name, w.What = names[i%len(names)], whats[i%len(whats)]
		series.Workload = w.Name
		s.Workloads, all = append(s.Workloads, w), append(all, series)
	}
	return s, all
}

var policyNames = []string{
	"penstock", "hpa-concurrency", "static-p99", "knative-kpa", "keda", "hpa-cpu", "hpa-gpu-utilisation", "ray-serve", "aibrix-apa", "aibrix-apa-intended",
	"dynamo-load", "dynamo-sla", "wva-v1", "wva-v2", "delayedoff", "static-peak", "penstock-reactive", "penstock-random-forecast",
}

func sampleWorkload(rng *rand.Rand, policies, minutes int) (report.Workload, report.Series) {
	demand, need := make([]float64, minutes), make([]float64, minutes)
	burst := 0.0
	for i := range demand {
		day := float64(i) / 1440
		shape := 6 + 14*math.Pow(max(0, math.Sin(math.Pi*(day-math.Floor(day)))), 3)
		if rng.Float64() < 0.001 {
			burst = 12 + 20*rng.Float64()
		}
		burst *= 0.93
		demand[i] = math.Round(60*(shape+burst+rng.NormFloat64()*math.Sqrt(shape/8))) / 60
		need[i] = math.Ceil(max(demand[i], demand[max(0, i-1)]) / 3)
	}
	hours := float64(minutes) / 60
	w := report.Workload{
		Objective: 0.99, Days: report.Number(float64(minutes) / 1440), Requests: int(sum(demand) * 60), Seeds: []uint64{1, 2, 3},
		Truths: []report.Truth{{Seed: 1, Factors: map[string]report.Number{"8b-a100": 1.14}}, {Seed: 2, Factors: map[string]report.Number{"8b-a100": 0.83}}},
		Bound:  report.Bound{Cost: report.Number(sum(need) / 60 * 2), WorkCost: report.Number(sum(demand) / 60 * 2 / 3), BudgetCost: report.Unknown(), RelaxedCost: report.Unknown()},
	}
	series := report.Series{Bin: time.Minute, Demand: demand, Need: need}
	for i := range policies {
		name := policyNames[i%len(policyNames)]
		if i >= len(policyNames) {
			name += "-tuned"
		}
		over, lag := 1+0.09*float64(i%12)*rng.Float64(), 2+rng.IntN(9)
		if i == 0 {
			over, lag = 1, -2
		}
		ps := samplePolicy(rng, demand, need, over, lag)
		ps.Name = name
		series.Policies = append(series.Policies, ps)
		w.Policies = append(w.Policies, summary(w, ps, hours, rng))
	}
	ready := series.Policies[0].Ready
	diary := report.Diary{}
	for i := 1; i < len(ready); i++ {
		if ready[i] != ready[i-1] {
			diary.Note(sampleDecision(time.Time{}.Add(time.Duration(i)*time.Minute+2*time.Second), int(ready[i-1]), int(ready[i]), demand[i]))
		}
	}
	series.Decisions, series.Untold = diary.Told()
	return w, series
}

func samplePolicy(rng *rand.Rand, demand, need []float64, over float64, lag int) report.PolicySeries {
	var p report.PolicySeries
	held := 0.0
	for i := range demand {
		seen := min(max(1, i-lag), len(need)) // with a negative lag the policy foresees
		ready := math.Ceil(slices.Max(need[max(0, seen-4):seen]) * over)
		short := max(0, demand[i]-ready*3)
		held = max(0, held*0.5+short*20-1)
		judged := math.Round(demand[i] * 60)
		bad := min(judged, math.Round(short*60)+math.Floor(rng.Float64()*1.004))
		p.Ready, p.Judged, p.Good = append(p.Ready, ready), append(p.Judged, judged), append(p.Good, judged-bad)
		p.Held, p.Cost = append(p.Held, math.Round(held)), append(p.Cost, ready*2/60)
	}
	return p
}

func summary(w report.Workload, ps report.PolicySeries, hours float64, rng *rand.Rand) report.Policy {
	good, judged, cost := sum(ps.Good), sum(ps.Judged), sum(ps.Cost)
	attainment := good / judged
	gpu := cost / 2
	serving := min(gpu*0.9, float64(w.Bound.WorkCost)/2)
	p := report.Policy{
		Name: ps.Name, Attainment: report.Number(attainment), Cost: report.Number(cost), Ratio: report.Number(cost) / w.Bound.Cost,
		RatioSame: report.Number(cost) / w.Bound.WorkCost, ObjectiveMet: attainment >= 0.99, Good: int(good), Judged: int(judged),
		Outcomes:       report.Tally{scale.OK: int(judged) - 40, scale.Refused: 31, scale.Expired: 9},
		GPUHours:       report.Hours{Total: report.Number(gpu), Serving: report.Number(serving), Idle: report.Number((gpu - serving) * 0.8), Loading: report.Number((gpu - serving) * 0.15), Draining: report.Number((gpu - serving) * 0.05)},
		ActionsPerHour: report.Number(12 * rng.Float64()), Reversals: report.Number(rng.IntN(40)), Goodput: report.Number(good / hours / 3600),
		Decision: report.Latencies{Mean: report.Unknown(), P99: report.Unknown()}, WorstTenMinutes: report.Number(max(0, attainment-rng.Float64()*0.4)),
		CostPer1kGood: report.Number(1000 * cost / good), PeakReplicas: int(slices.Max(ps.Ready)), Wall: 3.2, RequestsPerS: 1.2e6,
	}
	if p.Own() {
		p.Decision, p.MemoryBytes = report.Latencies{Mean: 11.2, P99: 62.5}, 38_112
	} else {
		p.Knob = report.Knob{Name: "target", Value: 0.7, Tuned: rng.IntN(2) == 0}
	}
	seeds := 1
	if p.Own() {
		seeds = 3
	}
	for i := range seeds {
		p.Seeds = append(p.Seeds, report.Seed{
			Seed: uint64(i + 1), Requests: w.Requests, Good: int(good), Judged: int(judged), Attainment: p.Attainment, WorstTenMinutes: p.WorstTenMinutes,
			Cost: p.Cost * report.Number(0.98+0.02*float64(i)), Ratio: p.Ratio, RatioSame: p.RatioSame, GPUHours: p.GPUHours, ActionsPerHour: p.ActionsPerHour,
		})
	}
	return p
}

// sampleDecision is a tick that changes one target.
func sampleDecision(at time.Time, from, to int, rate float64) scale.Decision {
	target := scale.ScaleTarget{Model: "chat", Variant: "8b-a100", Capacity: scale.OnDemand}
	change := scale.Change{Target: target, From: from, Want: to, To: to}
	why := scale.Reason{Code: scale.ReasonUpRate, Text: fmt.Sprintf("%d more may start this minute: the limit is 10", max(0, to-from))}
	if to < from {
		change.Drain = make([]scale.ReplicaID, from-to)
		why = scale.Reason{Code: scale.ReasonStabilisation, Text: fmt.Sprintf("no wish of the last 5 minutes was above %d", to)}
	}
	change.Reasons = []scale.Reason{why}
	return scale.Decision{At: at, Changes: []scale.Change{change}, Plans: []scale.Plan{{Model: "chat", Reasons: []scale.Reason{
		{Code: scale.ReasonDemand, Text: fmt.Sprintf("%d replicas of 8b-a100 serve the %.1f requests/s that are expected in 60 s, 3.0 each", to, rate)},
	}}}}
}

func sum(values []float64) float64 {
	total := 0.0
	for _, v := range values {
		total += v
	}
	return total
}

// small is a result with something of everything, and figures that read well.
func small() report.Scaling {
	seed := func(seed uint64, cost report.Number) report.Seed {
		return report.Seed{
			Seed: seed, Requests: 30_000, Good: 29_800, Judged: 29_990, Attainment: 0.9936, WorstTenMinutes: 0.91, Cost: cost, Ratio: cost / 40, RatioSame: cost / 32,
			GPUHours: report.Hours{Total: 21, Serving: 17.5, Idle: 2, Loading: 1, Draining: 0.5}, ActionsPerHour: 4.25, Reversals: 2,
			Outcomes: report.Tally{scale.OK: 29_990, scale.Expired: 10}, PeakReplicas: 9, Wall: 0.02,
		}
	}
	return report.Scaling{
		Title: "Scaling benchmark", Command: "penstock bench scaling --seeds 2", Seeds: 2, Wall: 75,
		Workloads: []report.Workload{
			{
				Name: "W1", What: "enterprise day", Objective: 0.99, Days: 7, Requests: 30_000, Seeds: []uint64{1, 2},
				Truths: []report.Truth{{Seed: 1, Factors: map[string]report.Number{"8b-a100": 1.25}}, {Seed: 2, Factors: map[string]report.Number{"8b-a100": 0.75}}},
				Bound:  report.Bound{Cost: 40, WorkCost: 32, BudgetCost: 38.5, RelaxedCost: report.Unknown()},
				Policies: []report.Policy{
					{
						Name: "keda", Attainment: 0.9712, Cost: 39, Ratio: 0.975, RatioSame: 1.25, Outcomes: report.Tally{scale.OK: 29_000, scale.Refused: 1000},
						GPUHours: report.Hours{Total: 19.5, Serving: 17.5, Idle: 1.5, Loading: 0.5, Draining: 0}, ActionsPerHour: 12, Reversals: 31,
						Decision: report.Latencies{Mean: report.Unknown(), P99: report.Unknown()}, Good: 29_000, Judged: 29_860, Goodput: 0.048, WorstTenMinutes: 0.5,
						CostPer1kGood: 1.35, Knob: report.Knob{Name: "target", Value: 0.7, Tuned: true}, PeakReplicas: 8, Seeds: []report.Seed{}, Wall: 0.01, RequestsPerS: 1.5e6,
					},
					{
						Name: report.Penstock, Attainment: 0.9936, Cost: 42, Ratio: 1.05, RatioSame: 1.3125, Outcomes: report.Tally{scale.OK: 59_980, scale.Expired: 20},
						GPUHours: report.Hours{Total: 21, Serving: 17.5, Idle: 2, Loading: 1, Draining: 0.5}, ActionsPerHour: 4.25, Reversals: 2,
						Decision: report.Latencies{Mean: 11.25, P99: 62.5}, ObjectiveMet: true, Good: 59_600, Judged: 59_980, Goodput: 0.049, WorstTenMinutes: 0.91,
						CostPer1kGood: 1.41, MemoryBytes: 38_912, PeakReplicas: 9, Seeds: []report.Seed{seed(1, 41), seed(2, 43)}, Wall: 0.04, RequestsPerS: 1.5e6,
					},
					{
						Name: "hpa-concurrency-with-a-name-that-is-too-long", Attainment: 0.99999, Cost: 1234.5, Ratio: 30.8625, RatioSame: 38.578125,
						Outcomes: report.Tally{scale.OK: 30_000}, GPUHours: report.Hours{Total: 617.25, Serving: 17.5, Idle: 599.75, Loading: 0, Draining: 0},
						ActionsPerHour: 0, Reversals: 0, Decision: report.Latencies{Mean: report.Unknown(), P99: report.Unknown()}, ObjectiveMet: true,
						Good: 29_999, Judged: 30_000, Goodput: 0.05, WorstTenMinutes: 0.998, CostPer1kGood: 41.15, PeakReplicas: 12, Seeds: []report.Seed{}, Wall: 0.01, RequestsPerS: 1.5e6,
					},
				},
			},
			{
				Name: "W10", What: "spot", Objective: 0.99, Days: 0.25, Requests: 1000, Seeds: []uint64{1},
				Bound: report.Bound{Cost: report.Unknown(), WorkCost: report.Unknown(), BudgetCost: report.Unknown(), RelaxedCost: report.Unknown()}, Policies: []report.Policy{},
			},
		},
		Targets: []report.Target{
			{Name: "ratio of W1", Target: 1.05, Value: 1.0504, Met: false},
			{Name: "GPU-hours saved against static peak on W1", Target: 40, AtLeast: true, Value: 96.6, Unit: "%", Met: true},
			{Name: "spot, cheaper than on-demand alone", Target: 45, AtLeast: true, Value: report.Unknown(), Unit: "%", Note: "W10 did not run"},
		},
		Failures: []report.Failure{{Workload: "W10", Policy: "skyserve", Seed: 1, Error: "read spot.csv.gz: line 14: unexpected EOF"}},
	}
}
