package rival

import (
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// delayedOff is DELAYEDOFF with AutoScale's packing: a request goes to the most
// recently busy server that has room; without one a server is set up; a server
// that was idle for a while is turned off. Gandhi, Gupta, Harchol-Balter and
// Kozuch, "Optimality analysis of energy-performance trade-off for server farm
// management" (Performance Evaluation 2010): the while is the set-up time where
// an idle server costs what one in set-up does, as it is when both are rented.
func delayedOff() Rival {
	return Rival{
		Name: "delayedoff", What: "DELAYEDOFF: a replica for every B* requests at once, kept for one cold start after it was last busy.",
		Source: "Gandhi et al., Performance Evaluation 67 (2010) and AutoScale, ACM TOCS 30 (2012)",
		Knob:   "wait, in cold starts", Grid: []float64{0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30},
		New: func(s Setting) Policy {
			v, _ := s.Model.Variant(s.Target.Variant)
			return &delayedoff{
				target: s.Target, bounds: rangeOf(s, s.Target, 0), packing: max(1, s.Batch),
				wait: time.Duration(knobOr(s, 1) * float64(v.ColdStart)),
			}
		},
	}
}

// delayedoff counts servers by level: with packing, n requests at once are at
// the first ⌈n / packing⌉ of them, whatever the routing below really does, and
// which server is idle for how long follows from the count of requests alone.
type delayedoff struct {
	target  scale.ScaleTarget
	bounds  scale.Range
	packing int // requests at once that a server takes
	wait    time.Duration
	busy    []time.Time // by level, those that are on: when it was last busy
	begun   bool
}

// Every implements Policy. The original acts on every arrival and departure.
func (*delayedoff) Every() time.Duration { return 2 * time.Second }

// Decide implements Policy. While requests cannot be counted, nothing changes.
func (p *delayedoff) Decide(now time.Time, m scale.ModelState) []Want {
	f := fleetOf(m, p.target)
	if !p.begun {
		p.begun = true
		p.turnOn(f.size(), now)
	}
	if o := requestsAtOnce(now, m.Demand, lookback); o.Known() {
		p.step(now, ceil(o.Value/float64(p.packing)), len(f.ready), f.starting)
	}
	return []Want{{p.target, inRange(len(p.busy), p.bounds)}}
}

// step turns on what is needed and off what was idle for the wait. The wait of
// a server begins when it is set up, be the requests for which it was gone.
func (p *delayedoff) step(now time.Time, need, ready, starting int) {
	p.turnOn(min(need, p.bounds.Max), now)
	for i := range p.busy {
		if i < need || (i >= ready && i < ready+starting) {
			p.busy[i] = now
		}
	}
	for len(p.busy) > 0 && now.Sub(p.busy[len(p.busy)-1]) >= p.wait {
		p.busy = p.busy[:len(p.busy)-1]
	}
}

func (p *delayedoff) turnOn(n int, now time.Time) {
	for len(p.busy) < n {
		p.busy = append(p.busy, now)
	}
}
