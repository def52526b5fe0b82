package admission

import (
	"fmt"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

func sentTo(t *testing.T, effects []Effect) scale.ReplicaID {
	t.Helper()
	for _, e := range effects {
		if e.Kind == Send {
			return e.Replica
		}
	}
	t.Fatalf("nothing was sent: %+v", effects)
	return ""
}

// A request goes where its prefix was before while that costs no more than the
// prefill it saves, and to the least load otherwise.
func TestAPrefixIsATieBreaker(t *testing.T) {
	q := newQueue()
	q.Route([]scale.Route{ready("a", 8, 0), ready("b", 8, 0), ready("c", 8, 0)}, epoch)
	id := scale.RequestID(0)
	send := func(prefix uint64, tokens int) scale.ReplicaID {
		id++
		return sentTo(t, q.Arrive(scale.Request{ID: id, At: epoch, PromptTokens: tokens, Prefix: prefix}, epoch))
	}
	if to := send(7, 500); to != "a" {
		t.Fatalf("the first of a prefix went to %s, want the first of equals", to)
	}
	if to := send(7, 600); to != "a" {
		t.Errorf("the second went to %s: a has 500 tokens of work and saves 512", to)
	}
	if to := send(7, 600); to != "b" {
		t.Errorf("the third went to %s: a has 1100 tokens of work, b none", to)
	}
	if to := send(7, 600); to != "c" {
		t.Errorf("the fourth went to %s: b has 600 tokens of work, more than 512 beyond c", to)
	}
	if to := send(9, 1); to != "b" {
		t.Errorf("another prefix went to %s, want the least load", to)
	}
	if to := send(9, 600); to != "b" {
		t.Errorf("it went to %s then, want where it was", to)
	}
	q.Route([]scale.Route{ready("a", 8, 0), ready("c", 8, 0)}, epoch)
	if to := send(9, 1); to != "c" {
		t.Errorf("when b had left it went to %s, want the least load", to)
	}
}

// What is remembered is bounded for each replica, and the newest of it stays.
func TestPrefixesAreForgottenOldestFirst(t *testing.T) {
	q := newQueue()
	routes := []scale.Route{ready("a", 8, 0), ready("b", 8, 0), ready("c", 8, 0)}
	q.Route(routes, epoch)
	for id := range scale.RequestID(10_000) {
		q.Arrive(scale.Request{ID: id + 1, At: epoch, PromptTokens: 1, Prefix: 1 + uint64(id)}, epoch)
		q.Finish(id+1, epoch)
	}
	if n := len(q.fleet.affinity.table); n > 2*len(routes)*prefixesPerReplica {
		t.Fatalf("%d prefixes are remembered for %d replicas", n, len(routes))
	}
	known := 0
	for prefix := uint64(10_000); prefix > 10_000-uint64(len(routes)*prefixesPerReplica); prefix-- {
		for _, s := range q.fleet.affinity.set(prefix) {
			if s.prefix == prefix {
				known++
			}
		}
	}
	if known != len(routes)*prefixesPerReplica {
		t.Errorf("of the newest %d prefixes %d are known", len(routes)*prefixesPerReplica, known)
	}
	more := append(routes, ready("d", 8, 0), ready("e", 8, 0), ready("f", 8, 0), ready("g", 8, 0), ready("h", 8, 0))
	q.Route(more, epoch)
	q.Arrive(scale.Request{ID: 20_000, At: epoch, PromptTokens: 1, Prefix: 1}, epoch)
	for _, s := range q.fleet.affinity.set(10_000) {
		if s.prefix == 10_000 {
			return
		}
	}
	t.Error("a larger fleet forgot what the smaller knew")
}

// BenchmarkRoutePrefix is BenchmarkRoute with prefixes, half of them known.
func BenchmarkRoutePrefix(b *testing.B) {
	q := loaded(b, 30, 60_000)
	oldest, next := scale.RequestID(1), scale.RequestID(30_001)
	b.ReportAllocs()
	for b.Loop() {
		q.Finish(oldest, epoch)
		r := chat(epoch, next, 100+int(next)*7919%3000)
		r.Prefix = uint64(next) * 0x9e3779b97f4a7c15
		if next%2 == 0 {
			r.Prefix = uint64(next%4096) * 0x9e3779b97f4a7c15
		}
		q.Arrive(r, epoch)
		oldest, next = oldest+1, next+1
	}
}

// BenchmarkHeldTenants is BenchmarkHeld with 1,000 tenants.
func BenchmarkHeldTenants(b *testing.B) {
	q := loaded(b, 64, 0)
	q.limits.MaxHeld = 20_000
	q.limits.MaxHeldBytes = 1 << 30
	tenants := make([]string, 1000)
	for i := range tenants {
		tenants[i] = fmt.Sprintf("tenant-%d", i)
	}
	oldest, next, now := scale.RequestID(1), scale.RequestID(64_001), epoch
	arrive := func() {
		r := chat(now, next, 100+int(next)*7919%3000)
		r.Tenant = tenants[int(next)%len(tenants)]
		q.Arrive(r, now)
		next++
	}
	for range 10_000 {
		arrive()
	}
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		arrive()
		for q.ended(oldest) {
			oldest++
		}
		q.Finish(oldest, now)
		oldest++
	}
	held, _, _ := q.Held()
	b.ReportMetric(float64(held), "held")
}
