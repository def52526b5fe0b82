// Package autoscaler is one tick as a function: a Snapshot and a Memory in, a
// Decision and the next Memory out. It composes forecast, capacity, planner,
// policy and slo, and decides nothing that is not in its arguments.
package autoscaler

import (
	"slices"
	"time"

	"github.com/penstock/penstock/internal/capacity"
	"github.com/penstock/penstock/internal/forecast"
	"github.com/penstock/penstock/internal/policy"
	"github.com/penstock/penstock/internal/scale"
)

const (
	// quantile of the demand at the horizon that the Plan serves.
	quantile = 0.9
	// headRoom is how many standard deviations of the number of requests in
	// the system the Plan leaves free for bursts within the horizon.
	headRoom = 1.0
	// bootQuantile of the boots seen is the horizon: a mean boot would be
	// late half of the time.
	bootQuantile = 0.9
	median       = 0.5
	// amortise is over how long the cost of starting a replica is spread when
	// variants are compared: about as long as a choice should stand.
	amortise = 10 * time.Minute
	// staleTicks and staleLeast say when traffic counts as stale.
	staleTicks = 5
	staleLeast = 10 * time.Second
	// Below enough, the share of the demand that all that may run would carry,
	// the objective is out of reach and shortObjective decides the batch, until
	// plenty of it would be carried. Chosen on the Azure 2023 code and
	// conversation traces.
	enough         = 1 / 1.2
	plenty         = 1.0
	shortObjective = 0.85
	// shortestDrain and longestDrain bound the time in which what waits is to
	// be served.
	shortestDrain = 5 * time.Second
	longestDrain  = time.Minute
)

// priorMix stands in for the token mix until a request was seen: the median of
// the Azure 2023 conversation trace, rounded.
func priorMix() capacity.Mix { return capacity.Mix{Prompt: 1000, LongPrompt: 3500, Output: 130} }

// Step decides one tick. It is deterministic, and changes neither argument.
func Step(s scale.Snapshot, m Memory) (scale.Decision, Memory) {
	next := Memory{Version: memoryVersion, Models: make([]ModelMemory, 0, len(s.Models))}
	decision := scale.Decision{At: s.Now, Plans: make([]scale.Plan, 0, len(s.Models))}
	cases := make([]policy.Case, 0, len(s.Models))
	for _, state := range s.Models {
		t := tick{snapshot: s, state: state, memory: m.model(state.Model.Name), room: headRoom}
		t.state, t.doubt = believe(state)
		t.suspect()
		t.judge()
		t.learn()
		t.size()
		plan := t.plan()
		decision.Plans = append(decision.Plans, plan)
		decision.Forecasts = append(decision.Forecasts, t.forecast)
		decision.Budgets = append(decision.Budgets, t.memory.SLO.Budget(s.Now, state.Model.Name, state.Model.SLO))
		decision.Alerts = append(decision.Alerts, t.memory.SLO.Alerts(s.Now, state.Model.Name, state.Model.SLO)...)
		cases = append(cases, policy.Case{
			State: t.state, Plan: plan, Signals: t.signals, Age: t.age, Doubt: t.doubt, Boot: t.boot, Memory: t.memory.Policy,
		})
		next.Models = append(next.Models, t.memory)
	}
	decision.Changes = policy.Review(s, cases)
	for i := range cases {
		next.Models[i].Policy = cases[i].Memory
	}
	return decision, next
}

// tick is one Model within one Step.
type tick struct {
	snapshot scale.Snapshot
	state    scale.ModelState
	memory   ModelMemory // becomes the next one

	signals  policy.Signals
	fresh    bool // arrivals are of now
	age      time.Duration
	doubt    string // what of the traffic can not be true
	mix      capacity.Mix
	demand   forecast.Demand
	sizes    []size // by variant
	usual    []size // those under the SLO itself, while there is a shortage
	forecast scale.Forecast
	backlog  float64 // requests/s that drain what waits
	room     float64 // standard deviations left free for bursts
	follows  bool    // the virtual fleets may choose the head-room
	replayed bool    // and did
}

// judge says whether the Model's traffic is known, and what requests are made of.
func (t *tick) judge() {
	now, d := t.snapshot.Now, t.state.Demand
	maxAge := max(staleTicks*t.snapshot.Tick, staleLeast)
	t.fresh = d.Arrivals.Fresh(now, maxAge)
	switch {
	case t.doubt != "":
		t.signals = policy.Impossible
	case t.fresh:
		t.signals = policy.Fresh
	case d.Arrivals.Known():
		t.signals, t.age = policy.Stale, now.Sub(d.Arrivals.At)
	default:
		t.signals = policy.Missing
	}
	t.follows = t.trusts()
	t.mix = t.mixOf(d)
}

// boot is how long a start of the variant takes, pessimistically.
func (t *tick) boot(variant string) time.Duration {
	v, _ := t.state.Model.Variant(variant)
	return t.memory.variant(variant).Boots.Quantile(bootQuantile, v.ColdStart)
}

// horizon is how far ahead a Decision of now takes effect: the quickest boot.
func (t *tick) horizon() time.Duration {
	var least time.Duration
	for _, v := range t.state.Model.Variants {
		if boot := t.boot(v.Name); least == 0 || boot < least {
			least = boot
		}
	}
	return least
}

// backlogRate is the rate at which what is held now is to be served: within
// half of the time that its hold deadline leaves once capacity is there. A
// fleet that runs is there now; one that sleeps after a boot.
func (t *tick) backlogRate() float64 {
	held := t.state.Demand.Held
	if !held.Known() || held.Value <= 0 {
		return 0
	}
	left := t.state.Model.SLO.MaxHold - time.Duration(t.state.Demand.HeldFor.Value*float64(time.Second))
	if !slices.ContainsFunc(t.state.Replicas, func(r scale.Replica) bool { return r.Phase == scale.Ready }) {
		left -= t.horizon()
	}
	return held.Value / min(max(left/2, shortestDrain), longestDrain).Seconds()
}

// ready counts the replicas that may serve.
func (t *tick) ready() int {
	n := 0
	for _, r := range t.state.Replicas {
		if r.Phase == scale.Ready {
			n++
		}
	}
	return n
}
