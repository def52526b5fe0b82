package policy

import (
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Wish is what a target was wished to have at one instant.
type Wish struct {
	Target   scale.ScaleTarget
	At       time.Time
	Replicas int
}

// leastWindow is the scale-down window of a Model that says none and starts
// quickly; one that starts slowly has that of a start: what is given up sooner
// could not be had back.
const leastWindow = 30 * time.Second

// window keeps every target at the largest wish of the scale-down window. Only
// wishes that are a maximum of what came after them are remembered, so that a
// window of an hour costs no more than one of a minute. It comes before the
// rules that merely hold what runs: what was held is not a wish.
func window(c *Case) {
	window := c.State.Model.ScaleDownWindow
	if window == 0 {
		window = leastWindow
		for i := range c.targets {
			window = max(window, c.Boot(c.targets[i].Target.Variant))
		}
	}
	next := make([]Wish, 0, len(c.Memory.Wishes)+len(c.targets))
	for i := range c.targets {
		t := &c.targets[i]
		bound := min(t.to, t.variant.Max)
		var largest Wish
		for _, w := range c.Memory.Wishes {
			if age := c.now.Sub(w.At); w.Target != t.Target || age < 0 || age >= window || w.Replicas <= bound {
				continue
			}
			if w.Replicas > largest.Replicas {
				largest = w
			}
			next = append(next, w)
		}
		next = append(next, Wish{Target: t.Target, At: c.now, Replicas: bound})
		if largest.Replicas > t.to {
			t.to = min(largest.Replicas, t.variant.Max)
			t.because(scale.ReasonStabilisation, "Kept %d: as many were needed at %s, within the window of %s; %d are now",
				t.to, clock(largest.At), span(window), bound)
		}
	}
	c.Memory.Wishes = next
}
