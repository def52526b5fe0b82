package adversary

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
)

// calmness is how a model does once faults have stopped.
type calmness struct {
	slo    scale.SLO
	alone  func(scale.Request) bool // whether a replica for it alone serves a request in time
	even   bool                     // its traffic is
	from   time.Duration            // when it must do well again
	bound  bool                     // something kept it from having what it wanted since then
	good   int
	judged int
}

// coldStarts is within how many cold starts, beside the scale-down window and
// the time that a request may be held, a model must do well again.
const coldStarts = 2

// calmness says from when on a model must do well: two of its slowest cold
// starts, its scale-down window and its longest hold after the last fault's end.
// A boot that a fault slows down goes on after that, and so does a clock that
// was ahead, for what was dated by it.
func (w *witness) calmness(m *Model) *calmness {
	out := &calmness{slo: m.Model.SLO, alone: w.c.alone(m), even: m.Model.Mode == scale.Auto && m.Traffic.Family == steadyFamily && m.Traffic.CV <= 2 && !m.Traffic.Long}
	var boot time.Duration
	for i, v := range m.Model.Variants {
		boot = max(boot, v.ColdStart, m.Truths[i].Boot.Mixture[0].Mean)
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

// alone says whether each of a model's variants serves a request in time that it
// has nothing else to do beside.
func (c *Case) alone(m *Model) func(scale.Request) bool {
	services := sim.NewServiceTimes(c.Seed)
	index := slices.IndexFunc(c.Models, func(o Model) bool { return o.Model.Name == m.Model.Name })
	return func(r scale.Request) bool {
		for _, t := range m.Truths {
			p := t.Profile
			if !p.Tokens() {
				if services.Of(index, r.ID, p.Service) > m.Model.SLO.Latency {
					return false
				}
				continue
			}
			first, context := 0.0, 0
			for context < r.PromptTokens {
				chunk := min(p.PrefillChunk, r.PromptTokens-context)
				context += chunk
				first += p.IterationTime(float64(chunk), float64(context))
			}
			if first > m.Model.SLO.TTFT.Seconds() || p.IterationTime(1, float64(context+r.OutputTokens)) > m.Model.SLO.TPOT.Seconds() {
				return false
			}
		}
		return true
	}
}

// binds notes that a model may not have what it wants, or that boots fail it:
// then it need not do well.
func (c *calmness) binds(at time.Duration, changes []scale.Change, plan []scale.Reason) {
	if at < c.from {
		return
	}
	codes := []scale.ReasonCode{
		scale.ReasonMax, scale.ReasonCostCap, scale.ReasonFleetCostCap, scale.ReasonUpRate, scale.ReasonFleetUpRate, scale.ReasonNoSlot,
		scale.ReasonTakingSlot, scale.ReasonGivingSlot, scale.ReasonShortage, scale.ReasonInfeasible, scale.ReasonBootFailures, scale.ReasonOverdue, scale.ReasonInterruption,
	}
	c.bound = c.bound || because(scale.Change{Reasons: plan}, codes...)
	for _, change := range changes {
		c.bound = c.bound || because(change, codes...)
	}
}

// judge takes in a request that ended, if a replica for it alone would have
// served it in time: more than that no fleet can do.
func (c *calmness) judge(r scale.Request, arrived time.Duration, s scale.Served) {
	if !c.even || arrived < c.from || s.Outcome == scale.Cancelled || !c.alone(r) {
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
	recoverSlack = 0.02
)

// recovers holds a model to its objective in calm. Where replicas are slow for
// all of their lives there is none.
func (w *witness) recovers(name string, c *calmness) {
	if c.judged < enoughJudged || c.bound || w.c.has(SlowReplica) {
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
	why       []string // of the newest turns
}

// mostTurns is how many changes of direction within a cold start are none too
// many.
const mostTurns = 2

// turn notes the directions of Changes that act, and holds a calm fleet to few
// turns: one whose window is as long as a cold start. One without is asked to
// follow each request, and does.
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
			x.why = append(x.why[max(0, len(x.why)-mostTurns):], fmt.Sprintf("\n%v: %d to %d because %v", t.at, c.From, c.To, c.Reasons))
		}
		x.direction = direction
		calm := w.calm[c.Target.Model]
		v, _ := w.c.named(c.Target.Model).Model.Variant(c.Target.Variant)
		if !calm.even || calm.bound || t.at < calm.from || w.c.named(c.Target.Model).Model.ScaleDownWindow < v.ColdStart {
			continue
		}
		w.reach("settling judged")
		if n := len(x.turns); n > mostTurns && x.turns[n-1-mostTurns] >= calm.from {
			if x.turns[n-1]-x.turns[n-1-mostTurns] < v.ColdStart {
				w.fail(Settles, "%v turned %d times from %v to %v, within a cold start of %v:%s", c.Target, mostTurns+1, x.turns[n-1-mostTurns], x.turns[n-1], v.ColdStart, strings.Join(x.why, ""))
			}
		}
	}
}
