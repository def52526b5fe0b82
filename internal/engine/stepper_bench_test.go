package engine_test

import (
	"testing"
	"time"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// world is what a simulator does with its engines: requests come one after
// another, each goes to the replica with the fewest, and instants pass in
// order.
type world struct {
	tb     testing.TB
	list   []arrival
	period time.Duration // of list, when it is played again
	next   int
	base   time.Duration
	load   []int
	ended  int
}

func newWorld(tb testing.TB, list []arrival, replicas int) *world {
	tb.Helper()
	return &world{tb: tb, list: list, period: list[len(list)-1].at, load: make([]int, replicas)}
}

// arrive is the next request and where it goes.
func (w *world) arrive() (engine.Work, int) {
	a := w.list[w.next]
	least := 0
	for i, n := range w.load {
		if n < w.load[least] {
			least = i
		}
	}
	w.load[least]++
	if w.next++; w.next == len(w.list) {
		w.next, w.base = 0, w.base+w.period
	}
	return a.work, least
}

func (w *world) at() time.Duration { return w.base + w.list[w.next].at }

func (w *world) end(replica int) {
	w.load[replica]--
	w.ended++
}

// due is the least of the instants. With so few replicas a scan is faster than
// a heap.
func due(next []time.Duration) int {
	least := 0
	for i, t := range next {
		if t < next[least] {
			least = i
		}
	}
	return least
}

type steppers struct {
	*world
	list []*engine.Stepper
	next []time.Duration
}

func (s *steppers) request() {
	now := s.at()
	for {
		i := due(s.next)
		if s.next[i] > now {
			break
		}
		for _, e := range s.list[i].Advance(s.next[i]) {
			if e.Kind == engine.LastToken {
				s.end(i)
			}
		}
		s.next[i] = s.list[i].Next()
	}
	work, i := s.arrive()
	if err := s.list[i].Add(work, now); err != nil {
		s.tb.Fatal(err)
	}
	s.next[i] = s.list[i].Next()
}

func newSteppers(tb testing.TB, profile scale.Profile, list []arrival) *steppers {
	tb.Helper()
	s := &steppers{world: newWorld(tb, list, sixReplicas)}
	for range sixReplicas {
		s.list = append(s.list, engine.NewStepper(profile))
		s.next = append(s.next, engine.Never)
	}
	for range 20_000 {
		s.request()
	}
	return s
}

type engines struct {
	*world
	list []*plain
}

func (e *engines) request() {
	now := e.at()
	for i, p := range e.list {
		for _, event := range p.until(now) {
			if event.Kind == engine.LastToken {
				e.end(i)
			}
		}
	}
	work, i := e.arrive()
	if err := e.list[i].add(work, now); err != nil {
		e.tb.Fatal(err)
	}
}

const sixReplicas = 6

// w1 is an hour and more of workload W1 for six replicas.
func w1() []arrival { return enterprise(100_000, 7*sixReplicas, 1) }

// long is as much work in prompts ten times as long, which take many
// iterations each.
func long() []arrival {
	list := enterprise(100_000, 1.0*sixReplicas, 1)
	for i := range list {
		list[i].work.PromptTokens = 2000 + 8*list[i].work.PromptTokens
	}
	return list
}

// BenchmarkStepper is a request's life on six replicas: its arrival, its first
// and its last token.
func BenchmarkStepper(b *testing.B) {
	for name, list := range map[string][]arrival{"w1": w1(), "long prompts": long()} {
		b.Run(name, func(b *testing.B) {
			s := newSteppers(b, a100(), list)
			b.ReportAllocs()
			for b.Loop() {
				s.request()
			}
			b.ReportMetric(float64(s.list[0].State(s.at()).Running), "running")
		})
	}
}

// BenchmarkEngine is the same by plain iteration.
func BenchmarkEngine(b *testing.B) {
	for name, list := range map[string][]arrival{"w1": w1(), "long prompts": long()} {
		b.Run(name, func(b *testing.B) {
			e := &engines{world: newWorld(b, list, sixReplicas)}
			for range sixReplicas {
				e.list = append(e.list, &plain{engine: engine.New(a100())})
			}
			for range 20_000 {
				e.request()
			}
			b.ReportAllocs()
			for b.Loop() {
				e.request()
			}
			b.ReportMetric(float64(e.list[0].running()), "running")
		})
	}
}

func TestASteppersRequestDoesNotAllocate(t *testing.T) {
	s := newSteppers(t, a100(), w1())
	if got := testing.AllocsPerRun(20_000, s.request); got > 0 {
		t.Errorf("%v allocations per request", got)
	}
}
