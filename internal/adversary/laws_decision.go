package adversary

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// decision holds a Decision to the laws, against what the loop was told.
func (w *witness) decision(t tick) {
	d := *t.made
	w.whole(t, d)
	if w.violation != nil {
		return
	}
	for i := range t.told.Models {
		m := &t.told.Models[i]
		changes := changesOf(d, m.Model.Name)
		for _, c := range changes {
			w.counts(t, m, c)
			w.says(c)
		}
		w.blind(t, m, changes)
		w.skip(t, m, changes)
		if m.Model.Mode == scale.Auto {
			w.most(m, changes)
			w.cost(t, m, changes)
			w.floors(t, m, changes)
		}
		w.reasons(d, m.Model.Name, changes)
		w.calm[m.Model.Name].binds(t.at, changes, d.Plans[i].Reasons)
	}
	w.fleetCost(t, d)
	w.slots(t, d)
	w.downRates(t, d)
	w.turn(t, d)
	for _, a := range d.Alerts {
		w.reach(a.Severity.String())
	}
	for _, b := range d.Budgets {
		if b.Remaining < 0 {
			w.reach("budget overdrawn")
		}
	}
}

func changesOf(d scale.Decision, model string) []scale.Change {
	var out []scale.Change
	for _, c := range d.Changes {
		if c.Target.Model == model {
			out = append(out, c)
		}
	}
	return out
}

// whole: a Plan for every model that names every target, sorted; a Change for
// every target that has replicas or gets some; figures that are numbers.
func (w *witness) whole(t tick, d scale.Decision) {
	if len(d.Plans) != len(t.told.Models) || !slices.IsSortedFunc(d.Changes, func(a, b scale.Change) int { return a.Target.Compare(b.Target) }) {
		w.fail(WholeDecision, "%d Plans for %d models, Changes %+v", len(d.Plans), len(t.told.Models), d.Changes)
		return
	}
	for i := range t.told.Models {
		w.planned(&t.told.Models[i], d.Plans[i])
		for _, r := range t.told.Models[i].Replicas {
			if r.Serving() && !slices.ContainsFunc(d.Changes, func(c scale.Change) bool { return c.Target == r.Target }) {
				w.fail(WholeDecision, "%v serves and has no Change", r.Target)
			}
		}
	}
	for _, f := range d.Forecasts {
		if !number(f.Mean, f.Upper, f.PromptTokens, f.LongPrompt, f.OutputTokens) {
			w.fail(Finite, "forecast %+v", f)
		}
	}
}

// planned: a Plan names every target of its model, and says why.
func (w *witness) planned(m *scale.ModelState, p scale.Plan) {
	var want, got []scale.ScaleTarget
	for _, v := range m.Model.Variants {
		for _, capacity := range v.Capacities {
			want = append(want, scale.ScaleTarget{Model: m.Model.Name, Variant: v.Name, Capacity: capacity})
		}
	}
	slices.SortFunc(want, scale.ScaleTarget.Compare)
	for _, a := range p.Allocations {
		got = append(got, a.Target)
		if !number(a.PerReplica, a.CostPerHour) || a.Replicas < 0 || a.BatchLimit < 0 {
			w.fail(Finite, "allocation %+v", a)
		}
	}
	if p.Model != m.Model.Name || !slices.Equal(want, got) || len(p.Reasons) == 0 {
		w.fail(WholeDecision, "the Plan of %s names %v, its targets are %v; reasons %v", m.Model.Name, got, want, p.Reasons)
	}
	if !number(p.Required, p.CostPerHour) {
		w.fail(Finite, "plan of %s: %v required, $%v", p.Model, p.Required, p.CostPerHour)
	}
}

func number(all ...float64) bool {
	return !slices.ContainsFunc(all, func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) })
}

// counts: From is what serves, who is drained serves, and what stays is within To.
func (w *witness) counts(t tick, m *scale.ModelState, c scale.Change) {
	serving := map[scale.ReplicaID]bool{}
	for _, r := range m.Replicas {
		if r.Target == c.Target && r.Serving() {
			serving[r.ID] = true
		}
	}
	if c.From != len(serving) {
		w.fail(CountsAdd, "%v: from %d, and %d serve", c.Target, c.From, len(serving))
	}
	for _, id := range c.Drain {
		if !serving[id] {
			w.fail(CountsAdd, "%v drains %s, which does not serve there or is named twice", c.Target, id)
		}
		delete(serving, id)
	}
	if c.To < 0 || len(serving) > c.To {
		w.fail(CountsAdd, "%v: from %d, to %d, drains %v", c.Target, c.From, c.To, c.Drain)
	}
	if m.Model.Mode == scale.Paused && c.Start() > 0 {
		w.fail(CountsAdd, "%v is paused and starts %d", c.Target, c.Start())
	}
	if len(c.Drain) > 0 && m.Model.Mode != scale.Advise && c.DryRun {
		w.fail(CountsAdd, "%v: a dry run outside of mode advise", c.Target)
	}
	_ = t
}

// says: a count that is not the Plan's has a reason for it.
func (w *witness) says(c scale.Change) {
	if len(c.Reasons) == 0 {
		w.fail(SaysWhy, "%v: from %d to %d without a reason", c.Target, c.From, c.To)
	}
	switch {
	case c.To < c.Want && !because(c, scale.ReasonMax, scale.ReasonCostCap, scale.ReasonFleetCostCap, scale.ReasonUpRate, scale.ReasonFleetUpRate,
		scale.ReasonNoSlot, scale.ReasonTakingSlot, scale.ReasonGivingSlot, scale.ReasonBootFailures, scale.ReasonPaused, scale.ReasonIdle):
		w.fail(SaysWhy, "%v: wanted %d, goes to %d, because %v", c.Target, c.Want, c.To, c.Reasons)
	case c.To > c.Want && !because(c, scale.ReasonMin, scale.ReasonSchedule, scale.ReasonSignal, scale.ReasonWarmFloor, scale.ReasonStabilisation, scale.ReasonMissingSignals,
		scale.ReasonStaleSignals, scale.ReasonOverload, scale.ReasonMakeBeforeBreak, scale.ReasonIdle, scale.ReasonWakeFromZero, scale.ReasonDownRate,
		scale.ReasonFleetDownRate, scale.ReasonPaused, scale.ReasonOverdue):
		w.fail(SaysWhy, "%v: wanted %d, goes to %d, because %v", c.Target, c.Want, c.To, c.Reasons)
	}
}

func because(c scale.Change, codes ...scale.ReasonCode) bool {
	return slices.ContainsFunc(c.Reasons, func(r scale.Reason) bool { return slices.Contains(codes, r.Code) })
}

// staleTicks and staleLeast are those of package autoscaler: what is older is
// no measurement of now.
const (
	staleTicks = 5
	staleLeast = 10 * time.Second
)

// blind: nothing shrinks on traffic that is not known, and on figures that can
// not be, but for what may not run at all.
func (w *witness) blind(t tick, m *scale.ModelState, changes []scale.Change) {
	known := m.Demand.Arrivals.Fresh(t.told.Now, max(staleTicks*t.told.Tick, staleLeast))
	if known && possible(m.Demand) || m.Model.Mode != scale.Auto {
		return
	}
	if len(m.Replicas) > 0 {
		w.reach("blind with replicas")
	}
	for _, c := range changes {
		if because(c, scale.ReasonMax, scale.ReasonCostCap, scale.ReasonFleetCostCap, scale.ReasonOverdue) {
			continue
		}
		for _, id := range c.Drain {
			if _, taken := t.told.Interrupted(id); !taken {
				w.fail(BlindHolds, "%v: from %d to %d, drains %s, while arrivals are %+v; because %v", c.Target, c.From, c.To, id, m.Demand.Arrivals, c.Reasons)
			}
		}
	}
}

// skip: at the first tick after time was skipped nothing goes below what was
// wished a moment ago, within the scale-down window, but for what may not run.
// A loop that forgot the moment is not held to it.
func (w *witness) skip(t tick, m *scale.ModelState, changes []scale.Change) {
	gap := t.told.Now.Sub(w.decided.told)
	jumped := gap < 0 || gap > max(staleTicks*t.told.Tick, staleLeast)
	if w.decided.told.IsZero() || !jumped || m.Model.Mode != scale.Auto || t.at-w.decided.at >= m.Model.ScaleDownWindow ||
		w.c.lately(t.at, t.at-w.decided.at, RestartOlder, JournalFails) {
		return
	}
	w.reach("time skipped")
	for _, c := range changes {
		if because(c, scale.ReasonMax, scale.ReasonCostCap, scale.ReasonFleetCostCap) {
			continue
		}
		v, _ := m.Model.Variant(c.Target.Variant)
		for _, id := range c.Drain {
			if _, taken := t.told.Interrupted(id); !taken && c.To < min(w.decided.wants[c.Target], v.Max) {
				w.fail(SkipHolds, "%v: from %d to %d, drains %s, though %d were wished %v ago, which the clock says is %v; because %v",
					c.Target, c.From, c.To, id, w.decided.wants[c.Target], t.at-w.decided.at, gap, c.Reasons)
			}
		}
	}
}

// possible says whether all that is known of traffic can be true.
func possible(d scale.Demand) bool {
	for _, o := range []scale.Observation{
		d.Arrivals, d.PromptTokens, d.LongPrompt, d.OutputTokens, d.OutputLimit, d.Held, d.HeldTokens, d.HeldFor, d.InFlight, d.LastArrival, d.Good, d.Bad,
	} {
		if o.Known() && !(o.Value >= 0) {
			return false
		}
	}
	return true
}

// most: no start leads beyond a maximum.
func (w *witness) most(m *scale.ModelState, changes []scale.Change) {
	total, starts, variants, began := 0, 0, map[string]int{}, map[string]int{}
	for _, c := range changes {
		after := c.From - len(c.Drain) + c.Start()
		total, starts = total+after, starts+c.Start()
		variants[c.Target.Variant] += after
		began[c.Target.Variant] += c.Start()
	}
	if starts > 0 && total > m.Model.Replicas.Max {
		w.fail(Maximum, "%s: %d to be started, which makes %d; its maximum is %d: %+v", m.Model.Name, starts, total, m.Model.Replicas.Max, changes)
	}
	for _, v := range m.Model.Variants {
		if began[v.Name] > 0 && variants[v.Name] > v.Max {
			w.fail(Maximum, "%s/%s: %d to be started, which makes %d; its maximum is %d: %+v", m.Model.Name, v.Name, began[v.Name], variants[v.Name], v.Max, changes)
		}
	}
}

// cent forgives rounding of sums of prices.
const cent = 1e-6

// cost: no start leads beyond what a model may cost an hour.
func (w *witness) cost(t tick, m *scale.ModelState, changes []scale.Change) {
	limit := m.Model.Limits.CostPerHour
	sum, starts := costOf(t, m.Model, changes)
	if limit > 0 && starts > 0 && sum > limit+cent {
		w.fail(CostPerHour, "%s: %d to be started, which makes $%.4f/h; its limit is $%.4f/h: %+v", m.Model.Name, starts, sum, limit, changes)
	}
}

// costOf is what a model's serving replicas cost an hour once its Changes are
// done, and how many are to be started.
func costOf(t tick, m scale.Model, changes []scale.Change) (dollars float64, starts int) {
	for _, c := range changes {
		v, _ := m.Variant(c.Target.Variant)
		best := math.Inf(1)
		for _, o := range t.told.Offerings {
			if o.Accelerator == v.Accelerator.Type && o.Capacity == c.Target.Capacity {
				best = min(best, o.PricePerHour)
			}
		}
		after := c.From
		if m.Mode == scale.Auto {
			after += c.Start() - len(c.Drain)
			starts += c.Start()
		}
		dollars += float64(after*v.Accelerator.Count) * best
	}
	return dollars, starts
}

// fleetCost: nor beyond what all may.
func (w *witness) fleetCost(t tick, d scale.Decision) {
	limit := t.told.Fleet.Limits.CostPerHour
	sum, starts := 0.0, 0
	for _, m := range t.told.Models {
		dollars, n := costOf(t, m.Model, changesOf(d, m.Model.Name))
		sum, starts = sum+dollars, starts+n
	}
	if limit > 0 && starts > 0 && sum > limit+cent {
		w.fail(CostPerHour, "the fleet: %d to be started, which makes $%.4f/h; its limit is $%.4f/h", starts, sum, limit)
	}
}

// floors: what must stay stays, unless a budget, a rate, a want of accelerators
// or boots that fail are said to stand against it. A maximum below does, too.
func (w *witness) floors(t tick, m *scale.ModelState, changes []scale.Change) {
	total, byCapacity, room := 0, map[scale.CapacityType]int{}, map[scale.CapacityType]int{}
	withheld := false
	for _, c := range changes {
		total += c.To
		byCapacity[c.Target.Capacity] += c.To
		withheld = withheld || because(c, scale.ReasonCostCap, scale.ReasonFleetCostCap, scale.ReasonUpRate, scale.ReasonFleetUpRate,
			scale.ReasonDownRate, scale.ReasonFleetDownRate, scale.ReasonNoSlot, scale.ReasonTakingSlot, scale.ReasonBootFailures)
	}
	all := 0
	for _, v := range m.Model.Variants {
		all += v.Max
		for _, capacity := range v.Capacities {
			room[capacity] += v.Max
		}
	}
	if withheld {
		return
	}
	least, why := m.Model.Replicas.Min, "its minimum"
	active := map[string]bool{}
	for _, s := range m.Model.Schedules {
		active[s.Name] = s.Active(t.told.Now)
		if active[s.Name] && s.Min > least {
			least, why = s.Min, "schedule "+s.Name
		}
	}
	if least = min(least, all, m.Model.Replicas.Max); total < least {
		w.fail(Floors, "%s goes to %d, %s is %d: %+v", m.Model.Name, total, why, least, changes)
	}
	floor := m.Model.WarmFloor
	if n := min(floor.Replicas, room[floor.Capacity], m.Model.Replicas.Max); (floor.During == "" || active[floor.During]) && byCapacity[floor.Capacity] < n {
		w.fail(Floors, "%s goes to %d %v, its warm floor is %d: %+v", m.Model.Name, byCapacity[floor.Capacity], floor.Capacity, n, changes)
	}
}

// slots: nothing is started without an accelerator for it.
func (w *witness) slots(t tick, d scale.Decision) {
	for _, o := range t.told.Offerings {
		if !o.Limited {
			continue
		}
		slots := 0
		for _, p := range t.told.Offerings {
			if p.Accelerator != o.Accelerator || p.Capacity != o.Capacity || !p.Limited {
				continue
			}
			if slots += p.Slots; o.Pool != "" {
				slots = p.Slots
			}
		}
		if used, starts := drawn(t, d, o); starts > max(0, slots-used) {
			w.fail(Slots, "%d of %s %v are to be started, %d of %d are used", starts, o.Accelerator, o.Capacity, used, slots)
		}
	}
}

// drawn counts the accelerators of an Offering, or of its pool, that are used,
// and those that a Decision is to take.
func drawn(t tick, d scale.Decision, o scale.Offering) (used, starts int) {
	count := func(target scale.ScaleTarget) int {
		if o.Pool == "" && target.Capacity != o.Capacity {
			return 0
		}
		for _, m := range t.told.Models {
			if v, _ := m.Model.Variant(target.Variant); m.Model.Name == target.Model && v.Accelerator.Type == o.Accelerator {
				return v.Accelerator.Count
			}
		}
		return 0
	}
	for _, m := range t.told.Models {
		for _, r := range m.Replicas {
			used += count(r.Target)
		}
	}
	for _, c := range d.Changes {
		if c.Acts() {
			starts += c.Start() * count(c.Target)
		}
	}
	return used, starts
}

// reasons notes what was reached.
func (w *witness) reasons(d scale.Decision, model string, changes []scale.Change) {
	for _, p := range d.Plans {
		if p.Model == model {
			w.reason(p.Reasons)
		}
	}
	up, down := "", ""
	for _, c := range changes {
		w.reason(c.Reasons)
		for what, reached := range map[string]bool{
			"woke from zero": c.Start() > 0 && because(c, scale.ReasonWakeFromZero),
			"fell asleep":    len(c.Drain) > 0 && because(c, scale.ReasonScaleToZero),
			"boot overdue":   because(c, scale.ReasonOverdue),
		} {
			if reached {
				w.reach(what)
			}
		}
		if c.Start() > 0 {
			up = cmp.Or(up, c.Target.Variant)
		} else if len(c.Drain) > 0 {
			down = cmp.Or(down, c.Target.Variant)
		}
	}
	if up != "" && down != "" && up != down {
		w.reach("moved between variants")
	}
}

func (w *witness) reason(all []scale.Reason) {
	for _, r := range all {
		w.reach("reason " + r.Code.String())
	}
}
