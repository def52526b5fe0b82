package autoscaler

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/capacity"
	"github.com/penstock/penstock/internal/planner"
	"github.com/penstock/penstock/internal/policy"
	"github.com/penstock/penstock/internal/scale"
)

// size is what one Variant can carry now.
type size struct {
	variant     scale.Variant
	limit       capacity.Limit
	alone       float64 // replicas that would carry the whole demand, not rounded
	concurrency float64 // mean at each of them then
	infeasible  bool    // not even one request at a time holds the SLO
}

// size forecasts the demand and sizes every variant for it.
func (t *tick) size() {
	if t.signals != policy.Missing { // what an earlier run saw is no demand of now
		t.demand = t.memory.Forecast.At(t.horizon(), quantile)
	}
	t.forecast = scale.Forecast{
		Model: t.state.Model.Name, Horizon: t.horizon(), Quantile: quantile,
		Mean: t.demand.Mean, Upper: t.demand.Upper,
		PromptTokens: t.mix.Prompt, LongPrompt: t.mix.LongPrompt, OutputTokens: t.mix.Output,
	}
	t.backlog = t.backlogRate()
	t.limit(t.state.Model.SLO)
	if t.ready() > 0 && t.signals != policy.Missing {
		t.replayed = t.replay()
	}
	t.fill()
	t.memory.Short = t.carried() < enough || t.memory.Short && t.carried() < plenty
	if !t.memory.Short {
		return
	}
	// Most requests will be late in the queue: a replica that serves more of
	// them, and a few more of those too slowly, then serves more in time.
	if slo := t.state.Model.SLO; slo.Objective > shortObjective {
		slo.Objective = shortObjective
		t.usual = t.sizes
		t.limit(slo)
		t.fill()
	}
}

// limit finds how many at once a replica of every variant may serve under an SLO.
func (t *tick) limit(slo scale.SLO) {
	if t.follows {
		slo = burst(slo)
	}
	t.sizes = make([]size, 0, len(t.state.Model.Variants))
	for _, v := range t.state.Model.Variants {
		server := t.server(v)
		s := size{variant: v, limit: server.Solve(slo)}
		if s.limit.Batch == 0 && (s.limit.Bound != capacity.ByMemory || s.limit.KVTokens > 0) {
			// Late is better than never: one at a time, and the Plan says so.
			s.infeasible, s.limit.Batch, s.limit.PerReplica = true, 1, 1/s.limit.At.Service
		}
		t.sizes = append(t.sizes, s)
	}
}

// fill finds how many replicas of every variant the forecast calls for.
func (t *tick) fill() {
	for i := range t.sizes {
		s := &t.sizes[i]
		server := t.server(s.variant)
		s.alone, s.concurrency = server.Alone(s.limit, t.forecast.Upper+t.backlog, t.room)
	}
}

// server is what one replica of a variant can do. Tails of a few minutes are not
// learnt yet: they would move the batch limit to and fro.
func (t *tick) server(v scale.Variant) capacity.Server {
	s := capacity.Server{Profile: v.Profile, Learned: t.memory.variant(v.Name).Learned, Mix: t.mix}
	if !t.follows {
		s.Learned.Slow, s.Learned.Late = capacity.Tail{}, capacity.Tail{}
	}
	return s
}

// burstBurn is how many times faster than allowed a replica that is full may
// burn the error budget. It is full in bursts only; and where requests wait
// instead, nearly all of them are late.
const burstBurn = 5.0

func burst(slo scale.SLO) scale.SLO {
	slo.Objective = max(min(slo.Objective, shortObjective), 1-burstBurn*(1-slo.Objective))
	return slo
}

// carried is the share of the expected demand that all that may run would
// carry. What is planned beyond the expected, for its spread and for what
// waits, may fall short without a shortage.
func (t *tick) carried() float64 {
	if t.forecast.Mean == 0 {
		return 1
	}
	sum := 0.0
	for _, s := range t.sizes {
		together := 0
		for _, capacityType := range s.variant.Capacities {
			_, most := t.offer(s.variant, capacityType)
			together += most
		}
		sum += float64(min(together, s.variant.Max)) / s.alone
	}
	return sum * (t.forecast.Upper + t.backlog) / t.forecast.Mean
}

// plan asks the planner for the cheapest allocation.
func (t *tick) plan() scale.Plan {
	plan := scale.Plan{Model: t.state.Model.Name}
	problem := t.problem()
	solution := planner.Solve(t.startable(problem))
	if solution.Carried < 1 { // then what is in use elsewhere is asked for, too
		solution = planner.Solve(problem)
	}
	for i, c := range problem.Choices {
		s := t.sizeOf(c.Target.Variant)
		plan.Allocations = append(plan.Allocations, scale.Allocation{
			Target: c.Target, Replicas: solution.Replicas[i],
			Infeasible: s.infeasible, BatchLimit: s.limit.Batch, KVTokens: s.limit.KVTokens, PrefillTokens: s.limit.Prefill, PerReplica: s.limit.PerReplica,
			CostPerHour: float64(solution.Replicas[i]) * c.PricePerHour,
		})
		plan.CostPerHour += float64(solution.Replicas[i]) * c.PricePerHour
		plan.Required = max(plan.Required, finite(s.alone)*s.concurrency)
	}
	plan.Reasons = t.why(problem, solution)
	return plan
}

// startable is the problem as far as accelerators are free now: a variant that
// finds none leaves the demand to those that do.
func (t *tick) startable(p planner.Problem) planner.Problem {
	p.Choices = slices.Clone(p.Choices)
	for i := range p.Choices {
		c := &p.Choices[i]
		v := t.sizeOf(c.Target.Variant).variant
		if free, limited := t.free(v, c.Target.Capacity); limited {
			c.Max = min(c.Max, c.Current+free/max(1, v.Accelerator.Count))
		}
	}
	return p
}

// free returns how many accelerators for a target nothing occupies.
func (t *tick) free(v scale.Variant, capacityType scale.CapacityType) (free int, limited bool) {
	pool := ""
	for _, o := range t.snapshot.Offerings {
		if o.Accelerator == v.Accelerator.Type && o.Capacity == capacityType && o.Limited {
			free, limited, pool = free+o.Slots, true, o.Pool
		}
	}
	if !limited {
		return 0, false
	}
	for _, m := range t.snapshot.Models {
		for _, r := range m.Replicas {
			other, _ := m.Model.Variant(r.Target.Variant)
			if other.Accelerator.Type == v.Accelerator.Type && (pool != "" || r.Target.Capacity == capacityType) {
				free -= other.Accelerator.Count
			}
		}
	}
	return max(0, free), true
}

func (t *tick) sizeOf(variant string) size {
	i := slices.IndexFunc(t.sizes, func(s size) bool { return s.variant.Name == variant })
	return t.sizes[i]
}

// problem lists every target of the Model, sorted, with what it can carry.
func (t *tick) problem() planner.Problem {
	var p planner.Problem
	feasible := slices.ContainsFunc(t.sizes, func(s size) bool { return !s.infeasible && s.limit.Batch > 0 })
	for _, s := range t.sizes {
		for _, capacityType := range s.variant.Capacities {
			target := scale.ScaleTarget{Model: t.state.Model.Name, Variant: s.variant.Name, Capacity: capacityType}
			price, most := t.offer(s.variant, capacityType)
			if s.infeasible && feasible {
				most = 0 // however cheap: it would break the SLO for every request
			}
			p.Choices = append(p.Choices, planner.Choice{
				Target: target, Alone: s.alone, PricePerHour: price,
				StartPerHour: price * float64(t.boot(s.variant.Name)) / float64(amortise),
				Current:      t.serving(target), Max: most, Together: s.variant.Max,
			})
		}
	}
	slices.SortFunc(p.Choices, func(a, b planner.Choice) int { return a.Target.Compare(b.Target) })
	return p
}

// offer returns the price of one replica and how many there can be at most.
func (t *tick) offer(v scale.Variant, capacityType scale.CapacityType) (price float64, most int) {
	most = min(v.Max, t.state.Model.Replicas.Max)
	best, slots, limited := math.Inf(1), 0, false
	for _, o := range t.snapshot.Offerings {
		if o.Accelerator == v.Accelerator.Type && o.Capacity == capacityType {
			best = min(best, o.PricePerHour)
			slots += o.Slots
			limited = limited || o.Limited
		}
	}
	if limited {
		most = min(most, slots/max(1, v.Accelerator.Count))
	}
	if math.IsInf(best, 1) {
		return 0, 0 // nothing of it is for sale
	}
	return best * float64(v.Accelerator.Count), most
}

// servingOn counts the replicas of a variant that serve or will.
func (t *tick) servingOn(variant string) int {
	n := 0
	for _, r := range t.state.Replicas {
		if r.Target.Variant == variant && r.Serving() {
			n++
		}
	}
	return n
}

func (t *tick) serving(target scale.ScaleTarget) int {
	n := 0
	for _, r := range t.state.Replicas {
		if r.Target == target && r.Serving() {
			n++
		}
	}
	return n
}

// why explains the Plan.
func (t *tick) why(p planner.Problem, s planner.Solution) []scale.Reason {
	var out []scale.Reason
	add := func(code scale.ReasonCode, format string, args ...any) {
		out = append(out, scale.Reason{Code: code, Text: fmt.Sprintf(format, args...)})
	}
	for i, c := range p.Choices {
		if s.Replicas[i] == 0 {
			continue
		}
		size := t.sizeOf(c.Target.Variant)
		add(scale.ReasonDemand, "%d on %s: %s; one serves %.3g, %d at once, bound by %s",
			s.Replicas[i], c.Target.Variant, t.plannedFor(), size.limit.PerReplica, size.limit.Batch, size.limit.Bound)
		if size.infeasible {
			add(scale.ReasonInfeasible, "%s misses the SLO even with one request at a time: %s",
				c.Target.Variant, missing(size.limit.At, t.state.Model.SLO))
		}
	}
	if t.replayed && len(out) > 0 {
		out = append(out, t.whyHeadRoom())
	}
	if t.backlog > 0 {
		add(scale.ReasonBacklog, "%.0f requests are held; %.3g req/s more serve them in time", t.state.Demand.Held.Value, t.backlog)
	}
	if s.Carried < 1-1e-6 && t.forecast.Upper+t.backlog > 0 {
		add(scale.ReasonShortage, "All that may run carries %.0f %% of the demand", 100*s.Carried)
	}
	for i, usual := range t.usual {
		if limit := t.sizes[i].limit; limit.Batch > usual.limit.Batch {
			add(scale.ReasonShortage, "%d at once on each %s instead of %d: late in the queue is as bad as slow in the batch",
				limit.Batch, usual.variant.Name, usual.limit.Batch)
		}
	}
	if r, ok := cheaper(p, s); ok {
		out = append(out, r)
	}
	if len(out) == 0 {
		add(scale.ReasonSteady, "Nothing is asked of %s", t.state.Model.Name)
	}
	return out
}

// plannedFor says what demand that is.
func (t *tick) plannedFor() string {
	f := t.forecast
	if t.replayed {
		return fmt.Sprintf("%.3g req/s in %s and head-room for %.3g", f.Mean, seconds(f.Horizon), f.Upper)
	}
	return fmt.Sprintf("%.3g req/s in %s (p%.0f)", f.Upper, seconds(f.Horizon), 100*f.Quantile)
}

// cheaper says so when the Plan leaves a variant that runs for another.
func cheaper(p planner.Problem, s planner.Solution) (scale.Reason, bool) {
	gains, loses := -1, -1
	for i, c := range p.Choices {
		switch {
		case s.Replicas[i] > c.Current:
			gains = i
		case s.Replicas[i] < c.Current:
			loses = i
		}
	}
	if gains < 0 || loses < 0 || p.Choices[gains].Target.Variant == p.Choices[loses].Target.Variant {
		return scale.Reason{}, false
	}
	a, b := p.Choices[gains], p.Choices[loses]
	return scale.Reason{Code: scale.ReasonCheaper, Text: fmt.Sprintf("%s carries this demand for $%.2f/h, %s for $%.2f/h",
		a.Target.Variant, finite(math.Ceil(a.Alone))*a.PricePerHour, b.Target.Variant, finite(math.Ceil(b.Alone))*b.PricePerHour)}, true
}

// missing names the part of the SLO that a lone request breaks.
func missing(at capacity.Times, slo scale.SLO) string {
	ms := func(s float64) string { return fmt.Sprintf("%.0f ms", 1e3*s) }
	switch {
	case !slo.Tokens():
		return fmt.Sprintf("latency %s of %v", ms(at.Service), slo.Latency)
	case at.TPOTTail > slo.TPOT.Seconds():
		return fmt.Sprintf("TPOT %s of %v", ms(at.TPOTTail), slo.TPOT)
	default:
		return fmt.Sprintf("TTFT %s of %v", ms(at.TTFTTail), slo.TTFT)
	}
}

func finite(x float64) float64 {
	if math.IsInf(x, 0) || math.IsNaN(x) {
		return 0
	}
	return x
}

func seconds(d time.Duration) string {
	return cmp.Or(d.Round(time.Second), time.Second).String()
}
