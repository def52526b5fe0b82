package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// makeBeforeBreak keeps the replicas of a variant that the Plan moves away
// from until those it moves to are Ready. Both are paid meanwhile.
func makeBeforeBreak(c *Case) {
	var waits *target
	for i := range c.targets {
		if t := &c.targets[i]; t.to > t.ready() {
			waits = t
			break
		}
	}
	if waits == nil {
		return
	}
	for i := range c.targets {
		t := &c.targets[i]
		if t.Target.Variant == waits.Target.Variant || t.to >= t.steady() || c.sleeping {
			continue
		}
		t.to = t.steady()
		t.because(scale.ReasonMakeBeforeBreak, "Kept %d: %d of %d on %s are Ready; drained when all are",
			t.to, waits.ready(), waits.to, waits.Target.Variant)
	}
}

// need notes what is called for, before what follows may cut it.
func need(c *Case) {
	for i := range c.targets {
		c.targets[i].needed = c.targets[i].to
	}
}

// maximum cuts to the variant's and the Model's maximum. Overdue replicas
// still run, so they take room.
func maximum(c *Case) {
	late := 0
	for i := range c.targets {
		late += len(c.targets[i].overdue)
		variant := c.targets[i].variant
		all := c.of(variant.Name)
		if all[0] != &c.targets[i] {
			continue // with its first target
		}
		wanted, slow := 0, 0
		for _, t := range all {
			wanted, slow = wanted+t.to, slow+len(t.overdue)
		}
		if most := max(0, variant.Max-slow); wanted > most {
			c.cutOf(cheapestFirst(all), most, reason(scale.ReasonMax, "Wanted %d, allowed %d: the maximum of variant %s is %d%s",
				wanted, most, variant.Name, variant.Max, beside(slow)))
		}
	}
	if most := max(0, c.State.Model.Replicas.Max-late); c.total() > most {
		c.cut(most, reason(scale.ReasonMax, "Wanted %d, allowed %d: the maximum of %s is %d%s",
			c.total(), most, c.State.Model.Name, c.State.Model.Replicas.Max, beside(late)))
	}
}

// beside says why less than a maximum is allowed.
func beside(late int) string {
	if late == 0 {
		return ""
	}
	return fmt.Sprintf(", %d of it late in starting", late)
}

// costCap cuts to what the Model may cost an hour.
func costCap(c *Case) {
	limit := c.State.Model.Limits.CostPerHour
	if limit <= 0 || c.cost() <= limit+cent {
		return
	}
	before := c.cost()
	for n := c.total() - 1; n >= 0 && c.cost() > limit+cent; n-- {
		c.cut(n, reason(scale.ReasonCostCap, "Wanted $%.2f/h, allowed $%.2f/h: the cost limit of %s", before, limit, c.State.Model.Name))
	}
	for i := range c.targets {
		c.targets[i].reasons = slices.Compact(c.targets[i].reasons)
	}
}

// cent forgives rounding of sums of prices.
const cent = 1e-6

func (c *Case) cost() float64 {
	sum := 0.0
	for _, t := range c.targets {
		sum += float64(t.to+len(t.overdue)) * t.price
	}
	return sum
}

// due is what the Model will cost an hour: what runs, unless it is governed.
func (c *Case) due() float64 {
	if c.State.Model.Mode == scale.Auto {
		return c.cost()
	}
	sum := 0.0
	for _, t := range c.targets {
		sum += float64(t.steady()+len(t.overdue)) * t.price
	}
	return sum
}

// Move is how many replicas were started and how many a Decision drained.
type Move struct {
	At       time.Time
	Up, Down int
}

// ratesOver is the span of the rates per minute.
const ratesOver = time.Minute

// moved sums the moves of the last minute.
func (c *Case) moved() (up, down int) {
	for _, m := range c.Memory.Moves {
		if c.now.Sub(m.At) < ratesOver {
			up += m.Up
			down += m.Down
		}
	}
	return up, down
}

// starts and drains are what the rules so far would start and drain.
func (t *target) starts() int { return max(0, t.to-t.steady()) }

func (t *target) drains() int { return max(0, t.steady()-t.to) }

func (c *Case) starts() int {
	n := 0
	for i := range c.targets {
		n += c.targets[i].starts()
	}
	return n
}

func (c *Case) drains() int {
	n := 0
	for i := range c.targets {
		n += c.targets[i].drains() + len(c.targets[i].overdue) - c.targets[i].stay()
	}
	return n
}

// rates limits replicas per minute, up and down.
func rates(c *Case) {
	up, _ := c.moved()
	if limit := c.State.Model.Limits.UpPerMinute; limit > 0 {
		c.slowUp(limit-up, reason(scale.ReasonUpRate, "Slowed: %s may start %d replicas a minute and has started %d", c.State.Model.Name, limit, up))
	}
	c.slowDrains()
}

// slowDrains limits replicas drained per minute.
func (c *Case) slowDrains() {
	limit := c.State.Model.Limits.DownPerMinute
	if limit == 0 {
		return
	}
	_, down := c.moved()
	why := reason(scale.ReasonDownRate, "Slowed: %s may drain %d replicas a minute and has drained %d", c.State.Model.Name, limit, down)
	c.slowLate(c.slowDown(limit-down, why), why)
	c.trim()
}

// trim takes back starts for which there is no room while a rate keeps others
// from being drained.
func (c *Case) trim() {
	late := 0
	for i := range c.targets {
		late += len(c.targets[i].overdue)
		variant, there := c.targets[i].variant, 0
		all := c.of(variant.Name)
		for _, t := range all {
			there += t.to + len(t.overdue)
		}
		if over := there - variant.Max; over > 0 {
			lowerStarts(all, over, reason(scale.ReasonMax, "Not started yet: the maximum of variant %s is %d, and others drain slowly", variant.Name, variant.Max))
		}
	}
	name, most := c.State.Model.Name, c.State.Model.Replicas.Max
	if over := c.total() + late - most; over > 0 {
		lowerStarts(c.cheapestFirst(), over, reason(scale.ReasonMax, "Not started yet: the maximum of %s is %d, and others drain slowly", name, most))
	}
	if limit := c.State.Model.Limits.CostPerHour; limit > 0 {
		for c.cost() > limit+cent && c.starts() > 0 {
			lowerStarts(c.cheapestFirst(), 1, reason(scale.ReasonCostCap, "Not started yet: the cost limit of %s is $%.2f/h, and others drain slowly", name, limit))
		}
	}
}

// lowerStarts takes back so many starts, on the dearest targets first.
func lowerStarts(targets []*target, over int, r scale.Reason) {
	for _, t := range slices.Backward(cheapestFirst(targets)) {
		if less := min(over, t.starts()); less > 0 {
			t.to, over = t.to-less, over-less
			if !slices.Contains(t.reasons, r) {
				t.reasons = append(t.reasons, r)
			}
		}
	}
}

// slowUp leaves at most so many starts, on the cheapest targets first, and
// returns how many are left over.
func (c *Case) slowUp(allowed int, r scale.Reason) int {
	allowed = max(0, allowed)
	for _, t := range c.cheapestFirst() {
		if over := t.starts() - allowed; over > 0 {
			t.to -= over
			t.reasons = append(t.reasons, r)
		}
		allowed -= t.starts()
	}
	return allowed
}

// slowDown leaves at most so many drains and returns how many are left over.
func (c *Case) slowDown(allowed int, r scale.Reason) int {
	for i := range c.targets {
		allowed -= len(c.targets[i].giving) // decided within the rate
	}
	allowed = max(0, allowed)
	for _, t := range slices.Backward(c.cheapestFirst()) {
		drains := t.drains() - len(t.giving)
		if over := drains - allowed; over > 0 {
			t.to, drains = t.to+over, allowed
			if !slices.Contains(t.reasons, r) {
				t.reasons = append(t.reasons, r)
			}
		}
		allowed -= max(0, drains)
	}
	return allowed
}

// slowLate leaves at most so many drains of replicas that are late in starting
// and returns how many are left over.
func (c *Case) slowLate(allowed int, r scale.Reason) int {
	allowed = max(0, allowed)
	for i := range c.targets {
		t := &c.targets[i]
		goes := len(t.overdue) - t.stay()
		if goes > allowed {
			t.late, goes = len(t.overdue)-allowed, allowed
			if !slices.Contains(t.reasons, r) {
				t.reasons = append(t.reasons, r)
			}
		}
		allowed -= max(0, goes)
	}
	return allowed
}

// countStarts adds the replicas that were really started since the previous
// review: what was decided and not done, for want of a slot or in a back-off,
// must not use up a rate.
func (c *Case) countStarts() {
	kept := make([]Move, 0, len(c.Memory.Moves)+1)
	for _, m := range c.Memory.Moves {
		if age := c.now.Sub(m.At); age >= 0 && age < ratesOver {
			kept = append(kept, m)
		}
	}
	started := 0
	for _, r := range c.State.Replicas {
		age := c.now.Sub(r.Created)
		if !r.Created.Before(c.reviewed) && (c.skipped || age >= 0 && age < ratesOver) {
			started++
		}
	}
	if started > 0 {
		kept = append(kept, Move{At: c.now, Up: started})
	}
	c.Memory.Moves, c.Memory.Reviewed = kept, c.now
}

// remember keeps the drains of the Decision for the rates.
func (c *Case) remember(changes []scale.Change) {
	down := 0
	for _, change := range changes {
		if !change.DryRun {
			down += max(0, len(change.Drain)-c.takenOf(change.Target))
		}
	}
	if down > 0 {
		c.Memory.Moves = append(c.Memory.Moves, Move{At: c.now, Down: down})
	}
}

// takenOf counts replicas that go without having been decided away.
func (c *Case) takenOf(target scale.ScaleTarget) int {
	for i := range c.targets {
		if c.targets[i].Target == target {
			return len(c.targets[i].taken)
		}
	}
	return 0
}

// probeAfter is how many boots in a row must fail before only one more at a
// time is tried.
const probeAfter = 3

// bootFailures keeps a Model whose boots fail from ordering more than one at a
// time: the answer to a broken start command is not more of it.
func bootFailures(c *Case) {
	if c.State.Failures < probeAfter {
		return
	}
	starting := 0
	for i := range c.targets {
		starting += len(c.targets[i].serving) - c.targets[i].ready()
	}
	why := reason(scale.ReasonBootFailures, "The last %d starts failed; one at a time is tried, after a pause, until one succeeds", c.State.Failures)
	if c.State.LastFailure != "" {
		why.Text += ". The newest: " + c.State.LastFailure
	}
	c.slowUp(max(0, 1-starting), why)
	for i := range c.targets {
		if t := &c.targets[i]; t.needed > t.ready() && !slices.Contains(t.reasons, why) {
			t.reasons = append(t.reasons, why)
		}
	}
}

// interruptions says which replicas are replaced because they will be taken,
// or because they are late; they are not counted in what is wanted.
func interruptions(c *Case) {
	for i := range c.targets {
		t := &c.targets[i]
		if n := len(t.taken) + t.leaving; n > 0 && t.starts() > 0 {
			t.because(scale.ReasonInterruption, "%d of %d will be taken away: replaced now", n, len(t.serving)+t.leaving)
		}
		if n := len(t.overdue); n > 0 {
			t.because(scale.ReasonOverdue, "%d of %d have been starting for more than %s and do not count",
				n, len(t.serving), span(max(overdueFactor*c.Boot(t.Target.Variant), overdueLeast)))
		}
	}
}

// paused keeps everything as it is.
func paused(c *Case) {
	for i := range c.targets {
		t := &c.targets[i]
		switch c.State.Model.Mode {
		case scale.Paused:
			t.overdue = nil // late ones stay, too
			t.to = t.steady()
			t.because(scale.ReasonPaused, "Kept %d: %s is paused", t.to, c.State.Model.Name)
		case scale.Advise:
			if t.starts() > 0 || t.drains() > 0 {
				t.because(scale.ReasonAdvise, "Advised only: %s is in mode advise", c.State.Model.Name)
			}
		case scale.Auto:
		}
	}
}

// staleAfter is how old a measurement may be for the rules here; the caller
// judges the Model's traffic by the tick, see Case.Signals.
const staleAfter = 15 * time.Second
