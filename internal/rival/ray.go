package rival

import (
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Ray Serve's defaults (python/ray/serve/config.py and autoscaling_policy.py).
const (
	rayTargetOngoing = 2                // target_ongoing_requests
	rayUpDelay       = 30 * time.Second // upscale_delay_s
	rayDownDelay     = 10 * time.Minute // downscale_delay_s, also from 1 to 0
	rayLookBack      = 30 * time.Second // look_back_period_s
	rayPush          = 10 * time.Second // handles send their metrics
	rayForget        = 2 * rayPush      // and are forgotten after as much silence
	rayLoop          = 100 * time.Millisecond
)

// rayServe is Ray Serve's default autoscaling policy.
func rayServe() Rival {
	return Rival{
		Name:   "ray-serve",
		What:   "Ongoing requests, queued and running, over a target per replica; a change must be wanted 30 s long up and 600 s down, and a single contrary loop starts the count again.",
		Source: "ray-project/ray, python/ray/serve/autoscaling_policy.py at 00590c45",
		Knob:   "target_ongoing_requests",
		Grid:   []float64{1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96},
		New: func(s Setting) Policy {
			return &ray{
				target: s.Target, bounds: replicaBounds(s), goal: knobOr(s, rayTargetOngoing),
				samples: series{span: rayLookBack},
			}
		},
	}
}

// ray counts what its handles report: requests that wait at them (held at the
// gateway) and that run at ready replicas, averaged over 30 s and sent every
// 10 s. The control loop runs ten times a second on what was sent last; here a
// second's loops are counted at once. Its own sampling is twice as often.
type ray struct {
	target scale.ScaleTarget
	bounds scale.Range
	goal   float64 // ongoing requests per replica

	began   bool
	want    int
	loops   int // control loops in a row that wanted more (positive) or fewer
	last    time.Time
	samples series
	pushed  point // the mean that was sent last
}

func (*ray) Every() time.Duration { return time.Second }

func (p *ray) Decide(now time.Time, m scale.ModelState) []Want {
	f := fleetOf(m, p.target)
	passed := 1
	if p.began {
		passed = max(1, int(now.Sub(p.last)/rayLoop))
	} else {
		p.began, p.want = true, inRange(f.size(), p.bounds)
	}
	p.last = now
	ongoing := rayOngoing(now, m, f)
	p.record(now, ongoing)
	switch {
	case len(f.ready) > 0:
		p.delay(p.desired(p.total(now), len(f.ready)), passed)
	case ongoing.Value > 0:
		// An idle handle reports at once: one replica, whatever the backlog.
		p.want = min(max(1, p.want), p.bounds.Max)
	}
	return []Want{{Target: p.target, Replicas: p.want}}
}

// rayOngoing sums what is reported. A report that is older than 20 s was
// dropped, so that the sum reads lower; absent when nothing is reported at all.
func rayOngoing(now time.Time, m scale.ModelState, f fleet) scale.Observation {
	var sum scale.Observation
	add := func(o scale.Observation) {
		if n, ok := measured(o); ok && o.Fresh(now, rayForget) {
			sum = scale.Observe(sum.Value+n, now)
		}
	}
	add(m.Demand.Held)
	for _, r := range f.ready {
		add(r.Load.InFlight)
	}
	return sum
}

func (p *ray) record(now time.Time, ongoing scale.Observation) {
	if !ongoing.Known() {
		p.samples.forget(now)
		return
	}
	p.samples.add(now, ongoing.Value)
	if p.pushed.at.IsZero() || now.Sub(p.pushed.at) >= rayPush {
		mean := p.samples.mean(now, rayLookBack)
		p.pushed = point{at: now, value: mean}
	}
}

// total is what the controller counts: nothing of what was sent too long ago.
func (p *ray) total(now time.Time) float64 {
	if p.pushed.at.IsZero() || now.Sub(p.pushed.at) > rayForget {
		return 0
	}
	return p.pushed.value
}

// desired is the replicas that the load asks for, by the smoothing factors,
// which are 1.
func (p *ray) desired(total float64, running int) int {
	const upscalingFactor, downscalingFactor = 1.0, 1.0
	desired, factor := total/p.goal, upscalingFactor
	if desired <= float64(running) {
		factor = downscalingFactor
	}
	n := ceil(float64(running) + factor*(desired-float64(running)))
	if math.Ceil(desired) < float64(running) && n == running {
		n--
	}
	return inRange(n, p.bounds)
}

// delay lets a wish through that was there long enough without a break, as it
// stands in the end.
func (p *ray) delay(desired, passed int) {
	switch {
	case desired > p.want:
		if p.loops = max(p.loops, 0) + passed; p.loops > int(rayUpDelay/rayLoop) {
			p.want, p.loops = desired, 0
		}
	case desired < p.want:
		if p.want != 1 {
			desired = max(1, desired) // zero comes only from one
		}
		if p.loops = min(p.loops, 0) - passed; p.loops < -int(rayDownDelay/rayLoop) {
			p.want, p.loops = desired, 0
		}
	default:
		p.loops = 0
	}
}
