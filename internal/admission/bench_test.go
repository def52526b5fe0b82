package admission

import (
	"fmt"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// loaded returns a Queue over 1,000 replicas with so many requests at each.
func loaded(b *testing.B, perReplica, kv int) *Queue {
	b.Helper()
	q := newQueue()
	routes := make([]scale.Route, 1000)
	for i := range routes {
		routes[i] = ready(scale.ReplicaID(fmt.Sprintf("r%04d", i)), 64, kv)
	}
	q.Route(routes, epoch)
	for i := range 1000 * perReplica {
		q.Arrive(chat(epoch, scale.RequestID(i+1), 100+i*7919%3000), epoch)
	}
	return q
}

// BenchmarkRoute is one routing decision: an arrival that is sent and the end
// of another at 1,000 replicas.
func BenchmarkRoute(b *testing.B) {
	for name, kv := range map[string]int{"by load": 0, "by load and KV": 60_000} {
		b.Run(name, func(b *testing.B) {
			q := loaded(b, 30, kv)
			oldest, next := scale.RequestID(1), scale.RequestID(30_001)
			b.ReportAllocs()
			for b.Loop() {
				q.Finish(oldest, epoch)
				q.Arrive(chat(epoch, next, 100+int(next)*7919%3000), epoch)
				oldest, next = oldest+1, next+1
			}
		})
	}
}

// BenchmarkHeld is the same when every slot is taken and requests wait.
func BenchmarkHeld(b *testing.B) {
	q := loaded(b, 64, 0)
	oldest, next, now := scale.RequestID(1), scale.RequestID(64_001), epoch
	for range 500 {
		q.Arrive(chat(epoch, next, 100), epoch)
		next++
	}
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		q.Arrive(chat(now, next, 100+int(next)*7919%3000), now)
		next++
		for q.ended(oldest) {
			oldest++
		}
		q.Finish(oldest, now)
		oldest++
	}
}

func (q *Queue) ended(id scale.RequestID) bool {
	e := q.entries[id]
	return e == nil || e.replica == nil
}
