package policy

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// fleet is all cases together, in the order in which they may take what is
// scarce: by priority, then by name.
type fleet struct {
	cases []*Case
}

func fleetOf(cases []Case) fleet {
	f := fleet{cases: make([]*Case, len(cases))}
	for i := range cases {
		f.cases[i] = &cases[i]
	}
	slices.SortStableFunc(f.cases, func(a, b *Case) int {
		return cmp.Or(
			cmp.Compare(b.State.Model.Priority, a.State.Model.Priority),
			cmp.Compare(a.State.Model.Name, b.State.Model.Name))
	})
	return f
}

// slowUp limits replicas started per minute over all models. What has no slot
// has been cut before, so that it uses up nothing.
func (f fleet) slowUp(s scale.Snapshot) {
	limit := s.Fleet.Limits.UpPerMinute
	if limit == 0 {
		return
	}
	up, _ := f.moved()
	for left, i := limit-up, 0; i < len(f.cases); i++ {
		if c := f.cases[i]; c.State.Model.Mode == scale.Auto {
			left = c.slowUp(left, reason(scale.ReasonFleetUpRate, "Slowed: the fleet may start %d replicas a minute and has started %d", limit, up))
		}
	}
}

// slowDown limits replicas drained per minute over all models.
func (f fleet) slowDown(s scale.Snapshot) {
	limit := s.Fleet.Limits.DownPerMinute
	if limit == 0 {
		return
	}
	_, down := f.moved()
	for left, i := limit-down, 0; i < len(f.cases); i++ {
		if c := f.cases[i]; c.State.Model.Mode == scale.Auto {
			why := reason(scale.ReasonFleetDownRate, "Slowed: the fleet may drain %d replicas a minute and has drained %d", limit, down)
			left = c.slowLate(c.slowDown(left, why), why)
			c.trim()
		}
	}
}

// moved sums the moves of all models in the last minute.
func (f fleet) moved() (up, down int) {
	for _, c := range f.cases {
		u, d := c.moved()
		up, down = up+u, down+d
	}
	return up, down
}

// drainsLeft is how many replicas of a Model the rates still let be drained.
func (f fleet) drainsLeft(s scale.Snapshot, c *Case) int {
	left := math.MaxInt
	if limit := c.State.Model.Limits.DownPerMinute; limit > 0 {
		_, down := c.moved()
		left = limit - down - c.drains()
	}
	if limit := s.Fleet.Limits.DownPerMinute; limit > 0 {
		_, down := f.moved()
		for _, o := range f.cases {
			if o.State.Model.Mode == scale.Auto {
				down += o.drains()
			}
		}
		left = min(left, limit-down)
	}
	return max(0, left)
}

// costCap cuts the fleet to what it may cost an hour, models of the lowest
// priority first. How fast, slowly says.
func (f fleet) costCap(s scale.Snapshot) {
	limit := s.Fleet.Limits.CostPerHour
	if limit <= 0 {
		return
	}
	sum := 0.0
	for _, c := range f.cases {
		sum += c.due()
	}
	wanted := sum
	for _, c := range slices.Backward(f.cases) {
		if c.State.Model.Mode != scale.Auto {
			continue
		}
		why := reason(scale.ReasonFleetCostCap, "Wanted $%.2f/h, allowed $%.2f/h: the cost limit of the fleet", wanted, limit)
		for sum > limit+cent && c.total() > 0 {
			before := c.due()
			c.cut(c.total()-1, why)
			sum += c.due() - before
		}
		for i := range c.targets {
			c.targets[i].reasons = slices.Compact(c.targets[i].reasons)
		}
	}
}

// slowly has what the cost limit of the fleet cut drain at the rates, and takes
// back starts for which there is no money meanwhile.
func (f fleet) slowly(s scale.Snapshot) {
	for _, c := range f.cases {
		if c.State.Model.Mode == scale.Auto {
			c.slowDrains()
		}
	}
	f.slowDown(s)
	limit := s.Fleet.Limits.CostPerHour
	if limit <= 0 {
		return
	}
	sum := 0.0
	for _, c := range f.cases {
		sum += c.due()
	}
	for _, c := range slices.Backward(f.cases) {
		for c.State.Model.Mode == scale.Auto && sum > limit+cent && c.starts() > 0 {
			before := c.due()
			lowerStarts(c.cheapestFirst(), 1, reason(scale.ReasonFleetCostCap, "Not started yet: the cost limit of the fleet is $%.2f/h, and others drain slowly", limit))
			sum += c.due() - before
		}
	}
}

// pool is accelerators of one type that are counted together.
type pool struct {
	accelerator string
	name        string
}

// poolOf returns the limited pool that a target draws on.
func poolOf(s scale.Snapshot, t *target) (pool, bool) {
	for _, o := range s.Offerings {
		if o.Limited && o.Accelerator == t.variant.Accelerator.Type && o.Capacity == t.Target.Capacity {
			return poolOfOffering(o), true
		}
	}
	return pool{}, false
}

func poolOfOffering(o scale.Offering) pool {
	return pool{o.Accelerator, cmp.Or(o.Pool, o.Capacity.String())}
}

// slots gives free accelerators to models in order of priority. A Model that
// finds too few takes those of models that are idle, if these matter less; it
// has them when the idle replica has drained, and waits until then.
func (f fleet) slots(s scale.Snapshot) {
	free, coming := f.free(s)
	for _, c := range f.cases {
		if c.State.Model.Mode != scale.Auto {
			continue // starts nothing
		}
		for _, t := range c.cheapestFirst() {
			p, limited := poolOf(s, t)
			if !limited {
				continue
			}
			left := free[p]
			need := t.starts() * t.variant.Accelerator.Count
			if need <= left {
				free[p] = left - need
				continue
			}
			missing := need - left
			due := coming[p]
			got := f.take(s, c, p, missing-coming[p])
			t.to = t.steady() + left/t.variant.Accelerator.Count
			free[p] = left % t.variant.Accelerator.Count
			coming[p] = max(0, coming[p]+got-missing)
			if got > 0 {
				t.because(scale.ReasonTakingSlot, "Waits for %d %s that idle models give up", got, p.accelerator)
			} else {
				t.because(scale.ReasonNoSlot, "Allowed %d: %d %s needed, %d free, %d coming free", t.to, need, p.accelerator, left, due)
			}
		}
	}
}

// free returns the accelerators of each limited pool that nothing occupies,
// and those that replicas being drained will give back.
func (f fleet) free(s scale.Snapshot) (free, coming map[pool]int) {
	free, coming = map[pool]int{}, map[pool]int{}
	for _, o := range s.Offerings {
		if o.Limited && o.Pool != "" {
			free[poolOfOffering(o)] = o.Slots
		} else if o.Limited {
			free[poolOfOffering(o)] += o.Slots // over zones
		}
	}
	for _, c := range f.cases {
		for i := range c.targets {
			t := &c.targets[i]
			p, limited := poolOf(s, t)
			if !limited {
				continue
			}
			free[p] -= (len(t.serving) + t.draining) * t.variant.Accelerator.Count
			if c.State.Model.Mode == scale.Auto {
				coming[p] += (t.draining + t.drains()) * t.variant.Accelerator.Count
			} else {
				coming[p] += t.draining * t.variant.Accelerator.Count
			}
		}
	}
	for p, n := range free {
		free[p] = max(0, n)
	}
	return free, coming
}

// idleEnough is how long a Model must have been idle before a waiting one may
// take its accelerator.
const idleEnough = 5 * time.Second

// take drains idle replicas of other models until so many accelerators will
// come free, the least important models first, and returns how many will.
func (f fleet) take(s scale.Snapshot, by *Case, p pool, missing int) int {
	g := gift{by: by, accelerator: p.accelerator, missing: missing}
	for _, c := range slices.Backward(f.cases) {
		if g.missing <= 0 {
			break
		}
		if c == by || !c.givesTo(by) {
			continue
		}
		g.spare, g.drains = max(0, c.total()-c.floor()), f.drainsLeft(s, c)
		for i := range c.targets {
			t := &c.targets[i]
			if of, limited := poolOf(s, t); limited && of == p {
				g.from(c, t)
			}
		}
	}
	return missing - g.missing
}

// gift is what idle Models give to one that waits.
type gift struct {
	by            *Case
	accelerator   string
	missing       int // accelerators
	spare, drains int // replicas that the Model at hand may do without, and may drain now
}

// from takes what one target gives: what it would start, then what idles.
func (g *gift) from(c *Case, t *target) {
	above := min(g.spare, c.aboveFloor(t.Target.Capacity))
	name, priority := g.by.State.Model.Name, g.by.State.Model.Priority
	if starts := min(above, t.starts()); starts > 0 {
		t.to, above, g.spare = t.to-starts, above-starts, g.spare-starts
		t.because(scale.ReasonGivingSlot, "Kept %d: %s (priority %d) waits for %s", t.to, name, priority, g.accelerator)
	}
	for _, r := range t.idle() {
		if g.missing <= 0 || above <= 0 || g.drains <= 0 || t.to == 0 || t.starts() > 0 {
			return
		}
		t.to, above, g.spare, g.drains = t.to-1, above-1, g.spare-1, g.drains-1
		t.giving = append(t.giving, r)
		g.missing -= t.variant.Accelerator.Count
		t.because(scale.ReasonGivingSlot, "Down to %d: idle, and %s (priority %d) waits for %s", t.to, name, priority, g.accelerator)
	}
}

// givesTo says whether an idle Model must make room for a waiting one: when it
// matters less, or matters as much and the other has nothing at all.
func (c *Case) givesTo(by *Case) bool {
	if c.State.Model.Mode != scale.Auto || c.busy() || c.idleFor() < idleEnough || c.Signals != Fresh || c.uncertain() {
		return false
	}
	mine, theirs := c.State.Model.Priority, by.State.Model.Priority
	return mine < theirs || mine == theirs && by.serving() == 0
}

// idle returns the replicas without a request, those started last first.
func (t *target) idle() []scale.ReplicaID {
	replicas := slices.Clone(t.serving)
	slices.SortStableFunc(replicas, t.compareVictims)
	var out []scale.ReplicaID
	for _, r := range replicas {
		if r.Load.InFlight.Value == 0 && !slices.Contains(t.giving, r.ID) && !contains(t.taken, r.ID) && !contains(t.overdue, r.ID) {
			out = append(out, r.ID)
		}
	}
	return out
}
