package sim

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/autoscaler"
	"github.com/penstock/penstock/internal/scale"
)

// World is one model whose fleet the autoscaler governs, in virtual time: the
// product's Step once a Tick on what its admission measured, and replicas that
// boot, serve, drain and are paid for.
type World struct {
	Model     scale.Model
	Offerings []scale.Offering
	Tick      time.Duration
	Boot      time.Duration // order → Ready
	// Watch, if set, is told of every tick.
	Watch func(scale.Snapshot, scale.Decision)
}

// Summary is what became of a World.
type Summary struct {
	Totals
	Peak        int           // Ready replicas at once
	ReplicaTime time.Duration // paid: order → gone
	Cost        float64       // US dollars
	ToZero      time.Duration // first arrival → no replica left; zero if one was left
}

// settle is how long a World goes on after the last reply, beside the time after
// which the Model may sleep, for the fleet to fall asleep.
const settle = 2 * time.Minute

// Run serves a series in order of arrival, beginning with no replica.
func (w World) Run(requests iter.Seq2[scale.Request, error]) (Summary, error) {
	next, stop := iter.Pull2(requests)
	defer stop()
	first, err, ok := next()
	if !ok || err != nil {
		return Summary{}, err
	}
	l := &live{world: w, run: newRun(Fleet{SLO: w.Model.SLO}, nil)}
	l.run.served = l.ended
	l.run.zero = first.At
	l.tick() // as a server does before it opens its port
	for request := first; ok; request, err, ok = next() {
		if err != nil {
			return Summary{}, fmt.Errorf("simulate: read the next arrival: %w", err)
		}
		at := request.At.Sub(l.run.zero)
		if at < l.run.now {
			return Summary{}, fmt.Errorf("simulate: request %d arrives before the one ahead of it", request.ID)
		}
		l.until(at)
		l.arrived(request)
	}
	for l.run.queue.InFlight() > 0 || l.held() > 0 { // each ends, be it by its deadline
		l.until(l.run.now + l.world.Tick)
	}
	l.until(l.run.now + settle + l.world.Model.ScaleToZero.After)
	return l.outcome(), nil
}

// live is the state of one World.Run.
type live struct {
	world   World
	run     *run
	memory  autoscaler.Memory
	members []*member
	ticked  time.Duration // when the next tick is due
	span    time.Duration // when the previous one was
	out     Summary

	arrivals       int
	newest         time.Time
	prompts, asked recent
	tokens, ends   float64 // as the gateway estimates the length of replies
	counted        float64
	good, bad      float64
	limits         map[scale.ScaleTarget]scale.Allocation
	boots          []scale.ColdStart
}

// member is a replica as the World knows it; its engine is the run's of the
// same index.
type member struct {
	scale.Replica
	ready time.Duration // when it will be
}

// As the gateway: over how many requests it measures, and how many replies
// must have ended before it says how long they are.
const (
	keepRecent = 200
	enoughEnds = 10
)

// recent is the newest values of a series of counts.
type recent struct{ values []int }

func (r *recent) put(v int) {
	r.values = append(r.values[max(0, len(r.values)-keepRecent+1):], v)
}

func (r *recent) mean() float64 {
	sum := 0
	for _, v := range r.values {
		sum += v
	}
	return float64(sum) / float64(max(1, len(r.values)))
}

func (r *recent) tail() float64 {
	sorted := slices.Sorted(slices.Values(r.values))
	return float64(sorted[int(0.95*float64(len(sorted)-1)+0.5)])
}

// until lets everything happen up to an instant: boots, ticks, and all that a
// run does between them.
func (l *live) until(at time.Duration) {
	for {
		due := min(at, l.ticked)
		for _, m := range l.members {
			if m.Phase == scale.Starting {
				due = min(due, max(m.ready, l.run.now))
			}
		}
		l.run.until(due)
		l.run.now = due
		l.boot()
		l.reap()
		if due == l.ticked {
			l.tick()
			continue
		}
		if due == at {
			return
		}
	}
}

func (l *live) arrived(r scale.Request) {
	l.arrivals++
	l.newest = r.At
	l.prompts.put(r.PromptTokens)
	l.asked.put(r.OutputTokens)
	l.run.arrive(r)
	if l.run.queue.Ready() == 0 {
		l.tick() // the wake that crosses upward
	}
}

// ended takes in what one request experienced.
func (l *live) ended(_ scale.Request, s scale.Served) {
	if l.world.Model.SLO.Good(s) {
		l.good++
	} else {
		l.bad++
	}
	if s.Outcome == scale.OK {
		l.ends++
	}
	l.out.Span = l.run.now
}

// boot makes replicas Ready whose time has come.
func (l *live) boot() {
	changed := false
	for _, m := range l.members {
		if m.Phase == scale.Starting && m.ready <= l.run.now {
			m.Phase, m.Since, changed = scale.Ready, l.run.clock(), true
			l.boots = append(l.boots, scale.ColdStart{Target: m.Target, Took: l.world.Boot})
		}
	}
	if changed {
		l.route()
	}
}

// reap ends drained replicas that have nothing left to do.
func (l *live) reap() {
	for _, m := range l.members {
		if m.Phase == scale.Draining && l.run.queue.ReplicaInFlight(m.ID) == 0 {
			m.Phase = scale.Gone
			paid := l.run.clock().Sub(m.Created)
			l.out.ReplicaTime += paid
			l.out.Cost += paid.Hours() * l.price(m.Target)
		}
	}
	if l.living() == 0 && l.run.totals.Requests > 0 && l.run.queue.InFlight() == 0 {
		if l.out.ToZero == 0 {
			l.out.ToZero = l.run.now
		}
	} else {
		l.out.ToZero = 0
	}
}

func (l *live) held() int {
	held, _, _ := l.run.queue.Held()
	return held
}

func (l *live) living() int {
	n := 0
	for _, m := range l.members {
		if m.Phase != scale.Gone {
			n++
		}
	}
	return n
}

func (l *live) price(t scale.ScaleTarget) float64 {
	v, _ := l.world.Model.Variant(t.Variant)
	for _, o := range l.world.Offerings {
		if o.Accelerator == v.Accelerator.Type && o.Capacity == t.Capacity {
			return o.PricePerHour * float64(v.Accelerator.Count)
		}
	}
	return 0
}

// tick observes, decides and acts.
func (l *live) tick() {
	l.ticked = l.run.now + l.world.Tick
	s := l.snapshot()
	var d scale.Decision
	d, l.memory = autoscaler.Step(s, l.memory)
	if l.world.Watch != nil {
		l.world.Watch(s, d)
	}
	l.limits = map[scale.ScaleTarget]scale.Allocation{}
	for _, p := range d.Plans {
		for _, a := range p.Allocations {
			l.limits[a.Target] = a
		}
	}
	for _, c := range d.Changes {
		if !c.Acts() {
			continue
		}
		for _, m := range l.members {
			if slices.Contains(c.Drain, m.ID) {
				m.Phase, m.Since = scale.Draining, l.run.clock()
			}
		}
		for range c.Start() {
			l.start(c.Target)
		}
	}
	l.route()
	l.reap()
	ready := 0
	for _, m := range l.members {
		if m.Phase == scale.Ready {
			ready++
		}
	}
	l.out.Peak = max(l.out.Peak, ready)
}

func (l *live) start(t scale.ScaleTarget) {
	v, _ := l.world.Model.Variant(t.Variant)
	id := scale.ReplicaID(fmt.Sprintf("r%05d", len(l.members)))
	l.members = append(l.members, &member{
		Replica: scale.Replica{ID: id, Target: t, Phase: scale.Starting, Created: l.run.clock(), Since: l.run.clock()},
		ready:   l.run.now + l.world.Boot,
	})
	l.run.add(id, v.Profile)
}

// snapshot is what the tick may know.
func (l *live) snapshot() scale.Snapshot {
	now := l.run.clock()
	q := l.run.queue
	held, tokens, oldest := q.Held()
	d := scale.Demand{
		Held: scale.Observe(float64(held), now), HeldTokens: scale.Observe(float64(tokens), now), HeldFor: scale.Observe(0, now),
		InFlight: scale.Observe(float64(q.InFlight()), now), Good: scale.Observe(l.good, now), Bad: scale.Observe(l.bad, now),
		Arrivals: scale.Observe(0, now),
	}
	if !oldest.IsZero() {
		d.HeldFor.Value = now.Sub(oldest).Seconds()
	}
	if span := l.run.now - l.span; span > 0 {
		d.Arrivals.Value, d.ArrivalsOver = float64(l.arrivals)/span.Seconds(), span
		l.arrivals, l.span = 0, l.run.now
	}
	if len(l.prompts.values) > 0 {
		d.PromptTokens, d.LongPrompt = scale.Observe(l.prompts.mean(), now), scale.Observe(l.prompts.tail(), now)
		d.OutputLimit, d.LastArrival = scale.Observe(l.asked.mean(), now), scale.Observe(float64(l.newest.UnixNano())/1e9, now)
	}
	l.tokens, l.counted = l.tokens+l.run.tokens-l.counted, l.run.tokens
	if l.ends > keepRecent {
		l.tokens, l.ends = l.tokens*keepRecent/l.ends, keepRecent
	}
	if l.ends >= enoughEnds {
		d.OutputTokens = scale.Observe(l.tokens/l.ends, now)
	}
	state := scale.ModelState{Model: l.world.Model, Demand: d, ColdStarts: l.boots}
	l.boots = nil
	for _, m := range l.members {
		if m.Phase == scale.Gone {
			continue
		}
		r := m.Replica
		r.Load.InFlight = scale.Observe(float64(q.ReplicaInFlight(m.ID)), now)
		state.Replicas = append(state.Replicas, r)
	}
	slices.SortFunc(state.Replicas, func(a, b scale.Replica) int { return cmp.Compare(a.ID, b.ID) })
	return scale.Snapshot{Now: now, Tick: l.world.Tick, Models: []scale.ModelState{state}, Offerings: l.world.Offerings}
}

// route tells admission of the fleet as it is.
func (l *live) route() {
	routes := make([]scale.Route, 0, len(l.members))
	for _, m := range l.members {
		if m.Phase != scale.Gone {
			a := l.limits[m.Target]
			routes = append(routes, scale.Route{Replica: m.Replica, BatchLimit: a.BatchLimit, KVTokens: a.KVTokens, PrefillTokens: a.PrefillTokens})
		}
	}
	l.run.act(l.run.queue.Route(routes, l.run.clock()))
}

// outcome closes the books.
func (l *live) outcome() Summary {
	for _, m := range l.members {
		if m.Phase != scale.Gone {
			paid := l.run.clock().Sub(m.Created)
			l.out.ReplicaTime += paid
			l.out.Cost += paid.Hours() * l.price(m.Target)
		}
	}
	span := l.out.Span
	l.out.Totals = l.run.totals
	l.out.Span = span
	return l.out
}
