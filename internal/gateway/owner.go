package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/internal/admission"
	"github.com/penstock/penstock/internal/scale"
)

// eventKind is what happened.
type eventKind int

// The kinds of events.
const (
	arrived  eventKind = iota + 1 // a call wants a replica
	begun                         // the first byte of its reply came
	failed                        // its replica failed before that: try another
	ended                         // it is over; call.served says how
	routed                        // the fleet changed
	measured                      // somebody asks for Traffic
	counted                       // somebody asks how many are at a replica
	stood                         // somebody asks for a Standing
	drained                       // hold nothing any more
	cutAll                        // end what is at replicas
)

// event goes to the owner of a model. What a kind does not need is zero.
type event struct {
	kind    eventKind
	call    *call
	routes  []scale.Route
	replica scale.ReplicaID
	now     time.Time
	answer  chan answer
}

// answer comes back for a question.
type answer struct {
	traffic  scale.Traffic
	inFlight int
	begun    int
	standing scale.Standing
}

// dispatch tells a waiting call what becomes of it.
type dispatch struct {
	admission.Effect
	attempt *attempt      // for Send
	waiting int           // for Refuse: how many wait
	room    time.Duration // for Refuse: when there should be room
}

// call is one request between its handler and the owner. A field is written
// by one of them before it tells the other.
type call struct {
	request  scale.Request
	limit    int           // the client's limit on output tokens; 0 for none
	dispatch chan dispatch // room for one: there is never a second before the first was acted on

	// For the event ended.
	served scale.Served
	begin  time.Time // first byte at the replica's attempt; zero if none came
	end    time.Time

	// The owner's alone.
	attempt   *attempt
	areaAtSet float64
}

// attempt is one try of a call at one replica. The owner may cut it.
type attempt struct {
	replica scale.ReplicaID
	variant string
	address string
	sent    time.Time
	begun   atomic.Bool // a byte of its reply is on its way to the client

	mu     sync.Mutex
	cancel context.CancelCauseFunc
	cause  error
}

// bind lets cut reach the attempt's context.
func (a *attempt) bind(cancel context.CancelCauseFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cancel = cancel
	if a.cause != nil {
		cancel(a.cause)
	}
}

func (a *attempt) cut(cause error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cause = cause
	if a.cancel != nil {
		a.cancel(cause)
	}
}

// owner is the one goroutine that knows how the requests of a model stand.
type owner struct {
	gateway *Gateway
	model   scale.Model
	events  chan event
	stopped chan struct{} // closed when run returns
	gauges  gauges

	tokens   atomic.Int64 // of all replies so far
	woken    time.Time    // when Wake was last called
	queue    *admission.Queue
	calls    map[scale.RequestID]*call
	replicas map[scale.ReplicaID]*replica
	stats    stats
	timer    *time.Timer
	armed    time.Time // when timer fires; zero for not

	learnFrom chan string // address of a Ready replica
	fleet     string      // Ready replicas, as last told to learn
	ownedBy   atomic.Pointer[string]
}

func newOwner(g *Gateway, m scale.Model) *owner {
	return &owner{
		gateway: g, model: m,
		events: make(chan event, 256), stopped: make(chan struct{}), learnFrom: make(chan string, 1),
		gauges: g.metrics.of(m.Name),
		queue: admission.New(admission.Limits{
			MaxHeld: g.Limits.MaxHeld, MaxHeldBytes: g.Limits.MaxHeldBytes, SLO: m.SLO, Weights: weights(g.Tenants),
		}),
		calls: map[scale.RequestID]*call{}, replicas: map[scale.ReplicaID]*replica{},
	}
}

// weights are the shares of tenants that have one of their own.
func weights(tenants []scale.Tenant) map[string]int {
	w := map[string]int{}
	for _, t := range tenants {
		if t.Weight > 0 {
			w[t.Name] = t.Weight
		}
	}
	return w
}

// run owns the model's state until ctx ends.
func (o *owner) run(ctx context.Context) {
	defer close(o.stopped)
	o.stats.since = time.Now()
	o.timer = time.NewTimer(time.Hour)
	defer o.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-o.events:
			o.handle(e, time.Now())
		case <-o.timer.C:
			o.armed = time.Time{}
			now := time.Now()
			o.apply(o.queue.Expire(now), now)
		}
		o.arm()
	}
}

// arm sets the timer to the next deadline.
func (o *owner) arm() {
	due, some := o.queue.NextDeadline()
	if !some || due.Equal(o.armed) {
		return // a timer that fires for nothing is harmless
	}
	o.armed = due
	o.timer.Reset(time.Until(due))
}

// post tells the owner and says whether it still listens.
func (o *owner) post(e event) bool {
	select {
	case o.events <- e:
		return true
	case <-o.stopped:
		return false
	}
}

// ask tells the owner and waits for its answer; a stopped owner has none.
func (o *owner) ask(e event) answer {
	e.answer = make(chan answer, 1)
	if !o.post(e) {
		return answer{}
	}
	select {
	case a := <-e.answer:
		return a
	case <-o.stopped:
		return answer{}
	}
}

func (o *owner) handle(e event, now time.Time) {
	var a answer
	switch e.kind {
	case arrived:
		o.arrive(e.call, now)
	case begun:
		o.apply(o.queue.Begun(e.call.request.ID, now), now)
	case failed:
		o.leave(e.call, now)
		o.gauges.retries.Inc()
		o.apply(o.queue.Retry(e.call.request.ID, now), now)
	case ended:
		o.end(e.call, now)
	case routed:
		o.route(e.routes, now)
	case measured:
		a.traffic = o.traffic(e.now)
	case counted:
		a.inFlight, a.begun = o.queue.ReplicaInFlight(e.replica), o.begun(e.replica)
	case stood:
		a.standing = o.standing()
	case drained:
		o.apply(o.queue.Drain(now), now)
	case cutAll:
		for _, c := range o.calls {
			if c.attempt != nil {
				c.attempt.cut(errGoingDown)
			}
		}
	}
	if e.answer != nil {
		e.answer <- a
	}
	held, _, _ := o.queue.Held()
	o.gauges.held.Set(float64(held))
	o.gauges.inFlight.Set(float64(o.queue.InFlight()))
}

// wakeEvery bounds how often one model asks for a decision before its time:
// with a crowd at a sleeping model, or before a full one, each arrival would.
const wakeEvery = 200 * time.Millisecond

// wake says that requests are held: at zero, or because all replicas are full.
func (o *owner) wake(now time.Time) {
	if o.gateway.Wake == nil || now.Sub(o.woken) < wakeEvery {
		return
	}
	o.woken = now
	o.gateway.Wake(o.model.Name)
}

// begun counts the replies of a replica that have begun.
func (o *owner) begun(replica scale.ReplicaID) int {
	n := 0
	for _, c := range o.calls {
		if a := c.attempt; a != nil && a.replica == replica && a.begun.Load() {
			n++
		}
	}
	return n
}

func (o *owner) arrive(c *call, now time.Time) {
	o.stats.arrived(c)
	o.calls[c.request.ID] = c
	o.apply(o.queue.Arrive(c.request, now), now)
}

// apply carries out what admission decided.
func (o *owner) apply(effects []admission.Effect, now time.Time) {
	for _, e := range effects {
		c := o.calls[e.Request]
		switch e.Kind {
		case admission.Hold, admission.Wake:
			o.wake(now)
		case admission.Send:
			o.enter(c, e.Replica, now)
			c.dispatch <- dispatch{Effect: e, attempt: c.attempt}
			if e.Held > 0 {
				o.gauges.hold.Observe(e.Held.Seconds())
			}
		case admission.Refuse:
			held, _, _ := o.queue.Held()
			c.dispatch <- dispatch{Effect: e, waiting: held, room: o.room(held, now)}
			o.close(c, scale.Served{Outcome: scale.Refused, Held: e.Held, Woke: e.Woke})
		case admission.Expire:
			c.dispatch <- dispatch{Effect: e}
			o.gauges.hold.Observe(e.Held.Seconds())
			o.close(c, scale.Served{Outcome: scale.Expired, Held: e.Held, Woke: e.Woke})
		}
	}
}

// room guesses when a full hold will have room: after what waits at the pace of
// late, or after a cold start.
func (o *owner) room(waiting int, now time.Time) time.Duration {
	wait := time.Duration(0)
	if pace := o.stats.pace(now); pace > 0 {
		wait = time.Duration(float64(waiting) / pace * float64(time.Second))
	} else if len(o.model.Variants) > 0 {
		wait = o.model.Variants[0].ColdStart
	}
	return min(max(wait, time.Second), time.Minute)
}

// enter notes that a call is at a replica.
func (o *owner) enter(c *call, id scale.ReplicaID, now time.Time) {
	r := o.replicas[id]
	r.spend(now)
	r.inFlight++
	c.areaAtSet = r.area
	c.attempt = &attempt{
		replica: id, variant: r.route.Replica.Target.Variant, address: r.route.Replica.Address, sent: now,
	}
}

// leave notes that a call is at its replica no longer, and returns the mean
// concurrency there meanwhile.
func (o *owner) leave(c *call, now time.Time) float64 {
	if c.attempt == nil {
		return 0
	}
	r := o.replicas[c.attempt.replica]
	r.spend(now)
	r.inFlight--
	took := now.Sub(c.attempt.sent).Seconds()
	concurrency := 1.0
	if took > 0 {
		concurrency = (r.area - c.areaAtSet) / took
	}
	c.attempt = nil
	if r.inFlight == 0 && !r.routed {
		delete(o.replicas, r.route.Replica.ID)
	}
	return concurrency
}

// end takes in that a call is over.
func (o *owner) end(c *call, now time.Time) {
	if o.calls[c.request.ID] != c {
		return // refused or expired meanwhile
	}
	if a := c.attempt; a != nil {
		r := o.replicas[a.replica]
		concurrency := o.leave(c, now)
		if c.served.Outcome == scale.OK {
			r.latency.add(c, a, concurrency, o.model.SLO)
			o.stats.finished(c, now)
		}
	}
	o.apply(o.queue.Finish(c.request.ID, now), now)
	o.close(c, c.served)
}

// close counts how a call ended and forgets it.
func (o *owner) close(c *call, s scale.Served) {
	delete(o.calls, c.request.ID)
	o.gauges.ended(s)
	if s.Outcome == scale.Cancelled {
		return
	}
	if o.model.SLO.Good(s) {
		o.stats.good++
	} else {
		o.stats.bad++
	}
}

// route takes in the fleet as it is now.
func (o *owner) route(routes []scale.Route, now time.Time) {
	for _, r := range o.replicas {
		r.routed = false
	}
	for _, route := range routes {
		id := route.Replica.ID
		r := o.replicas[id]
		if r == nil {
			r = &replica{since: now}
			o.replicas[id] = r
		}
		r.route, r.routed = route, route.Replica.Phase != scale.Gone
	}
	for id, r := range o.replicas {
		if !r.routed && r.inFlight == 0 {
			delete(o.replicas, id)
		}
	}
	for _, c := range o.calls {
		if c.attempt != nil && o.replicas[c.attempt.replica].route.Replica.Phase == scale.Gone {
			c.attempt.cut(errGone)
		}
	}
	o.apply(o.queue.Route(routes, now), now)
	o.tellLearn(routes)
}
