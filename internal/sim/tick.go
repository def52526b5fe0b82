package sim

import (
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// tick lets the Governor see and decide, and acts.
func (r *run) tick() {
	r.ticked = r.now
	r.timers.set(timerPoke, rankTick+1, never)
	s := r.snapshot()
	began := time.Now()
	d := r.world.Governor.Decide(s)
	r.books.timing.add(time.Since(began) / time.Duration(len(r.services)))
	if r.books.timing.n%weighEvery == 0 {
		r.weigh()
	}
	if r.world.Watch != nil {
		r.world.Watch(s, d)
	}
	r.apply(d)
}

// snapshot is what a tick may know. It is the Governor's to keep.
func (r *run) snapshot() scale.Snapshot {
	s := scale.Snapshot{
		Now: r.clock, Tick: r.world.Governor.Every(), Fleet: r.world.Fleet, Offerings: r.offerings,
		Models: make([]scale.ModelState, len(r.services)),
	}
	for _, m := range r.noticed {
		if m.Phase != scale.Gone {
			s.Interruptions = append(s.Interruptions, m.notice)
		}
	}
	total := 0
	for _, v := range r.services {
		total += len(v.members)
	}
	replicas := make([]scale.Replica, total)
	sees := r.world.Faults.sight(r.now)
	for i, v := range r.services {
		state := &s.Models[i]
		n := len(v.members)
		state.Model, state.ColdStarts, state.Failures, state.LastFailure = v.Model, v.boots, v.failures, v.failure
		state.Replicas, replicas = replicas[:n:n], replicas[n:]
		v.boots = nil
		for j, m := range v.members {
			state.Replicas[j] = m.Replica
		}
		v.see(state, sees)
	}
	return s
}

// see adds what is measured.
func (s *service) see(state *scale.ModelState, sees sight) {
	switch sees {
	case missing:
	case stale:
		state.Demand = s.last
		for j, m := range s.members {
			state.Replicas[j].Load = m.last
		}
	case truthful, lying:
		span := s.run.now - s.meter.since
		tokens := s.tokens
		for j, m := range s.members {
			tokens += s.load(m, &state.Replicas[j].Load, span)
		}
		state.Demand = s.meter.demand(s.run, s.queue, tokens)
		if sees == lying {
			lie(state)
			return
		}
		if len(s.run.world.Faults.Stale) == 0 {
			return
		}
		s.last = state.Demand
		for j, m := range s.members {
			m.last = state.Replicas[j].Load
		}
	}
}

// load measures a replica and returns the tokens that it ever emitted.
func (s *service) load(m *replica, out *scale.Load, span time.Duration) int {
	at := s.run.clock
	m.spend(s.run.now)
	out.InFlight = scale.Observe(float64(m.inFlight), at)
	if m.engine == nil {
		return 0
	}
	st := m.engine.State(s.run.now)
	out.Running, out.Waiting = scale.Observe(float64(st.Running), at), scale.Observe(float64(st.Waiting), at)
	out.KVCacheUsage = scale.Observe(st.KVUsage, at)
	if span > 0 {
		out.Busy = scale.Observe(min(1, float64(st.Busy-m.worked)/float64(span)), at)
		m.worked = st.Busy
	}
	out.Latency = m.latency.take(at)
	if !s.Model.SLO.Tokens() { // no client sees a first token or a pace
		out.Latency.TTFT, out.Latency.TPOT = 0, 0
	}
	return st.Tokens
}

// lie makes what was measured read 0.
func lie(state *scale.ModelState) {
	for _, o := range []*scale.Observation{
		&state.Demand.Arrivals, &state.Demand.Held, &state.Demand.HeldTokens, &state.Demand.HeldFor, &state.Demand.InFlight,
	} {
		o.Value = 0
	}
	for i := range state.Replicas {
		l := &state.Replicas[i].Load
		l.InFlight.Value, l.Running.Value, l.Waiting.Value, l.KVCacheUsage.Value, l.Busy.Value = 0, 0, 0, 0, 0
		l.Latency = scale.Latency{}
	}
}
