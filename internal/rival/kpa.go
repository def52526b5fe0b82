package rival

import (
	"math"
	"time"
)

// config-autoscaler of Knative as it ships. activation-scale is 1 and
// scale-down-delay 0, with which neither does anything.
const (
	kpaTick          = 2 * time.Second
	kpaStable        = 60 // seconds, one bucket each
	kpaPanic         = 6  // 10 % of it
	kpaPanicOver     = 2.0
	kpaMaxUp         = 1000.0
	kpaMaxDown       = 2.0
	kpaUtilisation   = 0.7
	kpaLeastTarget   = 0.01
	kpaTargetBurst   = 211.0
	kpaGrace         = 30 * time.Second
	kpaStableWindow  = kpaStable * time.Second
	kpaProgressLimit = 630 * time.Second // progress-deadline and the 30 s that the autoscaler adds
)

// KPADecider is the arithmetic of Knative's autoscaler for one revision: what
// pkg/autoscaler/scaling and the windows of pkg/autoscaler/aggregation do. It is
// exported for the module bench, which holds it against that code. It begins at
// its first Scale.
type KPADecider struct {
	Target float64 // requests at once that a replica should have
	Total  float64 // requests at once that a replica takes

	stable, short kpaWindow
	begun         bool
	panicAt       time.Time // when the threshold was last exceeded; zero outside of panic mode
	panicReplicas int       // the largest count of this panic
}

// KPAScale is one decision of a KPADecider.
type KPAScale struct {
	Desired     int
	ExcessBurst int // requests at once that fit beside the target burst capacity; below 0 keeps the activator in the path
}

// Record takes in the concurrency over the second that now lies in. Seconds do
// not run backwards, as they do not where scrapes are recorded when they return.
func (d *KPADecider) Record(now time.Time, concurrency float64) {
	if d.stable.buckets == nil {
		d.stable, d.short = newKPAWindow(kpaStable), newKPAWindow(kpaPanic)
	}
	d.stable.record(now.Unix(), concurrency)
	d.short.record(now.Unix(), concurrency)
}

// Scale decides; false when nothing was recorded for longer than the stable
// window, which leaves the revision as it is.
func (d *KPADecider) Scale(now time.Time, readyReplicas int) (KPAScale, bool) {
	if !d.begun {
		d.begun = true
		d.panicReplicas = readyReplicas
		if readyReplicas > 1 {
			d.panicAt = now // the history is lost: do not shrink before there is one
		}
	}
	if d.stable.empty(now.Unix()) {
		return KPAScale{}, false
	}
	stable, short := d.stable.average(now.Unix()), d.short.average(now.Unix())
	ready := math.Max(1, float64(readyReplicas))
	least, most := math.Floor(ready/kpaMaxDown), math.Ceil(kpaMaxUp*ready)
	wantStable, wantShort := math.Ceil(stable/d.Target), math.Ceil(short/d.Target)
	desired := int(math.Min(math.Max(wantStable, least), most))
	desiredShort := int(math.Min(math.Max(wantShort, least), most))

	switch over := wantShort/ready >= kpaPanicOver; {
	case over:
		d.panicAt = now
	case !d.panicAt.IsZero() && d.panicAt.Add(kpaStableWindow).Before(now):
		d.panicAt, d.panicReplicas = time.Time{}, 0
	}
	if !d.panicAt.IsZero() {
		d.panicReplicas = max(d.panicReplicas, desired, desiredShort)
		desired = d.panicReplicas
	}
	burst := math.Floor(float64(readyReplicas)*d.Total - kpaTargetBurst - short)
	return KPAScale{Desired: desired, ExcessBurst: int(burst)}, true
}

// kpaWindow is a ring of buckets of one second. Times are Unix seconds.
type kpaWindow struct {
	buckets     []float64
	first, last int64 // of records; last is long ago before the first
	total       float64
}

func newKPAWindow(seconds int) kpaWindow {
	return kpaWindow{buckets: make([]float64, seconds), last: math.MinInt64 / 2}
}

func (w *kpaWindow) length() int64 { return int64(len(w.buckets)) }

func (w *kpaWindow) bucket(at int64) *float64 {
	n := w.length()
	return &w.buckets[(at%n+n)%n] // a simulation may begin before 1970, by a second
}

// empty says whether nothing was recorded for longer than the window.
func (w *kpaWindow) empty(now int64) bool {
	return w.buckets == nil || now-w.last > w.length()
}

// record adds to the bucket of a second, which is not before the last one. A gap
// shorter than the window counts as zeros; after a longer one the window begins
// anew.
func (w *kpaWindow) record(at int64, value float64) {
	switch {
	case at-w.last >= w.length():
		clear(w.buckets)
		w.first, w.last, w.total = at, at, 0
	case at > w.last:
		for s := w.last + 1; s <= at; s++ {
			w.total -= *w.bucket(s)
			*w.bucket(s) = 0
		}
		w.last = at
	}
	*w.bucket(at) += value
	w.total += value
}

// average is over the seconds of the window that lie between the first record
// and the last: neither what came before nor what has not come yet dilutes it.
// It is cut after six decimals.
func (w *kpaWindow) average(now int64) float64 {
	late := max(0, now-w.last)
	if late >= w.length() {
		return 0
	}
	total := w.total
	for s := w.last + 1; s <= now; s++ {
		total -= *w.bucket(s)
	}
	seconds := min(w.last-w.first+1, w.length()-late)
	return math.Floor(total/float64(seconds)*1e6) / 1e6
}
