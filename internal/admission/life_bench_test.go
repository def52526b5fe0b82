package admission

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// lives drives a Queue with whole lives of requests as workload W1's are: at
// an 8B model on an A100 a request begins after 64 others came and ends after
// so many that 35 are at each replica.
type lives struct {
	queue    *Queue
	requests []scale.Request // drawn once, used again and again
	next     scale.RequestID
	begin    scale.RequestID
	finish   scale.RequestID
	now      time.Time
}

const (
	livesAtReplica = 35
	livesUnbegun   = 1 // of those, at each replica
)

func newLives(replicas int) *lives {
	r := rand.New(rand.NewPCG(1, 1))
	l := &lives{queue: newQueue(), now: epoch, next: 1, begin: 1, finish: 1}
	routes := make([]scale.Route, replicas)
	for i := range routes {
		routes[i] = ready(scale.ReplicaID(fmt.Sprintf("w1-8b-a100-on-demand-%02d", i)), 64, 400_000)
		routes[i].PrefillTokens = 6000
	}
	l.queue.Route(routes, epoch)
	for range 1 << 12 {
		l.requests = append(l.requests, scale.Request{
			Model: "w1", PromptTokens: 1 + int(min(r.ExpFloat64()*1000, 7000)), OutputTokens: 1 + int(min(r.ExpFloat64()*130, 1000)), Bytes: 4000,
		})
	}
	for range replicas * livesAtReplica {
		l.arrive()
	}
	return l
}

func (l *lives) arrive() {
	r := l.requests[int(l.next)%len(l.requests)]
	r.ID, r.At = l.next, l.now
	l.queue.Arrive(r, l.now)
	l.next++
}

// one is the life of one request, in three events.
func (l *lives) one(replicas int) {
	l.now = l.now.Add(20 * time.Millisecond)
	if l.begin+scale.RequestID(livesUnbegun*replicas) <= l.next {
		l.queue.Begun(l.begin, l.now)
		l.begin++
	}
	l.queue.Finish(l.finish, l.now)
	l.finish++
	l.arrive()
}

// BenchmarkLife is a request that arrives, begins and ends.
func BenchmarkLife(b *testing.B) {
	for _, replicas := range []int{6, 20, 60} {
		b.Run(fmt.Sprintf("replicas=%d", replicas), func(b *testing.B) {
			l := newLives(replicas)
			for l.begin+scale.RequestID(livesUnbegun*replicas) <= l.next {
				l.queue.Begun(l.begin, l.now)
				l.begin++
			}
			b.ReportAllocs()
			for b.Loop() {
				l.one(replicas)
			}
			held, _, _ := l.queue.Held()
			b.ReportMetric(float64(l.queue.InFlight()), "in-flight")
			b.ReportMetric(float64(held), "held")
		})
	}
}
