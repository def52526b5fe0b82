package sim

import (
	"time"

	"github.com/penstock/penstock/internal/admission"
	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// As config's defaults and the gateway's constants.
const (
	maxHeld      = 10_000
	maxHeldBytes = 256 << 20
	maxTries     = 2                      // how often a request is sent at most
	wakeEvery    = 200 * time.Millisecond // between two pokes of one model for requests that are held
)

// service is one model: its admission and its replicas.
type service struct {
	Service
	run     *run
	index   int
	queue   *admission.Queue
	targets []*target
	members []*replica // not Gone, by birth
	births  int

	meter    meter
	tokens   int // of the replies of replicas that are gone
	boots    []scale.ColdStart
	failures int
	failure  string
	woken    time.Duration // latest poke for what is held
	held     int
	waits    bool     // a deadline of a hold may be set
	broken   []uint32 // requests that their engine refused; still in the queue
	last     scale.Demand
}

func newQueue(slo scale.SLO, held, bytes int) *admission.Queue {
	return admission.New(admission.Limits{MaxHeld: held, MaxHeldBytes: bytes, SLO: slo})
}

// flight is a request that has not ended. It stands in run.flights at its
// engine's key, which is also its ID in the queue.
type flight struct {
	request scale.Request
	service *service
	at      *replica // nil while held
	seq     uint64   // order of arrival
	arrived time.Duration
	sent    time.Duration // to at
	ttft    time.Duration // since arrival; 0 while no token came
	held    time.Duration
	area    float64 // of at, when sent
	tries   int
	woke    bool
	reply   int // tokens that admission expects
}

// act does what the queue asks for, and what follows from that.
func (s *service) act(effects []admission.Effect) {
	for {
		for i := range effects {
			s.effect(&effects[i])
		}
		n := len(s.broken) - 1
		if n < 0 {
			return
		}
		key := s.broken[n]
		s.broken = s.broken[:n]
		effects = s.queue.Finish(scale.RequestID(key), s.run.clock)
	}
}

func (s *service) effect(e *admission.Effect) {
	key := uint32(e.Request)
	f := &s.run.flights[key]
	switch e.Kind {
	case admission.Send:
		f.held, f.woke = e.Held, e.Woke
		s.send(key, s.run.replicas[slotOf(e.Replica)])
	case admission.Refuse:
		s.run.end(key, scale.Served{Outcome: scale.Refused, Held: e.Held, Woke: e.Woke})
	case admission.Expire:
		s.run.end(key, scale.Served{Outcome: scale.Expired, Held: e.Held, Woke: e.Woke})
	case admission.Hold, admission.Wake:
		s.wake(e.Kind)
	}
}

// wake pokes for requests that are held: at zero, or because all are full.
func (s *service) wake(kind admission.Kind) {
	now := s.run.now
	if s.woken >= 0 && now-s.woken < wakeEvery {
		return
	}
	s.woken = now
	if kind == admission.Wake || s.queue.Ready() == 0 {
		s.run.poke(PokeWake)
	} else {
		s.run.poke(PokeHeld)
	}
}

// send gives a request to a replica's engine.
func (s *service) send(key uint32, m *replica) {
	r := s.run
	f := &r.flights[key]
	job := engine.Work{Key: key, PromptTokens: f.request.PromptTokens, OutputTokens: f.request.OutputTokens}
	if sigma := m.target.sigma; sigma > 0 {
		job.Service = r.service.draw(s.index, f.request.ID, m.target.truth.Profile.Service.Mean, sigma)
	}
	if err := m.engine.Add(job, r.now); err != nil {
		// As a real engine answers what it could never serve.
		r.end(key, scale.Served{Outcome: scale.Failed, Held: f.held, Woke: f.woke})
		s.broken = append(s.broken, key)
		return
	}
	if r.world.Sent != nil {
		r.world.Sent(Sending{
			At: r.clock, Request: f.request.ID, Replica: m.Replica, Tokens: f.request.PromptTokens + f.reply, Limit: m.target.limit,
		})
	}
	m.spend(r.now)
	m.inFlight++
	f.at, f.sent, f.area = m, r.now, m.area
	f.tries++
	r.touch(m)
}

// leave notes that a request is at its replica no longer, and returns the mean
// concurrency there meanwhile.
func (s *service) leave(f *flight) float64 {
	m, now := f.at, s.run.now
	m.spend(now)
	m.inFlight--
	f.at = nil
	if took := now - f.sent; took > 0 {
		return (m.area - f.area) / float64(took)
	}
	return 1
}

// begun takes in that the first token of a request came.
func (s *service) begun(key uint32) {
	f := &s.run.flights[key]
	f.ttft = s.run.now - f.arrived
	s.act(s.queue.Begun(scale.RequestID(key), s.run.clock))
}

// finished takes in that the last token of a request came.
func (s *service) finished(key uint32) {
	r := s.run
	f := &r.flights[key]
	m := f.at
	concurrency := s.leave(f)
	served := scale.Served{
		Outcome: scale.OK, Held: f.held, Woke: f.woke, TTFT: f.ttft, Total: r.now - f.arrived, OutputTokens: f.request.OutputTokens,
	}
	m.latency.add(f, concurrency, experience{
		ttft: f.arrived + f.ttft - f.sent, tpot: served.TPOT(), service: r.now - f.sent,
	}, r.samples)
	s.meter.finished(f)
	r.end(key, served)
	s.act(s.queue.Finish(scale.RequestID(key), r.clock))
}

// lost takes in that the replica of a request is gone: what a client has seen
// nothing of is tried once more.
func (s *service) lost(key uint32) {
	r := s.run
	f := &r.flights[key]
	s.leave(f)
	id := scale.RequestID(key)
	switch {
	case f.ttft > 0:
		served := scale.Served{Outcome: scale.Interrupted, Held: f.held, Woke: f.woke, TTFT: f.ttft, Total: r.now - f.arrived}
		r.end(key, served)
		s.act(s.queue.Finish(id, r.clock))
	case f.tries == maxTries:
		r.end(key, scale.Served{Outcome: scale.Failed, Held: f.held, Woke: f.woke, Total: r.now - f.arrived})
		s.act(s.queue.Finish(id, r.clock))
	default:
		s.act(s.queue.Retry(id, r.clock))
	}
}

// route tells admission of the replicas as they are.
func (s *service) route() {
	routes := s.run.routes[:0]
	for _, m := range s.members {
		limit := &m.target.limit
		routes = append(routes, scale.Route{
			Replica: m.Replica, BatchLimit: limit.BatchLimit, KVTokens: limit.KVTokens, PrefillTokens: limit.PrefillTokens,
		})
	}
	s.run.routes = routes
	s.act(s.queue.Route(routes, s.run.clock))
	s.run.settle(s)
}
