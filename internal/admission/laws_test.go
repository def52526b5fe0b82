package admission

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
)

var epoch = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

// TestLaws drives random events through the Queue and the naive model: the
// effects agree, and the laws that the package promises hold on the effects
// alone.
func TestLaws(t *testing.T) { rapid.Check(t, laws) }

// FuzzLaws is TestLaws over event sequences that the fuzzer finds.
func FuzzLaws(f *testing.F) { f.Fuzz(rapid.MakeFuzz(laws)) }

func laws(t *rapid.T) {
	d := newDriver(rapid.SampledFrom([]Limits{{MaxHeld: 6, MaxHeldBytes: 900}, {MaxHeld: 1000, MaxHeldBytes: 1 << 20}}).Draw(t, "limits"))
	events := rapid.IntRange(1, 120).Draw(t, "events")
	for range events {
		d.now = d.now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 1, 20, 300, 3000}).Draw(t, "ms")) * time.Millisecond)
		d.event(t)
	}
	d.settle(t)
}

// driver applies events to both queues and knows from the effects alone how
// every request stands.
type driver struct {
	now    time.Time
	queue  *Queue
	model  *naive
	routes map[scale.ReplicaID]scale.Route
	states map[scale.RequestID]*state
	nextID scale.RequestID
	limits Limits
	fresh  map[int]int // fresh releases since the last late one while a late one waited, by priority
}

type state struct {
	request   scale.Request
	held      bool
	at        scale.ReplicaID
	done      bool
	retried   bool
	avoid     scale.ReplicaID
	avoidEnds time.Time
}

func (s *state) need() int { return s.request.PromptTokens + s.request.OutputTokens }

func newDriver(limits Limits) *driver {
	limits.Weights = map[string]int{"b": 3}
	limits.SLO = scale.SLO{TTFT: 500 * time.Millisecond, MaxHold: 8 * time.Second}
	queue := New(limits)
	queue.patience = patience
	return &driver{
		now: epoch, limits: limits, queue: queue,
		model:  &naive{limits: limits, sinceLate: map[int]int{}, fair: map[int]*naiveFair{}, served: map[naiveServed]bool{}},
		routes: map[scale.ReplicaID]scale.Route{}, states: map[scale.RequestID]*state{}, fresh: map[int]int{},
	}
}

func (d *driver) event(t *rapid.T) {
	kind := rapid.SampledFrom([]string{
		"arrive", "arrive", "arrive", "arrive", "burst", "finish", "finish", "finish", "cancel", "begun", "retry",
		"route", "route", "expire", "stale", "drain",
	}).Draw(t, "event")
	switch kind {
	case "arrive":
		d.arrive(t, rapid.SampledFrom([]int{1, 10, 100, 400, 2000}).Draw(t, "prompt"))
	case "burst":
		for range 12 {
			d.arrive(t, 10)
		}
	case "finish":
		if id, ok := d.pick(t, atReplica); ok {
			d.states[id].done = true
			d.apply(t, d.queue.Finish(id, d.now), d.model.End(id, d.now))
		}
	case "cancel":
		if id, ok := d.pick(t, everywhere); ok {
			d.states[id].done = true
			d.apply(t, d.queue.Cancel(id, d.now), d.model.End(id, d.now))
		}
	case "begun":
		if id, ok := d.pick(t, atReplica); ok {
			d.apply(t, d.queue.Begun(id, d.now), d.model.Begun(id, d.now))
		}
	case "retry":
		if id, ok := d.pick(t, atReplica); ok {
			s := d.states[id]
			s.avoid, s.avoidEnds, s.retried, s.at = s.at, d.now.Add(avoidFor), true, ""
			d.apply(t, d.queue.Retry(id, d.now), d.model.Retry(id, d.now))
		}
	case "route":
		d.reroute(t)
	case "expire":
		d.apply(t, d.queue.Expire(d.now), d.model.Expire(d.now))
	case "stale":
		id := scale.RequestID(rapid.IntRange(0, int(d.nextID)+2).Draw(t, "stale"))
		if d.states[id] == nil {
			d.apply(t, d.queue.Cancel(id, d.now), d.model.End(id, d.now))
		}
	case "drain":
		if rapid.IntRange(0, 30).Draw(t, "really") == 0 {
			d.apply(t, d.queue.Drain(d.now), d.model.Drain(d.now))
		}
	}
}

func (m *naive) Expire(now time.Time) []Effect {
	m.begin(now)
	return m.effects
}

func (d *driver) arrive(t *rapid.T, prompt int) {
	d.nextID++
	r := scale.Request{
		ID: d.nextID, At: d.now, Tenant: rapid.SampledFrom([]string{"", "", "a", "b", "c"}).Draw(t, "tenant"),
		Prefix: rapid.SampledFrom([]uint64{0, 7, 8}).Draw(t, "prefix"), Priority: rapid.SampledFrom([]int{0, 0, 0, 5}).Draw(t, "priority"),
		PromptTokens: prompt, OutputTokens: rapid.SampledFrom([]int{0, 20, 200}).Draw(t, "output"),
		Bytes: prompt, Deadline: d.now.Add(rapid.SampledFrom([]time.Duration{0, time.Second, 8 * time.Second}).Draw(t, "deadline")),
	}
	d.states[r.ID] = &state{request: r}
	d.apply(t, d.queue.Arrive(r, d.now), d.model.Arrive(r, d.now))
	if s := d.states[r.ID]; s != nil && !s.held && s.at == "" {
		t.Fatalf("request %d arrived and nothing was said of it", r.ID)
	}
}

func everywhere(*state) bool  { return true }
func atReplica(s *state) bool { return s.at != "" }

// pick draws a live request.
func (d *driver) pick(t *rapid.T, from func(*state) bool) (scale.RequestID, bool) {
	var ids []scale.RequestID
	for id, s := range d.states {
		if from(s) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return 0, false
	}
	slices.Sort(ids)
	return rapid.SampledFrom(ids).Draw(t, "request"), true
}

func (d *driver) reroute(t *rapid.T) {
	id := scale.ReplicaID(fmt.Sprintf("r%d", rapid.IntRange(1, 5).Draw(t, "replica")))
	phase := scale.Phase(rapid.SampledFrom([]int{1, 2, 2, 2, 2, 3, 4}).Draw(t, "phase"))
	if phase == scale.Gone {
		delete(d.routes, id)
	} else {
		d.routes[id] = scale.Route{
			Replica:    scale.Replica{ID: id, Phase: phase},
			BatchLimit: rapid.SampledFrom([]int{0, 1, 2, 4, 8}).Draw(t, "batch"),
			KVTokens:   rapid.SampledFrom([]int{0, 150, 600, 5000}).Draw(t, "kv"),

			PrefillTokens: rapid.SampledFrom([]int{0, 0, 1, 100, 700}).Draw(t, "prefill"),
		}
	}
	d.route(t)
}

func (d *driver) route(t *rapid.T) {
	routes := make([]scale.Route, 0, len(d.routes))
	for _, r := range d.routes { // in any order
		routes = append(routes, r)
	}
	d.apply(t, d.queue.Route(routes, d.now), d.model.Route(routes, d.now))
}

// settle opens the fleet, ends everything and looks for what was left behind.
func (d *driver) settle(t *rapid.T) {
	d.routes = map[scale.ReplicaID]scale.Route{"r9": {Replica: scale.Replica{ID: "r9", Phase: scale.Ready}, BatchLimit: 3, KVTokens: 1000}}
	d.route(t)
	for range 20_000 {
		id, ok := d.anySent()
		if !ok {
			due, waits := d.queue.NextDeadline()
			if !waits {
				break
			}
			d.now = due
			d.apply(t, d.queue.Expire(d.now), d.model.Expire(d.now))
			continue
		}
		d.states[id].done = true
		d.apply(t, d.queue.Finish(id, d.now), d.model.End(id, d.now))
	}
	for id := range d.states {
		t.Fatalf("request %d was lost", id)
	}
	if n := len(d.queue.entries) + len(d.queue.due) + d.queue.inFlight + d.queue.held + d.queue.bytes; n != 0 || len(d.queue.fleet.replicas) != 1 {
		t.Fatalf("something is left in the queue: %+v", d.queue)
	}
	for _, c := range d.queue.classes {
		if c.held+len(c.fair.flows)+len(c.fair.idle.flows)+len(c.fresh.flows.flows)+len(c.late.flows.flows) != 0 || c.fair.on {
			t.Fatalf("something is left of a tenant: %+v", c)
		}
	}
}

func (d *driver) anySent() (scale.RequestID, bool) {
	best := scale.RequestID(0)
	for id, s := range d.states {
		if !s.done && s.at != "" && (best == 0 || id < best) {
			best = id
		}
	}
	return best, best != 0
}

// apply holds the effects of one event against the model and the laws.
func (d *driver) apply(t *rapid.T, got, want []Effect) {
	if !slices.Equal(got, want) {
		t.Fatalf("effects differ from the naive model:\n%+v\n%+v", got, want)
	}
	for _, e := range got {
		d.effect(t, e)
	}
	maps.DeleteFunc(d.states, func(_ scale.RequestID, s *state) bool { return s.done })
	d.checkCounts(t)
	d.checkNobodyWaits(t)
}

func (d *driver) effect(t *rapid.T, e Effect) {
	s := d.states[e.Request]
	if s == nil || s.done {
		t.Fatalf("%+v: the request is over or was never seen", e)
	}
	switch e.Kind {
	case Send:
		if s.at != "" {
			t.Fatalf("%+v: sent twice, it is at %s", e, s.at)
		}
		s.held, s.at = false, e.Replica
		d.checkSend(t, s)
		d.checkOrder(t, s)
	case Hold:
		if s.held || s.at != "" {
			t.Fatalf("%+v: held already or sent", e)
		}
		s.held = true
	case Wake:
		if !s.held || d.ready() {
			t.Fatalf("%+v: woke for a request that does not wait for a replica", e)
		}
	case Expire:
		if s.at != "" || d.now.Before(s.request.Deadline) {
			t.Fatalf("%+v: expired too early or while at a replica", e)
		}
		s.held, s.done = false, true
	case Refuse:
		if s.held && e.Why != GoingDown || s.retried && e.Why != GoingDown || s.at != "" {
			t.Fatalf("%+v: refused after it was accepted", e)
		}
		s.held, s.done = false, true
	default:
		t.Fatalf("no such effect: %+v", e)
	}
}

func (d *driver) ready() bool {
	for _, r := range d.routes {
		if r.Replica.Phase == scale.Ready && r.BatchLimit > 0 {
			return true
		}
	}
	return false
}

func (d *driver) at(id scale.ReplicaID) (inFlight, tokens int) {
	for _, s := range d.states {
		if !s.done && s.at == id {
			inFlight++
			tokens += s.need()
		}
	}
	return inFlight, tokens
}

func (d *driver) checkSend(t *rapid.T, s *state) {
	route := d.routes[s.at]
	inFlight, tokens := d.at(s.at)
	switch {
	case route.Replica.Phase != scale.Ready:
		t.Fatalf("sent %d to %s, which is not Ready", s.request.ID, s.at)
	case inFlight > route.BatchLimit:
		t.Fatalf("sent %d to %s above its batch limit of %d", s.request.ID, s.at, route.BatchLimit)
	case route.KVTokens > 0 && tokens > route.KVTokens && inFlight > 1:
		t.Fatalf("sent %d to %s above its %d KV tokens", s.request.ID, s.at, route.KVTokens)
	case s.at == s.avoid && d.now.Before(s.avoidEnds):
		t.Fatalf("retried %d at %s, which just failed it", s.request.ID, s.at)
	}
}

// checkOrder holds a send against what still waits.
func (d *driver) checkOrder(t *rapid.T, s *state) {
	late, lateWaits := d.late(s), false
	// A replica may have been kept free for it, which no other could have.
	kept := d.queue.entries[s.request.ID].passed >= patience
	for _, o := range d.states {
		if o.done || !o.held || o.request.Priority != s.request.Priority {
			continue
		}
		couldGo := o.need() <= s.need() && (o.avoid == "" || !d.now.Before(o.avoidEnds))
		switch {
		case d.late(o) == late:
			if o.request.ID < s.request.ID && o.request.Tenant == s.request.Tenant && couldGo && !kept {
				t.Fatalf("%d was released before %d, which came first and is no larger", s.request.ID, o.request.ID)
			}
		case !late && couldGo:
			lateWaits = true
		}
	}
	p := s.request.Priority
	if late || !lateWaits {
		d.fresh[p] = 0
		return
	}
	if kept {
		return
	}
	looked := window
	if d.model.fair[p] != nil {
		looked = window / 4
	}
	if d.fresh[p]++; d.fresh[p] >= lateShare && d.lateHeld(p) <= looked {
		t.Fatalf("%d fresh requests were released in a row while a late one that fits waited", d.fresh[p])
	}
}

func (d *driver) late(s *state) bool {
	e := d.queue.entries[s.request.ID]
	return e != nil && e.woke || !d.now.Before(s.request.At.Add(d.limits.SLO.TTFT))
}

func (d *driver) lateHeld(priority int) int {
	n := 0
	for _, s := range d.states {
		if !s.done && s.held && s.request.Priority == priority && d.late(s) {
			n++
		}
	}
	return n
}

// checkCounts holds the Queue's figures against those of the effects.
func (d *driver) checkCounts(t *rapid.T) {
	held, tokens, sent, bytes, oldest := 0, 0, 0, 0, time.Time{}
	for _, s := range d.states {
		switch {
		case s.done:
		case s.held:
			held, tokens, bytes = held+1, tokens+s.request.PromptTokens, bytes+s.request.Bytes
			if oldest.IsZero() || s.request.At.Before(oldest) {
				oldest = s.request.At
			}
		default:
			sent++
		}
	}
	gotHeld, gotTokens, gotOldest := d.queue.Held()
	if gotHeld != held || gotTokens != tokens || !gotOldest.Equal(oldest) || d.queue.InFlight() != sent || d.queue.HeldBytes() != bytes {
		t.Fatalf("held %d (%d tokens, %d bytes, since %v), in flight %d; want %d (%d, %d, %v), %d",
			gotHeld, gotTokens, d.queue.HeldBytes(), gotOldest, d.queue.InFlight(), held, tokens, bytes, oldest, sent)
	}
	for id := range d.routes {
		if n, _ := d.at(id); n != d.queue.ReplicaInFlight(id) {
			t.Fatalf("%d in flight at %s, want %d", d.queue.ReplicaInFlight(id), id, n)
		}
	}
}

// checkNobodyWaits looks for a held request and a free slot for it.
func (d *driver) checkNobodyWaits(t *rapid.T) {
	for id, route := range d.routes {
		n, tokens := d.at(id)
		if route.Replica.Phase != scale.Ready || n >= route.BatchLimit ||
			route.PrefillTokens > 0 && d.model.pending(id) >= route.PrefillTokens {
			continue
		}
		kept := d.queue.fleet.kept != nil && d.queue.fleet.kept.id == id
		for _, p := range d.model.priorities() {
			for _, r := range append(d.model.order(naiveLane{p, false}), d.model.order(naiveLane{p, true})...) {
				if id == r.avoid || kept && d.model.reserved != r {
					continue
				}
				if n == 0 || route.KVTokens == 0 || tokens+r.need() <= route.KVTokens {
					t.Fatalf("request %d waits while %s has room", r.ID, id)
				}
			}
		}
	}
}
