package console

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// fleet is a Fleet and a History that says what a test made it.
type fleet struct {
	snapshot  scale.Snapshot
	decision  scale.Decision
	lifetimes []scale.Lifetime
	ticked    bool

	records []scale.Record // oldest first
	fault   error
}

func (f *fleet) Snapshot() (scale.Snapshot, scale.Decision, bool) {
	return f.snapshot, f.decision, f.ticked
}
func (f *fleet) Lifetimes() []scale.Lifetime { return f.lifetimes }

func (f *fleet) DecisionAt(_ context.Context, model string, t time.Time) (scale.Record, bool, error) {
	for _, r := range slices.Backward(f.records) {
		for _, m := range r.Snapshot.Models {
			if m.Model.Name == model && !r.At.After(t) {
				return r, true, f.fault
			}
		}
	}
	return scale.Record{}, false, f.fault
}

func (f *fleet) Decisions(_ context.Context, model string, since time.Time, limit int) ([]scale.Decision, error) {
	var found []scale.Decision
	for _, r := range slices.Backward(f.records) {
		for _, p := range r.Decision.Plans {
			if (model == "" || p.Model == model) && !r.At.Before(since) && len(found) < limit {
				found = append(found, scale.Decision{At: r.At, Plans: []scale.Plan{p}})
			}
		}
	}
	return found, f.fault
}

var errTorn = errors.New("journal j.db: decision 4 of chat is damaged")

// bill is a Bill that is easy to follow: each life has served for its Busy and
// loaded for ten minutes.
func bill(lifetimes []scale.Lifetime, _ time.Time) []scale.Charge {
	var charges []scale.Charge
	for _, l := range lifetimes {
		charges = append(
			charges,
			scale.Charge{Target: l.Target, Usage: scale.Serving, Time: l.Busy, Dollars: l.PricePerHour * l.Busy.Hours()},
			scale.Charge{Target: l.Target, Usage: scale.Loading, Time: 10 * time.Minute, Dollars: l.PricePerHour / 6},
		)
	}
	return charges
}

// busyFleet is five models in the five conditions, as of now.
func busyFleet(now time.Time) *fleet {
	f := &fleet{ticked: true, snapshot: scale.Snapshot{
		Now: now.Add(-time.Second), Tick: time.Second,
		Offerings: []scale.Offering{
			{Accelerator: "nvidia-a100-80gb", Capacity: scale.OnDemand, PricePerHour: 2.1, Limited: true, Slots: 8},
			{Accelerator: "nvidia-a100-80gb", Capacity: scale.Spot, PricePerHour: 0.9, Limited: true, Slots: 8}, // the same eight
			{Accelerator: "nvidia-l4", Capacity: scale.OnDemand, PricePerHour: 0.7},
		},
	}}
	f.decision.At = f.snapshot.Now
	f.add(chat(f.snapshot.Now))
	f.add(asleep(f.snapshot.Now))
	f.add(embedder(f.snapshot.Now))
	f.add(vision(f.snapshot.Now))
	f.add(waking(f.snapshot.Now))
	return f
}

func (f *fleet) add(m scale.ModelState, p scale.Plan, c scale.Change) {
	p.Model = m.Model.Name
	if len(m.Replicas) == 0 {
		p.Required = 0
	}
	f.snapshot.Models = append(f.snapshot.Models, m)
	f.decision.Plans = append(f.decision.Plans, p)
	f.decision.Changes = append(f.decision.Changes, c)
	if good, bad := m.Demand.Good, m.Demand.Bad; good.Known() && bad.Known() {
		budget := scale.Budget{Model: m.Model.Name, Good: good.Value, Bad: bad.Value, Remaining: 1}
		if all := good.Value + bad.Value; all > 0 {
			budget.Remaining = 1 - bad.Value/((1-m.Model.SLO.Objective)*all)
		}
		f.decision.Budgets = append(f.decision.Budgets, budget)
	}
	f.decision.Forecasts = append(f.decision.Forecasts, scale.Forecast{
		Model: m.Model.Name, Horizon: 31 * time.Second, Mean: m.Demand.Arrivals.Value, Upper: 1.4 * m.Demand.Arrivals.Value, Quantile: 0.95,
		PromptTokens: 900, OutputTokens: 180,
	})
	for _, r := range m.Replicas {
		f.lifetimes = append(f.lifetimes, scale.Lifetime{
			Replica: r.ID, Target: r.Target, PricePerHour: 2.1, Created: r.Created, Busy: 30 * time.Minute,
		})
	}
}

func model(name string) scale.Model {
	return scale.Model{
		Name: name, Owner: scale.Owner{BusinessUnit: "support"}, Mode: scale.Auto,
		SLO: scale.SLO{TTFT: 800 * time.Millisecond, TPOT: 50 * time.Millisecond, Objective: 0.99, Window: 28 * 24 * time.Hour},
		Variants: []scale.Variant{
			{Name: "a100", Accelerator: scale.Accelerator{Type: "nvidia-a100-80gb", Count: 1}, Capacities: []scale.CapacityType{scale.OnDemand}, Max: 8},
		},
	}
}

func replicas(model string, now time.Time, phases ...scale.Phase) []scale.Replica {
	var all []scale.Replica
	for i, p := range phases {
		r := scale.Replica{
			ID: scale.ReplicaID(fmt.Sprintf("%s-%d", model, i+1)), Target: target(model), Phase: p, Created: now.Add(-time.Hour), Since: now.Add(-time.Minute),
		}
		if p == scale.Ready {
			r.Load = scale.Load{InFlight: scale.Observe(30, now), Running: scale.Observe(28, now.Add(-1200*time.Millisecond)), KVCacheUsage: scale.Observe(0.61, now)}
		}
		all = append(all, r)
	}
	return all
}

func target(model string) scale.ScaleTarget {
	return scale.ScaleTarget{Model: model, Variant: "a100", Capacity: scale.OnDemand}
}

func plan(model string, replicas int, reasons ...scale.Reason) scale.Plan {
	return scale.Plan{Required: 41.5, Reasons: reasons, Allocations: []scale.Allocation{
		{Target: target(model), Replicas: replicas, BatchLimit: 32, PerReplica: 2.6, CostPerHour: 2.1 * float64(replicas)},
	}}
}

// chat misses its TTFT and may not grow as far as it wants.
func chat(now time.Time) (scale.ModelState, scale.Plan, scale.Change) {
	m := scale.ModelState{Model: model("chat"), Replicas: replicas("chat", now, scale.Ready, scale.Ready, scale.Starting, scale.Draining)}
	m.Model.Aliases = []string{"chat-lora-legal"}
	m.Replicas[0].Load.Latency = scale.Latency{At: now, Requests: 5, TTFT: 2100 * time.Millisecond, TPOT: 41 * time.Millisecond}
	m.Replicas[1].Load.Latency = scale.Latency{At: now, Requests: 2, TTFT: 700 * time.Millisecond, TPOT: 39 * time.Millisecond}
	m.Demand = scale.Demand{
		Arrivals: scale.Observe(12.3, now.Add(-400*time.Millisecond)), Held: scale.Observe(17, now), HeldFor: scale.Observe(3.2, now),
		InFlight: scale.Observe(60, now), Good: scale.Observe(9931, now), Bad: scale.Observe(69, now), PromptTokens: scale.Observe(911, now),
	}
	return m, plan("chat", 9, scale.Reason{Code: scale.ReasonDemand, Text: "demand in 31 s is 17.2 requests/s; five serve 13.0 within 800 ms"}),
		scale.Change{Target: target("chat"), From: 3, Want: 9, To: 8, Reasons: []scale.Reason{
			{Code: scale.ReasonBacklog, Text: "17 requests wait, the oldest for 3.2 s"},
			{Code: scale.ReasonNoSlot, Text: "wanted 9, allowed 8: no nvidia-a100-80gb is free, 8 of 8 are in use"},
		}}
}

func asleep(now time.Time) (scale.ModelState, scale.Plan, scale.Change) {
	m := scale.ModelState{Model: model("code-32b"), Demand: scale.Demand{
		Arrivals: scale.Observe(0, now), Held: scale.Observe(0, now), InFlight: scale.Observe(0, now), Good: scale.Observe(0, now), Bad: scale.Observe(0, now),
	}}
	return m, plan("code-32b", 0), scale.Change{Target: target("code-32b"), Reasons: []scale.Reason{
		{Code: scale.ReasonScaleToZero, Text: "idle for 2 h, sleeps after 15 min"},
	}}
}

// embed meets its SLO and waits before it shrinks.
func embedder(now time.Time) (scale.ModelState, scale.Plan, scale.Change) {
	m := scale.ModelState{Model: model("embed"), Replicas: replicas("embed", now, scale.Ready, scale.Ready)}
	m.Model.SLO = scale.SLO{Latency: 300 * time.Millisecond, Objective: 0.99}
	m.Replicas[0].Load.Latency = scale.Latency{At: now, Requests: 40, Service: 90 * time.Millisecond}
	m.Demand = scale.Demand{
		Arrivals: scale.Observe(80, now), Held: scale.Observe(0, now), InFlight: scale.Observe(7, now),
		Good: scale.Observe(99920, now), Bad: scale.Observe(80, now),
	}
	return m, plan("embed", 1, scale.Reason{Code: scale.ReasonDemand, Text: "demand is 112 requests/s; one serves 140"}),
		scale.Change{Target: target("embed"), From: 2, Want: 1, To: 2, Reasons: []scale.Reason{
			{Code: scale.ReasonStabilisation, Text: "Kept 2: quiet for 2 of 5 min; may drop at 10:04"},
		}}
}

func vision(now time.Time) (scale.ModelState, scale.Plan, scale.Change) {
	m := scale.ModelState{Model: model("vision"), Replicas: replicas("vision", now, scale.Ready)}
	m.Model.Mode = scale.Advise
	m.Replicas[0].Load = scale.Load{}
	m.Demand = scale.Demand{Arrivals: scale.Observe(3, now.Add(-90*time.Second))}
	return m, plan("vision", 1), scale.Change{Target: target("vision"), From: 1, Want: 1, To: 1, DryRun: true, Reasons: []scale.Reason{
		{Code: scale.ReasonStaleSignals, Text: "Kept 1: traffic was last measured 90 s ago; no scale-down on stale data"},
	}}
}

func waking(now time.Time) (scale.ModelState, scale.Plan, scale.Change) {
	m := scale.ModelState{Model: model("waking"), Replicas: replicas("waking", now, scale.Starting)}
	m.Demand = scale.Demand{Arrivals: scale.Observe(1, now), Held: scale.Observe(4, now), HeldFor: scale.Observe(6, now)}
	return m, plan("waking", 1), scale.Change{Target: target("waking"), From: 0, Want: 1, To: 1, Reasons: []scale.Reason{
		{Code: scale.ReasonWakeFromZero, Text: "4 requests wait and nothing runs; one serves 2.6 requests/s"},
	}}
}
