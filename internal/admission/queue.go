// Package admission decides what happens to each request of one model: sent to
// a replica, held, refused or expired. It is a state machine without a clock,
// a goroutine or a lock: events go in with the time at which they happened,
// effects come out. A gateway drives it with HTTP, a simulation with virtual
// events, and both get the same decisions for the same events.
//
// Routing takes the replica with the least outstanding work for its size; one
// that was sent the same prefix lately instead, if it has no more than what the
// cached prefix saves beyond that. It never takes one above its batch limit, one
// without room for the request's tokens or one that is draining.
//
// What can not be sent is held by priority and, within one priority, in two
// lanes. Fresh requests can still meet their time to first token and go first.
// Late ones no longer can, or waited for a wake from zero and are judged by the
// longest hold instead; they get what is left, and one release in lateShare for
// sure. Serving fresh work first keeps one shortage from making everything
// behind it late. Within a lane tenants are served fairly, and each tenant's
// requests in order of arrival.
package admission

import (
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const (
	// lateShare is how many releases of one priority contain one of a late
	// request, at least, while both lanes have requests that fit.
	lateShare = 8
	// window is how many requests of a lane are looked at for one that fits,
	// when those before it need more KV cache than any replica has free.
	window = 16
	// passesBeforeReserve is how often a request may be overtaken by smaller
	// ones before a replica is kept free for it.
	passesBeforeReserve = 32
	// avoidFor is how long a retried request keeps away from the replica that
	// failed it: long enough for the world to notice a dead one, short enough
	// that a fleet of one replica is tried again.
	avoidFor = 3 * time.Second
)

// Limits bound what one Queue may hold. Zero holds nothing.
type Limits struct {
	MaxHeld      int // requests
	MaxHeldBytes int // bytes of their bodies
	SLO          scale.SLO
	// Weights are the shares of tenants, by Request.Tenant: one of weight 2 gets
	// twice the work of one of weight 1, which is that of who is not named.
	Weights map[string]int
}

// Kind is what an Effect asks for.
type Kind int

// The kinds.
const (
	Send   Kind = iota + 1 // send Request to Replica
	Hold                   // Request waits; another Effect will end that
	Refuse                 // answer Request at once: Why says what stands against it
	Expire                 // answer Request: its deadline came while it was held
	Wake                   // Request is held and no replica is Ready: ask for one
)

// Why is what stands against a refused request.
type Why int

// The reasons to refuse.
const (
	TooManyHeld  Why = iota + 1 // as many requests as may be held are held
	TooManyBytes                // the held bodies would exceed their bound
	GoingDown                   // Drain was called
)

// Effect is one thing that the driver is to do now, in order.
type Effect struct {
	Kind    Kind
	Request scale.RequestID
	Replica scale.ReplicaID // for Send
	Why     Why             // for Refuse
	Held    time.Duration   // how long Request was held in all; for Send, Refuse and Expire
	Woke    bool            // Request was held while no replica was Ready
}

// Queue is the admission of one model. Every method that takes now expects it
// not to run backwards, and returns effects that are valid until the next call
// of any method. Requests with IDs that the Queue does not know are ignored,
// so that late events are harmless.
type Queue struct {
	limits   Limits
	fleet    fleet
	entries  map[scale.RequestID]*entry
	recent   []*entry        // most of entries, by ID modulo its length, a power of two
	newest   scale.RequestID // the largest ID so far
	classes  []*class        // by priority, highest first
	due      dueHeap
	spare    *entry // recycled entries, linked by next
	effects  []Effect
	walk     []candidate // for fairest
	seq      uint64
	held     int
	bytes    int
	tokens   int
	inFlight int
	draining bool
	reserved *entry // for whom fleet keeps a replica free
	patience int    // passesBeforeReserve, fewer in tests
}

// New returns an empty Queue without replicas.
func New(l Limits) *Queue {
	return &Queue{
		limits: l, entries: map[scale.RequestID]*entry{}, recent: make([]*entry, 64), fleet: newFleet(), patience: passesBeforeReserve,
	}
}

// Arrive places a new request: Send, Hold or Refuse. A request without a
// Deadline gets that of the SLO, At + MaxHold. An ID that is known already is
// ignored.
func (q *Queue) Arrive(r scale.Request, now time.Time) []Effect {
	q.begin(now)
	if q.known(r.ID) != nil {
		return q.effects
	}
	e := q.newEntry(&r, now)
	if q.draining {
		q.refuse(e, GoingDown)
		return q.effects
	}
	q.know(e)
	if q.held == 0 {
		if to := q.fleet.place(e, nil); to != nil {
			q.send(e, to)
			return q.effects
		}
	}
	q.place(e, now)
	return q.effects
}

// Cancel forgets a request whose client went away, held or sent.
func (q *Queue) Cancel(id scale.RequestID, now time.Time) []Effect { return q.end(id, now) }

// Finish forgets a request that ended at its replica, well or not.
func (q *Queue) Finish(id scale.RequestID, now time.Time) []Effect { return q.end(id, now) }

func (q *Queue) end(id scale.RequestID, now time.Time) []Effect {
	e := q.known(id)
	if e != nil { // first, so that no effect speaks of it any more
		q.leave(e, now)
		q.forget(e)
	}
	if q.lapse(now) || e != nil {
		q.release(now)
	}
	return q.effects
}

// Begun says that the first token of a sent request came: its prompt is no
// longer work that others wait for, and makes room for the next one's.
func (q *Queue) Begun(id scale.RequestID, now time.Time) []Effect {
	q.begin(now)
	if e := q.known(id); e != nil && e.replica != nil && !e.begun {
		q.fleet.begun(e.replica, e)
		q.release(now)
	}
	return q.effects
}

// Retry places a request again whose replica failed before a byte went to the
// client, and not at that replica for a while. It is never refused: it was
// accepted already. How often a request may be retried is the driver's to say.
func (q *Queue) Retry(id scale.RequestID, now time.Time) []Effect {
	q.begin(now)
	e := q.known(id)
	if e == nil || e.replica == nil {
		return q.effects
	}
	e.avoid, e.avoidUntil = e.replica.id, now.Add(avoidFor)
	q.leave(e, now)
	e.begun = false
	e.accepted = true
	q.place(e, now)
	return q.effects
}

// Route tells the fleet as it is now. Only Ready replicas with a batch limit
// are sent anything; a replica that is absent is as good as Gone. Requests at
// replicas that left are the driver's to Finish, Retry or Cancel.
func (q *Queue) Route(routes []scale.Route, now time.Time) []Effect {
	q.lapse(now) // and nothing sent to the fleet as it was
	q.unreserve()
	awake := q.fleet.ready > 0
	q.fleet.route(routes)
	q.release(now)
	if q.fleet.ready == 0 {
		q.sleep(awake)
	}
	return q.effects
}

// Expire ends the holds whose deadline came. Every other event does the same
// first; NextDeadline says when to call it at the latest.
func (q *Queue) Expire(now time.Time) []Effect {
	q.begin(now)
	return q.effects
}

// Drain refuses every held request and all that arrive from now on. What was
// sent stays, and may be retried where there is room at once.
func (q *Queue) Drain(now time.Time) []Effect {
	q.begin(now)
	q.draining = true
	for _, c := range q.classes {
		c.age(now, q.limits.SLO)
		for _, l := range []*lane{&c.fresh, &c.late} {
			for e := l.first; e != nil; e = l.first {
				q.leave(e, now)
				q.refuse(e, GoingDown)
			}
		}
	}
	return q.effects
}

// NextDeadline returns when Expire has something to do, if ever.
func (q *Queue) NextDeadline() (time.Time, bool) {
	if len(q.due) == 0 {
		return time.Time{}, false
	}
	return q.due[0].due, true
}

// Held returns how many requests wait, their prompt tokens together, and the
// arrival of the oldest (zero when none waits).
func (q *Queue) Held() (count, promptTokens int, oldest time.Time) {
	for _, c := range q.classes {
		for _, e := range []*entry{c.fresh.first, c.late.first} {
			if e != nil && (oldest.IsZero() || e.request.At.Before(oldest)) {
				oldest = e.request.At
			}
		}
	}
	return q.held, q.tokens, oldest
}

// HeldBytes returns the size of the held bodies together.
func (q *Queue) HeldBytes() int { return q.bytes }

// InFlight returns how many requests are at replicas.
func (q *Queue) InFlight() int { return q.inFlight }

// Ready returns how many replicas may be sent requests.
func (q *Queue) Ready() int { return q.fleet.ready }

// ReplicaInFlight returns how many requests are at one replica, whether it is
// routed still or not.
func (q *Queue) ReplicaInFlight(id scale.ReplicaID) int {
	if r := q.fleet.replicas[id]; r != nil {
		return r.inFlight
	}
	return 0
}
