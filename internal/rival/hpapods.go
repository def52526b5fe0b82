package rival

import (
	"math"

	"github.com/penstock/penstock/internal/scale"
)

// podState is how the HPA sorts a pod before it asks for its metric (groupPods
// of replica_calculator.go).
type podState int

const (
	podCounted podState = iota + 1 // its metric counts
	podUnready                     // pending, or of a resource metric and not Ready for long enough
	podMissing                     // runs, but nothing is known of it
)

// podMetric is one pod of the target with its metric in thousandths. Pods that
// are being deleted are not among them.
type podMetric struct {
	state podState
	value int64
}

// podTarget is the target of a metric that each pod has: an average in
// thousandths, or a utilisation in percent of a request, which is an integer
// after each division.
type podTarget struct {
	average     int64 // thousandths; 0 where utilisation is meant
	utilisation int64 // percent of request
	request     int64 // thousandths, of each pod
}

// ratio is usage over target, over so many pods.
func (t podTarget) ratio(sum int64, pods int) float64 {
	if t.average > 0 {
		return float64(sum/int64(pods)) / float64(t.average)
	}
	return float64(sum*100/(t.request*int64(pods))) / float64(t.utilisation)
}

// missingDown is what a pod without a metric is assumed to use when the others
// ask for fewer.
func (t podTarget) missingDown() int64 {
	if t.average > 0 {
		return t.average
	}
	return t.request * max(100, t.utilisation) / 100
}

// hpaPods proposes a count from the metrics of pods (GetResourceReplicas and
// calcPlainMetricReplicas). False when no pod that counts has one.
func hpaPods(current int, pods []podMetric, target podTarget) (int, bool) {
	sum, counted, unready, missing := int64(0), 0, 0, 0
	for _, p := range pods {
		switch p.state {
		case podCounted:
			sum += p.value
			counted++
		case podUnready:
			unready++
		case podMissing:
			missing++
		}
	}
	if counted == 0 {
		return 0, false
	}
	ratio := target.ratio(sum, counted)
	upWithUnready := unready > 0 && ratio > 1
	if !upWithUnready && missing == 0 {
		if hpaTolerates(ratio) {
			return current, true
		}
		return int(math.Ceil(ratio * float64(counted))), true
	}
	known := counted
	switch {
	case ratio < 1:
		sum, known = sum+int64(missing)*target.missingDown(), known+missing
	case ratio > 1:
		known += missing // as if they used nothing
	}
	if upWithUnready {
		known += unready // likewise
	}
	again := target.ratio(sum, known)
	if hpaTolerates(again) || (ratio < 1 && again > 1) || (ratio > 1 && again < 1) {
		return current, true
	}
	replicas := int(math.Ceil(again * float64(known)))
	if (again < 1 && replicas > current) || (again > 1 && replicas < current) {
		return current, true
	}
	return replicas, true
}

// ofTarget returns the replicas of a target that are pods which are not being
// deleted, in their order.
func ofTarget(m scale.ModelState, target scale.ScaleTarget) []*scale.Replica {
	pods := make([]*scale.Replica, 0, len(m.Replicas))
	for i := range m.Replicas {
		if r := &m.Replicas[i]; r.Target == target && r.Serving() {
			pods = append(pods, r)
		}
	}
	return pods
}
