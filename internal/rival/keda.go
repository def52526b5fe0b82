package rival

import (
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// What a ScaledObject ships with. Its pollingInterval is two syncs of the HPA.
const (
	kedaPoll     = 2 * hpaSync
	kedaCooldown = 5 * time.Minute
)

// kedaScaler scales on the same requests at once as HPA on concurrency does,
// through KEDA's prometheus trigger; KEDA ships no threshold, so that it has
// the same one, too. What KEDA adds is the way to zero and back.
func kedaScaler() Rival {
	return Rival{
		Name: "keda", What: "KEDA's prometheus trigger on requests at once: 0 to 1 and back every 30 s, an HPA above.",
		Source: "kedacore/keda 8b4f083, pkg/scaling/executor and prometheus scaler; defaults of a ScaledObject",
		Knob:   "share of B* per replica", Grid: shareGrid(),
		New: func(s Setting) Policy {
			metric := &hpaTotal{target: concurrencyTarget(s), nullIsZero: true, line: delayed[scale.Observation]{lag: 1}}
			return &keda{hpa: newHPA(s, metric), metric: metric, min: rangeOf(s, s.Target, 0).Min}
		},
	}
}

// keda is a ScaledObject without a fallback, as it ships: a trigger that fails
// changes nothing, so that failures need no count. A query with an empty answer
// does not fail, for ignoreNullValues is true as shipped: it reads as zero, and
// the fleet shrinks. The HPA that KEDA generates has a minimum of at least 1 and
// sleeps while the Deployment is at 0.
type keda struct {
	hpa        *hpa
	metric     *hpaTotal
	min        int       // minReplicaCount
	lastActive time.Time // zero: never
	ticks      int
}

// Every implements Policy.
func (*keda) Every() time.Duration { return hpaSync }

// Decide implements Policy. HPA and poll are two controllers; the poll comes
// second, so that the HPA sees a wake from zero at its next sync.
func (k *keda) Decide(now time.Time, m scale.ModelState) []Want {
	if k.hpa.spec < 0 {
		k.hpa.spec = fleetOf(m, k.hpa.target).size()
	}
	want := k.hpa.Decide(now, m)
	k.ticks++
	if every := int(kedaPoll / hpaSync); k.ticks%every == 0 {
		k.poll(now)
		want[0].Replicas = k.hpa.spec
	}
	return want
}

// poll is RequestScale of scale_scaledobjects.go for one trigger without error.
func (k *keda) poll(now time.Time) {
	spec := &k.hpa.spec
	switch active := k.metric.newest.Value > 0; {
	case active:
		if *spec == 0 {
			*spec = max(1, k.min)
		}
		k.lastActive = now
	case *spec > 0 && k.min == 0:
		if !k.lastActive.Add(kedaCooldown).After(now) {
			*spec = 0
		}
	case *spec < k.min:
		*spec = k.min
	}
}
