package rival

import (
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// aibrixKPA is AIBrix's Knative-like autoscaler as it is at the commit named.
func aibrixKPA() Rival {
	return Rival{
		Name:   "aibrix-kpa",
		What:   "AIBrix KPA as shipped on pod metrics: a mean per pod divided by the target as if it were a total, so that the fleet settles near the square root of what it needs.",
		Source: "vllm-project/aibrix, pkg/controller/podautoscaler/algorithm/kpa.go at e3e10f9e",
		Knob:   "num_requests_running target as a share of the batch limit",
		Grid:   aibrixGrid,
		New:    func(s Setting) Policy { return &kpaAsShipped{aibrix: newAIBrix(s)} },
	}
}

type kpaAsShipped struct{ aibrix }

func (p *kpaAsShipped) Decide(now time.Time, m scale.ModelState) []Want {
	if !p.scrape(now, m) {
		return p.wants()
	}
	const panicThreshold = 2.0
	stable := p.metric.mean(now, aibrixStable)
	recent := p.metric.mean(now, aibrixPanic)
	wish := p.wish(stable)
	if stable <= 0 || recent/stable > panicThreshold {
		// What should keep the fleet from shrinking in panic does nothing in the code.
		wish = max(wish, p.wish(recent))
	}
	p.settle(now, wish, p.history.least)
	return p.wants()
}

func (p *kpaAsShipped) wish(perPod float64) int {
	desired := p.want
	if perPod > p.goal*(1+p.tolerance.up) || perPod < p.goal*(1-p.tolerance.down) {
		desired = ceil(perPod / p.goal)
	}
	return max(p.want/aibrixRate, min(desired, max(1, p.want*aibrixRate)))
}
