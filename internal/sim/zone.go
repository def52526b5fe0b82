package sim

import (
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Zone is spot capacity over time. One replica takes one node, whatever its
// accelerators. When there are fewer nodes than are taken, the youngest
// replicas there get a notice.
type Zone struct {
	Name   string
	Nodes  []Step        // ascending; none before the first
	Repeat time.Duration // after so long it begins anew; 0 for never
}

// Step is a count from an instant on.
type Step struct {
	At    time.Duration
	Count int
}

// zone is a Zone as it stands.
type zone struct {
	Zone
	step  int           // of Nodes, the next
	base  time.Duration // when this round began
	count int
	taken int // by replicas without a notice
}

// next returns when the count changes next.
func (z *zone) next() time.Duration {
	switch {
	case z.step < len(z.Nodes):
		return z.base + z.Nodes[z.step].At
	case z.Repeat > 0 && len(z.Nodes) > 0:
		return z.base + z.Repeat + z.Nodes[0].At
	default:
		return never
	}
}

// advance takes in all changes until now.
func (z *zone) advance(now time.Duration) {
	for z.next() <= now {
		if z.step == len(z.Nodes) {
			z.step, z.base = 0, z.base+z.Repeat
		}
		z.count = z.Nodes[z.step].Count
		z.step++
	}
}

// roomiest returns the zone with the most free nodes, the first of equals; nil
// when none has any.
func (r *run) roomiest() *zone {
	var best *zone
	for i := range r.zones {
		if z := &r.zones[i]; z.count > z.taken && (best == nil || z.count-z.taken > best.count-best.taken) {
			best = z
		}
	}
	return best
}

// zonesChanged takes in what changed in the zones by now.
func (r *run) zonesChanged() {
	next := never
	for i := range r.zones {
		z := &r.zones[i]
		z.advance(r.now)
		for z.taken > z.count {
			r.notice(r.youngest(z))
		}
		next = min(next, z.next())
	}
	r.timers.set(timerZone, rankZone, next)
}

// youngest returns the youngest replica of a zone without a notice.
func (r *run) youngest(z *zone) *replica {
	var best *replica
	for _, m := range r.replicas {
		if m != nil && m.zone == z && m.notice.Replica == "" && (best == nil || m.born > best.born) {
			best = m
		}
	}
	return best
}

// notice says that a replica will be taken. As in the local world it drains at
// once, and the tick that replaces it is poked, but not waited for.
func (r *run) notice(m *replica) {
	m.zone.taken--
	m.target.reclaimed++
	m.deadline = r.now + r.world.Notice
	m.notice = scale.Interruption{
		Replica: m.ID, Noticed: r.clock, Deadline: r.instant(m.deadline), Source: "zone " + m.zone.Name,
	}
	r.noticed = append(r.noticed, m)
	r.timers.set(timerReclaim, rankReclaim, r.noticed[0].deadline)
	if m.Serving() {
		r.drain(m)
	}
	r.poke(PokeNotice)
}

// reclaim takes the replicas whose deadline has come.
func (r *run) reclaim() {
	for len(r.noticed) > 0 && r.noticed[0].deadline <= r.now {
		m := r.noticed[0]
		r.noticed = r.noticed[:copy(r.noticed, r.noticed[1:])]
		if m.Phase != scale.Gone {
			r.gone(m)
		}
	}
	next := never
	if len(r.noticed) > 0 {
		next = r.noticed[0].deadline
	}
	r.timers.set(timerReclaim, rankReclaim, next)
}
