package rival

import (
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// What kube-controller-manager and autoscaling/v2 ship: sync period, tolerance,
// the window of scale-down, and the policies of spec.behavior.
const (
	hpaSync        = 15 * time.Second
	hpaTolerance   = 0.1
	hpaDownWindow  = 5 * time.Minute
	hpaPeriod      = 15 * time.Second // of each policy
	hpaUpPods      = 4
	hpaUpPercent   = 100
	hpaDownPercent = 100
)

// hpaController is what the HPA's controller remembers of one object and does
// with a proposal: stabilisation, then policies, then bounds. It follows
// reconcileAutoscaler and normalizeDesiredReplicasWithBehaviors of
// pkg/controller/podautoscaler/horizontal.go with the default behaviour written
// out: no window upwards, 300 s downwards.
type hpaController struct {
	bounds          scale.Range
	recommendations []hpaRecommendation
	ups, downs      []hpaEvent
}

// hpaRecommendation is what one sync proposed before it was stabilised.
type hpaRecommendation struct {
	at       time.Time
	replicas int
}

// hpaEvent is one rescale.
type hpaEvent struct {
	at     time.Time
	change int
}

// reconcile returns the count to write. propose is asked only where the HPA
// would query metrics; false from it means that none could be had, which
// changes nothing and is not remembered.
func (c *hpaController) reconcile(now time.Time, current int, propose func() (int, bool)) int {
	if c.recommendations == nil {
		c.recommendations = []hpaRecommendation{{now, current}}
	}
	var next int
	switch {
	case current == 0 && c.bounds.Min != 0:
		return 0 // ScalingDisabled: a count of zero means that a person paused it
	case current > c.bounds.Max:
		next = c.bounds.Max
	case current < c.bounds.Min:
		next = c.bounds.Min
	default:
		proposed, ok := propose()
		if !ok {
			return current
		}
		next = c.limit(now, current, c.stabilise(now, current, proposed))
	}
	switch {
	case next > current:
		c.ups = append(younger(c.ups, now.Add(-hpaPeriod), eventAt), hpaEvent{now, next - current})
	case next < current:
		c.downs = append(younger(c.downs, now.Add(-hpaPeriod), eventAt), hpaEvent{now, current - next})
	}
	return next
}

// stabilise keeps a fleet at the largest recommendation of the window of
// scale-down, and remembers the one of now.
func (c *hpaController) stabilise(now time.Time, current, proposed int) int {
	c.recommendations = younger(c.recommendations, now.Add(-hpaDownWindow), recommendationAt)
	up, down := proposed, proposed
	for _, r := range c.recommendations {
		down = max(down, r.replicas)
	}
	c.recommendations = append(c.recommendations, hpaRecommendation{now, proposed})
	return min(max(current, up), down)
}

// limit applies the policies and the bounds.
func (c *hpaController) limit(now time.Time, current, want int) int {
	added, removed := changes(c.ups, now), changes(c.downs, now)
	switch {
	case want > current:
		start := current - added + removed
		limit := max(start+hpaUpPods, int(math.Ceil(float64(start)*(1+hpaUpPercent/100.0))))
		return min(want, max(limit, current), c.bounds.Max)
	case want < current:
		start := current + removed - added
		limit := int(float64(start) * (1 - hpaDownPercent/100.0))
		return max(want, min(limit, current), c.bounds.Min)
	}
	return want
}

// changes sums the rescales of a policy's period.
func changes(events []hpaEvent, now time.Time) int {
	sum := 0
	for _, e := range events {
		if e.at.After(now.Add(-hpaPeriod)) {
			sum += e.change
		}
	}
	return sum
}

func eventAt(e hpaEvent) time.Time                   { return e.at }
func recommendationAt(r hpaRecommendation) time.Time { return r.at }

// younger drops, in place, what is not younger than the cut-off.
func younger[T any](all []T, cutoff time.Time, at func(T) time.Time) []T {
	kept := all[:0]
	for _, e := range all {
		if at(e).After(cutoff) {
			kept = append(kept, e)
		}
	}
	return kept
}

// hpaTolerates says whether a ratio is too close to 1 to act on.
func hpaTolerates(ratio float64) bool {
	return 1-hpaTolerance <= ratio && ratio <= 1+hpaTolerance
}

// milli is a quantity as metrics APIs carry it: thousandths, cut off.
func milli(value float64) int64 { return int64(value * 1000) }

// hpaExternal proposes a count for an external metric with an AverageValue
// target, both in thousandths (GetExternalPerPodMetricReplicas).
func hpaExternal(usage, target int64, statusReplicas int) int {
	ratio := float64(usage) / (float64(target) * float64(statusReplicas))
	if hpaTolerates(ratio) {
		return statusReplicas
	}
	return int(math.Ceil(float64(usage) / float64(target)))
}
