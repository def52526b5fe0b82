package policy

import (
	"fmt"

	"github.com/penstock/penstock/internal/scale"
)

// missingSignals holds what runs when the Model's traffic is not known: absent
// is not zero, stale is not fresh, and NaN is no number. What the data that is left asks for
// beyond that is still granted.
func missingSignals(c *Case) {
	if c.Signals == Fresh {
		return
	}
	for i := range c.targets {
		t := &c.targets[i]
		if t.to >= t.steady() {
			continue
		}
		t.to = t.steady()
		switch c.Signals {
		case Missing:
			t.because(scale.ReasonMissingSignals, "Kept %d: traffic was never measured; no scale-down on missing data", t.to)
		case Impossible:
			t.because(scale.ReasonMissingSignals, "Kept %d: %s, which can not be; no scale-down on what can not be true", t.to, c.Doubt)
		case Stale:
			t.because(scale.ReasonStaleSignals, "Kept %d: traffic was last measured %s ago; no scale-down on stale data", t.to, span(c.Age))
		case Fresh:
		}
	}
}

// fullCache is the KV-cache use from which an engine soon preempts requests.
const fullCache = 0.95

// overload vetoes scale-down while any replica, or the gateway for want of
// replicas, has more work than it can take. One is enough: a mean would hide it.
func overload(c *Case) {
	why := c.overloaded()
	if why == "" {
		return
	}
	for i := range c.targets {
		if t := &c.targets[i]; t.to < t.steady() {
			t.to = t.steady()
			t.because(scale.ReasonOverload, "Kept %d: %s", t.to, why)
		}
	}
}

func (c *Case) overloaded() string {
	maxAge := staleAfter
	if held := c.State.Demand.Held; held.Fresh(c.now, maxAge) && held.Value > 0 && c.serving() > 0 {
		return fmt.Sprintf("%.0f requests are held", held.Value)
	}
	for i := range c.targets {
		for _, r := range c.targets[i].serving {
			load := r.Load
			switch {
			case load.KVCacheUsage.Fresh(c.now, maxAge) && load.KVCacheUsage.Value >= fullCache:
				return fmt.Sprintf("the KV cache of %s is %.0f %% full", r.ID, 100*load.KVCacheUsage.Value)
			case load.Waiting.Fresh(c.now, maxAge) && load.Waiting.Value >= 1:
				return fmt.Sprintf("%.0f requests queue inside %s", load.Waiting.Value, r.ID)
			case load.InFlight.Fresh(c.now, maxAge) && load.InFlight.Value > float64(c.targets[i].BatchLimit):
				return fmt.Sprintf("%s has %.0f requests, above its batch limit of %d", r.ID, load.InFlight.Value, c.targets[i].BatchLimit)
			}
		}
	}
	return ""
}
