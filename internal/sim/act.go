package sim

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// apply makes a Decision true as far as it goes now, as the local world does:
// it drains who is named, starts what slots and the back-off allow, and passes
// limits on to admission.
func (r *run) apply(d scale.Decision) {
	for i := range d.Plans {
		for _, a := range d.Plans[i].Allocations {
			if t := r.byTarget[a.Target]; t != nil {
				t.limit = a
			}
		}
	}
	var acting []scale.Change
	for _, c := range d.Changes {
		if c.Acts() && r.byTarget[c.Target] != nil {
			acting = append(acting, c)
		}
	}
	moved := make([]int, len(acting))
	if len(acting) > 1 { // who matters more takes the slots first
		slices.SortStableFunc(acting, func(a, b scale.Change) int { return cmp.Compare(r.priority(b), r.priority(a)) })
	}
	for i, c := range acting {
		moved[i] += r.shrink(c)
	}
	for i, c := range acting {
		moved[i] += r.grow(c)
		if moved[i] > 0 {
			r.acted(c)
		}
	}
	for _, s := range r.services {
		s.route()
	}
}

func (r *run) priority(c scale.Change) int { return r.byTarget[c.Target].service.Model.Priority }

// shrink drains whom a Change names and returns how many.
func (r *run) shrink(c scale.Change) int {
	n := 0
	for _, id := range c.Drain {
		members := r.byTarget[c.Target].service.members
		i, found := slices.BinarySearchFunc(members, id, func(m *replica, id scale.ReplicaID) int { return cmp.Compare(m.ID, id) })
		if found && members[i].Serving() {
			r.drain(members[i])
			n++
		}
	}
	return n
}

// grow starts what a Change asks for and is not there yet, as far as slots and
// the back-off allow, and returns how many.
func (r *run) grow(c scale.Change) int {
	t := r.byTarget[c.Target]
	started := 0
	for want := min(c.Start(), c.To-t.starting-t.ready); started < want; started++ {
		if r.now < t.notBefore {
			break
		}
		m := r.order(t)
		if m == nil || !r.begin(m) {
			break
		}
	}
	return started
}

// acted counts a Change that moved something.
func (r *run) acted(c scale.Change) {
	r.books.actions++
	t := r.byTarget[c.Target]
	direction := cmp.Compare(c.To, c.From)
	if direction == 0 {
		return
	}
	if t.direction == -direction && r.now-t.turned <= t.variant.ColdStart {
		r.books.turns++
	}
	t.turned, t.direction = r.now, direction
}

// order makes a replica that is Starting and paid for; nil where no accelerator
// is free.
func (r *run) order(t *target) *replica {
	if r.free(t) < t.variant.Accelerator.Count {
		t.refused++
		return nil
	}
	s := t.service
	m := &replica{target: t, service: s, born: r.born, created: r.now, seen: r.now, ready: -1, drained: -1}
	r.born++
	s.births++
	if n := len(r.slots) - 1; n >= 0 {
		m.slot, r.slots = r.slots[n], r.slots[:n]
	} else {
		m.slot = int32(len(r.replicas))
		r.replicas = append(r.replicas, nil)
		r.timers.room(int(r.timerOf(m)) + 1)
	}
	r.replicas[m.slot] = m
	at := r.clock
	m.Replica = scale.Replica{
		ID: name(s.Model.Name, s.births, m.slot), Target: t.ScaleTarget, Phase: scale.Starting, Created: at, Since: at,
	}
	if t.Capacity == scale.Spot && len(r.zones) > 0 {
		if m.zone = r.roomiest(); m.zone != nil {
			m.zone.taken++
			m.Zone = m.zone.Name
		}
	}
	m.price = r.price(t, m.Zone)
	r.books.spread(t, r.now)
	t.starts++
	t.starting++
	t.rate += m.price
	s.members = append(s.members, m)
	return m
}

// begin begins a replica's boot. Without a node for it the boot fails at once,
// and begin is false.
func (r *run) begin(m *replica) bool {
	if r.homeless(m) {
		r.bootFailed(m, "no zone has a free node")
		return false
	}
	took, fails := r.boot(m.target, m.service.births)
	m.bootFails = fails
	took = r.misboot(m, took)
	r.timers.set(r.timerOf(m), rankBoot+uint32(m.slot), r.now+took)
	return true
}

// homeless says whether a replica needs a node and has none.
func (r *run) homeless(m *replica) bool {
	return m.zone == nil && m.target.Capacity == scale.Spot && len(r.zones) > 0
}

// booted takes in that a boot ended.
func (r *run) booted(m *replica) {
	if m.bootFails {
		r.bootFailed(m, fmt.Sprintf("it ended by itself after %v", r.now-m.created))
		return
	}
	r.ready(m)
	m.service.route()
}

func (r *run) bootFailed(m *replica, why string) {
	s := m.service
	s.failures++
	s.failure = fmt.Sprintf("%s: %s", m.ID, why)
	m.target.failed++
	m.target.bootFailed(m.created, r.now)
	r.gone(m)
}

// ready makes a replica Ready.
func (r *run) ready(m *replica) {
	s := m.service
	r.enter(m, scale.Ready)
	m.engine = engine.NewStepper(slowed(m.target.truth.Profile, m.pace))
	m.target.succeeded()
	s.failures = 0
	s.boots = append(s.boots, scale.ColdStart{Target: m.Target, Took: r.now - m.created})
	r.timers.set(r.timerOf(m), rankEngine+uint32(m.slot), never)
	if m.lives > 0 {
		r.doom(m)
	}
	r.poke(PokeReady)
}

// drain has a replica get no new request, finish those it has, and end.
func (r *run) drain(m *replica) {
	r.enter(m, scale.Draining)
	m.service.route()
	if m.inFlight == 0 && m.Phase != scale.Gone {
		r.gone(m)
	}
}

// gone ends a replica, whatever it does. What is still there is tried
// elsewhere, or lost.
func (r *run) gone(m *replica) {
	s := m.service
	r.enter(m, scale.Gone)
	r.close(m)
	if m.zone != nil && m.notice.Replica == "" {
		m.zone.taken--
	}
	if m.engine != nil {
		s.tokens += m.engine.State(r.now).Tokens
	}
	s.members = slices.DeleteFunc(s.members, func(o *replica) bool { return o == m })
	r.timers.set(r.timerOf(m), 0, never)
	s.route()
	if m.inFlight > 0 {
		var there []uint32
		for key := range r.flights {
			if r.flights[key].at == m {
				there = append(there, uint32(key))
			}
		}
		slices.SortFunc(there, func(a, b uint32) int { return cmp.Compare(r.flights[a].seq, r.flights[b].seq) })
		for _, key := range there {
			s.lost(key)
		}
		r.settle(s)
	}
	r.replicas[m.slot] = nil
	r.slots = append(r.slots, m.slot)
	if r.empty() {
		r.books.emptyAt = r.now
	}
	r.poke(PokeGone)
}

func (r *run) empty() bool {
	return !slices.ContainsFunc(r.targets, func(t *target) bool { return t.alive() > 0 })
}

// free returns how many accelerators for a target nothing occupies.
func (r *run) free(t *target) int {
	slots, limited, pool := 0, false, ""
	for _, o := range r.offerings {
		if o.Accelerator == t.variant.Accelerator.Type && o.Capacity == t.Capacity && o.Limited {
			slots, limited, pool = slots+o.Slots, true, cmp.Or(pool, o.Pool)
		}
	}
	if !limited {
		return t.variant.Accelerator.Count
	}
	return slots - r.used(t.variant.Accelerator.Type, t.Capacity, pool)
}

// used returns how many accelerators are occupied of those that a capacity
// type, or all that share a pool with it, may occupy.
func (r *run) used(accelerator string, capacity scale.CapacityType, pool string) int {
	n := 0
	for _, t := range r.targets {
		if a := t.variant.Accelerator; a.Type == accelerator && (pool != "" || t.Capacity == capacity) {
			n += t.alive() * a.Count
		}
	}
	return n
}

// price returns what a replica costs per hour: as offered in its zone, else
// the best offer.
func (r *run) price(t *target, zone string) float64 {
	gpus := float64(t.variant.Accelerator.Count)
	best, found := 0.0, false
	for _, o := range r.world.Offerings {
		switch {
		case o.Accelerator != t.variant.Accelerator.Type || o.Capacity != t.Capacity:
		case zone != "" && o.Zone == zone:
			return o.PricePerHour * gpus
		case !found || o.PricePerHour < best:
			best, found = o.PricePerHour, true
		}
	}
	return best * gpus
}

// fault lets a quota begin or end and a Governor restart.
func (r *run) fault() {
	f := &r.world.Faults
	for i, q := range f.Quota {
		if r.now == q.Start {
			r.limits[i] = r.leave(q.Share)
		}
		if r.now == q.End {
			r.limits[i] = nil
		}
	}
	r.offerings = r.offered()
	r.strike()
	r.timers.set(timerFault, rankFault, r.nextFault())
	if slices.Contains(f.Restarts, r.now) {
		r.world.Governor.Restart()
		r.timers.set(timerPoke, rankTick+1, r.now)
	}
}

// leave returns the accelerators that a share of what runs leaves, by
// offering. Of offerings of one kind the first gets all.
func (r *run) leave(share float64) []int {
	const least = 1e-9 // of a share that was meant to be whole
	out := make([]int, len(r.world.Offerings))
	for i, o := range r.world.Offerings {
		same := func(p scale.Offering) bool { return p.Accelerator == o.Accelerator && p.Capacity == o.Capacity }
		if slices.IndexFunc(r.world.Offerings, same) == i {
			out[i] = int(share*float64(r.used(o.Accelerator, o.Capacity, o.Pool)) + least)
		}
	}
	return out
}

// offered returns the Offerings as quotas leave them.
func (r *run) offered() []scale.Offering {
	out := slices.Clone(r.world.Offerings)
	for _, limit := range r.limits {
		for i := range limit {
			if o := &out[i]; !o.Limited || limit[i] < o.Slots {
				o.Limited, o.Slots = true, limit[i]
			}
		}
	}
	return out
}
