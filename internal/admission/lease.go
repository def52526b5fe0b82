package admission

import (
	"cmp"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const (
	// roomy is from how many slots for each gateway on one that nobody asks is
	// left one, so that its next request need not wait for a share.
	roomy = 8
	// keep is how much of an earlier demand still counts a renewal later, so that
	// shares do not follow every request.
	keep = 0.5
)

// Leases divides the replicas of one model among the gateways in front of them:
// the slots of each replica, and with them its KV tokens and its prefill, in
// proportion to what each gateway has in flight and holds.
//
// What a gateway may use is at most what it was given last and what it was given
// before, until it says which of the two it goes by, and for no longer than its
// lease. So much, and what it says it has in flight, is its claim, and nobody is
// given what another claims. So the slots that gateways go by never exceed a
// replica's limit, whatever of the messages between them is late, lost or comes
// twice. An expired lease is worth zero.
//
// It is a state machine like Queue: without a clock, a goroutine or a lock.
type Leases struct {
	Term time.Duration // for how long a grant is good, as the one who gives it counts

	routes  []scale.Route // those that may be sent requests, by ID
	others  []scale.Route // those that may not
	holders []*holder     // by ID
}

// Renewal is what a gateway says when it asks for its share.
type Renewal struct {
	Turn     uint64 // of this renewal; each is larger than the one before
	Adopted  uint64 // turn of the grant that the gateway goes by; 0 for none
	Standing scale.Standing
	// Bound says that the gateway can not outlive who gives it its share, so that
	// its leases do not expire.
	Bound bool
}

// Grant is a gateway's share.
type Grant struct {
	Turn   uint64
	Routes []scale.Route // of every replica of the model, with the gateway's part of the limits
}

// holder is one gateway.
type holder struct {
	id               string
	adopted, offered slots
	adoptedTurn      uint64
	turn             uint64    // of the newest renewal, and so of offered
	expires          time.Time // of both; zero for never
	inFlight         map[scale.ReplicaID]int
	weight           float64
	asks             bool      // it holds requests or has some in flight
	fed              time.Time // when it last had a slot
}

// slots are how many requests at once may be at each replica.
type slots map[scale.ReplicaID]int

// claim is how many requests of the gateway may be at a replica.
func (h *holder) claim(id scale.ReplicaID) int {
	return max(h.adopted[id], h.offered[id], h.inFlight[id])
}

// Route tells the fleet as it is now. It changes no grant: the next renewals do.
func (l *Leases) Route(routes []scale.Route) {
	l.routes, l.others = l.routes[:0], l.others[:0]
	for _, r := range routes {
		if r.Replica.Phase == scale.Ready && r.BatchLimit > 0 {
			l.routes = append(l.routes, r)
		} else {
			l.others = append(l.others, r)
		}
	}
	slices.SortFunc(l.routes, func(a, b scale.Route) int { return cmp.Compare(a.Replica.ID, b.Replica.ID) })
}

// Renew gives a gateway its share for another Term. It is false for a renewal
// that is not newer than one that came before: it was late, and the gateway
// waits for its answer no longer.
func (l *Leases) Renew(id string, r Renewal, now time.Time) (Grant, bool) {
	if !l.Hear(id, r, now) {
		return Grant{}, false
	}
	return l.Give(id, now), true
}

// Hear is the first half of Renew: what the gateway says counts from now on, for
// the shares of others too.
func (l *Leases) Hear(id string, r Renewal, now time.Time) bool {
	l.Expire(now)
	h := l.holder(id, now)
	if r.Turn <= h.turn {
		return false
	}
	h.confirm(r.Adopted, r.Standing)
	h.weigh(r.Standing)
	h.turn = r.Turn
	if h.expires = now.Add(l.Term); r.Bound {
		h.expires = time.Time{}
	}
	return true
}

// Give is the other half: the answer to what was heard last of a gateway.
func (l *Leases) Give(id string, now time.Time) Grant {
	h := l.holder(id, now)
	mine := slices.Index(l.holders, h)
	shares := l.divide(now)
	h.offered = slots{}
	g := Grant{Turn: h.turn}
	for i, route := range l.routes {
		id := route.Replica.ID
		n := min(shares[i][mine], route.BatchLimit-l.claimed(id, h))
		if n > 0 {
			h.offered[id], h.fed = n, now
		}
		g.Routes = append(g.Routes, part(route, max(0, n)))
	}
	for _, route := range l.others {
		g.Routes = append(g.Routes, part(route, 0))
	}
	return g
}

// part is a route with so many of its slots.
func part(r scale.Route, n int) scale.Route {
	share := func(whole int) int {
		if whole <= 0 || n == 0 {
			return whole
		}
		return max(1, whole*n/r.BatchLimit) // 0 would be no bound
	}
	r.KVTokens, r.PrefillTokens = share(r.KVTokens), share(r.PrefillTokens)
	r.BatchLimit = n
	return r
}

// Confirm takes in which grant a gateway goes by, and how it stands then.
func (l *Leases) Confirm(id string, adopted uint64, s scale.Standing) {
	if i, known := l.find(id); known {
		l.holders[i].confirm(adopted, s)
	}
}

func (h *holder) confirm(adopted uint64, s scale.Standing) {
	switch adopted {
	case h.turn:
		h.adopted, h.adoptedTurn = h.offered, h.turn
	case h.adoptedTurn: // the newer one did not come, and will not any more
	default:
		h.adopted, h.adoptedTurn = nil, 0
	}
	h.offered = nil
	h.inFlight = s.InFlight
}

func (h *holder) weigh(s scale.Standing) {
	asks := float64(s.Held)
	for _, n := range s.InFlight {
		asks += float64(n)
	}
	h.asks = asks > 0
	if h.weight = max(asks, keep*h.weight+(1-keep)*asks); h.weight < 0.5 {
		h.weight = 0
	}
}

// Leave ends what a gateway has: it is gone, and all its requests with it.
func (l *Leases) Leave(id string) {
	if i, known := l.find(id); known {
		l.holders = slices.Delete(l.holders, i, i+1)
	}
}

// Expire ends the leases whose time is over and returns whose they were.
func (l *Leases) Expire(now time.Time) []string {
	var gone []string
	l.holders = slices.DeleteFunc(l.holders, func(h *holder) bool {
		over := !h.expires.IsZero() && !now.Before(h.expires)
		if over {
			gone = append(gone, h.id)
		}
		return over
	})
	return gone
}

// Claimed returns how many requests may be at a replica, of all gateways but
// one.
func (l *Leases) Claimed(replica scale.ReplicaID, but string) int {
	i, known := l.find(but)
	if !known {
		return l.claimed(replica, nil)
	}
	return l.claimed(replica, l.holders[i])
}

func (l *Leases) claimed(replica scale.ReplicaID, but *holder) int {
	n := 0
	for _, h := range l.holders {
		if h != but {
			n += h.claim(replica)
		}
	}
	return n
}

func (l *Leases) find(id string) (int, bool) {
	return slices.BinarySearchFunc(l.holders, id, func(h *holder, id string) int { return cmp.Compare(h.id, id) })
}

func (l *Leases) holder(id string, now time.Time) *holder {
	i, known := l.find(id)
	if !known {
		l.holders = slices.Insert(l.holders, i, &holder{id: id, fed: now})
	}
	return l.holders[i]
}

// divide returns the share of each gateway in each of routes. Every slot is
// somebody's.
func (l *Leases) divide(now time.Time) [][]int {
	left := 0
	for _, r := range l.routes {
		left += r.BatchLimit
	}
	due := l.totals(left, now)
	shares := make([][]int, len(l.routes))
	for i, r := range l.routes {
		shares[i] = l.spread(r, i, due, left)
		for j, n := range shares[i] {
			due[j] -= n
		}
		left -= r.BatchLimit
	}
	return shares
}

// totals divides so many slots by weight. Who asks has one at least; while there
// are fewer slots than gateways that ask, those are next that had none for the
// longest time.
func (l *Leases) totals(slots int, now time.Time) []int {
	sum := 0.0
	for _, h := range l.holders {
		sum += h.weight
	}
	weight := func(h *holder) float64 {
		if sum == 0 {
			return 1
		}
		return h.weight
	}
	if sum == 0 {
		sum = float64(len(l.holders))
	}
	out := make([]int, len(l.holders))
	var order, needy []int
	left := slots
	for i, h := range l.holders {
		out[i] = min(left, int(float64(slots)*weight(h)/sum))
		left -= out[i]
		order = append(order, i)
		if h.asks || slots >= roomy*len(l.holders) {
			needy = append(needy, i)
		}
	}
	if slots < len(needy) {
		return l.scarce(slots, needy, now)
	}
	fraction := func(i int) float64 { return float64(slots)*weight(l.holders[i])/sum - float64(out[i]) }
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(fraction(b), fraction(a)) })
	for i := 0; left > 0; i++ {
		out[order[i%len(order)]]++
		left--
	}
	for _, i := range needy {
		if out[i] > 0 {
			continue
		}
		out[slices.Index(out, slices.Max(out))]--
		out[i]++
	}
	return out
}

// scarce gives one slot each to those that had none for the longest time.
func (l *Leases) scarce(slots int, needy []int, now time.Time) []int {
	slices.SortStableFunc(needy, func(a, b int) int {
		return cmp.Compare(now.Sub(l.holders[b].fed), now.Sub(l.holders[a].fed))
	})
	out := make([]int, len(l.holders))
	for _, i := range needy[:slots] {
		out[i] = 1
	}
	return out
}

// spread divides the slots of one replica so that what is due to each gateway,
// left in all, comes out even over the replicas that follow. What does not
// divide goes to who has it already, so that shares do not wander.
func (l *Leases) spread(r scale.Route, index int, due []int, left int) []int {
	n := len(l.holders)
	out, parts := make([]int, n), make([]int, n)
	rest := r.BatchLimit
	var order []int
	for i, h := range l.holders {
		out[i] = r.BatchLimit * due[i] / left
		rest -= out[i]
		if parts[i] = r.BatchLimit * due[i] % left; parts[i] == 0 {
			continue
		}
		if h.claim(r.Replica.ID) > out[i] {
			parts[i] += left
		}
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(parts[b], parts[a]), cmp.Compare((a+index)%n, (b+index)%n))
	})
	for _, i := range order[:rest] {
		out[i]++
	}
	return out
}
