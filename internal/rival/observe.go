package rival

import (
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// lookback is for how long Prometheus still answers with a series' last sample
// (--query.lookback-delta, 5m as shipped). What is older is absent.
const lookback = 5 * time.Minute

// requestsAtOnce is the model's concurrency: requests at replicas and those
// held at the gateway, each counted once. Absent when either is absent or older
// than maxAge, as is the sum of two series of which one is missing.
func requestsAtOnce(now time.Time, d scale.Demand, maxAge time.Duration) scale.Observation {
	if !readable(now, d.InFlight, maxAge) || !readable(now, d.Held, maxAge) {
		return scale.Observation{}
	}
	at := d.InFlight.At
	if d.Held.At.Before(at) {
		at = d.Held.At
	}
	return scale.Observe(d.InFlight.Value+d.Held.Value, at)
}

// readable says whether an Observation is a number and no older than maxAge.
func readable(now time.Time, o scale.Observation, maxAge time.Duration) bool {
	_, number := measured(o)
	return number && o.Fresh(now, maxAge)
}

// replicaBounds is what the rival's min and max are set to: the model's, within
// the variant's. A bound that is not set does not bind.
func replicaBounds(s Setting) scale.Range {
	bounds := scale.Range{Min: s.Model.Replicas.Min, Max: math.MaxInt32}
	if s.Model.Replicas.Max > 0 {
		bounds.Max = s.Model.Replicas.Max
	}
	if v, ok := s.Model.Variant(s.Target.Variant); ok && v.Max > 0 {
		bounds.Max = min(bounds.Max, v.Max)
	}
	bounds.Min = min(bounds.Min, bounds.Max)
	return bounds
}

// knobOr returns the setting's knob, or the one that the rival ships with.
func knobOr(s Setting, shipped float64) float64 {
	if s.Knob > 0 {
		return s.Knob
	}
	return shipped
}

// delayed is a metrics pipeline: what goes in comes out lag samples later.
type delayed[T any] struct {
	lag  int
	line []T
}

// pass puts a sample in and takes one out; false while the line fills.
func (d *delayed[T]) pass(in T) (T, bool) {
	if len(d.line) <= d.lag {
		d.line = append(d.line, in)
		if len(d.line) <= d.lag {
			var none T
			return none, false
		}
		return d.line[0], true
	}
	copy(d.line, d.line[1:])
	d.line[d.lag] = in
	return d.line[0], true
}
