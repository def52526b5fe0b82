package rival

import (
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// knativeKPA is Knative's pod autoscaler on concurrency. Whoever deploys a model
// server that takes B* requests at once sets containerConcurrency to B*, of which
// the KPA aims at 70 %; the default of 100 requests is for services that do not
// say.
func knativeKPA() Rival {
	return Rival{
		Name: "knative-kpa", What: "Knative's pod autoscaler on concurrency, with its panic mode and scale to zero.",
		Source: "knative.dev/serving v0.42.2, pkg/autoscaler and pkg/reconciler/autoscaling/kpa; config-autoscaler as shipped",
		Knob:   "target utilisation of B*", Grid: shareGrid(),
		New: func(s Setting) Policy {
			total := float64(max(1, s.Batch))
			return &knative{
				target: s.Target, bounds: rangeOf(s, s.Target, 0), desired: -1,
				decider: KPADecider{Target: math.Max(kpaLeastTarget, total*knobOr(s, kpaUtilisation)), Total: total},
			}
		},
	}
}

// kpaCondition is the condition Active of a PodAutoscaler.
type kpaCondition int

const (
	kpaActive kpaCondition = iota + 1
	kpaActivating
	kpaInactive
)

// knative is a revision's PodAutoscaler: the decider, and around it the bounds
// and the way to zero of kpa/scaler.go, here at every tick of the decider.
type knative struct {
	target    scale.ScaleTarget
	bounds    scale.Range
	decider   KPADecider
	desired   int // the decider's last valid word; −1 before it
	excess    int // and what it said of bursts
	spec      int // replicas of the Deployment
	condition kpaCondition
	since     time.Time // of condition
	proxied   time.Time // since when the activator is in the path; zero while it is not
	heard     bool      // the activator's last report was of requests
	recorded  time.Time // the second up to which the decider knows the concurrency
}

// Every implements Policy.
func (*knative) Every() time.Duration { return kpaTick }

// Decide implements Policy.
func (k *knative) Decide(now time.Time, m scale.ModelState) []Want {
	f := fleetOf(m, k.target)
	ready := len(f.ready)
	if k.condition == 0 { // the revision was rolled out before
		k.spec, k.since, k.proxied = f.size(), now, now
		switch {
		case ready > 0:
			k.condition = kpaActive
		case k.spec > 0 || k.bounds.Min > 0:
			k.condition = kpaActivating
		default:
			k.condition = kpaInactive
		}
	}
	k.record(now, m.Demand, ready)
	if s, ok := k.decider.Scale(now, ready); ok {
		k.desired, k.excess = s.Desired, s.ExcessBurst
	}
	want := k.reconcile(now)
	switch {
	case want > 0 && k.excess >= 0:
		k.proxied = time.Time{}
	case k.proxied.IsZero():
		k.proxied = now
	}
	k.mark(now, want, ready)
	return []Want{{k.target, k.spec}}
}

// record hands the decider the concurrency of the two seconds of a tick, of
// which only the last instant is known. Without a Ready replica nothing is
// scraped, and the activator reports while there are requests and once after.
func (k *knative) record(now time.Time, d scale.Demand, ready int) {
	o := requestsAtOnce(now, d, kpaTick)
	if !o.Known() || (ready == 0 && o.Value == 0 && !k.heard) {
		return
	}
	k.heard = o.Value > 0
	// A tick that a request at zero brings forward shares a second with the next.
	for _, second := range []time.Time{now.Add(-time.Second).Truncate(time.Second), now.Truncate(time.Second)} {
		if second.After(k.recorded) {
			k.decider.Record(second, o.Value)
			k.recorded = second
		}
	}
}

// reconcile applies what the decider said and returns the count wanted, −1
// where it is not known. At zero it first waits until the revision was active
// for the stable window, then until requests come by the activator.
func (k *knative) reconcile(now time.Time) int {
	if k.desired < 0 && k.condition != kpaActivating {
		return -1
	}
	if want := inRange(k.desired, k.bounds); want > 0 {
		k.spec = want
		return want
	}
	lasted := now.Sub(k.since)
	switch k.condition {
	case kpaActivating:
		if lasted <= kpaProgressLimit {
			return -1
		}
		k.spec = 0
	case kpaActive:
		if lasted < kpaStableWindow {
			k.spec = 1
			return 1
		}
	case kpaInactive:
		if now.Sub(k.proxied) >= kpaGrace { // it is in the path since the revision is inactive, or longer
			k.spec = 0
		}
	}
	return 0
}

// mark sets the condition Active (computeActiveCondition of kpa/kpa.go), which
// matters only where the minimum is 0.
func (k *knative) mark(now time.Time, want, ready int) {
	next := k.condition
	switch {
	case want == 0:
		next = kpaInactive
	case want < 0 && k.condition == kpaInactive:
	case ready == 0:
		next = kpaActivating
	default:
		next = kpaActive
	}
	if next != k.condition {
		k.condition, k.since = next, now
	}
}
