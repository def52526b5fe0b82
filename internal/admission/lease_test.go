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

const leaseTerm = 3 * time.Second

// leaseholder is a gateway as it is meant to be: it counts its lease from when
// it asked, and gives up on an answer before it asks again.
type leaseholder struct {
	id       string
	turn     uint64
	adopted  uint64
	slots    map[scale.ReplicaID]int
	until    time.Time
	inFlight map[scale.ReplicaID]int
	held     int
	outlived bool // its lease ended while it had requests in flight
}

func (h *leaseholder) standing() scale.Standing {
	return scale.Standing{Held: h.held, InFlight: maps.Clone(h.inFlight)}
}

func (h *leaseholder) valid(now time.Time) bool { return now.Before(h.until) }

func (h *leaseholder) adopt(g Grant, asked time.Time) {
	h.adopted, h.slots, h.until = g.Turn, map[scale.ReplicaID]int{}, asked.Add(leaseTerm)
	for _, r := range g.Routes {
		h.slots[r.Replica.ID] = r.BatchLimit
	}
}

func (h *leaseholder) renewal() Renewal {
	h.turn++
	return Renewal{Turn: h.turn, Adopted: h.adopted, Standing: h.standing()}
}

// letter is a message on its way.
type letter struct {
	to      *leaseholder
	id      string // in which of its lives
	renewal *Renewal
	grant   *Grant
	asked   time.Time
}

// post is a lessor, gateways, and a network that delays, loses and repeats.
type post struct {
	now     time.Time
	leases  *Leases
	limits  map[scale.ReplicaID]int
	holders []*leaseholder
	letters []letter
	born    int
}

func (p *post) routes() []scale.Route {
	var routes []scale.Route
	for id, b := range p.limits {
		routes = append(routes, ready(id, b, 100*b))
	}
	return routes
}

// Whatever becomes of the messages between them, the slots that gateways go by
// are never more than there are, and neither are the requests in flight, but for
// those of a gateway that lives on without a lease.
func TestLeasesNeverExceedALimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &post{now: epoch, leases: &Leases{Term: leaseTerm}, limits: map[scale.ReplicaID]int{}}
		for i := range rapid.IntRange(1, 3).Draw(t, "replicas") {
			p.limits[scale.ReplicaID(fmt.Sprint("r", i))] = rapid.SampledFrom([]int{1, 2, 3, 8, 64}).Draw(t, "limit")
		}
		p.leases.Route(p.routes())
		for range rapid.IntRange(1, 4).Draw(t, "gateways") {
			p.join()
		}
		for range rapid.IntRange(1, 150).Draw(t, "events") {
			p.now = p.now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 10, 100, 1000, 3500}).Draw(t, "ms")) * time.Millisecond)
			p.event(t)
			p.check(t)
		}
	})
}

func (p *post) join() {
	p.born++
	p.holders = append(p.holders, &leaseholder{id: fmt.Sprint("g", p.born), inFlight: map[scale.ReplicaID]int{}})
}

func (p *post) event(t *rapid.T) {
	h := rapid.SampledFrom(p.holders).Draw(t, "gateway")
	id := rapid.SampledFrom(slices.Sorted(maps.Keys(p.limits))).Draw(t, "replica")
	for _, h := range p.holders {
		h.outlived = h.outlived && len(h.inFlight) > 0 || !h.valid(p.now) && len(h.inFlight) > 0
	}
	switch rapid.SampledFrom([]string{"renew", "renew", "renew", "renew", "ask", "ask", "carry", "carry", "carry", "carry", "repeat", "lose", "fill", "fill", "finish", "hold", "die", "leave"}).Draw(t, "event") {
	case "renew": // and nothing goes wrong
		p.ask(h)
		p.carry(len(p.letters) - 1)
		p.carry(len(p.letters) - 1)
	case "ask":
		p.ask(h)
	case "carry":
		p.carry(p.letter(t))
	case "repeat":
		if len(p.letters) > 0 {
			p.letters = append(p.letters, p.letters[p.letter(t)])
		}
	case "lose":
		if len(p.letters) > 0 {
			p.letters = slices.Delete(p.letters, 0, 1)
		}
	case "fill":
		if h.valid(p.now) {
			for h.inFlight[id] < h.slots[id] {
				h.inFlight[id]++
			}
		}
	case "finish":
		if h.inFlight[id]--; h.inFlight[id] <= 0 {
			delete(h.inFlight, id)
		}
	case "hold":
		h.held = rapid.IntRange(0, 50).Draw(t, "held")
	case "die":
		*h = leaseholder{id: h.id + "'", inFlight: map[scale.ReplicaID]int{}} // and another comes
	case "leave":
		id := h.id
		*h = leaseholder{id: id + "+", inFlight: map[scale.ReplicaID]int{}}
		p.leases.Leave(id)
	}
}

func (p *post) ask(h *leaseholder) {
	if !h.valid(p.now) {
		h.adopted, h.slots = 0, nil
	}
	r := h.renewal()
	p.letters = append(p.letters, letter{to: h, id: h.id, renewal: &r, asked: p.now})
}

func (p *post) letter(t *rapid.T) int {
	return rapid.IntRange(0, max(0, len(p.letters)-1)).Draw(t, "letter")
}

// carry delivers one message.
func (p *post) carry(i int) {
	if i < 0 || i >= len(p.letters) {
		return
	}
	m := p.letters[i]
	p.letters = slices.Delete(p.letters, i, i+1)
	switch {
	case m.renewal != nil:
		if g, ok := p.leases.Renew(m.id, *m.renewal, p.now); ok {
			p.letters = append(p.letters, letter{to: m.to, id: m.id, grant: &g, asked: m.asked})
		}
	case m.grant.Turn == m.to.turn && m.id == m.to.id && m.to.adopted < m.grant.Turn: // none that was given up
		m.to.adopt(*m.grant, m.asked)
	}
}

func (p *post) check(t *rapid.T) {
	for id, limit := range p.limits {
		rights, flying, outlived := 0, 0, false
		for _, h := range p.holders {
			outlived = outlived || h.outlived || !h.valid(p.now) && len(h.inFlight) > 0
			flying += h.inFlight[id]
			if h.valid(p.now) {
				rights += h.slots[id]
			}
		}
		if rights > limit {
			t.Fatalf("gateways may have %d requests at %s, whose limit is %d", rights, id, limit)
		}
		if flying > limit && !outlived {
			t.Fatalf("%d requests are at %s, whose limit is %d", flying, id, limit)
		}
	}
}

// fair is a network without faults: each gateway renews every second at a time
// of its own, and at once after its share fell.
type fair struct {
	leases  *Leases
	holders []*leaseholder
	now     time.Time
}

func newFair(gateways int, routes ...scale.Route) *fair {
	f := &fair{leases: &Leases{Term: leaseTerm}, now: epoch}
	f.leases.Route(routes)
	for i := range gateways {
		f.holders = append(f.holders, &leaseholder{id: fmt.Sprint("g", i)})
	}
	return f
}

func (f *fair) renew(t *testing.T, h *leaseholder) {
	t.Helper()
	for {
		g, ok := f.leases.Renew(h.id, h.renewal(), f.now)
		if !ok {
			t.Fatalf("%s was not renewed", h.id)
		}
		before := h.slots
		h.adopt(g, f.now)
		fell := false
		for id, n := range before {
			fell = fell || h.slots[id] < n
		}
		if !fell {
			return
		}
	}
}

func (f *fair) second(t *testing.T) {
	t.Helper()
	for _, h := range f.holders {
		f.now = f.now.Add(time.Second / time.Duration(len(f.holders)))
		f.renew(t, h)
	}
}

func (f *fair) sums() map[string]int {
	sums := map[string]int{}
	for _, h := range f.holders {
		for _, n := range h.slots {
			sums[h.id] += n
		}
	}
	return sums
}

// Two seconds after demand moved, all slots are with those who ask, by demand.
func TestSharesFollowDemandWithinTwoSeconds(t *testing.T) {
	f := newFair(3, ready("a", 32, 0), ready("b", 16, 0), ready("c", 48, 0))
	f.holders[0].held = 60
	f.second(t)
	f.second(t)
	if s := f.sums(); s["g0"] != 94 || s["g1"] != 1 || s["g2"] != 1 {
		t.Errorf("of 96 slots, asked for by one gateway, there are %v", s)
	}
	f.holders[0].held, f.holders[1].held = 30, 30
	for range 2 {
		f.second(t)
	}
	s := f.sums()
	if s["g0"]+s["g1"]+s["g2"] != 96 || s["g1"] < 30 {
		t.Errorf("two seconds after half of the demand moved there are %v", s)
	}
	for range 6 {
		f.second(t)
	}
	if s := f.sums(); s["g0"] < 46 || s["g1"] < 46 {
		t.Errorf("of 96 slots, asked for by two gateways alike, there are %v", s)
	}
}

// With a limit below the number of gateways each owns some of the replicas.
func TestGatewaysOwnReplicasWhereSlotsAreFew(t *testing.T) {
	f := newFair(3, ready("a", 1, 0), ready("b", 1, 0), ready("c", 1, 0), ready("d", 1, 0), ready("e", 1, 0), ready("f", 1, 0))
	for _, h := range f.holders {
		h.held = 5
	}
	for range 3 {
		f.second(t)
	}
	if s := f.sums(); s["g0"] != 2 || s["g1"] != 2 || s["g2"] != 2 {
		t.Errorf("of six replicas of one slot there are %v", s)
	}
	before := fmt.Sprint(f.holders[0].slots, f.holders[1].slots, f.holders[2].slots)
	for i := range 20 {
		f.holders[i%3].held = 5 + i%2 // as demand does
		f.second(t)
	}
	if after := fmt.Sprint(f.holders[0].slots, f.holders[1].slots, f.holders[2].slots); before != after {
		t.Errorf("replicas changed hands for nothing: %s, then %s", before, after)
	}
}

// With fewer slots than gateways that ask, each has its turn.
func TestNobodyStarvesWithoutASlotForEach(t *testing.T) {
	f := newFair(4, ready("a", 1, 0))
	turns := map[string]int{}
	for _, h := range f.holders {
		h.held = 3
	}
	for range 40 {
		f.second(t)
		for id, n := range f.sums() {
			turns[id] += n
		}
	}
	for _, h := range f.holders {
		if turns[h.id] < 4 {
			t.Errorf("%s had the only slot in %d of 40 seconds: %v", h.id, turns[h.id], turns)
		}
	}
}

// KV tokens and prefill are divided as the slots are, and a whole share is whole.
func TestTokensAreDividedWithTheSlots(t *testing.T) {
	route := ready("a", 10, 1003)
	route.PrefillTokens = 5
	f := newFair(2, route)
	f.holders[0].held, f.holders[1].held = 4, 4
	for range 3 {
		f.second(t)
	}
	kv, prefill := 0, 0
	for _, h := range f.holders {
		g, _ := f.leases.Renew(h.id, h.renewal(), f.now)
		kv, prefill = kv+g.Routes[0].KVTokens, prefill+g.Routes[0].PrefillTokens
	}
	if kv < 1000 || kv > 1003 || prefill < 4 || prefill > 5 {
		t.Errorf("together the gateways have %d of 1003 KV tokens and %d of 5 prefill tokens", kv, prefill)
	}
	alone := newFair(1, route)
	g, _ := alone.leases.Renew("g0", alone.holders[0].renewal(), epoch)
	if got := g.Routes[0]; got.BatchLimit != 10 || got.KVTokens != 1003 || got.PrefillTokens != 5 {
		t.Errorf("alone a gateway has %+v", got)
	}
}

// What a gateway may have at a replica counts until it says that it has not, or
// its lease is over.
func TestADrainingReplicaIsClaimedUntilTheLeaseIsGivenBack(t *testing.T) {
	f := newFair(2, ready("a", 10, 0))
	f.holders[0].held, f.holders[1].held = 5, 5
	for range 3 {
		f.second(t)
	}
	draining := ready("a", 10, 0)
	draining.Replica.Phase = scale.Draining
	f.leases.Route([]scale.Route{draining})
	if n := f.leases.Claimed("a", ""); n != 10 {
		t.Fatalf("%d are claimed of a replica that drains, and nobody was told", n)
	}
	f.renew(t, f.holders[0])
	f.renew(t, f.holders[0]) // which says that it goes by nothing now
	if n := f.leases.Claimed("a", ""); n != 5 {
		t.Errorf("%d are claimed after one of two gave back its share", n)
	}
	if gone := f.leases.Expire(f.now.Add(leaseTerm)); !slices.Equal(gone, []string{"g0", "g1"}) || f.leases.Claimed("a", "") != 0 {
		t.Errorf("after the term %v are gone and %d claimed", gone, f.leases.Claimed("a", ""))
	}
}
