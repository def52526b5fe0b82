package rival

import (
	"testing"

	"pgregory.net/rapid"
)

func pods(state podState, values ...int64) []podMetric {
	var all []podMetric
	for _, v := range values {
		all = append(all, podMetric{state, v})
	}
	return all
}

func join(groups ...[]podMetric) []podMetric {
	var all []podMetric
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

// Values are thousandths of one core, of which one is requested.
func TestHPAProposesFromPods(t *testing.T) {
	cpu := podTarget{utilisation: 80, request: 1000}
	average := podTarget{average: 80_000}
	unready, missing := pods(podUnready, 0), pods(podMissing, 0)
	for _, c := range []struct {
		story  string
		target podTarget
		pods   []podMetric
		want   int
		ok     bool
		spec   int // where the Deployment is to have another count than there are pods
	}{
		{"the quotient is rounded up", cpu, pods(podCounted, 900, 900, 900, 900), 5, true, 0},
		{"a tenth above the target is tolerated", cpu, pods(podCounted, 880, 880), 2, true, 0},
		{"utilisation is a whole percentage, cut off", cpu, pods(podCounted, 889, 889), 2, true, 0},
		{"more than that is not tolerated", cpu, pods(podCounted, 890, 890), 3, true, 0},
		{"a tenth below is tolerated, too", cpu, pods(podCounted, 720, 720, 720), 3, true, 0},
		{"an average is cut to thousandths", average, pods(podCounted, 88_001, 88_001, 88_000), 3, true, 0},
		{"and above the tenth acted on", average, pods(podCounted, 88_001, 88_001, 88_001), 4, true, 0},
		{"on the way up a pod without a metric uses nothing", cpu, join(pods(podCounted, 1600, 1600), missing), 4, true, 0},
		{"and turns a small rise into none", cpu, join(pods(podCounted, 900, 900), missing), 3, true, 0},
		{"on the way down it uses all that it requests", cpu, join(pods(podCounted, 200, 200, 200, 200), missing, missing, missing, missing), 6, true, 0},
		{"and of an average just the target", average, join(pods(podCounted, 20_000, 20_000, 20_000), missing), 2, true, 0},
		{"so that it cannot turn a fall into a rise", cpu, join(pods(podCounted, 600), missing, missing, missing), 4, true, 0},
		{"on the way up a pod that is not ready uses nothing", cpu, join(pods(podCounted, 1000, 1000, 1000, 1000), unready), 5, true, 0},
		{"however many there are", cpu, join(pods(podCounted, 1600, 1600), unready, unready, unready), 5, true, 0},
		{"and brings the rest within a tenth of the target", cpu, join(pods(podCounted, 1100, 1100, 1100, 1100), unready), 5, true, 0},
		{"and what would be a fall then is none", cpu, join(pods(podCounted, 1600, 1600), missing, missing, missing), 3, true, 3},
		{"a rise to fewer than there should be is none", cpu, join(pods(podCounted, 2000), missing), 5, true, 5},
		{"unless all pods are counted", cpu, pods(podCounted, 1000, 1000), 3, true, 5},
		{"a fall to more than there should be is none", cpu, join(pods(podCounted, 400, 400, 400), missing), 2, true, 2},
		{"on the way down it is not there", cpu, join(pods(podCounted, 400, 400), unready, unready), 1, true, 0},
		{"idle pods are no pods", cpu, pods(podCounted, 0, 0), 0, true, 0},
		{"without a metric of any ready pod there is no proposal", cpu, join(missing, unready), 0, false, 0},
	} {
		t.Run(c.story, func(t *testing.T) {
			current := len(c.pods)
			if c.spec > 0 {
				current = c.spec
			}
			got, ok := hpaPods(current, c.pods, c.target)
			if got != c.want || ok != c.ok {
				t.Errorf("%d of %d pods (%t), want %d (%t)", got, len(c.pods), ok, c.want, c.ok)
			}
		})
	}
}

// However many metrics are lost, a fleet that need not grow ends up no smaller
// than with all of them.
func TestPartialLossNeverLowersWhatAnHPAProposes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		target := rapid.SampledFrom([]podTarget{{utilisation: 80, request: 1000}, {utilisation: 50, request: 2000}, {average: 1000}}).Draw(t, "target")
		values := rapid.SliceOfN(rapid.Int64Range(0, max(target.average, target.request)), 1, 30).Draw(t, "values")
		all := pods(podCounted, values...)
		full, _ := hpaPods(len(all), all, target)
		if full > len(all) {
			return // the fleet is to grow
		}
		for i := range all {
			if rapid.Bool().Draw(t, "lost") {
				all[i] = podMetric{state: podMissing}
			}
		}
		if got, ok := hpaPods(len(all), all, target); ok && got < full {
			t.Errorf("%d with some metrics lost, %d with all: %v", got, full, all)
		}
	})
}

func TestAnExternalMetricIsSharedOutOverThePods(t *testing.T) {
	for _, c := range []struct {
		story         string
		usage, target float64
		replicas      int
		want          int
	}{
		{"the quotient is rounded up", 71, 7, 5, 11},
		{"a tenth above is tolerated", 7.7, 7, 1, 1},
		{"thousandths are cut off before", 7.7009, 7, 1, 1},
		{"a thousandth above a tenth is not tolerated", 7.701, 7, 1, 2},
		{"a tenth below is tolerated", 63, 7, 10, 10},
		{"nothing asked for is no pods", 0, 7, 3, 0},
	} {
		t.Run(c.story, func(t *testing.T) {
			if got := hpaExternal(milli(c.usage), milli(c.target), c.replicas); got != c.want {
				t.Errorf("%d of %d pods, want %d", got, c.replicas, c.want)
			}
		})
	}
}
