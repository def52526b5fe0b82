package rival

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const hpaSource = "kubernetes/kubernetes pkg/controller/podautoscaler (autoscaling/v2, defaults of kube-controller-manager)"

// hpaConcurrency scales on requests at once, the metric that guides for model
// servers recommend: the sum over the model, held ones included, as an external
// metric with an AverageValue target. Dividing by the replicas first and
// multiplying by them again, as a Pods metric does, would come to the same,
// but could not see what the gateway holds. The target of 70 % of what a
// replica takes at once is the head-room that Knative ships.
func hpaConcurrency() Rival {
	return Rival{
		Name: "hpa-concurrency", What: "HPA on requests at once, held ones included, at a share of B* per replica.", Source: hpaSource,
		Knob: "share of B* per replica", Grid: shareGrid(),
		New: func(s Setting) Policy {
			// One sample late: a series scraped every 30 s is 15 s old on average.
			return newHPA(s, &hpaTotal{target: concurrencyTarget(s), line: delayed[scale.Observation]{lag: 1}})
		},
	}
}

// hpaCPU scales on the utilisation of the CPU request, at the 80 % that
// autoscaling/v1 defaults to. What a model server's CPU does has to be modelled,
// and it is modelled in the rival's favour. One that batches tokens spends its
// CPU in the main loop of its engine, which fills one core whenever there is
// work and waits when there is none (vLLM's EngineCore; vllm#16968, #28053), so
// that with a request of one core utilisation is Load.Busy. With a larger
// request it would never reach its target and never scale. One that does not
// batch tokens is a pool of workers, of which each request occupies one.
func hpaCPU() Rival {
	return Rival{
		Name: "hpa-cpu", What: "HPA on the utilisation of the CPU request.", Source: hpaSource,
		Knob: "percent of the CPU request", Grid: percentGrid(),
		New: func(s Setting) Policy {
			v, _ := s.Model.Variant(s.Target.Variant)
			target := podTarget{utilisation: max(1, int64(knobOr(s, 80))), request: 1000}
			// Two samples late: kubelet looks every 10 s and metrics-server every
			// 30 s, which is 20 s on average, and what it says is a mean of 30 s.
			return newHPA(s, &hpaEach{target: target, resource: true, measure: cpuOf(v.Profile), line: delayed[[]podSample]{lag: 2}})
		},
	}
}

// hpaGPU scales on DCGM_FI_DEV_GPU_UTIL, the share of time in which any kernel
// ran, as a Pods metric. The target of 80 is that of Hugging Face Endpoints.
// The exporter sees the device and not the server, so that a replica that loads
// its weights counts, and reads nearly zero.
func hpaGPU() Rival {
	return Rival{
		Name: "hpa-gpu", What: "HPA on GPU utilisation as DCGM reports it: the share of time with a kernel running.", Source: hpaSource,
		Knob: "percent of GPU time", Grid: percentGrid(),
		New: func(s Setting) Policy {
			target := podTarget{average: max(1, milli(knobOr(s, 80)))}
			// Two samples late: the exporter looks every 30 s and Prometheus scrapes
			// it every 30 s, 15 s each on average.
			return newHPA(s, &hpaEach{target: target, measure: gpuOf, line: delayed[[]podSample]{lag: 2}})
		},
	}
}

func shareGrid() []float64 {
	return []float64{0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1}
}

func percentGrid() []float64 { return []float64{10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95} }

// concurrencyTarget is the knob's share of B*, or 70 % of it, in thousandths as a
// manifest would say it: quantities round up.
func concurrencyTarget(s Setting) int64 {
	return max(1, int64(math.Ceil(knobOr(s, kpaUtilisation)*float64(max(1, s.Batch))*1000)))
}

// hpa is a HorizontalPodAutoscaler on the Deployment of one target.
type hpa struct {
	target     scale.ScaleTarget
	controller hpaController
	metric     hpaMetric
	spec       int // spec.replicas of the Deployment; −1 before it was read
}

// hpaMetric is where an HPA's proposals come from.
type hpaMetric interface {
	// sample takes in what can be measured now.
	sample(now time.Time, m scale.ModelState)
	// propose returns a count from what has arrived by now; false when nothing has.
	propose(now time.Time, current int, pods []*scale.Replica) (int, bool)
}

// newHPA makes an HPA whose minimum is at least 1, as it is where metrics come
// from pods or from a cluster that has not turned on scale to zero.
func newHPA(s Setting, metric hpaMetric) *hpa {
	return &hpa{target: s.Target, controller: hpaController{bounds: rangeOf(s, s.Target, 1)}, metric: metric, spec: -1}
}

// Every implements Policy.
func (*hpa) Every() time.Duration { return hpaSync }

// Decide implements Policy.
func (h *hpa) Decide(now time.Time, m scale.ModelState) []Want {
	pods := ofTarget(m, h.target)
	if h.spec < 0 {
		// Who deploys an HPA deploys at least its minimum: a count of zero would
		// mean that scaling is switched off.
		h.spec = max(len(pods), h.controller.bounds.Min)
	}
	h.metric.sample(now, m)
	h.spec = h.controller.reconcile(now, h.spec, func() (int, bool) { return h.metric.propose(now, h.spec, pods) })
	return []Want{{h.target, h.spec}}
}

// hpaTotal is one external series for the whole model.
type hpaTotal struct {
	target     int64 // thousandths of requests, per replica
	nullIsZero bool  // what is absent reads as 0
	line       delayed[scale.Observation]
	newest     scale.Observation
}

func (t *hpaTotal) sample(now time.Time, m scale.ModelState) {
	o := requestsAtOnce(now, m.Demand, lookback)
	if t.nullIsZero && !o.Known() {
		o = scale.Observe(0, now)
	}
	t.newest, _ = t.line.pass(o)
}

func (t *hpaTotal) propose(_ time.Time, current int, _ []*scale.Replica) (int, bool) {
	if !t.newest.Known() {
		return 0, false
	}
	return hpaExternal(milli(t.newest.Value), t.target, current), true
}

// hpaEach is a metric that every pod has.
type hpaEach struct {
	target   podTarget
	resource bool // of metrics-server: pods count only once they are Ready
	measure  func(now time.Time, r *scale.Replica) scale.Observation
	line     delayed[[]podSample]
	newest   []podSample
}

// podSample is what was measured of a pod; sorted by replica.
type podSample struct {
	id    scale.ReplicaID
	at    time.Time
	value int64 // thousandths
}

func (e *hpaEach) sample(now time.Time, m scale.ModelState) {
	var samples []podSample
	exported, serves := false, false
	for i := range m.Replicas {
		r := &m.Replicas[i]
		if !r.Serving() {
			continue
		}
		o := e.measure(now, r)
		if !readable(now, o, lookback) {
			serves = serves || r.Phase == scale.Ready
			continue
		}
		exported = exported || r.Phase == scale.Ready
		samples = append(samples, podSample{r.ID, o.At, milli(o.Value)})
	}
	if serves && !exported {
		samples = nil // the pipeline is down, for replicas that load as well
	}
	e.newest, _ = e.line.pass(samples)
}

func (e *hpaEach) propose(now time.Time, current int, pods []*scale.Replica) (int, bool) {
	seen := make([]podMetric, 0, max(current, len(pods)))
	for _, r := range pods {
		i, ok := slices.BinarySearchFunc(e.newest, r.ID, func(s podSample, id scale.ReplicaID) int { return strings.Compare(string(s.id), string(id)) })
		switch {
		case !ok:
			seen = append(seen, podMetric{state: podMissing})
		case e.resource && unreadyForCPU(now, r, e.newest[i].at):
			seen = append(seen, podMetric{state: podUnready})
		default:
			seen = append(seen, podMetric{podCounted, e.newest[i].value})
		}
	}
	for len(seen) < current {
		seen = append(seen, podMetric{state: podUnready}) // Pending: there is no room for it yet
	}
	return hpaPods(current, seen, e.target)
}

// What the HPA allows a pod to start up: cpu-initialization-period, and the
// window of a metric of metrics-server, which must lie behind readiness.
const (
	cpuInitialisation = 5 * time.Minute
	cpuWindow         = 30 * time.Second
)

// unreadyForCPU says whether the HPA sets a pod's CPU aside: while it was never
// Ready, and in its first minutes until a whole window was measured since.
func unreadyForCPU(now time.Time, r *scale.Replica, measured time.Time) bool {
	if r.Phase == scale.Starting {
		return true
	}
	return r.Created.Add(cpuInitialisation).After(now) && measured.Before(r.Since.Add(cpuWindow))
}

// cpuOf returns how many cores a replica of the profile uses, of one that it
// requests.
func cpuOf(p scale.Profile) func(time.Time, *scale.Replica) scale.Observation {
	return func(now time.Time, r *scale.Replica) scale.Observation {
		if r.Phase == scale.Starting {
			return scale.Observe(1, now) // reading weights; set aside, since it is not Ready
		}
		if !p.Tokens() && p.Service.Concurrency > 0 {
			o := r.Load.InFlight
			o.Value = min(1, o.Value/float64(p.Service.Concurrency))
			return o
		}
		return r.Load.Busy
	}
}

// gpuOf returns the percentage of time with a kernel running.
func gpuOf(now time.Time, r *scale.Replica) scale.Observation {
	if r.Phase == scale.Starting {
		return scale.Observe(0, now)
	}
	o := r.Load.Busy
	o.Value *= 100
	return o
}
