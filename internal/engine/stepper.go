package engine

import (
	"fmt"
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Key is the caller's handle of a Work, unique among those in one Stepper. A
// key is free again once its LastToken was returned or its Abort was true.
type Key = uint32

// Never is the instant of an event that does not come.
const Never time.Duration = math.MaxInt64

// Work is one request as the Stepper sees it.
type Work struct {
	Key          Key
	PromptTokens int           // at least 1
	OutputTokens int           // exactly as many are emitted; at least 1
	Service      time.Duration // what it takes on a profile without tokens; 0 for the mean
}

// Kind is what an Event tells of.
type Kind uint8

// The kinds. A reply of one token has both, in this order.
const (
	FirstToken Kind = iota + 1
	LastToken       // the request has left the engine
)

// Event is something that the world outside of the engine can see.
type Event struct {
	At   time.Duration // the end of its iteration
	Key  Key
	Kind Kind
}

// State is how a Stepper stands.
type State struct {
	Running     int           // requests in the batch of the iteration under way
	Waiting     int           // requests without a place, preempted ones included
	KVUsage     float64       // 0..1, share of the KV cache that will be held when that iteration ends
	Busy        time.Duration // with work until now, altogether
	Tokens      int           // emitted until now
	Preemptions int
}

// Stepper is an Engine that goes from event to event and not from iteration to
// iteration. It starts an iteration whenever there is something to do; what
// comes while one is under way waits for its end, and what comes at the very
// instant at which one begins is in it.
//
// Iterations in which nobody comes and nobody goes are alike, but for the KV
// cache, which grows by the same number of tokens in each. So n of them take
// n·a + b·n·(n−1)/2, and the one that is under way at an instant is the root
// of a quadratic equation. Events come at the instants of plain iteration but
// for rounding: an Engine rounds every iteration to a nanosecond, a Stepper
// such a run of them. An iteration takes at least a nanosecond.
//
// Instants count from the start of the world and never run backwards. A
// Stepper is not safe for concurrent use.
type Stepper struct {
	profile  scale.Profile
	fault    error // why the profile can serve nothing, if so
	pace     pace
	tokens   bool // of the profile; otherwise only its Service counts
	places   int  // in the batch
	chunk    int  // prompt tokens that one iteration may take
	capacity int  // tokens of KV cache

	// at is the end of the last iteration that was begun, and what follows is
	// the state at its end. An iteration is under way at now when at > now.
	at       time.Duration
	step     int     // iterations so far
	batch    agenda  // requests that have their first token, by the step of their last
	order    int     // entries into the batch so far
	partial  job     // the youngest of the batch, if it lacks part of its prompt
	computed int     // tokens of partial in the cache
	started  bool    // there is a partial
	waiting  backlog // preempted requests before all others
	held     int     // tokens of KV cache, all of partial included
	context  int     // tokens of KV cache of the requests in batch

	busy        time.Duration
	emitted     int
	lately      int // of those, in the iteration that ends at at
	preemptions int

	next    segment // what follows, when planned
	planned bool
	event   time.Duration // the next one, when known
	known   bool

	events []Event // from returned on those that Advance has yet to return
	told   int
	keys   keySet
	ahead  *Stepper // a copy to look ahead with
}

// job is a request that waits for its place or for its first token.
type job struct {
	length  int // tokens to compute until the next one comes out; those of the reply without tokens
	left    int // tokens to emit; ns of service without tokens
	key     Key
	resumed bool // it was preempted and has its first token
}

// tells says whether its next token is an event.
func (j *job) tells() bool { return !j.resumed || j.left == 1 }

// NewStepper returns an idle engine that takes the time and the memory that
// the profile says.
func NewStepper(p scale.Profile) *Stepper {
	s := &Stepper{
		profile: p, fault: fault(p), tokens: p.Tokens(), pace: newPace(p),
		places: p.MaxBatch, chunk: p.PrefillChunk, capacity: max(0, p.KVCapacity()),
	}
	if !s.tokens {
		s.places = p.Service.Concurrency
	}
	return s
}

// Add puts a request at the end of the queue at now. It refuses what
// Engine.Add refuses, and a negative service time.
func (s *Stepper) Add(w Work, now time.Duration) error {
	if s.fault != nil || w.PromptTokens < 1 || w.OutputTokens < 1 || w.Service < 0 ||
		s.tokens && w.PromptTokens > s.capacity-(w.OutputTokens-1) || !s.keys.add(w.Key) {
		return s.refusal(w)
	}
	if !s.tokens {
		s.serve(w, now)
		return nil
	}
	s.catchUp(now)
	switch {
	case s.at >= now:
	case s.idle():
		s.at = now
	case s.waiting.len() == 0 && !s.started && len(s.batch) < s.places:
		s.cut(now)
	}
	s.waiting.push(job{length: w.PromptTokens, left: w.OutputTokens, key: w.Key})
	if s.at >= now {
		s.planned = false
	}
	s.known = false
	return nil
}

// refusal says why a request was not added.
func (s *Stepper) refusal(w Work) error {
	switch {
	case s.fault != nil:
		return fmt.Errorf("add request %d to profile %q: %w", w.Key, s.profile.Name, s.fault)
	case w.PromptTokens < 1 || w.OutputTokens < 1:
		return fmt.Errorf("add request %d: %d prompt and %d output tokens: at least one of each is needed",
			w.Key, w.PromptTokens, w.OutputTokens)
	case w.Service < 0:
		return fmt.Errorf("add request %d: a service time of %v", w.Key, w.Service)
	case s.tokens && w.PromptTokens > s.capacity-(w.OutputTokens-1):
		return fmt.Errorf("add request %d: %d prompt and %d output tokens do not fit into %d tokens of KV cache",
			w.Key, w.PromptTokens, w.OutputTokens, s.capacity)
	default:
		return fmt.Errorf("add request %d: it is already in the engine", w.Key)
	}
}

// Abort takes a request out of the engine at now and frees its place, from the
// next iteration on. It is false when the request is not there: never added,
// aborted, or ended at now or before.
func (s *Stepper) Abort(k Key, now time.Duration) bool {
	if !s.keys.has(k) {
		return false
	}
	s.catchUp(now)
	if s.tokens && s.at < now && !s.idle() {
		s.cut(now)
	}
	ended, gone := s.retract(k, now)
	if ended {
		return false
	}
	s.keys.remove(k)
	if !gone {
		s.drop(k, now)
	}
	s.replan()
	return true
}

// retract takes events after now of a request back. It says whether the
// request ended at now or before, and whether it would have ended with them.
func (s *Stepper) retract(k Key, now time.Duration) (ended, gone bool) {
	kept := s.events[:s.told]
	for _, e := range s.events[s.told:] {
		if e.Key != k || e.At <= now {
			kept = append(kept, e)
			ended = ended || e.Key == k && e.Kind == LastToken
			continue
		}
		gone = gone || e.Kind == LastToken
	}
	s.events = kept
	return ended, gone
}

// drop takes a request that has not ended out of the engine.
func (s *Stepper) drop(k Key, now time.Duration) {
	if s.waiting.remove(k) {
		return
	}
	if s.started && s.partial.key == k {
		s.held -= s.partial.length
		s.started = false
		return
	}
	e := s.batch.remove(k)
	if !s.tokens {
		s.fill(now)
		return
	}
	s.held -= e.tokens(s.step)
	s.context -= e.tokens(s.step)
}

// Next returns the instant of the next Event if nothing is added or aborted
// before, and Never when there is none.
func (s *Stepper) Next() time.Duration {
	if !s.known {
		s.event, s.known = s.foresee(), true
	}
	return s.event
}

// Advance returns the events until now that it has not returned yet, in order.
// They are valid until the next call of any method.
func (s *Stepper) Advance(now time.Duration) []Event {
	if now < s.Next() {
		return nil
	}
	if s.told > 0 {
		s.events, s.told = s.events[:copy(s.events, s.events[s.told:])], 0
	}
	s.catchUp(now)
	told := 0
	for told < len(s.events) && s.events[told].At <= now {
		if s.events[told].Kind == LastToken {
			s.keys.remove(s.events[told].Key)
		}
		told++
	}
	s.told, s.known = told, false
	return s.events[:told]
}

// State returns how the engine stands at now.
func (s *Stepper) State(now time.Duration) State {
	s.catchUp(now)
	st := State{
		Running: len(s.batch), Waiting: s.waiting.len(), Busy: s.busy, Tokens: s.emitted, Preemptions: s.preemptions,
	}
	if s.started {
		st.Running++
	}
	for _, e := range s.events[s.told:] {
		if e.At > now && e.Kind == LastToken {
			st.Running++
		}
	}
	held := s.held
	switch {
	case s.at > now:
		st.Busy -= s.at - now
		st.Tokens -= s.lately
	case !s.idle():
		st.Busy += now - s.at
		if s.tokens && s.at < now {
			begun := s.next.under(now)
			held += begun * len(s.batch)
			for i := range s.batch {
				if s.batch[i].end == s.step+begun {
					held -= s.batch[i].tokens(s.batch[i].end)
				}
			}
			if s.next.ends(begun) > now {
				begun--
			}
			st.Tokens += begun * len(s.batch)
		}
	}
	if s.capacity > 0 {
		st.KVUsage = float64(held) / float64(s.capacity)
	}
	return st
}

// idle says whether there is nothing to do from at on.
func (s *Stepper) idle() bool { return len(s.batch) == 0 && !s.started && s.waiting.len() == 0 }

// replan forgets what was to follow.
func (s *Stepper) replan() { s.planned, s.known = false, false }
