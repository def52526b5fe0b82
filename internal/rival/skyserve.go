package rival

import (
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// SkyServe's defaults (sky/serve/constants.py).
const (
	skySync      = 20 * time.Second // of the load balancer's request timestamps
	skyWindow    = 60 * time.Second // AUTOSCALER_QPS_WINDOW_SIZE_SECONDS
	skyDecision  = 20 * time.Second // AUTOSCALER_DEFAULT_DECISION_INTERVAL_SECONDS
	skyAtZero    = 5 * time.Second  // AUTOSCALER_NO_REPLICA_DECISION_INTERVAL_SECONDS
	skyUpDelay   = 300 * time.Second
	skyDownDelay = 1200 * time.Second
	skyShare     = 0.7
)

// skyServe is SkyPilot's SkyServe: requests/s, and spot with on-demand for what
// spot does not give.
func skyServe() Rival {
	return Rival{
		Name:   "skyserve",
		What:   "SkyServe: requests/s of a minute over a target per replica, wanted 300 s long up and 1200 s down; on spot where there is any, with an on-demand replica for every spot replica that is not ready.",
		Source: "skypilot-org/skypilot, sky/serve/autoscalers.py at 4b81f5d0",
		Knob:   "target_qps_per_replica as a share of what one replica serves",
		Grid:   []float64{0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 1},
		Spot:   true,
		New:    func(s Setting) Policy { return newSky(s) },
	}
}

func newSky(s Setting) *sky {
	p := &sky{target: s.Target, spot: s.Target, bounds: replicaBounds(s), synced: series{span: skyWindow}}
	p.target.Capacity, p.spot.Capacity = scale.OnDemand, scale.Spot
	if v, ok := s.Model.Variant(s.Target.Variant); ok {
		p.hasSpot = slices.Contains(v.Capacities, scale.Spot)
	}
	if !p.hasSpot {
		p.target = s.Target
	}
	p.qps = knobOr(s, skyShare) * s.PerReplica
	return p
}

// sky is SkyServe's FallbackRequestRateAutoscaler where the variant has spot
// capacity (dynamic_ondemand_fallback on, base_ondemand_fallback_replicas 0, no
// over-provisioning: what its guide to spot shows), and its
// RequestRateAutoscaler where not. Its target_qps_per_replica has no default:
// 70 % of what one replica serves by the profile. It holds no requests: the
// admission that all policies share does.
//
// A controller that starts takes over what runs; SkyServe itself would begin at
// min_replicas.
type sky struct {
	target  scale.ScaleTarget // on demand, or the only one
	spot    scale.ScaleTarget
	hasSpot bool
	base    int // base_ondemand_fallback_replicas
	bounds  scale.Range
	qps     float64 // requests/s per replica

	began             bool
	want              int
	ups, downs        int // decisions in a row
	decided, syncedAt time.Time
	counted           time.Time // the newest arrivals that were counted
	unsent            []point   // requests since the last sync
	synced            series    // requests
}

func (*sky) Every() time.Duration { return skyAtZero }

func (p *sky) Decide(now time.Time, m scale.ModelState) []Want {
	alive, spot := fleetOf(m, p.target), fleetOf(m, p.spot)
	if !p.began {
		running := alive.size()
		if p.hasSpot {
			running = max(len(alive.ready)+len(spot.ready), spot.size())
		}
		p.began, p.want = true, inRange(running, p.bounds)
	}
	p.count(now, m.Demand)
	interval := skyDecision
	if p.want == 0 {
		interval = skyAtZero
	}
	if p.decided.IsZero() || now.Sub(p.decided) >= interval {
		p.decided = now
		p.decide(p.desired())
	}
	if !p.hasSpot {
		return []Want{{Target: p.target, Replicas: p.want}}
	}
	return p.blend(len(spot.ready))
}

// count takes in arrivals, and sends them on every 20 s. What is not measured,
// or measured before, adds nothing: old timestamps leave the window, and
// traffic reads as less.
func (p *sky) count(now time.Time, d scale.Demand) {
	if rate, ok := measured(d.Arrivals); ok && rate > 0 && d.Arrivals.At.After(p.counted) {
		over := d.ArrivalsOver
		if over <= 0 {
			over = skyAtZero
		}
		p.counted = d.Arrivals.At
		p.unsent = append(p.unsent, point{at: d.Arrivals.At, value: rate * over.Seconds()})
	}
	if p.syncedAt.IsZero() || now.Sub(p.syncedAt) >= skySync {
		p.syncedAt = now
		p.synced.points = append(p.synced.points, p.unsent...)
		p.unsent = p.unsent[:0]
	}
	p.synced.forget(now)
}

// desired is what the requests of the last minute ask for.
func (p *sky) desired() int {
	requests := 0.0
	for _, r := range p.synced.points {
		requests += r.value
	}
	if p.qps <= 0 {
		return p.want
	}
	// Counts that came as rates are whole but for the rounding of a product.
	return inRange(ceil(math.Round(requests)/skyWindow.Seconds()/p.qps), p.bounds)
}

// decide lets a wish through that was there for long enough, at once from zero.
// A contrary wish resets the other count; so does an equal one.
func (p *sky) decide(desired int) {
	switch {
	case p.want == 0:
		p.want = desired
	case desired > p.want:
		if p.ups, p.downs = p.ups+1, 0; p.ups >= int(skyUpDelay/skyDecision) {
			p.want, p.ups = desired, 0
		}
	case desired < p.want:
		if p.ups, p.downs = 0, p.downs+1; p.downs >= int(skyDownDelay/skyDecision) {
			p.want, p.downs = desired, 0
		}
	default:
		p.ups, p.downs = 0, 0
	}
}

// blend keeps the base on demand and the rest on spot, with one on demand for
// every spot replica that is not ready, up to the target (SkyServe caps it
// there in a later version) and to the maximum for both.
func (p *sky) blend(readySpot int) []Want {
	spot := max(0, p.want-p.base)
	onDemand := min(p.base, p.want) + max(0, spot-readySpot)
	onDemand = min(onDemand, p.want, p.bounds.Max-spot)
	return []Want{{Target: p.target, Replicas: onDemand}, {Target: p.spot, Replicas: spot}}
}
