package policy

import (
	"slices"
	"time"
)

// skipTicks and skipLeast say how long without a review is time that was
// skipped: the loop stood still, or a clock was set.
const (
	skipTicks = 5
	skipLeast = 10 * time.Second
)

// resume keeps what is remembered as old as it was when time was skipped: what
// nobody saw pass must not end a scale-down window, use up an idle time or renew
// a rate.
func (c *Case) resume(tick time.Duration) {
	c.reviewed = c.Memory.Reviewed
	gap := c.now.Sub(c.reviewed)
	if c.reviewed.IsZero() || gap >= 0 && gap <= max(skipTicks*tick, skipLeast) {
		return
	}
	c.skipped = true
	c.Memory.Resumed = c.now
	c.Memory.Wishes = slices.Clone(c.Memory.Wishes)
	for i := range c.Memory.Wishes {
		c.Memory.Wishes[i].At = c.Memory.Wishes[i].At.Add(gap)
	}
	c.Memory.Moves = slices.Clone(c.Memory.Moves)
	for i := range c.Memory.Moves {
		c.Memory.Moves[i].At = c.Memory.Moves[i].At.Add(gap)
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
