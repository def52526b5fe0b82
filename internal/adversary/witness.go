package adversary

import (
	"fmt"
	"time"

	"github.com/penstock/penstock/internal/autoscaler"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
)

// witness sees all that happens in a world and holds it to the laws.
type witness struct {
	c         *Case
	now       time.Duration // of the newest tick
	forgot    time.Duration // when the loop was last restarted; −1 for never
	violation *Violation    // the first; nothing is looked at after it
	reached   map[string]int
	ticks     int
	sends     int

	ended  []bool // by request
	served int    // how many ended
	places map[scale.RequestID]place
	loads  map[scale.ReplicaID]*load
	limits map[scale.ScaleTarget]scale.Allocation

	lives   []scale.Lifetime
	died    int // replicas that ended without having been drained
	living  map[scale.ReplicaID]bool
	seen    map[scale.ReplicaID]bool // by the loop, ever
	named   map[scale.ReplicaID]bool // by a Change that was done
	noticed map[scale.ReplicaID]bool
	starts  map[string][]time.Duration // within a minute, by model; "" for all
	drains  map[string][]drain
	turns   map[scale.ScaleTarget]*turning
	calm    map[string]*calmness
	decided decided
}

// place is where a request is.
type place struct {
	replica scale.ReplicaID
	tokens  int
}

// load is what is at a replica.
type load struct{ requests, tokens int }

// drain is how many replicas a Decision drained.
type drain struct {
	at time.Duration
	n  int
}

// decided is the newest tick with a Decision.
type decided struct {
	at    time.Duration
	told  time.Time // by the loop's clock
	wants map[scale.ScaleTarget]int
}

// tick is one tick as it was seen, decided and done.
type tick struct {
	at      time.Duration
	truth   scale.Snapshot  // the world as it is
	told    scale.Snapshot  // and as the loop was told
	made    *scale.Decision // nil where there was none
	done    scale.Decision  // what the world is to do now
	err     error           // that no fault made
	journal *journal
}

func (c *Case) witness() *witness {
	w := &witness{
		c: c, forgot: -1, reached: map[string]int{}, places: map[scale.RequestID]place{}, loads: map[scale.ReplicaID]*load{},
		limits: map[scale.ScaleTarget]scale.Allocation{}, living: map[scale.ReplicaID]bool{}, seen: map[scale.ReplicaID]bool{}, named: map[scale.ReplicaID]bool{},
		noticed: map[scale.ReplicaID]bool{}, starts: map[string][]time.Duration{}, drains: map[string][]drain{},
		turns: map[scale.ScaleTarget]*turning{}, calm: map[string]*calmness{},
	}
	for i := range c.Models {
		w.calm[c.Models[i].Model.Name] = w.calmness(&c.Models[i])
	}
	return w
}

// fail notes the first law that was broken.
func (w *witness) fail(law Law, format string, args ...any) {
	if w.violation == nil {
		w.violation = &Violation{Law: law, At: w.now, Text: fmt.Sprintf(format, args...)}
	}
}

func (w *witness) reach(what string) { w.reached[what]++ }

// sent is told of every request on its way to a replica.
func (w *witness) sent(s sim.Sending) {
	w.sends++
	if old, again := w.places[s.Request]; again {
		w.leave(s.Request, old)
		w.reach("request tried again")
	}
	l := w.loads[s.Replica.ID]
	if l == nil {
		l = &load{}
		w.loads[s.Replica.ID] = l
	}
	if w.violation == nil {
		w.admits(s, l)
	}
	w.places[s.Request] = place{s.Replica.ID, s.Tokens}
	l.requests++
	l.tokens += s.Tokens
}

// admits holds one sending to the limits of its replica.
func (w *witness) admits(s sim.Sending, l *load) {
	at := s.At.Sub(w.c.Begin)
	switch {
	case s.Replica.Phase != scale.Ready:
		w.fail(NoticeLeads, "%v: request %d is sent to %s, which is %v", at, s.Request, s.Replica.ID, s.Replica.Phase)
	case l.requests >= s.Limit.BatchLimit:
		w.fail(BatchLimit, "%v: request %d is sent to %s, which has %d of %d", at, s.Request, s.Replica.ID, l.requests, s.Limit.BatchLimit)
	case s.Limit.KVTokens > 0 && l.requests > 0 && l.tokens+s.Tokens > s.Limit.KVTokens:
		w.fail(KVLimit, "%v: request %d of %d tokens is sent to %s, which has %d of %d", at, s.Request, s.Tokens, s.Replica.ID, l.tokens, s.Limit.KVTokens)
	}
	if l.requests+1 == s.Limit.BatchLimit {
		w.reach("full replica")
	}
}

func (w *witness) leave(id scale.RequestID, p place) {
	delete(w.places, id)
	if l := w.loads[p.replica]; l != nil {
		l.requests--
		l.tokens -= p.tokens
	}
}

// end is told of every request that ended.
func (w *witness) end(r scale.Request, s scale.Served) {
	for int(r.ID) >= len(w.ended) {
		w.ended = append(w.ended, make([]bool, len(w.ended)+64)...)
	}
	if w.ended[r.ID] {
		w.fail(OneOutcome, "request %d ended twice", r.ID)
	}
	w.ended[r.ID] = true
	w.served++
	if p, there := w.places[r.ID]; there {
		w.leave(r.ID, p)
	}
	if w.violation != nil {
		return
	}
	w.outcome(r, s)
	w.calm[r.Model].judge(r, r.At.Sub(w.c.Begin), s)
}

// holdSlack is how much later than its deadline a request may be let go.
const holdSlack = 100 * time.Millisecond

func (w *witness) outcome(r scale.Request, s scale.Served) {
	m := w.c.named(r.Model)
	if s.Held > m.Model.SLO.MaxHold+holdSlack {
		w.fail(HeldInTime, "request %d was held for %v, longer than %v", r.ID, s.Held, m.Model.SLO.MaxHold)
	}
	switch s.Outcome {
	case scale.OK, scale.Refused:
	case scale.Expired:
		w.reach("request expired")
	case scale.Cancelled:
		w.reach("request cancelled")
	case scale.Interrupted:
		w.reach("request interrupted")
		if w.died == 0 && !w.mayDie() {
			w.fail(NoneHarmed, "request %d was interrupted, and no replica died", r.ID)
		}
	case scale.Failed:
		w.reach("request failed")
		if w.died == 0 && !w.mayDie() && m.fits(r) {
			w.fail(NoneHarmed, "request %d failed, fits and no replica died", r.ID)
		}
	case scale.Lost, scale.Corrupted:
		w.fail(OneOutcome, "request %d is %v", r.ID, s.Outcome)
	}
}

// mayDie says whether replicas may end with requests in them.
func (w *witness) mayDie() bool { return w.c.has(Crash, ReadyThenDies, Reclaim, ZoneGone) }

// fits says whether the engine of every variant can hold a request.
func (m *Model) fits(r scale.Request) bool {
	for _, t := range m.Truths {
		if t.Profile.Tokens() && r.PromptTokens+r.OutputTokens-1 > t.Profile.KVCapacity() {
			return false
		}
	}
	return true
}

func (c *Case) named(model string) *Model {
	for i := range c.Models {
		if c.Models[i].Model.Name == model {
			return &c.Models[i]
		}
	}
	return nil
}

// lived is told of every replica that is gone.
func (w *witness) lived(l scale.Lifetime) {
	w.lives = append(w.lives, l)
	delete(w.loads, l.Replica)
	switch {
	case l.Ended.IsZero():
	case !l.Drained.IsZero():
		spot := l.Target.Capacity == scale.Spot && len(w.c.Nodes) > 0
		if !w.named[l.Replica] && !w.noticed[l.Replica] && !spot {
			w.fail(NamedDrains, "%s drained at %v, and nobody named it", l.Replica, l.Drained.Sub(w.c.Begin))
		}
	case l.Ready.IsZero():
		w.reach("boot failed")
	default:
		w.died++
	}
}

// replayEvery is after how many ticks one is decided again from its record.
const replayEvery = 16

// tick is told of every tick, before the world does what was decided.
func (w *witness) tick(t tick) {
	w.ticks++
	if t.err != nil {
		w.fail(LoopWorks, "%v", t.err)
	}
	w.world(t)
	if t.made != nil {
		w.decision(t)
		if w.ticks%replayEvery == 0 || t.journal.resumed {
			w.replay(t.journal)
		}
	}
	w.does(t)
	if t.made != nil {
		w.decided = decided{at: t.at, told: t.told.Now, wants: map[scale.ScaleTarget]int{}}
		for _, c := range t.made.Changes {
			w.decided.wants[c.Target] = c.Want
		}
	}
}

// replay decides a record again.
func (w *witness) replay(j *journal) {
	m, err := autoscaler.DecodeMemory(j.record.Memory)
	if err != nil {
		w.fail(Replays, "the Memory of %v: %v", j.record.At, err)
		return
	}
	again, after := autoscaler.Step(j.record.Snapshot, m)
	text, err := after.Encode()
	if err != nil || string(text) != string(j.after) {
		w.fail(Replays, "decided again from its record, %v remembers otherwise (%v)", j.record.At, err)
	}
	if a, b := encoded(j.record.Decision), encoded(again); a != b {
		w.fail(Replays, "decided again from its record, %v is\n%s\nand was\n%s", j.record.At, b, a)
	}
}
