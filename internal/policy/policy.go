// Package policy decides how much of a Plan may happen now: bounds, floors,
// schedules, the scale-down window, rates, budgets, falling asleep and waking,
// data that is missing, replicas that will be taken, and accelerators that are
// scarce. Each rule is a file, gives its Reason, and can only be overruled by a
// rule after it in the list of Review.
package policy

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Memory is what the rules remember of one Model between ticks.
type Memory struct {
	Wishes    []Wish    // for the scale-down window
	Moves     []Move    // for the rates
	Reviewed  time.Time // the previous review
	FirstSeen time.Time // when the Model was first reviewed; idleness counts from here until a request comes
	Resumed   time.Time // the first review after time was skipped; zero for never
}

// Signals is how far what was measured of a Model's traffic can be trusted.
type Signals int

// The states of signals.
const (
	Fresh      Signals = iota + 1
	Stale              // measured, but too long ago
	Missing            // never measured
	Impossible         // measured, and it can not be true
)

// Case is one Model under review.
type Case struct {
	State   scale.ModelState
	Plan    scale.Plan
	Signals Signals
	Age     time.Duration                      // of the newest measurement, when Stale
	Doubt   string                             // what can not be true, when Impossible
	Boot    func(variant string) time.Duration // how long a start takes, for what is overdue
	Memory  Memory

	now      time.Time
	reviewed time.Time // the previous review, by the clock as it was then
	skipped  bool      // time was skipped since
	targets  []target
	sleeping bool // nothing was asked for long enough
}

// target is one target of a Case and what the rules made of it so far.
type target struct {
	scale.Allocation
	variant  scale.Variant
	price    float64 // US dollars per hour and replica
	serving  []*scale.Replica
	draining int
	taken    []*scale.Replica // serving ones that an Interruption takes
	leaving  int              // draining ones that an Interruption takes
	overdue  []*scale.Replica
	late     int // of them, how many a rate keeps from being drained
	want     int // what the Plan asked for
	to       int // what the rules allow so far; taken and overdue ones not counted
	needed   int // what was called for before bounds, budgets and rates cut it
	giving   []scale.ReplicaID
	reasons  []scale.Reason
}

// steady returns the serving replicas that will go on to serve.
func (t *target) steady() int { return len(t.serving) - len(t.taken) - len(t.overdue) }

func (t *target) ready() int {
	n := 0
	for _, r := range t.serving {
		if r.Phase == scale.Ready {
			n++
		}
	}
	return n
}

// rate is the cost of a request/s on this target; cheapest first when raising.
func (t *target) rate() float64 {
	if t.PerReplica <= 0 {
		return t.price * 1e9
	}
	return t.price / t.PerReplica
}

func (t *target) because(code scale.ReasonCode, format string, args ...any) {
	t.reasons = append(t.reasons, scale.Reason{Code: code, Text: fmt.Sprintf(format, args...)})
}

// rules returns the rules for one Model in the order in which they apply.
func rules() []func(*Case) {
	return []func(*Case){
		minimum, schedules, warmFloor, business,
		window,
		missingSignals, businessHold, overload,
		sleep,
		makeBeforeBreak, need,
		maximum, costCap, rates,
		bootFailures, interruptions, paused,
	}
}

// Review turns Plans into Changes. It returns one Change for every target that
// has, wants or needs replicas, sorted by target, and each Case's next Memory in place
// of the old. Cases must be sorted by model name.
func Review(s scale.Snapshot, cases []Case) []scale.Change {
	for i := range cases {
		c := &cases[i]
		c.prepare(s)
		for _, rule := range rules() {
			rule(c)
		}
	}
	fleet := fleetOf(cases)
	fleet.slowDown(s)
	fleet.slots(s)
	fleet.slowUp(s)
	fleet.costCap(s)
	fleet.slowly(s)
	var changes []scale.Change
	for i := range cases {
		c := &cases[i]
		from := len(changes)
		for j := range c.targets {
			if change, ok := c.change(&c.targets[j]); ok {
				changes = append(changes, change)
			}
		}
		c.remember(changes[from:])
	}
	return changes
}

// prepare sorts the Model's replicas to their targets.
func (c *Case) prepare(s scale.Snapshot) {
	c.now = s.Now
	if c.Memory.FirstSeen.IsZero() {
		c.Memory.FirstSeen = s.Now
	}
	c.resume(s.Tick)
	c.targets = make([]target, len(c.Plan.Allocations))
	c.countStarts()
	for i, a := range c.Plan.Allocations {
		t := &c.targets[i]
		t.Allocation, t.want, t.to = a, a.Replicas, a.Replicas
		t.variant, _ = c.State.Model.Variant(a.Target.Variant)
		t.price = price(s.Offerings, t.variant.Accelerator, a.Target.Capacity)
		for j := range c.State.Replicas {
			if r := &c.State.Replicas[j]; r.Target == a.Target {
				t.sort(r, s, c)
			}
		}
	}
}

// overdueFactor is how many times the usual boot a Starting replica may take
// before it no longer counts, and overdueLeast the least that it is given.
const (
	overdueFactor = 3
	overdueLeast  = 30 * time.Second
)

func (t *target) sort(r *scale.Replica, s scale.Snapshot, c *Case) {
	_, taken := s.Interrupted(r.ID)
	if r.Phase == scale.Draining {
		t.draining++
		if taken {
			t.leaving++
		}
	}
	if !r.Serving() {
		return
	}
	t.serving = append(t.serving, r)
	if taken {
		t.taken = append(t.taken, r)
		return
	}
	if r.Phase == scale.Starting && s.Now.Sub(later(r.Created, c.Memory.Resumed)) > max(overdueFactor*c.Boot(t.Target.Variant), overdueLeast) {
		t.overdue = append(t.overdue, r)
	}
}

// price returns what one replica costs an hour, over the cheapest zone.
func price(offerings []scale.Offering, a scale.Accelerator, capacity scale.CapacityType) float64 {
	best, found := 0.0, false
	for _, o := range offerings {
		if o.Accelerator == a.Type && o.Capacity == capacity && (!found || o.PricePerHour < best) {
			best, found = o.PricePerHour, true
		}
	}
	return best * float64(a.Count)
}

// total is what the rules allow so far, over all targets.
func (c *Case) total() int {
	n := 0
	for _, t := range c.targets {
		n += t.to
	}
	return n
}

func (c *Case) serving() int {
	n := 0
	for _, t := range c.targets {
		n += len(t.serving)
	}
	return n
}

// raise lifts the total to n, on the targets of a capacity type (0 means any)
// whose replicas cost least and that have room, and gives the Reason where it
// lifted.
func (c *Case) raise(n int, capacity scale.CapacityType, reason scale.Reason) {
	order := c.cheapestFirst()
	slices.SortStableFunc(order, func(a, b *target) int { return cmp.Compare(a.price, b.price) })
	for missing := n - c.count(capacity); missing > 0; missing-- {
		i := slices.IndexFunc(order, func(t *target) bool {
			return c.room(t) > 0 && (capacity == 0 || t.Target.Capacity == capacity)
		})
		if i < 0 {
			i = c.makeRoom(order, capacity)
		}
		if i < 0 {
			return
		}
		order[i].to++
		if !slices.Contains(order[i].reasons, reason) {
			order[i].reasons = append(order[i].reasons, reason)
		}
	}
}

// makeRoom lets a target of a capacity type that is asked for have the place of
// another capacity type of its variant, and returns its index; −1 where there is
// none.
func (c *Case) makeRoom(order []*target, capacity scale.CapacityType) int {
	for i, t := range order {
		if capacity == 0 || t.Target.Capacity != capacity || t.to >= t.variant.Max {
			continue
		}
		for _, o := range slices.Backward(cheapestFirst(c.of(t.variant.Name))) {
			if o != t && o.to > 0 {
				o.to--
				o.because(scale.ReasonMax, "Allowed %d: the maximum of variant %s is %d, and %v ones are to be kept warm", o.to, t.variant.Name, t.variant.Max, capacity)
				return i
			}
		}
	}
	return -1
}

// room returns how many more a target may have for its variant's maximum, which
// is one for all capacity types.
func (c *Case) room(t *target) int {
	left := t.variant.Max
	for _, o := range c.of(t.variant.Name) {
		left -= o.to
	}
	return left
}

// of returns the targets of a variant.
func (c *Case) of(variant string) []*target {
	var out []*target
	for i := range c.targets {
		if t := &c.targets[i]; t.Target.Variant == variant {
			out = append(out, t)
		}
	}
	return out
}

// count is the total over one capacity type, or over all when it is 0.
func (c *Case) count(capacity scale.CapacityType) int {
	n := 0
	for _, t := range c.targets {
		if capacity == 0 || t.Target.Capacity == capacity {
			n += t.to
		}
	}
	return n
}

// cut lowers the total to n: first what would be started, then what runs, each
// on the dearest targets first, and what is kept warm after all else. Where there
// is no room to make before breaking, what runs stays.
func (c *Case) cut(n int, reason scale.Reason) { c.cutOf(c.cheapestFirst(), n, reason) }

// cutOf is cut for some targets, cheapest first.
func (c *Case) cutOf(order []*target, n int, reason scale.Reason) {
	slices.Reverse(order)
	over := -n
	for _, t := range order {
		over += t.to
	}
	lower := func(spare func(*target) int) {
		for _, t := range order {
			if less := min(over, spare(t)); less > 0 {
				t.to, over = t.to-less, over-less
				t.reasons = append(t.reasons, reason)
			}
		}
	}
	all := func(t *target) int { return t.to }
	beyond := func(of func(*target) int) func(*target) int {
		return func(t *target) int { return min(of(t), c.aboveFloor(t.Target.Capacity)) }
	}
	lower(beyond((*target).starts))
	lower(beyond(all))
	lower((*target).starts)
	lower(all)
}

func (c *Case) cheapestFirst() []*target {
	order := make([]*target, len(c.targets))
	for i := range c.targets {
		order[i] = &c.targets[i]
	}
	return cheapestFirst(order)
}

func cheapestFirst(targets []*target) []*target {
	slices.SortStableFunc(targets, func(a, b *target) int { return cmp.Compare(a.rate(), b.rate()) })
	return targets
}

// change is what becomes of one target; false when there is nothing to say.
func (c *Case) change(t *target) (scale.Change, bool) {
	if len(t.serving) == 0 && t.want == 0 && t.to == 0 && t.needed == 0 {
		return scale.Change{}, false
	}
	change := scale.Change{Target: t.Target, From: len(t.serving), Want: t.want, To: t.to, Reasons: t.reasons}
	change.DryRun = c.State.Model.Mode == scale.Advise
	change.Drain = t.victims()
	for _, r := range t.overdue { // not counted so far, but there
		if !slices.Contains(change.Drain, r.ID) {
			change.To++
		}
	}
	silent := len(change.Reasons) == 0
	for _, r := range c.Plan.Reasons {
		if silent || change.Start() > 0 && r.Code != scale.ReasonSteady {
			change.Reasons = append(slices.Clip(change.Reasons), r)
		}
	}
	return change, true
}

// victims picks the replicas to drain: those that will be taken; then, down to
// the count allowed, those that are late, those started last and not yet
// Ready, and the idlest Ready ones. Late ones are kept until what replaces
// them is Ready.
func (t *target) victims() []scale.ReplicaID {
	if len(t.taken)+len(t.giving)+len(t.overdue) == 0 && len(t.serving) <= t.to {
		return nil
	}
	var out []scale.ReplicaID
	spare := t.stay()
	left := make([]*scale.Replica, 0, len(t.serving))
	for _, r := range t.serving {
		switch {
		case contains(t.taken, r.ID), slices.Contains(t.giving, r.ID):
			out = append(out, r.ID)
		case spare > 0 && contains(t.overdue, r.ID):
			spare--
		default:
			left = append(left, r)
		}
	}
	surplus := len(left) - t.to
	if surplus <= 0 {
		return out
	}
	slices.SortStableFunc(left, t.compareVictims)
	for _, r := range left[:surplus] {
		out = append(out, r.ID)
	}
	return out
}

// stay is how many late replicas are kept: while too few are Ready, for they may
// yet become so, and those that a rate keeps.
func (t *target) stay() int {
	n := t.late
	if t.ready() < t.needed {
		n = max(n, min(len(t.overdue), t.variant.Max-t.to))
	}
	return n
}

func contains(replicas []*scale.Replica, id scale.ReplicaID) bool {
	return slices.ContainsFunc(replicas, func(r *scale.Replica) bool { return r.ID == id })
}

func (t *target) compareVictims(a, b *scale.Replica) int {
	late := func(r *scale.Replica) int {
		if contains(t.overdue, r.ID) {
			return 0
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(late(a), late(b)),
		cmp.Compare(a.Phase, b.Phase), // Starting before Ready
		cmp.Compare(a.Load.InFlight.Value, b.Load.InFlight.Value),
		b.Created.Compare(a.Created), // newest first
		cmp.Compare(a.ID, b.ID),
	)
}
