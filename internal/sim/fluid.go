package sim

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/rival"
	"github.com/penstock/penstock/internal/scale"
)

// Fluid is one model on one variant as a fluid: requests flow in at a rate per
// bin, through replicas that each carry PerReplica of them a second, and
// nothing is random. It is what a rival's knob is tuned in, hundreds of times
// faster than World: the rival's own code decides at its own interval, from a
// ModelState in which Little's law says what a gateway and engines would have
// measured.
//
// As in admission, fresh work goes first: what has waited for longer than
// Patience is late, and is served from what capacity is left over until its
// MaxHold ends. What arrives while no replica is Ready waits for a wake, and
// is late when that takes longer than MaxHold. Removed replicas take no more
// work and are paid for until theirs is done. Spot is never reclaimed.
type Fluid struct {
	Setting  rival.Setting // Knob is what is sought, and not read
	Bin      time.Duration
	Bins     []Inflow
	Boot     time.Duration // order → Ready, and paid for
	Alone    time.Duration // a request's time at a replica that has no other; 0: as at a full one
	Patience time.Duration // how long a request may wait and still be good
	Start    int           // replicas Ready at the beginning
}

// Inflow is what arrives in one bin.
type Inflow struct {
	Requests     float64
	PromptTokens float64 // mean of each request
	LongPrompt   float64 // 0.95 quantile
	OutputTokens float64 // mean
	PerReplica   float64 // requests/s that a replica carries of these; 0: as in Setting
}

// Outflow is what became of a Fluid.
type Outflow struct {
	Requests float64
	Late     float64 // 0..1, share of the requests that were not good
	Hours    float64 // replica-hours
	Cost     float64 // US dollars; Hours where nothing is on offer at a price
}

func (f Fluid) span() time.Duration { return time.Duration(len(f.Bins)) * f.Bin }

// carries returns the requests/s that a replica carries in a bin.
func (f Fluid) carries(bin int) float64 {
	if c := f.Bins[bin].PerReplica; c > 0 {
		return c
	}
	return f.Setting.PerReplica
}

// Run lets a policy govern the Fluid.
func (f Fluid) Run(p rival.Policy) Outflow {
	s := newFluidRun(f, p)
	s.advance(f.span())
	return s.outflow()
}

// fluidEpoch is the instant at which a Fluid begins.
func fluidEpoch() time.Time { return time.Date(2026, time.January, 5, 0, 0, 0, 0, time.UTC) }

// fluidMost bounds the replicas that a policy can order where nothing else does.
const fluidMost = 4096

// fluidRun is the state of one run of a Fluid.
type fluidRun struct {
	fluid   Fluid
	policy  rival.Policy
	variant scale.Variant
	targets []fluidTarget
	most    int
	epoch   time.Time
	now     time.Duration
	total   float64 // requests in all bins

	in      *Inflow // the newest bin that began
	carries float64 // requests/s, each replica

	replicas []scale.Replica // Ready ones, then Starting ones; sorted by ID
	named    int
	ready    int
	boots    []scale.ColdStart

	fresh   float64 // requests that wait and are not late
	woken   float64 // those that waited for a wake, and are not late
	overdue fluidBacklog
	asleep  fluidBacklog // those that wait for a wake

	came, late float64       // requests
	time, cost float64       // replica-seconds, dollars
	newest     time.Duration // arrival; −1 before the first
	span       fluidSpan
}

// fluidTarget is a target that a policy may want replicas of.
type fluidTarget struct {
	scale.ScaleTarget
	perSecond float64 // dollars for a replica
	has       int     // replicas, Ready and Starting
}

// fluidSpan is what happened since the policy was last asked.
type fluidSpan struct {
	began    time.Duration
	arrived  float64
	finished float64 // at each replica
	through  float64 // requests/s through all replicas, at its end
}

func newFluidRun(f Fluid, p rival.Policy) *fluidRun {
	s := &fluidRun{fluid: f, policy: p, epoch: fluidEpoch(), newest: -1, most: fluidMost}
	s.variant, _ = f.Setting.Model.Variant(f.Setting.Target.Variant)
	s.fluid.Setting.Model.Variants = []scale.Variant{s.variant}
	s.fluid.Setting.Model.Signals = nil // no figure comes from outside
	for _, n := range []int{s.variant.Max, f.Setting.Model.Replicas.Max} {
		if n > 0 {
			s.most = min(s.most, n)
		}
	}
	for _, c := range s.variant.Capacities {
		t := fluidTarget{ScaleTarget: f.Setting.Target, perSecond: f.price(s.variant.Accelerator, c) / 3600}
		t.Capacity = c
		s.targets = append(s.targets, t)
	}
	for _, bin := range f.Bins {
		s.total += bin.Requests
	}
	if len(f.Bins) > 0 {
		s.pour(0)
	}
	for range f.Start {
		s.start(&s.targets[0])
	}
	for i := range s.replicas {
		s.replicas[i].Phase = scale.Ready
	}
	s.ready = f.Start
	return s
}

// price returns the US dollars of a replica-hour: the cheapest on offer, or 1.
func (f Fluid) price(a scale.Accelerator, c scale.CapacityType) float64 {
	least := math.Inf(1)
	for _, o := range f.Setting.Offerings {
		if o.Accelerator == a.Type && o.Capacity == c {
			least = min(least, o.PricePerHour*float64(a.Count))
		}
	}
	if math.IsInf(least, 1) {
		return 1
	}
	return least
}

// advance runs on to the first decision that is not before an instant, or to
// the end.
func (s *fluidRun) advance(at time.Duration) {
	end := s.fluid.span()
	every := max(s.policy.Every(), time.Second)
	for s.now < min(at, end) {
		s.decide()
		s.until(min(s.now+every, end))
	}
}

// outflow is what has become of a run.
func (s *fluidRun) outflow() Outflow {
	out := Outflow{Requests: s.total, Hours: s.time / 3600, Cost: s.cost}
	if s.total > 0 {
		out.Late = s.late / s.total
	}
	return out
}

// until lets the fluid flow up to an instant. Between two instants at which a
// bin ends or a boot does, all rates are constant.
func (s *fluidRun) until(at time.Duration) {
	for s.now < at {
		next := min(at, s.now-s.now%s.fluid.Bin+s.fluid.Bin)
		boot := s.ready < len(s.replicas)
		if boot {
			created := s.replicas[s.ready].Created.Sub(s.epoch)
			ends := max(s.now, created+s.fluid.Boot)
			boot, next = ends <= next, min(next, ends)
		}
		s.flow((next - s.now).Seconds())
		s.now = next
		if boot {
			s.booted()
		}
	}
}

// pour takes a bin for what arrives from now on.
func (s *fluidRun) pour(bin int) { s.in, s.carries = &s.fluid.Bins[bin], s.fluid.carries(bin) }

// flow lets constant rates pass for so many seconds.
func (s *fluidRun) flow(seconds float64) {
	s.pour(int(s.now / s.fluid.Bin))
	arrives, carries := s.in.Requests/s.fluid.Bin.Seconds(), s.carries
	s.time += seconds * float64(len(s.replicas))
	for _, t := range s.targets {
		s.cost += seconds * t.perSecond * float64(t.has)
	}
	s.span.arrived += arrives * seconds
	s.came += arrives * seconds
	if arrives > 0 {
		s.newest = s.now
	}
	ends := s.now + time.Duration(seconds*float64(time.Second))
	hold := s.fluid.Setting.Model.SLO.MaxHold
	if s.ready == 0 {
		s.asleep.add(s.now, ends, arrives*seconds)
		s.late += s.asleep.forget(ends - hold)
		s.span.through = 0
		return
	}
	serves := carries * float64(s.ready)
	patient := serves * s.fluid.Patience.Seconds() // more than that ahead is too long a wait
	missed := max(0, s.fresh-patient)
	s.fresh -= missed
	served := serves * seconds
	if grows := arrives - serves; grows >= 0 {
		s.fresh += grows * seconds
		over := max(0, s.fresh-patient)
		s.fresh -= over
		missed += over
	} else {
		spare := max(0, -grows*seconds-s.fresh)
		s.fresh = max(0, s.fresh+grows*seconds)
		woken := min(s.woken, spare)
		s.woken -= woken
		served -= spare - woken - s.overdue.serve(spare-woken)
	}
	s.late += missed
	s.overdue.add(s.now, ends, missed)
	s.overdue.forget(ends - hold)
	s.span.finished += served / float64(s.ready)
	s.span.through = serves
	if s.fresh+s.woken+s.overdue.sum == 0 {
		s.span.through = min(serves, arrives)
	}
}

// booted makes the oldest Starting replica Ready.
func (s *fluidRun) booted() {
	r := &s.replicas[s.ready]
	r.Phase, r.Since = scale.Ready, s.epoch.Add(s.now)
	s.boots = append(s.boots, scale.ColdStart{Target: r.Target, Took: s.fluid.Boot})
	s.ready++
	s.woken += s.asleep.serve(s.asleep.sum)
}

// decide asks the policy and does what it wants.
func (s *fluidRun) decide() {
	wants := s.policy.Decide(s.epoch.Add(s.now), s.state())
	s.boots = s.boots[:0]
	s.span = fluidSpan{began: s.now, through: s.span.through}
	for i := range s.targets {
		t := &s.targets[i]
		want := 0
		for _, w := range wants {
			if w.Target == t.ScaleTarget {
				want += w.Replicas
			}
		}
		for t.has < want && len(s.replicas) < s.most {
			s.start(t)
		}
		for t.has > max(0, want) {
			s.remove(t)
		}
	}
}

func (s *fluidRun) start(t *fluidTarget) {
	at := s.epoch.Add(s.now)
	s.named++
	s.replicas = append(s.replicas, scale.Replica{
		ID: scale.ReplicaID(fmt.Sprintf("%08d", s.named)), Target: t.ScaleTarget, Phase: scale.Starting, Created: at, Since: at,
	})
	t.has++
}

// remove takes away the newest replica of a target, Starting ones first.
func (s *fluidRun) remove(t *fluidTarget) {
	for i, r := range slices.Backward(s.replicas) {
		if r.Target != t.ScaleTarget {
			continue
		}
		if i < s.ready {
			each := s.each()
			drains := min(1, each*s.takes(each)) * s.takes(each)
			s.ready--
			s.time += drains
			s.cost += drains * t.perSecond
		}
		s.replicas = slices.Delete(s.replicas, i, i+1)
		t.has--
		return
	}
}

// each returns how many requests/s go through each Ready replica now.
func (s *fluidRun) each() float64 { return min(s.carries, s.span.through/float64(max(1, s.ready))) }

// takes returns the seconds that a request spends at a replica through which
// so many a second go. A full one has Setting.Batch at once, for Batch ÷ what
// it carries by Little's law; one that has nothing else takes Alone; between
// them time grows linearly with the requests that are there.
func (s *fluidRun) takes(through float64) float64 {
	full := float64(max(1, s.fluid.Setting.Batch)) / s.carries
	alone := s.fluid.Alone.Seconds()
	if alone <= 0 || alone >= full {
		return full
	}
	return alone / (1 - min(1, through/s.carries)*(1-alone/full))
}

// state is what a gateway and engines would have measured.
func (s *fluidRun) state() scale.ModelState {
	at := s.epoch.Add(s.now)
	load := s.load(at)
	for i := range s.replicas[:s.ready] {
		s.replicas[i].Load = load
	}
	return scale.ModelState{Model: s.fluid.Setting.Model, Demand: s.demand(at), Replicas: s.replicas, ColdStarts: s.boots}
}

func (s *fluidRun) demand(at time.Time) scale.Demand {
	in := s.in
	held := s.fresh + s.woken + s.overdue.sum + s.asleep.sum
	waited := 0.0
	switch {
	case s.asleep.sum > 0:
		waited = (s.now - s.asleep.oldest()).Seconds()
	case s.overdue.sum > 0:
		waited = (s.now - s.overdue.oldest()).Seconds()
	case s.fresh > 0:
		waited = s.fresh / (s.carries * float64(s.ready))
	}
	atOnce := s.each() * s.takes(s.each()) * float64(s.ready)
	d := scale.Demand{
		Held: scale.Observe(held, at), HeldTokens: scale.Observe(held*in.PromptTokens, at), HeldFor: scale.Observe(waited, at),
		InFlight: scale.Observe(atOnce, at), Good: scale.Observe(max(0, s.came-s.late-s.fresh-s.asleep.sum), at), Bad: scale.Observe(s.late, at),
	}
	if over := s.now - s.span.began; over > 0 {
		d.Arrivals, d.ArrivalsOver = scale.Observe(s.span.arrived/over.Seconds(), at), over
	}
	if s.newest < 0 {
		return d
	}
	d.LastArrival = scale.Observe(float64(s.epoch.Add(s.newest).Unix()), at)
	if s.variant.Profile.Tokens() {
		d.PromptTokens, d.LongPrompt, d.OutputTokens = scale.Observe(in.PromptTokens, at), scale.Observe(in.LongPrompt, at), scale.Observe(in.OutputTokens, at)
	}
	return d
}

// load is what each Ready replica shows: they are all alike.
func (s *fluidRun) load(at time.Time) scale.Load {
	p := s.variant.Profile
	in := s.in
	atOnce := s.each() * s.takes(s.each())
	runs := atOnce
	if !p.Tokens() && p.Service.Concurrency > 0 {
		runs = min(runs, float64(p.Service.Concurrency))
	}
	over := (s.now - s.span.began).Seconds()
	mean := s.each()
	if over > 0 {
		mean = min(s.carries, s.span.finished/over)
	}
	service := s.takes(mean)
	l := scale.Load{
		InFlight: scale.Observe(atOnce, at), Running: scale.Observe(runs, at), Waiting: scale.Observe(atOnce-runs, at),
		// Arrivals are taken for Poisson: nothing is there for e^−mean of the time.
		Busy: scale.Observe(1-math.Exp(-mean*service), at),
	}
	if mean >= s.carries {
		l.Busy.Value = 1
	}
	if room := p.KVCapacity(); room > 0 {
		l.KVCacheUsage = scale.Observe(min(1, atOnce*(in.PromptTokens+in.OutputTokens/2)/float64(room)), at)
	}
	if n := int(math.Round(s.span.finished)); n > 0 {
		l.Latency = s.latencyOf(n, mean*service, service)
		l.Latency.At = at
	}
	return l
}

// latencyOf splits a request's time into the first token and the others, in
// the proportion that they have in an iteration of its own.
func (s *fluidRun) latencyOf(n int, atOnce, service float64) scale.Latency {
	p := s.variant.Profile
	in := s.in
	seconds := func(x float64) time.Duration { return time.Duration(x * float64(time.Second)) }
	l := scale.Latency{
		Requests: n, Concurrency: atOnce, Service: seconds(service), PromptTokens: in.PromptTokens, OutputTokens: in.OutputTokens,
	}
	if !p.Tokens() {
		return l
	}
	prefill := p.IterationTime(in.PromptTokens, 0)
	steps := max(0, in.OutputTokens-1)
	first := service * prefill / (prefill + steps*p.IterationTime(1, in.PromptTokens+in.OutputTokens/2))
	l.TTFT = seconds(first)
	if steps > 0 {
		l.TPOT = seconds((service - first) / steps)
	}
	return l
}

// fluidBacklog is work that waits for long, oldest first.
type fluidBacklog struct {
	parts []fluidPart
	sum   float64
}

// fluidPart arrived evenly over a time.
type fluidPart struct {
	from, to time.Duration
	amount   float64
}

func (b *fluidBacklog) oldest() time.Duration { return b.parts[0].from }

func (b *fluidBacklog) add(from, to time.Duration, amount float64) {
	if amount > 0 {
		b.parts = append(b.parts, fluidPart{from, to, amount})
		b.sum += amount
	}
}

// serve takes out as much as there is, at most amount, and returns it.
func (b *fluidBacklog) serve(amount float64) float64 {
	if amount >= b.sum {
		all := b.sum
		b.parts, b.sum = b.parts[:0], 0
		return all
	}
	left := amount
	for len(b.parts) > 1 && b.parts[0].amount <= left {
		left -= b.parts[0].amount
		b.parts = b.parts[1:]
	}
	b.parts[0].take(left)
	b.sum -= amount
	return amount
}

// forget drops what came before an instant and returns how much that was.
func (b *fluidBacklog) forget(before time.Duration) float64 {
	gone := 0.0
	for len(b.parts) > 0 && b.parts[0].from < before {
		p := &b.parts[0]
		if p.to > before {
			gone += p.take(p.amount * float64(before-p.from) / float64(p.to-p.from))
			break
		}
		gone += p.amount
		b.parts = b.parts[1:]
	}
	if b.sum -= gone; len(b.parts) == 0 {
		b.parts, b.sum = b.parts[:0], 0
	}
	return gone
}

// take takes out the oldest of a part, and returns it.
func (p *fluidPart) take(amount float64) float64 {
	p.from += time.Duration(float64(p.to-p.from) * min(1, amount/p.amount))
	p.amount -= amount
	return amount
}
