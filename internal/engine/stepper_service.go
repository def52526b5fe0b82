package engine

import "time"

// A profile without tokens: Concurrency requests at a time, in order of
// arrival, each for its own time. The batch is by the instant of its ends, and
// at is the instant at which it became busy.

// serve adds a request.
func (s *Stepper) serve(w Work, now time.Duration) {
	s.finish(now)
	if len(s.batch) == 0 {
		s.at = now
	}
	service := w.Service
	if service == 0 {
		service = s.profile.Service.Mean
	}
	s.waiting.push(job{length: w.OutputTokens, left: int(service), key: w.Key})
	s.fill(now)
}

// fill gives free places to those that wait.
func (s *Stepper) fill(now time.Duration) {
	for len(s.batch) < s.places && s.waiting.len() > 0 {
		j := s.waiting.pop()
		s.order++
		s.batch.push(entry{end: int(now) + j.left, order: s.order, total: j.length, key: j.key})
	}
	if len(s.batch) == 0 && now > s.at {
		s.busy += now - s.at
		s.at = now
	}
	s.known = false
}

// finish ends what ends until now.
func (s *Stepper) finish(now time.Duration) {
	for len(s.batch) > 0 && s.batch[0].end <= int(now) {
		e := s.batch.pop()
		at := time.Duration(e.end)
		s.emitted += e.total
		s.events = append(s.events, Event{At: at, Key: e.key, Kind: FirstToken}, Event{At: at, Key: e.key, Kind: LastToken})
		s.fill(at)
	}
}

// soonest returns the instant at which the next request ends.
func (s *Stepper) soonest() time.Duration {
	if len(s.batch) == 0 {
		return Never
	}
	return time.Duration(s.batch[0].end)
}
