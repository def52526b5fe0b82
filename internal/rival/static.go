package rival

import (
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// staticPeak is a fleet sized once for the largest need of the whole series.
func staticPeak() Rival {
	return Rival{
		Name: "static-peak", What: "A constant fleet as large as the largest need.",
		Source: "what runs where nothing scales", Knob: "replicas", New: newStatic,
	}
}

// staticP99 is a fleet sized once for all but the busiest hundredth of time.
func staticP99() Rival {
	return Rival{
		Name: "static-p99", What: "A constant fleet that is large enough for 99 % of the time.",
		Source: "what runs where nothing scales", Knob: "replicas", New: newStatic,
	}
}

// static holds Setting.Knob replicas, which whoever knows the series chooses;
// without one, as many as are allowed.
type static struct{ want Want }

func newStatic(s Setting) Policy {
	bounds := rangeOf(s, s.Target, 0)
	return static{Want{s.Target, inRange(ceil(knobOr(s, float64(bounds.Max))), bounds)}}
}

// Every implements Policy. A constant needs no control interval: this is how
// soon a replica that was lost is ordered anew.
func (static) Every() time.Duration { return 15 * time.Second }

// Decide implements Policy.
func (p static) Decide(time.Time, scale.ModelState) []Want { return []Want{p.want} }
