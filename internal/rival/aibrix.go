package rival

import (
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// AIBrix's defaults (annotations autoscaling.aibrix.ai/*).
const (
	aibrixTolerance    = 0.1 // up- and down-fluctuation-tolerance
	aibrixRate         = 2   // max-scale-up-rate and max-scale-down-rate
	aibrixStable       = 180 * time.Second
	aibrixPanic        = 60 * time.Second
	aibrixDownCooldown = 300 * time.Second // scale-down-cooldown-window; up it is 0
	aibrixShare        = 0.7
)

var aibrixGrid = []float64{0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 1}

// aibrixAPA is AIBrix's ratio autoscaler as it is at the commit named.
func aibrixAPA() Rival {
	return Rival{
		Name:   "aibrix-apa",
		What:   "AIBrix APA as shipped: a 180 s mean over ready pods times all pods, pending ones included, and a scale-down window that takes the smallest wish instead of the largest.",
		Source: "vllm-project/aibrix, pkg/controller/podautoscaler at e3e10f9e",
		Knob:   "num_requests_running target as a share of the batch limit",
		Grid:   aibrixGrid,
		New:    func(s Setting) Policy { return &apa{aibrix: newAIBrix(s)} },
	}
}

// aibrixAPAIntended is the same with its two mistakes corrected.
func aibrixAPAIntended() Rival {
	return Rival{
		Name:   "aibrix-apa-intended",
		What:   "AIBrix APA as it is meant: pending pods add nothing to a scale-up and count as on target in a scale-down, the scale-down window takes the largest wish, and the mean is over the 30 s of its sample.",
		Source: "vllm-project/aibrix at e3e10f9e with the pending guard of its pull request 2671, the window of the Kubernetes HPA that its comments claim, and the window and tolerance of samples/autoscaling/apa.yaml",
		Knob:   "num_requests_running target as a share of the batch limit",
		Grid:   aibrixGrid,
		New: func(s Setting) Policy {
			p := &apa{aibrix: newAIBrix(s), intended: true}
			p.metric.span, p.tolerance.down = 30*time.Second, 0.2
			return p
		},
	}
}

// aibrix is what APA and KPA share: every 10 s the mean over the pods that
// answered goes into a window, and the wish into a history. It scrapes pods
// itself and reads no age: a stale value is a value. AIBrix ships no target;
// its samples use KV cache usage at 0.5, which a batch limit may keep out of
// reach for good, so the metric is num_requests_running and the target 70 % of
// what one replica runs at once.
//
// Scale to zero is parsed and not done, and from zero APA cannot come back
// (0·r = 0): it keeps one replica.
type aibrix struct {
	target scale.ScaleTarget
	bounds scale.Range
	goal   float64 // running requests per replica

	tolerance band

	began   bool
	want    int // spec.replicas
	metric  series
	history series
}

// band is how far a ratio may be from 1 without consequence.
type band struct{ up, down float64 }

func newAIBrix(s Setting) aibrix {
	return aibrix{
		target: s.Target, bounds: rangeOf(s, s.Target, 1), goal: knobOr(s, aibrixShare) * float64(max(1, s.Batch)),
		tolerance: band{up: aibrixTolerance, down: aibrixTolerance},
		metric:    series{span: aibrixStable}, history: series{span: aibrixDownCooldown},
	}
}

func (*aibrix) Every() time.Duration { return 10 * time.Second }

// scrape records the mean over the pods that answer. When none does, the
// reconciliation fails and nothing is scaled: false. What our gateway holds
// would run in the engines' batches under AIBrix alone: it is counted there, in
// equal shares.
func (p *aibrix) scrape(now time.Time, m scale.ModelState) bool {
	f := fleetOf(m, p.target)
	if !p.began {
		p.began, p.want = true, inRange(f.size(), p.bounds)
	}
	sum, n := 0.0, 0
	for _, r := range f.ready {
		if x, ok := runningAt(r); ok {
			sum, n = sum+x, n+1
		}
	}
	if n > 0 {
		held, _ := measured(m.Demand.Held)
		p.metric.add(now, sum/float64(n)+math.Max(0, held)/float64(len(f.ready)))
	}
	return n > 0
}

// settle applies the windows and the bounds to a wish. As shipped, the window
// of 300 s gives the smallest wish in it to a scale-down, so that it delays
// nothing; as intended, the largest.
func (p *aibrix) settle(now time.Time, wish int, downWindow func() float64) {
	p.history.add(now, float64(wish))
	if wish < p.want {
		wish = min(p.want, int(downWindow()))
	}
	p.want = inRange(wish, p.bounds)
}

func (p *aibrix) wants() []Want { return []Want{{Target: p.target, Replicas: p.want}} }

type apa struct {
	aibrix
	intended bool
}

func (p *apa) Decide(now time.Time, m scale.ModelState) []Want {
	if !p.scrape(now, m) {
		return p.wants()
	}
	mean := p.metric.mean(now, p.metric.span)
	ratio := mean / p.goal
	if p.intended {
		p.settle(now, p.guarded(ratio, len(fleetOf(m, p.target).ready)), p.history.most)
	} else {
		p.settle(now, p.scaled(ratio, ratio), p.history.least)
	}
	return p.wants()
}

// scaled is the count times the ratio that counts in each direction.
func (p *apa) scaled(up, down float64) int {
	all := float64(p.want)
	switch {
	case up > 1+p.tolerance.up:
		return min(ceil(all*up), aibrixRate*p.want)
	case down < 1-p.tolerance.down:
		return max(ceil(all*down), p.want/aibrixRate)
	default:
		return p.want
	}
}

// guarded is scaled where pending pods run nothing in a scale-up and their
// target in a scale-down.
func (p *apa) guarded(ratio float64, ready int) int {
	all, some := float64(max(1, p.want)), float64(min(ready, p.want))
	return p.scaled(ratio*some/all, (ratio*some+all-some)/all)
}
