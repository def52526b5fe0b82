// Package sim is the world in virtual time: the admission and the engines of
// the product, driven by a series of requests instead of by HTTP and a clock.
// The same input gives the same output, to the last bit.
package sim

import (
	"container/heap"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/penstock/penstock/internal/admission"
	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// Fleet is a constant number of equal replicas of one model, Ready from the
// first arrival on.
type Fleet struct {
	Profile    scale.Profile
	Replicas   int
	BatchLimit int // B*: requests at one replica at once
	// PrefillTokens is as in scale.Route; 0 for no bound.
	PrefillTokens int
	KVTokens      int       // tokens that admission may fill at one replica; 0 where they do not matter
	SLO           scale.SLO // MaxHold bounds how long a request waits
}

// Totals is what became of all requests together.
type Totals struct {
	Requests int
	Good     int           // met the SLO
	Judged   int           // all but those cancelled
	Busy     time.Duration // replica-time with a request at the replica
	Span     time.Duration // first arrival → last end
}

// Attainment is the share of good requests among the judged; false where
// there were none.
func (t Totals) Attainment() (float64, bool) {
	if t.Judged == 0 {
		return 0, false
	}
	return float64(t.Good) / float64(t.Judged), true
}

// Run serves a series, in order of arrival, and gives each request with what
// it experienced to served (which may be nil) when it ends. A request without
// prompt or output counts as one of one token.
func (f Fleet) Run(requests iter.Seq2[scale.Request, error], served func(scale.Request, scale.Served)) (Totals, error) {
	next, stop := iter.Pull2(requests)
	defer stop()
	r := newRun(f, served)
	for {
		request, err, ok := next()
		switch {
		case !ok:
			r.until(math.MaxInt64)
			return r.totals, nil
		case err != nil:
			return Totals{}, fmt.Errorf("simulate: read the next arrival: %w", err)
		}
		if r.totals.Requests == 0 {
			r.open(request.At)
		}
		at := request.At.Sub(r.zero)
		if at < r.now {
			return Totals{}, fmt.Errorf("simulate: request %d arrives %v before the one ahead of it", request.ID, r.now-at)
		}
		r.until(at)
		r.arrive(request)
	}
}

// run is the state of one Run. Times are since the first arrival.
type run struct {
	fleet    Fleet
	served   func(scale.Request, scale.Served)
	zero     time.Time
	now      time.Duration
	queue    *admission.Queue
	replicas []replica
	indices  map[scale.ReplicaID]int
	ends     endHeap
	flying   map[scale.RequestID]*flight
	effects  []admission.Effect // not acted on yet
	touched  []int              // replicas that may have something to do
	totals   Totals
	tokens   float64 // of all replies
}

// replica is one engine and its iteration under way.
type replica struct {
	engine  *engine.Engine
	working bool
	emitted []engine.Emission
}

// flight is a request that has not ended.
type flight struct {
	request scale.Request
	served  scale.Served
}

func newRun(f Fleet, served func(scale.Request, scale.Served)) *run {
	r := &run{
		fleet: f, served: served,
		queue:   admission.New(admission.Limits{MaxHeld: math.MaxInt, MaxHeldBytes: math.MaxInt, SLO: f.SLO}),
		indices: make(map[scale.ReplicaID]int, f.Replicas),
		flying:  make(map[scale.RequestID]*flight),
	}
	return r
}

// add gives the run an engine.
func (r *run) add(id scale.ReplicaID, p scale.Profile) {
	r.indices[id] = len(r.replicas)
	r.replicas = append(r.replicas, replica{engine: engine.New(p)})
}

// open makes the fleet Ready at the instant that becomes zero.
func (r *run) open(zero time.Time) {
	r.zero = zero
	routes := make([]scale.Route, r.fleet.Replicas)
	for i := range routes {
		id := scale.ReplicaID(fmt.Sprintf("r%05d", i))
		r.add(id, r.fleet.Profile)
		routes[i] = scale.Route{
			Replica:    scale.Replica{ID: id, Phase: scale.Ready, Created: zero, Since: zero},
			BatchLimit: r.fleet.BatchLimit, KVTokens: r.fleet.KVTokens, PrefillTokens: r.fleet.PrefillTokens,
		}
	}
	r.act(r.queue.Route(routes, zero))
}

func (r *run) clock() time.Time { return r.zero.Add(r.now) }

// until lets everything happen that does so before or at an instant. What ends
// then ends before what arrives then.
func (r *run) until(at time.Duration) {
	for {
		end, ends := r.ends.first()
		due, expires := r.deadline()
		switch {
		case ends && end.at <= at && (!expires || end.at <= due):
			heap.Pop(&r.ends)
			r.now = end.at
			r.iterated(end.replica)
		case expires && due <= at:
			r.now = max(r.now, due)
			r.act(r.queue.Expire(r.clock()))
		default:
			if at != math.MaxInt64 {
				r.now = at
			}
			r.totals.Span = r.now
			return
		}
	}
}

func (r *run) deadline() (time.Duration, bool) {
	due, ok := r.queue.NextDeadline()
	return due.Sub(r.zero), ok
}

func (r *run) arrive(request scale.Request) {
	request.PromptTokens, request.OutputTokens = max(1, request.PromptTokens), max(1, request.OutputTokens)
	r.totals.Requests++
	r.flying[request.ID] = &flight{request: request}
	r.act(r.queue.Arrive(request, r.clock()))
}

// iterated takes the tokens of an iteration that has ended.
func (r *run) iterated(index int) {
	at := &r.replicas[index]
	at.working = false
	for _, token := range at.emitted {
		f := r.flying[token.ID]
		r.tokens++
		age := r.clock().Sub(f.request.At)
		if token.Index == 0 {
			f.served.TTFT = age
			r.effects = append(r.effects, r.queue.Begun(token.ID, r.clock())...)
		}
		if token.Last {
			f.served.Total, f.served.OutputTokens = age, token.Index+1
			r.end(f, scale.OK)
			r.effects = append(r.effects, r.queue.Finish(token.ID, r.clock())...)
		}
	}
	r.touched = append(r.touched, index)
	r.act(nil)
}

// act does what the queue asks for, and what follows from that, then starts
// the iterations of replicas that have got something to do.
func (r *run) act(effects []admission.Effect) {
	r.effects = append(r.effects, effects...)
	for i := 0; i < len(r.effects); i++ {
		r.effect(r.effects[i])
	}
	r.effects = r.effects[:0]
	for _, index := range r.touched {
		r.start(index)
	}
	r.touched = r.touched[:0]
}

func (r *run) effect(e admission.Effect) {
	f := r.flying[e.Request]
	switch e.Kind {
	case admission.Send:
		f.served.Held, f.served.Woke = e.Held, e.Woke
		index := r.indices[e.Replica]
		job := engine.Job{ID: e.Request, PromptTokens: f.request.PromptTokens, OutputTokens: f.request.OutputTokens}
		if err := r.replicas[index].engine.Add(job); err != nil {
			r.end(f, scale.Failed) // as a real engine answers what it could never serve
			r.effects = append(r.effects, r.queue.Finish(e.Request, r.clock())...)
			return
		}
		r.touched = append(r.touched, index)
	case admission.Refuse:
		r.end(f, scale.Refused)
	case admission.Expire:
		f.served.Held, f.served.Woke = e.Held, e.Woke
		r.end(f, scale.Expired)
	case admission.Hold, admission.Wake: // the fleet is what it is
	}
}

// start begins a replica's next iteration unless one is under way.
func (r *run) start(index int) {
	at := &r.replicas[index]
	if at.working {
		return
	}
	iteration, ok := at.engine.Iterate()
	if !ok {
		return
	}
	at.working, at.emitted = true, iteration.Emitted
	r.totals.Busy += iteration.Took
	heap.Push(&r.ends, end{at: r.now + iteration.Took, replica: index})
}

func (r *run) end(f *flight, outcome scale.Outcome) {
	f.served.Outcome, f.served.Streamed = outcome, r.fleet.SLO.Tokens()
	r.totals.Judged++
	if r.fleet.SLO.Good(f.served) {
		r.totals.Good++
	}
	delete(r.flying, f.request.ID)
	if r.served != nil {
		r.served(f.request, f.served)
	}
}

// end is when an iteration under way ends.
type end struct {
	at      time.Duration
	replica int
}

// endHeap is a heap of ends; of equal times the first replica's.
type endHeap []end

func (h endHeap) first() (end, bool) {
	if len(h) == 0 {
		return end{}, false
	}
	return h[0], true
}

func (h endHeap) Len() int { return len(h) }

func (h endHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].replica < h[j].replica
}

func (h endHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push is heap.Interface's.
func (h *endHeap) Push(x any) {
	if e, ok := x.(end); ok {
		*h = append(*h, e)
	}
}

// Pop is heap.Interface's.
func (h *endHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	*h = (*h)[:last]
	return e
}
