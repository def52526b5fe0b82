package sim

import (
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// target is what is known of one ScaleTarget.
type target struct {
	scale.ScaleTarget
	index   int // in run.targets
	service *service
	variant scale.Variant
	truth   *Truth
	sigma   float64          // of the truth's service times, where there are no tokens
	limit   scale.Allocation // the newest decided

	backoff
	ready, starting, draining int
	rate                      float64       // US dollars per hour of what lives
	since                     time.Duration // books.spread
	usage                     [usageCount]time.Duration
	cost                      float64
	starts, failed            int
	reclaimed, refused        int
	turned                    time.Duration // when its count was last changed,
	direction                 int           // and which way; 0 for never
}

// alive returns how many replicas are not Gone.
func (t *target) alive() int { return t.ready + t.starting + t.draining }

// count returns the counter of a phase.
func (t *target) count(p scale.Phase) *int {
	switch p {
	case scale.Starting:
		return &t.starting
	case scale.Ready:
		return &t.ready
	case scale.Draining, scale.Gone:
	}
	return &t.draining
}

// replica is one copy and its engine.
type replica struct {
	scale.Replica // without Load
	target        *target
	service       *service
	slot          int32 // in run.replicas; the last part of its ID
	born          int   // order of births in the World
	zone          *zone // nil for none
	price         float64
	engine        *engine.Stepper // nil before it is Ready
	bootFails     bool
	touched       bool          // its engine may have another next event
	lives         time.Duration // once it is Ready; 0 for as long as it is wanted
	ends          time.Duration // by itself
	pace          float64       // multiplies all times of its engine; 0 for 1
	stalled       time.Duration // nothing comes out of it until then

	created, ready, drained time.Duration // ready and drained are −1 before they are
	notice                  scale.Interruption
	deadline                time.Duration // of the notice

	inFlight int
	seen     time.Duration // spend
	busy     time.Duration // with a request there while Ready
	area     float64       // request-nanoseconds
	latency  latency
	worked   time.Duration // of its engine, at the previous Snapshot
	last     scale.Load    // of the last good Snapshot; kept only where signals may be stale
}

// spend accounts the time since it was last called.
func (r *replica) spend(now time.Duration) {
	d := now - r.seen
	if d == 0 {
		return
	}
	r.seen = now
	if r.inFlight > 0 {
		r.area += float64(r.inFlight) * float64(d)
		if r.Phase == scale.Ready {
			r.busy += d
		}
	}
}

// name makes the ID of a replica. IDs of one model sort by birth, and end in
// the slot, so that admission's effects lead to the replica without a search.
func name(model string, birth int, slot int32) scale.ReplicaID {
	const digits = 7
	n := strconv.Itoa(birth)
	return scale.ReplicaID(model + "-" + strings.Repeat("0", max(0, digits-len(n))) + n + "." + strconv.Itoa(int(slot)))
}

// slotOf reads the slot from an ID.
func slotOf(id scale.ReplicaID) int {
	slot, unit := 0, 1
	for i := len(id) - 1; id[i] != '.'; i-- {
		slot += unit * int(id[i]-'0')
		unit *= 10
	}
	return slot
}

// life is a replica's paid life so far.
func (r *run) life(m *replica) scale.Lifetime {
	l := scale.Lifetime{Replica: m.ID, Target: m.Target, PricePerHour: m.price, Created: r.instant(m.created), Busy: m.busy}
	if m.ready >= 0 {
		l.Ready = r.instant(m.ready)
	}
	if m.drained >= 0 {
		l.Drained = r.instant(m.drained)
	}
	if m.Phase == scale.Gone {
		l.Ended = r.clock
	}
	return l
}

// enter moves a replica to a phase.
func (r *run) enter(m *replica, phase scale.Phase) {
	t := m.target
	r.books.spread(t, r.now)
	m.spend(r.now)
	*t.count(m.Phase)--
	if m.Phase == scale.Ready {
		r.books.ready--
	}
	m.Phase, m.Since = phase, r.clock
	switch phase {
	case scale.Starting:
	case scale.Ready:
		m.ready = r.now
		r.books.ready++
		r.books.peak = max(r.books.peak, r.books.ready)
	case scale.Draining:
		m.drained = r.now
	case scale.Gone:
		t.rate -= m.price
		if t.alive() == 0 {
			t.rate = 0 // no remainder of rounding
		}
		return
	}
	*t.count(phase)++
}

// close books a replica's life until now.
func (r *run) close(m *replica) {
	t := m.target
	m.spend(r.now)
	drained := m.drained
	if drained < 0 {
		drained = r.now
	}
	ready := min(m.ready, drained)
	if m.ready < 0 {
		ready = drained
	}
	t.usage[scale.Loading] += ready - m.created
	t.usage[scale.Serving] += m.busy
	t.usage[scale.IdleTime] += drained - ready - m.busy
	t.usage[scale.DrainingTime] += r.now - drained
	t.cost += m.price * (r.now - m.created).Hours()
	if m.engine != nil {
		s := m.engine.State(r.now)
		r.books.busy += s.Busy
		r.books.preempt += s.Preemptions
	}
	if r.world.Lived != nil {
		r.world.Lived(r.life(m))
	}
}
