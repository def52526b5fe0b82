package rival

import (
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// chartHPA is the HPA that WVA's chart puts behind its gauge: an external
// metric with an average value of 1, so that the wish is the gauge; 240 s of
// stabilisation both ways, and at most ten pods in 150 s
// (charts/workload-variant-autoscaler/values.yaml at b08b1c77).
type chartHPA struct {
	bounds scale.Range
	wishes series
	moves  series // signed changes of the count
}

func newChartHPA(bounds scale.Range) chartHPA {
	const window, period = 240 * time.Second, 150 * time.Second
	return chartHPA{bounds: bounds, wishes: series{span: window}, moves: series{span: period}}
}

// follow returns the count that comes after current when the gauge says
// desired: up to the least wish of the window, down to the largest.
func (h *chartHPA) follow(now time.Time, current, desired int) int {
	if len(h.wishes.points) == 0 {
		h.wishes.add(now, float64(current)) // its first reconciliation
	}
	h.wishes.add(now, float64(inRange(desired, h.bounds)))
	h.moves.forget(now)
	const pods = 10
	n := current
	if least := int(h.wishes.least()); n < least {
		n = min(least, max(n, h.before(current)+pods))
	}
	if most := int(h.wishes.most()); n > most {
		n = max(most, min(n, h.before(current)-pods))
	}
	n = inRange(n, h.bounds)
	if n != current {
		h.moves.add(now, float64(n-current))
	}
	return n
}

// before is the count at the start of the policies' period.
func (h *chartHPA) before(current int) int {
	for _, m := range h.moves.points {
		current -= int(m.value)
	}
	return current
}
