package engine

import "time"

// steps is into how many iterations the engine cuts a service time, so that a
// job which comes while others are served waits at most a hundredth of it for
// a free place.
const steps = 100

// serve is Iterate for a profile without tokens: it lets time pass until a
// request ends, but no longer than one step. All tokens of a reply come out
// when its service ends.
func (e *Engine) serve() Iteration {
	service := e.profile.Service
	for len(e.running) < service.Concurrency && e.next() != nil {
		e.enter()
	}
	it := Iteration{Batch: len(e.running)}
	if it.Batch == 0 {
		return it
	}
	it.Took = max(1, service.Mean/steps)
	for i := range e.running {
		it.Took = min(it.Took, e.running[i].left)
	}
	e.running = e.pass(it.Took)
	return it
}

// pass takes the time off every request that is served, ends those that are
// done and returns the others.
func (e *Engine) pass(took time.Duration) []sequence {
	kept := e.running[:0]
	for i := range e.running {
		s := e.running[i]
		s.left -= took
		if s.left > 0 {
			kept = append(kept, s)
			continue
		}
		for range s.job.OutputTokens {
			e.emit(&s)
		}
	}
	return kept
}
