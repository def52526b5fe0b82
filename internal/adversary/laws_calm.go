package adversary

import (
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// calmness is how a model does once faults have stopped.
type calmness struct {
	slo    scale.SLO
	from   time.Duration // when it must do well again; 0 for a model that need not
	good   int
	judged int
}

// coldStarts is within how many cold starts, beside the scale-down window and
// the time that a request may be held, a model must do well again.
const coldStarts = 2

// calmness says from when on a model must do well: two of its slowest cold
// starts after the last fault's end. It need not where its fleet is bounded by
// anything but its own maximum, or where its traffic is never even.
func (w *witness) calmness(m *Model) *calmness {
	out := &calmness{slo: m.Model.SLO}
	var boot time.Duration
	free := m.Model.Mode == scale.Auto && m.Traffic.Family == steadyFamily && m.Traffic.CV <= 1 && !m.Traffic.Long &&
		m.Model.Limits == scale.Limits{} && w.c.Fleet.Limits == scale.Limits{}
	for i, v := range m.Model.Variants {
		boot = max(boot, v.ColdStart, m.Truths[i].Boot.Mixture[0].Mean)
		free = free && len(v.Capacities) == 1 && v.Capacities[0] == scale.OnDemand && m.Truths[i].Boot.Fails == 0
		for _, o := range w.c.Offerings {
			free = free && (o.Accelerator != v.Accelerator.Type || o.Capacity != scale.OnDemand || !o.Limited)
		}
	}
	if !free {
		return out
	}
	out.from = w.c.calm() + coldStarts*boot + m.Model.ScaleDownWindow + m.Model.SLO.MaxHold
	if w.c.has(BootSlow) {
		out.from += 10 * boot
	}
	if w.c.has(ClockAhead, ClockBack) {
		out.from += clockOff
	}
	return out
}

// judge takes in a request that ended.
func (c *calmness) judge(arrived time.Duration, s scale.Served) {
	if c.from == 0 || arrived < c.from || s.Outcome == scale.Cancelled {
		return
	}
	c.judged++
	if c.slo.Good(s) {
		c.good++
	}
}

// enoughJudged is how many requests say something of a model's attainment, and
// recoverSlack how far it may be below the objective.
const (
	enoughJudged = 200
	recoverSlack = 0.05
)

// recovers holds a model to its objective in calm.
func (w *witness) recovers(name string, c *calmness) {
	if c.judged < enoughJudged {
		return
	}
	w.reach("calm judged")
	at := float64(c.good) / float64(c.judged)
	noise := 3 * math.Sqrt(c.slo.Objective*(1-c.slo.Objective)/float64(c.judged))
	if at < c.slo.Objective-recoverSlack-noise {
		w.fail(Recovers, "%s: from %v on %d of %d requests are good, %.3f; the objective is %.3f", name, c.from, c.good, c.judged, at, c.slo.Objective)
	}
}

// turning is when the count of a target changed its direction.
type turning struct {
	direction int
	turns     []time.Duration
}

// mostTurns is how many changes of direction within a cold start are none too
// many.
const mostTurns = 2

// turn notes the directions of Changes that act, and holds a calm fleet to few
// turns.
func (w *witness) turn(t tick, d scale.Decision) {
	for _, c := range d.Changes {
		if c.DryRun || !c.Acts() {
			continue
		}
		direction := -1
		if c.Start() > 0 {
			direction = 1
		}
		x := w.turns[c.Target]
		if x == nil {
			x = &turning{}
			w.turns[c.Target] = x
		}
		if x.direction == -direction {
			x.turns = append(x.turns, t.at)
		}
		x.direction = direction
		calm := w.calm[c.Target.Model]
		v, _ := w.c.named(c.Target.Model).Model.Variant(c.Target.Variant)
		if n := len(x.turns); n > mostTurns && calm.from > 0 && x.turns[n-1-mostTurns] >= calm.from {
			w.reach("settling judged")
			if x.turns[n-1]-x.turns[n-1-mostTurns] < v.ColdStart {
				w.fail(Settles, "%v turned %d times from %v to %v, within a cold start of %v", c.Target, mostTurns+1, x.turns[n-1-mostTurns], x.turns[n-1], v.ColdStart)
			}
		}
	}
}
