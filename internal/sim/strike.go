package sim

import (
	"cmp"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// misboot lets Faults.Boots have their way with a replica that is ordered now,
// and returns how long its boot takes.
func (r *run) misboot(m *replica, took time.Duration) time.Duration {
	for i, b := range r.world.Faults.Boots {
		if !b.covers(r.now) || r.strikes.at(uint64(i), uint64(m.born)).Float64() >= b.Share {
			continue
		}
		m.bootFails = m.bootFails || b.Fail
		if b.Slow > 0 {
			took = time.Duration(float64(took) * b.Slow)
		}
		m.pace, m.lives = cmp.Or(b.Pace, m.pace), cmp.Or(b.Life, m.lives)
	}
	return took
}

// slowed is a Profile by which everything takes pace times as long; 0 for once.
func slowed(p scale.Profile, pace float64) scale.Profile {
	if pace == 0 {
		return p
	}
	times := func(d time.Duration) time.Duration { return time.Duration(float64(d) * pace) }
	p.Linear = slices.Clone(p.Linear)
	for i := range p.Linear {
		p.Linear[i].Time = times(p.Linear[i].Time)
	}
	p.Overhead, p.Bandwidth, p.Service.Mean = times(p.Overhead), p.Bandwidth/pace, times(p.Service.Mean)
	return p
}

// doom has a Ready replica end by itself after the life that it has.
func (r *run) doom(m *replica) {
	m.ends = r.now + m.lives
	r.doomed = append(r.doomed, m)
	r.timers.set(timerFault, rankFault, r.nextFault())
}

// nextFault returns when fault is due next.
func (r *run) nextFault() time.Duration {
	next := r.world.Faults.next(r.now)
	for _, m := range r.doomed {
		next = min(next, m.ends)
	}
	return next
}

// strike lets happen what is due now of crashes, ends, stalls and clients that
// go away.
func (r *run) strike() {
	f := &r.world.Faults
	for i, s := range f.Stalls {
		if s.Start == r.now {
			r.stall(s, uint64(i))
		}
	}
	var dead []*replica
	for i, s := range f.Crashes {
		if s.At == r.now {
			dead = append(dead, r.struck(s.Share, strikeReplicas+uint64(i))...)
		}
	}
	r.doomed = slices.DeleteFunc(r.doomed, func(m *replica) bool {
		if m.ends <= r.now {
			dead = append(dead, m)
		}
		return m.ends <= r.now
	})
	for _, m := range dead {
		if m.Phase != scale.Gone {
			m.target.died(r.now-m.ready, r.now)
			r.gone(m)
		}
	}
	for i, s := range f.Cancels {
		if s.At == r.now {
			r.cancel(s.Share, uint64(i))
		}
	}
}

// Streams of random numbers for what strikes, beside those of Faults.Boots.
const (
	strikeReplicas uint64 = (iota + 1) << 32
	strikeStalls
	strikeClients
)

// struck returns a share of the replicas that are Ready or Draining, by model and birth.
func (r *run) struck(share float64, strike uint64) []*replica {
	var out []*replica
	for _, s := range r.services {
		for _, m := range s.members {
			if m.engine != nil && r.strikes.at(strike, uint64(m.born)).Float64() < share {
				out = append(out, m)
			}
		}
	}
	return out
}

func (r *run) stall(s Stall, strike uint64) {
	for _, m := range r.struck(s.Share, strikeStalls+strike) {
		m.stalled = max(m.stalled, s.End)
		r.touch(m)
		r.settle(m.service)
	}
}

// cancel has a share of all clients go away. One whose reply is whole already
// and on its way does not.
func (r *run) cancel(share float64, strike uint64) {
	var keys []uint32
	for key := range r.flights {
		if r.flights[key].service != nil {
			keys = append(keys, uint32(key))
		}
	}
	slices.SortFunc(keys, func(a, b uint32) int { return cmp.Compare(r.flights[a].seq, r.flights[b].seq) })
	for _, key := range keys {
		if r.flights[key].service == nil {
			continue // ended by what another's going made room for
		}
		if r.strikes.at(strikeClients+strike, r.flights[key].seq).Float64() < share {
			r.flights[key].service.cancel(key)
		}
	}
}

// cancel ends a request whose client went away.
func (s *service) cancel(key uint32) {
	r := s.run
	f := &r.flights[key]
	m := f.at
	if m != nil {
		if !m.engine.Abort(key, r.now) {
			return
		}
		s.leave(f)
		r.touch(m)
	}
	r.end(key, scale.Served{Outcome: scale.Cancelled, Held: f.held, TTFT: f.ttft, Total: r.now - f.arrived})
	s.act(s.queue.Cancel(scale.RequestID(key), r.clock))
	r.settle(s)
	if m != nil && m.inFlight == 0 && m.Phase == scale.Draining {
		r.gone(m)
	}
}
