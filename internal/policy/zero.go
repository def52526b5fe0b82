package policy

import (
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// sleep keeps one replica until nothing was asked for long enough, then lets
// the Model fall asleep; and it says why a sleeping Model wakes.
func sleep(c *Case) {
	held := c.State.Demand.Held
	waiting := held.Known() && held.Value > 0
	if waiting && c.serving() == 0 {
		c.raise(1, 0, reason(scale.ReasonWakeFromZero, "Woken: %.0f requests wait and nothing runs", held.Value))
		for i := range c.targets {
			if t := &c.targets[i]; t.to > 0 && !hasReason(t.reasons, scale.ReasonWakeFromZero) {
				t.because(scale.ReasonWakeFromZero, "Woken to %d: %.0f requests wait and nothing runs", t.to, held.Value)
			}
		}
		return
	}
	if c.total() > 0 || c.serving() == 0 {
		return
	}
	after := c.State.Model.ScaleToZero.After
	idle, busy := c.idleFor(), c.busy()
	if !busy && !c.State.Model.ScaleToZero.Disabled && idle >= after {
		c.sleeping = true
		for i := range c.targets {
			if t := &c.targets[i]; len(t.serving) > 0 {
				t.because(scale.ReasonScaleToZero, "Down to 0: no request for %s, longer than %s", span(idle), span(after))
			}
		}
		return
	}
	switch {
	case busy:
		c.keepOne(reason(scale.ReasonIdle, "Kept 1: requests are still being served"))
	case c.State.Model.ScaleToZero.Disabled:
		c.keepOne(reason(scale.ReasonIdle, "Kept 1: %s may not scale to zero", c.State.Model.Name))
	default:
		c.keepOne(reason(scale.ReasonIdle, "Kept 1: no request for %s of %s; may fall asleep at %s",
			span(idle), span(after), clock(c.now.Add(after-idle))))
	}
}

// keepOne keeps a replica on the target that has the most of them Ready, so
// that nothing is started just to be kept.
func (c *Case) keepOne(r scale.Reason) {
	best := -1
	for i := range c.targets {
		t := &c.targets[i]
		if t.steady() > 0 && (best < 0 || t.ready() > c.targets[best].ready()) {
			best = i
		}
	}
	if best < 0 {
		c.raise(1, 0, r)
		return
	}
	c.targets[best].to = 1
	c.targets[best].reasons = append(c.targets[best].reasons, r)
}

// idleFor is how long nothing was asked; since the Model was first reviewed
// when nothing ever was.
func (c *Case) idleFor() time.Duration {
	since := later(c.Memory.FirstSeen, c.Memory.Resumed)
	if last := c.State.Demand.LastArrival; last.Known() {
		whole := int64(last.Value)
		at := time.Unix(whole, int64((last.Value-float64(whole))*1e9))
		if at.After(since) {
			since = at
		}
	}
	return max(0, c.now.Sub(since))
}

// busy says whether any request is still at a replica or held. An engine's own
// word counts as well as the gateway's: requests may come past the gateway.
func (c *Case) busy() bool {
	d := c.State.Demand
	if d.InFlight.Known() && d.InFlight.Value > 0 || d.Held.Known() && d.Held.Value > 0 {
		return true
	}
	for _, r := range c.State.Replicas {
		load := r.Load
		if load.InFlight.Known() && load.InFlight.Value > 0 ||
			load.Running.Fresh(c.now, staleAfter) && load.Running.Value > 0 || load.Waiting.Fresh(c.now, staleAfter) && load.Waiting.Value > 0 {
			return true
		}
	}
	return false
}

func hasReason(reasons []scale.Reason, code scale.ReasonCode) bool {
	for _, r := range reasons {
		if r.Code == code {
			return true
		}
	}
	return false
}
