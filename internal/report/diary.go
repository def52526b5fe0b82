package report

import (
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// MostTold is how many decisions of one workload a report tells.
const MostTold = 4000

// Diary collects the decisions that changed something, for Series.Decisions.
// When there are more than MostTold, of each few in a row the one with the
// largest step stays, so that what it holds is bounded and evenly spread.
type Diary struct {
	Start time.Time // of the trace

	told   []Told
	untold int
	group  int // decisions of which one stays; 0 is 1
	turn   int // decisions of the last group that have been seen
}

// Note takes the decision of one tick.
func (d *Diary) Note(decision scale.Decision) {
	for _, c := range decision.Changes {
		if c.Acts() {
			d.add(Told{At: decision.At.Sub(d.Start), Target: c.Target, From: c.From, To: c.To, Reasons: reasons(decision.Plans, c)})
		}
	}
}

// Told returns what is kept, in order, and how many were not.
func (d *Diary) Told() (kept []Told, untold int) { return slices.Clone(d.told), d.untold }

func (d *Diary) add(t Told) {
	switch last := len(d.told) - 1; {
	case d.turn == 0:
		d.told = append(d.told, t)
	case step(t) > step(d.told[last]):
		d.told[last] = t
		d.untold++
	default:
		d.untold++
	}
	d.group = max(1, d.group)
	if d.turn = (d.turn + 1) % d.group; d.turn != 0 || len(d.told) < MostTold {
		return
	}
	before := len(d.told)
	d.told = thin(d.told)
	d.untold += before - len(d.told)
	d.group *= 2
}

// thin keeps the larger step of each two neighbours, the earlier of equals.
func thin(told []Told) []Told {
	kept := make([]Told, 0, (len(told)+1)/2)
	for pair := range slices.Chunk(told, 2) {
		kept = append(kept, slices.MaxFunc(pair, func(a, b Told) int { return step(a) - step(b) }))
	}
	return kept
}

func step(t Told) int { return max(t.To-t.From, t.From-t.To) }

// reasons are those of the plan, why so much is wanted, and then those of the
// change, why so much is done.
func reasons(plans []scale.Plan, c scale.Change) []scale.Reason {
	var all []scale.Reason
	for _, p := range plans {
		if p.Model == c.Target.Model {
			all = append(all, p.Reasons...)
		}
	}
	for _, r := range c.Reasons {
		if !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	return all
}
