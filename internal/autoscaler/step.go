// Package autoscaler is one tick as a function: a Snapshot and a Memory in, a
// Decision and the next Memory out. It composes forecast, capacity, planner,
// policy and slo, and decides nothing that is not in its arguments.
package autoscaler

import (
	"slices"
	"time"

	"github.com/penstock/penstock/internal/capacity"
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
		t := tick{snapshot: s, state: state, memory: m.model(state.Model.Name)}
		t.state, t.doubt = believe(state)
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
	sizes    []size // by variant
	usual    []size // those under the SLO itself, while there is a shortage
	forecast scale.Forecast
	backlog  float64 // requests/s that drain what waits
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
	t.mix = t.mixOf(d)
}

// mixOf is what requests are made of: as measured, else as remembered, else
// the prior, which a client's own limit on the reply corrects downwards.
func (t *tick) mixOf(d scale.Demand) capacity.Mix {
	if d.PromptTokens.Known() && d.PromptTokens.Value > 0 {
		t.memory.Mix.Prompt = d.PromptTokens.Value
		t.memory.Mix.LongPrompt = max(d.LongPrompt.Value, d.PromptTokens.Value)
	}
	if d.OutputTokens.Known() && d.OutputTokens.Value > 0 {
		t.memory.Mix.Output = d.OutputTokens.Value
	}
	mix, prior := t.memory.Mix, priorMix()
	if mix.Prompt == 0 {
		mix.Prompt, mix.LongPrompt = prior.Prompt, prior.LongPrompt
	}
	if mix.Output == 0 {
		mix.Output = prior.Output
		if limit := d.OutputLimit; limit.Known() && limit.Value > 0 {
			mix.Output = min(mix.Output, limit.Value)
		}
	}
	return mix
}

// learn takes in what was measured since the last tick.
func (t *tick) learn() {
	d := t.state.Demand
	variants := make([]VariantMemory, 0, len(t.state.Model.Variants))
	for _, v := range t.state.Model.Variants {
		vm := t.memory.variant(v.Name)
		for _, boot := range t.state.ColdStarts {
			if boot.Target.Variant == v.Name {
				vm.Boots = vm.Boots.Observe(boot.Took)
			}
		}
		for _, r := range t.state.Replicas {
			if r.Target.Variant == v.Name && settled(r) {
				server := capacity.Server{Profile: v.Profile, Learned: vm.Learned, Mix: t.mix}
				vm.Learned = server.Learn(r.Load.Latency)
			}
		}
		variants = append(variants, vm)
	}
	t.memory.Variants = variants
	if t.fresh {
		t.memory.Forecast = t.memory.Forecast.Observe(d.Arrivals.At, d.ArrivalsOver, d.Arrivals.Value, t.horizon())
	}
	if d.Good.Known() && d.Bad.Known() {
		t.memory.SLO = t.memory.SLO.Observe(t.snapshot.Now, d.Good.Value, d.Bad.Value)
	}
}

// settling is how long a fresh replica is not typical: it gets all that was
// held at once, which then queue for prefill together.
const settling = 10 * time.Second

// settled says whether a replica's sample may teach: requests that began while
// it was Ready and no longer fresh.
func settled(r scale.Replica) bool {
	l := r.Load.Latency
	return r.Phase == scale.Ready && l.Requests > 0 && l.At.Add(-l.Service).After(r.Since.Add(settling))
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
