package engine_test

import (
	"fmt"
	"testing"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// steady is an engine that is kept at a concurrency for ever.
type steady struct {
	engine *engine.Engine
	next   scale.RequestID
}

func (s *steady) submit(tb testing.TB) {
	tb.Helper()
	s.next++
	// Spread lengths, so that the ends do not come together.
	job := engine.Job{ID: s.next, PromptTokens: 300 + int(s.next*37%400), OutputTokens: 100 + int(s.next*53%200)}
	if err := s.engine.Add(job); err != nil {
		tb.Fatal(err)
	}
}

func (s *steady) iterate(tb testing.TB) int {
	tb.Helper()
	it, _ := s.engine.Iterate()
	for _, e := range it.Emitted {
		if e.Last {
			s.submit(tb)
		}
	}
	return len(it.Emitted)
}

func keep(tb testing.TB, concurrency int) *steady {
	tb.Helper()
	s := &steady{engine: engine.New(a100())}
	for range concurrency {
		s.submit(tb)
	}
	for range 2000 {
		s.iterate(tb)
	}
	return s
}

func BenchmarkIterate(b *testing.B) {
	for _, concurrency := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("concurrency=%d", concurrency), func(b *testing.B) {
			s := keep(b, concurrency)
			b.ReportAllocs()
			tokens := 0
			for b.Loop() {
				tokens += s.iterate(b)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(tokens), "ns/token")
		})
	}
}

func TestIterateDoesNotAllocate(t *testing.T) {
	s := keep(t, 64)
	if got := testing.AllocsPerRun(5000, func() { s.iterate(t) }); got > 0 {
		t.Errorf("%v allocations per iteration", got)
	}
}
