package policy

import (
	"math"
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

// maximum cuts to the variant's and the Model's maximum. Overdue replicas
// still run, so they take room.
func maximum(c *Case) {
	late := 0
	for i := range c.targets {
		t := &c.targets[i]
		late += len(t.overdue)
		if most := max(0, t.variant.Max-len(t.overdue)); t.to > most {
			t.because(scale.ReasonMax, "Wanted %d, allowed %d: the maximum of variant %s", t.to, most, t.variant.Name)
			t.to = most
		}
	}
	if most := max(0, c.State.Model.Replicas.Max-late); c.total() > most {
		c.cut(most, reason(scale.ReasonMax, "Wanted %d, allowed %d: the maximum of %s", c.total(), most, c.State.Model.Name))
	}
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

// Move is how many replicas a Decision started and drained.
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

// rates limits replicas per minute, up and down.
func rates(c *Case) {
	up, down := c.moved()
	if limit := c.State.Model.Limits.UpPerMinute; limit > 0 {
		c.slowUp(limit-up, reason(scale.ReasonUpRate, "Slowed: %s may start %d replicas a minute", c.State.Model.Name, limit))
	}
	if limit := c.State.Model.Limits.DownPerMinute; limit > 0 {
		c.slowDown(limit-down, reason(scale.ReasonDownRate, "Slowed: %s may drain %d replicas a minute", c.State.Model.Name, limit))
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
	allowed = max(0, allowed)
	order := c.cheapestFirst()
	slices.Reverse(order)
	for _, t := range order {
		if over := t.drains() - allowed; over > 0 {
			t.to += over
			t.reasons = append(t.reasons, r)
		}
		allowed -= t.drains()
	}
	return allowed
}

// remember keeps the moves of the Decision for the rates.
func (c *Case) remember(changes []scale.Change) {
	kept := make([]Move, 0, len(c.Memory.Moves)+1)
	for _, m := range c.Memory.Moves {
		if c.now.Sub(m.At) < ratesOver {
			kept = append(kept, m)
		}
	}
	move := Move{At: c.now}
	for _, change := range changes {
		if change.DryRun {
			continue
		}
		move.Up += change.Start()
		move.Down += max(0, len(change.Drain)-c.takenOf(change.Target))
	}
	if move.Up > 0 || move.Down > 0 {
		kept = append(kept, move)
	}
	c.Memory.Moves = kept
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
	c.slowUp(max(0, 1-starting), reason(scale.ReasonBootFailures,
		"Held back: the last %d starts failed; one at a time is tried until one succeeds", c.State.Failures))
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

// unlimited stands for no limit in sums of what is left.
const unlimited = math.MaxInt32
