package rival

import (
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// fleet is one target's replicas as a controller that asks the cluster counts
// them: those that drain are gone for it. It points into the ModelState.
type fleet struct {
	starting int
	ready    []*scale.Replica
}

func fleetOf(m scale.ModelState, t scale.ScaleTarget) fleet {
	f := fleet{ready: make([]*scale.Replica, 0, len(m.Replicas))}
	for i := range m.Replicas {
		switch r := &m.Replicas[i]; {
		case r.Target != t:
		case r.Phase == scale.Starting:
			f.starting++
		case r.Phase == scale.Ready:
			f.ready = append(f.ready, r)
		}
	}
	return f
}

func (f fleet) size() int { return f.starting + len(f.ready) }

// rangeOf returns replicaBounds for one target, with no fewer than the rival
// can do with.
func rangeOf(s Setting, t scale.ScaleTarget, least int) scale.Range {
	s.Target = t
	bounds := replicaBounds(s)
	bounds.Min = min(max(bounds.Min, least), bounds.Max)
	return bounds
}

func inRange(n int, r scale.Range) int { return max(r.Min, min(n, r.Max)) }

// measured returns an Observation's value if it was made and is a number. Its
// age is each rival's own affair.
func measured(o scale.Observation) (float64, bool) {
	return o.Value, o.Known() && !math.IsNaN(o.Value) && !math.IsInf(o.Value, 0)
}

// runningAt returns the requests that run at a replica by its engine, or where
// the engine does not say by the gateway.
func runningAt(r *scale.Replica) (float64, bool) {
	if n, ok := measured(r.Load.Running); ok {
		return n, true
	}
	return measured(r.Load.InFlight)
}

// ceil is math.Ceil as a count: what is no number is 0, and what is beyond any
// fleet is cut.
func ceil(x float64) int {
	const beyond = 1 << 30
	if math.IsNaN(x) {
		return 0
	}
	return int(math.Ceil(math.Max(-beyond, math.Min(x, beyond))))
}

// point is a value at an instant.
type point struct {
	at    time.Time
	value float64
}

// series is what was recorded in the last span, oldest first.
type series struct {
	span   time.Duration
	points []point
}

// add records a value and forgets what is older than the span.
func (s *series) add(now time.Time, value float64) {
	s.points = append(s.points, point{at: now, value: value})
	s.forget(now)
}

func (s *series) forget(now time.Time) {
	old := 0
	for old < len(s.points) && now.Sub(s.points[old].at) >= s.span {
		old++
	}
	s.points = append(s.points[:0], s.points[old:]...)
}

// mean is over the last part of the series; 0 when nothing is there.
func (s *series) mean(now time.Time, last time.Duration) float64 {
	sum, n := 0.0, 0
	for _, p := range s.points {
		if now.Sub(p.at) < last {
			sum, n = sum+p.value, n+1
		}
	}
	return sum / float64(max(1, n))
}

// least and most are over the whole series; it must not be empty.
func (s *series) least() float64 {
	x := math.Inf(1)
	for _, p := range s.points {
		x = math.Min(x, p.value)
	}
	return x
}

func (s *series) most() float64 {
	x := math.Inf(-1)
	for _, p := range s.points {
		x = math.Max(x, p.value)
	}
	return x
}
