package engine

import (
	"math"
	"time"
)

// segment is what a Stepper does next: a run of iterations that are alike, or
// one iteration in which requests come or lose their places.
type segment struct {
	begin, end time.Duration
	count      int // iterations; 1 and mixed unless it is a run
	mixed      bool
	event      bool // there is one at the end
	preempts   bool // end and event are not known
	admits     int  // requests that are admitted, where mixed

	first, growth float64 // ns: of the first iteration, and by how much each next one takes longer
}

// ends returns the end of an iteration of a run, from 1.
func (g *segment) ends(n int) time.Duration {
	k := float64(n)
	return g.begin + max(time.Duration(n), time.Duration(k*(g.first+g.growth*(k-1)/2)+0.5))
}

// catchUp begins every iteration that began before now, and cuts none.
func (s *Stepper) catchUp(now time.Duration) {
	if !s.tokens {
		s.finish(now)
		return
	}
	for s.at < now && s.plan() {
		switch {
		case s.next.mixed:
			s.mix()
		case s.next.end <= now:
			s.run(s.next.count, s.next.end)
		default:
			return
		}
	}
}

// cut ends the run that is under way with the iteration that is under way.
func (s *Stepper) cut(now time.Duration) {
	n := s.next.under(now)
	s.run(n, s.next.ends(n))
}

// foresee returns the instant of the next event.
func (s *Stepper) foresee() time.Duration {
	switch {
	case s.told < len(s.events):
		return s.events[s.told].At
	case !s.tokens:
		return s.soonest()
	case !s.plan():
		return Never
	case s.next.event:
		return s.next.end
	}
	if s.ahead == nil {
		s.ahead = &Stepper{}
	}
	return s.ahead.try(s)
}

// try makes s a copy of another Stepper as far as it needs to be, and returns
// the instant of the first event there.
func (s *Stepper) try(other *Stepper) time.Duration {
	batch, waiting, events := s.batch[:0], s.waiting, s.events[:0]
	*s = *other
	s.batch = append(batch, other.batch...)
	s.events, s.told = events, 0
	s.waiting = waiting
	s.waiting.copy(&other.waiting, s.places+1) // no more can be admitted before one ends
	for len(s.events) == 0 {
		s.plan()
		if s.next.mixed {
			s.mix()
		} else {
			s.run(s.next.count, s.next.end)
		}
	}
	return s.events[0].At
}

// plan says what follows at at, if anything does.
func (s *Stepper) plan() bool {
	if s.planned {
		return true
	}
	n, room := len(s.batch), s.capacity-s.held
	if s.idle() {
		return false
	}
	s.planned = true
	g := &s.next
	*g = segment{begin: s.at}
	count, tokens, context := math.MaxInt, n, s.context
	if n > 0 {
		count = s.batch[0].end - s.step
	}
	if s.started { // its last part leaves room for others
		count = min(count, (s.partial.length-s.computed-1)/s.chunk)
		tokens += s.chunk
		context += s.computed
	} else if n < s.places && s.waiting.len() > 0 && s.waiting.at(0).length <= room-n {
		count = 0
	}
	if n > 0 && room < count*n {
		count = room / n
	}
	if count == 0 {
		s.sketch()
		return true
	}
	g.count = count
	g.first = s.pace.linear(tokens) + s.pace.perContext*float64(context)
	g.growth = s.pace.perContext * float64(tokens)
	g.event = n > 0 && s.batch[0].end == s.step+count
	g.end = g.ends(count)
	return true
}

// sketch plans one iteration in which requests come or go.
func (s *Stepper) sketch() {
	g := &s.next
	n := len(s.batch)
	g.count, g.mixed = 1, true
	if s.held+n > s.capacity {
		g.preempts = true
		return
	}
	tokens, context, budget, places := n, s.context, s.chunk, s.places-n
	room := s.capacity - s.held - n
	g.event = n > 0 && s.batch[0].end == s.step+1
	if s.started {
		rest := s.partial.length - s.computed
		g.event = g.event || rest <= budget && s.partial.tells()
		context += s.computed
		tokens += min(rest, budget)
		budget -= min(rest, budget)
		places--
	}
	for budget > 0 && g.admits < places && g.admits < s.waiting.len() {
		j := s.waiting.at(g.admits)
		length := j.length
		if length > room {
			break
		}
		room -= length
		g.admits++
		g.event = g.event || length <= budget && j.tells()
		tokens += min(length, budget)
		budget -= min(length, budget)
	}
	g.end = g.begin + s.pace.iteration(tokens, context)
}

// run does the first iterations of a run.
func (s *Stepper) run(count int, end time.Duration) {
	n := len(s.batch)
	s.step += count
	s.context += n * count
	s.held += n * count
	s.emitted += n * count
	s.lately = n
	if s.started {
		s.computed += s.chunk * count
	}
	s.pass(end)
	s.held -= s.leave()
}

// pass lets the time pass until the end of an iteration that is begun.
func (s *Stepper) pass(end time.Duration) {
	s.busy += end - s.at
	s.at = end
	s.replan()
}

// leave ends the requests whose last step it was, and returns the tokens of
// KV cache that they hold until the iteration ends.
func (s *Stepper) leave() int {
	ended := 0
	for len(s.batch) > 0 && s.batch[0].end == s.step {
		e := s.batch.pop()
		ended += e.tokens(s.step)
		s.events = append(s.events, Event{At: s.at, Key: e.key, Kind: LastToken})
	}
	s.context -= ended
	return ended
}

// mix does the iteration that was sketched.
func (s *Stepper) mix() {
	if s.next.preempts {
		s.preempt()
		s.sketchAlone()
	}
	n, admits := len(s.batch), s.next.admits
	s.step++
	s.context += n
	s.held += n
	s.emitted += n
	s.lately = n
	s.pass(s.next.end)
	ended := s.leave()
	budget := s.chunk
	if s.started {
		rest := s.partial.length - s.computed
		s.computed += min(rest, budget)
		budget -= rest
		if budget >= 0 {
			s.started = false
			ended += s.enter(s.partial)
		}
	}
	for range admits {
		j := s.waiting.pop()
		s.held += j.length
		budget -= j.length
		if budget >= 0 {
			ended += s.enter(j)
			continue
		}
		s.partial, s.started, s.computed = j, true, j.length+budget
	}
	s.held -= ended
}

// enter emits the first token since a request was admitted, and returns the
// tokens of KV cache that it holds if it was the last.
func (s *Stepper) enter(j job) int {
	s.emitted++
	s.lately++
	if !j.resumed {
		s.events = append(s.events, Event{At: s.at, Key: j.key, Kind: FirstToken})
	}
	if j.left == 1 {
		s.events = append(s.events, Event{At: s.at, Key: j.key, Kind: LastToken})
		return j.length
	}
	s.order++
	s.context += j.length
	s.batch.push(entry{end: s.step + j.left - 1, order: s.order, total: j.length + j.left, key: j.key})
	return 0
}

// preempt takes the places of the youngest requests until every other can grow
// by a token.
func (s *Stepper) preempt() {
	for s.held+len(s.batch) > s.capacity {
		s.preemptions++
		if s.started {
			s.started = false
			s.held -= s.partial.length
			s.waiting.pushFront(s.partial)
			continue
		}
		e := s.batch.youngest()
		s.held -= e.tokens(s.step)
		s.context -= e.tokens(s.step)
		s.waiting.pushFront(job{length: e.tokens(s.step) + 1, left: e.end - s.step, key: e.key, resumed: true})
	}
}

// sketchAlone plans the iteration of those that kept their places.
func (s *Stepper) sketchAlone() {
	s.next.end = s.at + s.pace.iteration(len(s.batch), s.context)
}
