package admission

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
)

// shop is a replica that serves so many at once, each for as long as its work
// says: a token a millisecond.
type shop struct {
	queue *Queue
	now   time.Time
	next  scale.RequestID
	ends  map[scale.RequestID]time.Time
	all   map[scale.RequestID]scale.Request
	waits map[string][]time.Duration // of each tenant's that were sent

	waiting, work map[string]int // requests held and tokens sent, of each tenant
}

func newShop(batch int, weights map[string]int) *shop {
	s := &shop{
		queue: New(Limits{MaxHeld: 1 << 20, MaxHeldBytes: 1 << 30, SLO: scale.SLO{TTFT: time.Hour, MaxHold: 24 * time.Hour}, Weights: weights}),
		now:   epoch, next: 1, ends: map[scale.RequestID]time.Time{},
		all: map[scale.RequestID]scale.Request{}, waits: map[string][]time.Duration{}, waiting: map[string]int{}, work: map[string]int{},
	}
	s.queue.Route([]scale.Route{ready("r", batch, 0)}, epoch)
	return s
}

func (s *shop) arrive(tenant string, tokens int) {
	r := scale.Request{ID: s.next, At: s.now, Tenant: tenant, PromptTokens: tokens}
	s.next++
	s.all[r.ID] = r
	s.waiting[tenant]++
	s.take(s.queue.Arrive(r, s.now))
}

func (s *shop) take(effects []Effect) {
	for _, e := range effects {
		if e.Kind == Send {
			r := s.all[e.Request]
			s.waiting[r.Tenant]--
			s.work[r.Tenant] += r.PromptTokens
			s.ends[r.ID] = s.now.Add(time.Duration(r.PromptTokens) * time.Millisecond)
			s.waits[r.Tenant] = append(s.waits[r.Tenant], s.now.Sub(r.At))
		}
	}
}

// serve lets time pass until then.
func (s *shop) serve(until time.Time) {
	for {
		first, at := scale.RequestID(0), until
		for id, end := range s.ends {
			if end.Before(at) || end.Equal(at) && id < first {
				first, at = id, end
			}
		}
		s.now = at
		if first == 0 {
			return
		}
		delete(s.ends, first)
		s.take(s.queue.Finish(first, at))
	}
}

// One tenant floods: 2,000 requests of a second each at once. Another's few
// requests, a quarter of what is its share, wait for a slot and not for the
// flood; the flood gets all the rest.
func TestATenantThatFloodsDelaysItselfAlone(t *testing.T) {
	s := newShop(4, nil)
	for range 2000 {
		s.arrive("flood", 1000)
	}
	for i := range 60 {
		s.serve(epoch.Add(time.Duration(1+2*i) * time.Second).Add(300 * time.Millisecond))
		s.arrive("few", 1000)
	}
	s.serve(s.now.Add(2 * time.Second))
	if n := len(s.waits["few"]); n != 60 {
		t.Fatalf("%d of 60 of the few were sent", n)
	}
	for i, w := range s.waits["few"] {
		if w > time.Second {
			t.Errorf("request %d of the few waited %v, and a slot became free after 700ms", i, w)
		}
	}
	if few, flood := s.work["few"], s.work["flood"]; few+flood < 4*121*1000 {
		t.Errorf("%d of the few and %d of the flood in 121 s: slots stood empty", few, flood)
	}
}

// What tenants that wait are sent is in proportion to their weights, to within
// a request of each, whatever the sizes: the bound of start-time fair queuing.
func TestTenantsThatWaitGetWorkByWeight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := map[string]int{"a": rapid.IntRange(1, 5).Draw(t, "weight a"), "b": rapid.IntRange(1, 5).Draw(t, "weight b")}
		s := newShop(rapid.IntRange(1, 8).Draw(t, "batch"), weights)
		size := map[string]int{"a": rapid.IntRange(1, 3000).Draw(t, "size a"), "b": rapid.IntRange(1, 3000).Draw(t, "size b")}
		draw := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		largest := map[string]int{}
		feed := func() {
			for _, tenant := range []string{"a", "b"} {
				for s.waiting[tenant] < 20 {
					n := 1 + draw.IntN(size[tenant])
					largest[tenant] = max(largest[tenant], n)
					s.arrive(tenant, n)
				}
			}
		}
		feed()
		feed() // the first filled slots while nobody waited
		a, b := s.work["a"], s.work["b"]
		for range 300 {
			s.serve(s.now.Add(time.Millisecond)) // at most 16 end, so nobody runs out
			gap := float64(s.work["a"]-a)/float64(weights["a"]) - float64(s.work["b"]-b)/float64(weights["b"])
			bound := 2*(float64(largest["a"])/float64(weights["a"])+float64(largest["b"])/float64(weights["b"])) + 1
			if gap > bound || gap < -bound {
				t.Fatalf("a got %d and b %d by weights %v: apart by %.0f, more than %.0f", s.work["a"]-a, s.work["b"]-b, weights, gap, bound)
			}
			feed()
		}
	})
}

// Whoever comes and goes is not remembered for ever.
func TestTenantsAreForgotten(t *testing.T) {
	q := New(Limits{MaxHeld: 1 << 20, MaxHeldBytes: 1 << 30, SLO: scale.SLO{TTFT: time.Hour, MaxHold: 24 * time.Hour}})
	q.Route([]scale.Route{ready("r", 1, 0)}, epoch)
	id := scale.RequestID(0)
	arrive := func(tenant string, tokens int) {
		id++
		q.Arrive(scale.Request{ID: id, At: epoch, Tenant: tenant, PromptTokens: tokens}, epoch)
	}
	arrive("x", 1)
	sent := id
	for range 10 {
		arrive("always", 1<<20)
	}
	const many = 20_000
	for i := range many {
		arrive(fmt.Sprint(i), 10+i%7)
		if i < 50 {
			continue
		}
		for _, e := range q.Finish(sent, epoch) {
			if e.Kind == Send {
				sent = e.Request
			}
		}
	}
	c := q.classes[0]
	if n := len(c.fair.flows); n > q.held+remembered {
		t.Errorf("%d tenants are remembered while %d requests are held", n, q.held)
	}
	for q.InFlight() > 0 {
		for _, e := range q.Finish(sent, epoch) {
			if e.Kind == Send {
				sent = e.Request
			}
		}
	}
	if len(c.fair.flows) != 0 || c.fair.on {
		t.Errorf("%d tenants are remembered while nothing is held", len(c.fair.flows))
	}
}
