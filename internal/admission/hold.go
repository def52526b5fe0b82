package admission

import (
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// begin starts an event: old effects are done with, passed deadlines are acted
// on, and what that made room for is sent.
func (q *Queue) begin(now time.Time) {
	if q.lapse(now) {
		q.release(now)
	}
}

// lapse acts on passed deadlines and says whether there were any.
func (q *Queue) lapse(now time.Time) bool {
	q.effects = q.effects[:0]
	lapsed := false
	for len(q.due) > 0 && !q.due[0].due.After(now) {
		e := q.due[0]
		lapsed = true
		if e.due.Before(e.request.Deadline) { // the end of an avoidance, not of the hold
			e.avoid = ""
			e.due = e.request.Deadline
			q.due.fix(e)
			continue
		}
		q.expire(e, now)
	}
	return lapsed
}

// newEntry is an entry as good as new for a request, which is not known yet.
func (q *Queue) newEntry(r *scale.Request, now time.Time) *entry {
	e := q.spare
	if e == nil {
		e = &entry{}
	} else {
		q.spare, e.next = e.next, nil
	}
	e.request.ID, e.request.At, e.request.Deadline = r.ID, r.At, r.Deadline
	e.request.Priority, e.request.Tenant = r.Priority, r.Tenant
	e.request.Prefix, e.request.Bytes = r.Prefix, r.Bytes
	e.request.PromptTokens, e.request.OutputTokens = r.PromptTokens, r.OutputTokens
	if r.At.IsZero() {
		e.request.At = now
	}
	if r.Deadline.IsZero() {
		e.request.Deadline = e.request.At.Add(q.limits.SLO.MaxHold)
	}
	q.seq++
	e.seq = q.seq
	return e
}

// know makes an entry one that events may speak of.
func (q *Queue) know(e *entry) {
	id := e.request.ID
	q.entries[id] = e
	q.newest = max(q.newest, id)
	if len(q.entries) > len(q.recent) {
		q.recent = make([]*entry, 2*len(q.recent))
		for id, e := range q.entries {
			q.recent[int(id)&(len(q.recent)-1)] = e
		}
	}
	q.recent[int(id)&(len(q.recent)-1)] = e
}

// known returns the entry of a request, nil when there is none.
func (q *Queue) known(id scale.RequestID) *entry {
	if e := q.recent[int(id)&(len(q.recent)-1)]; e != nil && e.request.ID == id {
		return e
	}
	if id > q.newest {
		return nil
	}
	return q.entries[id]
}

// forget makes an entry one to be used again. Only what a request has that was
// sent at once needs to be reset, and the rest if it waited.
func (q *Queue) forget(e *entry) {
	delete(q.entries, e.request.ID)
	if at := &q.recent[int(e.request.ID)&(len(q.recent)-1)]; *at == e {
		*at = nil
	}
	if e.waited {
		*e = entry{}
	}
	e.replica, e.begun, e.accepted = nil, false, false
	e.next, q.spare = q.spare, e
}

// place puts an entry that is in no lane into its own, releases whatever may
// go, and says what became of it.
func (q *Queue) place(e *entry, now time.Time) {
	e.heldSince = now
	e.woke = e.woke || q.fleet.ready == 0
	q.enqueue(e)
	q.release(now)
	if e.lane == nil { // sent
		return
	}
	refused := Why(0)
	switch {
	case e.accepted && q.draining:
		refused = GoingDown
	case e.accepted:
	case q.held > q.limits.MaxHeld:
		refused = TooManyHeld
	case q.bytes > q.limits.MaxHeldBytes:
		refused = TooManyBytes
	}
	switch {
	case refused != 0:
		q.leave(e, now)
		q.refuse(e, refused)
		q.release(now) // a replica may have been kept free for it
		return
	case !e.request.Deadline.After(now):
		q.expire(e, now)
		q.release(now)
		return
	}
	e.accepted = true
	q.effects = append(q.effects, Effect{Kind: Hold, Request: e.request.ID, Woke: e.woke})
	if q.fleet.ready == 0 {
		q.effects = append(q.effects, Effect{Kind: Wake, Request: e.request.ID, Woke: true})
	}
}

// release sends held requests while one of them fits a replica.
func (q *Queue) release(now time.Time) {
	for q.held > 0 && (q.fleet.open() || q.reserved != nil) {
		e, to := q.next(now)
		if e == nil {
			return
		}
		q.leave(e, now)
		q.send(e, to)
	}
}

// next returns the request to release and where to, or nothing when none fits.
func (q *Queue) next(now time.Time) (*entry, *replica) {
	var blocked *entry // the first in order that fits nowhere
	for _, c := range q.classes {
		c.age(now, q.limits.SLO)
		lanes := [2]*lane{&c.fresh, &c.late}
		if c.sinceLate >= lateShare-1 {
			lanes = [2]*lane{&c.late, &c.fresh}
		}
		for _, l := range lanes {
			e, to := q.fitting(l, &blocked)
			if e == nil {
				continue
			}
			if l == &c.late {
				c.sinceLate = 0
			} else if c.late.first != nil {
				c.sinceLate++
			}
			q.pass(blocked)
			c.charge(e)
			return e, to
		}
	}
	return nil, nil
}

// fitting returns the first request of a lane that fits a replica.
func (q *Queue) fitting(l *lane, blocked **entry) (*entry, *replica) {
	if l.class.fair.on {
		return q.fairest(l, blocked)
	}
	looked := 0
	for e := l.first; e != nil && looked < window; e = e.next {
		if to := q.find(e); to != nil {
			return e, to
		}
		if *blocked == nil && e != q.reserved {
			*blocked = e
		}
		looked++
	}
	return nil, nil
}

// find returns the best replica for a held request, if one has room.
func (q *Queue) find(e *entry) *replica {
	if e == q.reserved && q.fleet.kept.room() >= e.need() {
		return q.fleet.kept
	}
	var not *replica
	if e.avoid != "" {
		not = q.fleet.replicas[e.avoid]
	}
	return q.fleet.place(e, not)
}

// pass notes that a request was overtaken because it fits nowhere. After some
// times the replica where it will fit soonest is kept free for it; otherwise
// a stream of small requests could hold a large one back for ever.
func (q *Queue) pass(e *entry) {
	if e == nil {
		return
	}
	e.passed++
	if e.passed >= q.patience && q.reserved == nil && q.fleet.keep(e.need(), e.avoid) {
		q.reserved = e
	}
}

func (q *Queue) unreserve() {
	if q.reserved != nil {
		q.reserved = nil
		q.fleet.unkeep()
	}
}

// sleep notes that no replica is Ready while requests wait: they are judged by
// the longest hold from now on, and the first of them asks for a replica if
// there was one until now.
func (q *Queue) sleep(wasAwake bool) {
	asked := !wasAwake
	for _, c := range q.classes {
		for e := c.fresh.first; e != nil; e = c.fresh.first {
			e.woke = true
			e.move(&c.late)
		}
		for e := c.late.first; e != nil; e = e.next {
			e.woke = true
			if !asked {
				q.effects = append(q.effects, Effect{Kind: Wake, Request: e.request.ID, Woke: true})
				asked = true
			}
		}
	}
}

func (q *Queue) send(e *entry, to *replica) {
	e.replica = to
	e.accepted = true
	q.inFlight++
	q.fleet.add(to, e)
	q.effects = append(q.effects, Effect{
		Kind: Send, Request: e.request.ID, Replica: to.id, Held: e.held, Woke: e.woke,
	})
}

func (q *Queue) expire(e *entry, now time.Time) {
	q.leave(e, now)
	q.effects = append(q.effects, Effect{Kind: Expire, Request: e.request.ID, Held: e.held, Woke: e.woke})
	q.forget(e)
}

func (q *Queue) refuse(e *entry, why Why) {
	q.effects = append(q.effects, Effect{Kind: Refuse, Request: e.request.ID, Why: why, Held: e.held, Woke: e.woke})
	q.forget(e)
}

// enqueue puts an entry into the lane of its priority.
func (q *Queue) enqueue(e *entry) {
	c := q.class(e.request.Priority)
	if e.woke {
		c.insert(e, &c.late, q.limits.Weights)
	} else {
		c.insert(e, &c.fresh, q.limits.Weights)
	}
	e.waited = true
	q.held++
	q.bytes += e.request.Bytes
	q.tokens += e.request.PromptTokens
	e.due = e.request.Deadline
	if e.avoid != "" && e.avoidUntil.Before(e.due) {
		e.due = e.avoidUntil
	}
	q.due.push(e)
}

// leave takes an entry out of its lane or away from its replica.
func (q *Queue) leave(e *entry, now time.Time) {
	if e.replica != nil {
		q.fleet.remove(e.replica, e)
		e.replica = nil
		q.inFlight--
		return
	}
	if e.lane == nil {
		return
	}
	if e == q.reserved {
		q.unreserve()
	}
	e.lane.class.remove(e)
	q.due.remove(e)
	q.held--
	q.bytes -= e.request.Bytes
	q.tokens -= e.request.PromptTokens
	e.held += now.Sub(e.heldSince)
}

func (q *Queue) class(priority int) *class {
	i, found := slices.BinarySearchFunc(q.classes, priority, func(c *class, p int) int { return p - c.priority })
	if !found {
		q.classes = slices.Insert(q.classes, i, newClass(priority))
	}
	return q.classes[i]
}
