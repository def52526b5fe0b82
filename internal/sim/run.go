package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// run is the state of one World.Run. Times are since the World's beginning.
type run struct {
	world    World
	zero     time.Time
	now      time.Duration
	clock    time.Time // zero + now
	heed     Heeder    // nil for a Governor that is none
	services []*service
	byName   map[string]*service
	targets  []*target // sorted
	byTarget map[scale.ScaleTarget]*target
	zones    []zone

	replicas []*replica // by slot; nil for a free one
	slots    []int32    // free ones
	born     int
	noticed  []*replica // in order of deadline
	doomed   []*replica // that end by themselves, in no order
	flights  []flight
	spare    []uint32 // free places in flights
	flying   int
	seq      uint64

	timers    timers
	touched   []*replica
	events    []engine.Event
	routes    []scale.Route
	offerings []scale.Offering // as they stand
	limits    [][]int          // accelerators that each of Faults.Quota leaves, by offering; nil while it is not on
	ticked    time.Duration    // latest tick
	ticks     int              // on the grid of Every

	boots   *stream
	service ServiceTimes
	samples *rand.Rand
	strikes *stream
	books   books
}

// Timers that are no service's and no replica's. Behind them come the
// services', then the replicas'.
const (
	timerTick int32 = iota
	timerPoke
	timerZone
	timerReclaim
	timerFault
	timersOwn
)

// pokeGap is the least time between a tick and one that is poked, as control's.
const pokeGap = 50 * time.Millisecond

// lookEvery is after how many requests a run looks at its context.
const lookEvery = 1 << 13

func newRun(w World) *run {
	r := &run{
		world: w, zero: w.Begin, offerings: w.Offerings,
		byName: map[string]*service{}, byTarget: map[scale.ScaleTarget]*target{},
		boots: newStream(w.Seed, purposeBoot), service: NewServiceTimes(w.Seed),
		samples: newStream(w.Seed, purposeSample).at(0, 0), strikes: newStream(w.Seed, purposeFault),
	}
	r.heed, _ = w.Governor.(Heeder)
	for i := range w.Services {
		s := &service{Service: w.Services[i], run: r, index: i, woken: -1}
		s.Model.Signals = nil // no figure comes from outside: they would hold the fleet for ever
		s.meter.newest, s.meter.asks = -1, s.Asks
		s.queue = newQueue(s.Model.SLO, maxHeld, maxHeldBytes)
		r.services, r.byName[s.Model.Name] = append(r.services, s), s
		for j, v := range s.Model.Variants {
			for _, capacity := range v.Capacities {
				t := &target{
					ScaleTarget: scale.ScaleTarget{Model: s.Model.Name, Variant: v.Name, Capacity: capacity},
					service:     s, variant: v, truth: &s.Truths[j], sigma: serviceSigma(s.Truths[j].Profile.Service),
				}
				s.targets = append(s.targets, t)
				r.targets, r.byTarget[t.ScaleTarget] = append(r.targets, t), t
			}
		}
	}
	slices.SortFunc(r.targets, func(a, b *target) int { return a.ScaleTarget.Compare(b.ScaleTarget) })
	for i, t := range r.targets {
		t.index = i
	}
	for _, z := range w.Zones {
		r.zones = append(r.zones, zone{Zone: z})
	}
	r.books = newBooks(len(r.targets))
	r.timers.room(int(timersOwn) + len(r.services))
	return r
}

// play runs the World to its end.
func (r *run) play(ctx context.Context) (Result, error) {
	request, err := r.world.Source.Next()
	for n := 0; err == nil; n++ {
		if n == 0 {
			if r.zero.IsZero() {
				r.zero = request.At
			}
			if err = r.open(); err != nil {
				return Result{}, err
			}
		}
		if n%lookEvery == 0 && ctx.Err() != nil {
			return Result{}, fmt.Errorf("simulate: %w", context.Cause(ctx))
		}
		if err = r.arrive(request); err != nil {
			return Result{}, err
		}
		request, err = r.world.Source.Next()
	}
	if !errors.Is(err, io.EOF) {
		return Result{}, fmt.Errorf("simulate: read the next arrival: %w", err)
	}
	for n := 1; r.flying > 0; n++ { // each ends, be it by its deadline
		if n%lookEvery == 0 && ctx.Err() != nil {
			return Result{}, fmt.Errorf("simulate: %w", context.Cause(ctx))
		}
		r.step()
	}
	return r.finish(), nil
}

// open begins the World: its first replicas are Ready, and the Governor ticks,
// as a server does before it opens its port.
func (r *run) open() error {
	r.turn(0)
	r.zonesChanged()
	for _, s := range r.services {
		for range s.Start {
			if m := r.order(s.targets[0]); m != nil && !r.homeless(m) {
				r.ready(m)
				continue
			}
			return fmt.Errorf("simulate: begin with %d replicas of %s: there is no room for so many", s.Start, s.targets[0])
		}
		s.boots = nil // nobody saw them boot
	}
	r.limits = make([][]int, len(r.world.Faults.Quota))
	r.timers.set(timerFault, rankFault, r.world.Faults.next(-1))
	r.timers.set(timerTick, rankTick, 0)
	return nil
}

// instant returns the time of a duration since the beginning.
func (r *run) instant(d time.Duration) time.Time { return r.zero.Add(d) }

// turn moves the clock.
func (r *run) turn(now time.Duration) { r.now, r.clock = now, r.zero.Add(now) }

// until lets everything happen that does so before or at an instant. What ends
// then ends before what arrives then.
func (r *run) until(at time.Duration) {
	for r.timers.first() <= at {
		r.step()
	}
	r.turn(at)
}

// step lets the next thing happen.
func (r *run) step() {
	next := r.timers.heap[0]
	r.turn(next.at)
	switch id := next.id; {
	case id >= timersOwn+int32(len(r.services)):
		m := r.replicas[id-timersOwn-int32(len(r.services))]
		if m.Phase == scale.Starting {
			r.booted(m)
		} else {
			r.emitted(m)
		}
	case id >= timersOwn:
		s := r.services[id-timersOwn]
		s.act(s.queue.Expire(r.clock))
		r.settle(s)
	case id == timerTick:
		r.ticks++
		r.timers.set(timerTick, rankTick, time.Duration(r.ticks)*r.world.Governor.Every())
		r.tick()
	case id == timerPoke:
		r.tick()
	case id == timerZone:
		r.zonesChanged()
	case id == timerReclaim:
		r.reclaim()
	case id == timerFault:
		r.fault()
	}
}

// arrive takes in a request.
func (r *run) arrive(q scale.Request) error {
	at := q.At.Sub(r.zero)
	if at < r.now {
		return fmt.Errorf("simulate: request %d arrives %v before the one ahead of it or the beginning", q.ID, r.now-at)
	}
	s := r.services[0]
	if q.Model != s.Model.Name {
		if s = r.serviceOf(q.Model); s == nil {
			return fmt.Errorf("simulate: request %d is for model %q, which is not served", q.ID, q.Model)
		}
	}
	r.until(at)
	q.PromptTokens, q.OutputTokens = max(1, q.PromptTokens), max(1, q.OutputTokens)
	var key uint32
	if n := len(r.spare) - 1; n >= 0 {
		key, r.spare = r.spare[n], r.spare[:n]
	} else {
		key = uint32(len(r.flights))
		r.flights = append(r.flights, flight{})
	}
	r.seq++
	r.flying++
	r.books.requests++
	r.books.at(at).arrivals++
	f := &r.flights[key]
	*f = flight{request: q, service: s, seq: r.seq, arrived: at}
	f.reply = s.meter.arrived(f)
	q.ID, q.OutputTokens = scale.RequestID(key), f.reply
	s.act(s.queue.Arrive(q, r.clock))
	r.settle(s)
	return nil
}

// serviceOf returns the service of a model. Where there is but one, a request
// need not name it, and one without a name serves all.
func (r *run) serviceOf(model string) *service {
	if only := r.services[0]; len(r.services) == 1 && (model == "" || only.Model.Name == "") {
		return only
	}
	return r.byName[model]
}

// emitted takes in what a replica's engine came to.
func (r *run) emitted(m *replica) {
	s := m.service
	r.events = append(r.events[:0], m.engine.Advance(r.now)...)
	for i := range r.events {
		if r.events[i].Kind == engine.FirstToken {
			s.begun(r.events[i].Key)
		} else {
			s.finished(r.events[i].Key)
		}
	}
	r.touch(m)
	r.settle(s)
	if m.inFlight == 0 && m.Phase == scale.Draining {
		r.gone(m)
	}
}

// touch notes that a replica's engine may have another next event.
func (r *run) touch(m *replica) {
	if !m.touched {
		m.touched = true
		r.touched = append(r.touched, m)
	}
}

// settle sets the timers after something happened to a service.
func (r *run) settle(s *service) {
	for _, m := range r.touched {
		m.touched = false
		if m.Phase != scale.Gone {
			r.timers.set(r.timerOf(m), rankEngine+uint32(m.slot), max(m.engine.Next(), m.stalled))
		}
	}
	r.touched = r.touched[:0]
	due, some := s.queue.NextDeadline()
	if !some && !s.waits {
		return
	}
	at := never
	if some {
		at = max(r.now, due.Sub(r.zero))
	}
	s.waits = some
	r.timers.set(timersOwn+int32(s.index), rankDeadline+uint32(s.index), at)
	held, _, _ := s.queue.Held()
	r.books.held += held - s.held
	s.held = held
	b := r.books.at(r.now)
	b.held = max(b.held, int32(r.books.held))
}

func (r *run) timerOf(m *replica) int32 {
	return timersOwn + int32(len(r.services)) + m.slot
}

// end forgets a request.
func (r *run) end(key uint32, served scale.Served) {
	f := &r.flights[key]
	served.Streamed = f.service.Model.SLO.Tokens()
	in := r.books.ended(f.arrived, served.Outcome)
	switch {
	case f.service.Model.SLO.Good(served):
		r.books.good++
		in.good++
		f.service.meter.good++
	case served.Outcome != scale.Cancelled:
		f.service.meter.bad++
	}
	if r.world.Ended != nil {
		r.world.Ended(f.request, served)
	}
	f.service = nil
	r.flying--
	r.spare = append(r.spare, key)
}

// poke makes the next tick come early, if the Governor heeds it.
func (r *run) poke(p Poke) {
	if r.heed == nil || !r.heed.Poked(p) {
		return
	}
	r.timers.set(timerPoke, rankTick+1, max(r.now, r.ticked+pokeGap))
}
