package policy

import (
	"math"
	"slices"
	"strconv"

	"github.com/penstock/penstock/internal/scale"
)

// business keeps as many replicas as each business signal calls for.
func business(c *Case) {
	for _, s := range c.State.Model.Signals {
		if value, n, ok := c.called(s); ok {
			c.raise(n, 0, reason(scale.ReasonSignal, "Raised to %d: %s is %s, and a replica is enough for %s",
				n, s.Name, figure(value), figure(s.PerReplica)))
		}
	}
}

// businessHold keeps what runs while a business signal is not known: nobody can
// say how many it calls for.
func businessHold(c *Case) {
	for _, s := range c.State.Model.Signals {
		if _, _, ok := c.called(s); ok {
			continue
		}
		for i := range c.targets {
			t := &c.targets[i]
			if t.to >= t.steady() {
				continue
			}
			t.to = t.steady()
			switch o := c.State.Signal(s.Name); {
			case !o.Known():
				t.because(scale.ReasonMissingSignals, "Kept %d: %s was never read; no scale-down on missing data", t.to, s.Name)
			case o.Fresh(c.now, s.FreshFor):
				t.because(scale.ReasonMissingSignals, "Kept %d: %s reads %s, which can not be; no scale-down on what can not be true", t.to, s.Name, figure(o.Value))
			default:
				t.because(scale.ReasonStaleSignals, "Kept %d: %s was last read %s ago, and holds for %s; no scale-down on stale data",
					t.to, s.Name, span(c.now.Sub(o.At)), span(s.FreshFor))
			}
		}
	}
}

// uncertain says whether a business signal of the Model is not known.
func (c *Case) uncertain() bool {
	return slices.ContainsFunc(c.State.Model.Signals, func(s scale.BusinessSignal) bool {
		_, _, ok := c.called(s)
		return !ok
	})
}

// called returns what a signal reads and how many replicas that calls for; false
// when it is not known.
func (c *Case) called(s scale.BusinessSignal) (value float64, replicas int, ok bool) {
	o := c.State.Signal(s.Name)
	if !o.Fresh(c.now, s.FreshFor) || !(o.Value >= 0) || math.IsInf(o.Value, 1) || !(s.PerReplica > 0) {
		return 0, 0, false
	}
	most := 0 // what could run at all, so that no figure is too large to count
	for _, v := range c.State.Model.Variants {
		most += v.Max
	}
	return o.Value, int(min(math.Ceil(o.Value/s.PerReplica), float64(most))), true
}

// figure is a number for people, in as many digits as it has.
func figure(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
