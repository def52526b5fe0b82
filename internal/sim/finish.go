package sim

import "github.com/penstock/penstock/internal/scale"

// rememberer is a Governor that knows how large its encoded Memory is.
type rememberer interface {
	MemoryBytes() int // of the largest model
}

// weighEvery is after how many ticks the encoded Memory is weighed.
const weighEvery = 512

func (r *run) weigh() {
	if m, ok := r.world.Governor.(rememberer); ok {
		r.books.memory = max(r.books.memory, m.MemoryBytes())
	}
}

// finish closes the books.
func (r *run) finish() Result {
	span := r.now
	if r.books.requests > 0 && r.world.Settle > 0 {
		r.until(span + r.world.Settle)
	}
	b := &r.books
	out := Result{
		Requests: b.requests, Outcomes: map[scale.Outcome]int{}, Good: b.good, Judged: b.judged, Span: span, Account: r.now,
		Hours: map[scale.Usage]float64{}, Actions: b.actions, Reversals: b.turns, Peak: b.peak,
	}
	for o, n := range b.outcomes {
		if n > 0 {
			out.Outcomes[scale.Outcome(o)] = n
		}
	}
	if r.empty() {
		out.Empty = b.emptyAt
	}
	for _, s := range r.services {
		for _, m := range s.members {
			r.close(m)
		}
	}
	for _, t := range r.targets {
		b.spread(t, r.now)
		one := TargetResult{
			Target: t.ScaleTarget, Hours: map[scale.Usage]float64{}, Cost: t.cost,
			Starts: t.starts, Failed: t.failed, Reclaimed: t.reclaimed, Refused: t.refused,
		}
		for _, u := range usages() {
			one.Hours[u] = t.usage[u].Hours() * float64(t.variant.Accelerator.Count)
			out.Hours[u] += one.Hours[u]
		}
		out.Cost += one.Cost
		out.Targets = append(out.Targets, one)
	}
	out.Busy, out.Preemptions = b.busy, b.preempt
	out.DecisionTime = b.timing.result()
	r.weigh()
	out.MemoryBytes = b.memory
	out.Bin, out.Minutes = b.length, b.minutes(r.now)
	out.WorstTenMinutes = worst(out.Minutes, out.Bin)
	return out
}
