package engine

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Job is one request as the engine sees it.
type Job struct {
	ID           scale.RequestID // not that of another Job in the engine
	PromptTokens int             // at least 1
	OutputTokens int             // exactly as many are emitted; at least 1
}

// Emission is a token of a request, which exists when its iteration ends.
type Emission struct {
	ID    scale.RequestID
	Index int  // from 0, in order
	Last  bool // the request has left the engine
}

// Iteration is what one iteration did. Its slices belong to the Engine and
// are overwritten by the next Iterate.
type Iteration struct {
	Took    time.Duration
	Emitted []Emission
	Started []scale.RequestID // admitted into the batch as the iteration began, for the first time or after a preemption

	Batch         int // requests in the batch, those that end with the iteration included
	Preempted     int // requests that lost their place before the iteration
	PromptTokens  int // computed: of prompts, and of what preempted requests had already
	DecodeTokens  int // computed: one for each request that had its first token before
	ContextTokens int // of KV cache read: what the requests in the batch had before the iteration
	KVTokens      int // of KV cache held while it ran
}

// Engine is one model server. It is not safe for concurrent use.
type Engine struct {
	profile  scale.Profile
	capacity int   // tokens of KV cache
	fault    error // why the profile can serve nothing, if so

	// running is the batch in order of admission. All but the last have their
	// first token, and the last has it unless partial: what the budget of an
	// iteration leaves over of one prompt comes before any other prompt.
	running   []sequence
	partial   bool
	preempted []sequence // a stack, which goes before waiting
	waiting   queue
	known     map[scale.RequestID]struct{}

	held        int // tokens of KV cache
	preemptions int
	emitted     []Emission
	started     []scale.RequestID
}

// sequence is a Job in the engine.
type sequence struct {
	job      Job
	emitted  int
	computed int           // tokens in the KV cache
	left     time.Duration // of service, where there are no tokens
}

// length is how many tokens must be in the cache for the next one to come out.
func (s *sequence) length() int { return s.job.PromptTokens + s.emitted }

// New returns an idle engine that takes the time and the memory that the
// profile says.
func New(p scale.Profile) *Engine {
	return &Engine{
		profile:  p,
		capacity: max(0, p.KVCapacity()),
		fault:    fault(p),
		known:    make(map[scale.RequestID]struct{}),
	}
}

// fault says why a profile can serve nothing.
func fault(p scale.Profile) error {
	switch {
	case p.Tokens() && p.MaxBatch < 1:
		return errors.New("its largest batch is 0")
	case p.Tokens() && p.PrefillChunk < 1:
		return errors.New("it takes no prompt token per iteration")
	case p.Tokens() && p.KVCapacity() < 1:
		return fmt.Errorf("no KV cache fits: %s", p.MemoryArithmetic())
	case !p.Tokens() && p.Service.Concurrency < 1:
		return errors.New("its concurrency is 0")
	case !p.Tokens() && p.Service.Mean <= 0:
		return errors.New("it has neither linear points nor a service time")
	}
	return nil
}

// Add puts a job at the end of the queue; the next Iterate may admit it. It
// refuses a job that has no prompt or no output, whose ID is already in the
// engine, or that could never end because the KV cache cannot hold it alone.
func (e *Engine) Add(j Job) error {
	if e.fault != nil {
		return fmt.Errorf("add request %d to profile %q: %w", j.ID, e.profile.Name, e.fault)
	}
	if j.PromptTokens < 1 || j.OutputTokens < 1 {
		return fmt.Errorf("add request %d: %d prompt and %d output tokens: at least one of each is needed",
			j.ID, j.PromptTokens, j.OutputTokens)
	}
	if _, ok := e.known[j.ID]; ok {
		return fmt.Errorf("add request %d: it is already in the engine", j.ID)
	}
	// The last token is emitted and never enters the cache.
	if e.profile.Tokens() && j.PromptTokens > e.capacity-(j.OutputTokens-1) {
		return fmt.Errorf("add request %d: %d prompt and %d output tokens do not fit into %d tokens of KV cache",
			j.ID, j.PromptTokens, j.OutputTokens, e.capacity)
	}
	e.known[j.ID] = struct{}{}
	e.waiting.push(sequence{job: j, left: e.profile.Service.Mean})
	return nil
}

// Abort takes a job out of the engine and frees its place at once. It is
// false when the job is not there: never added, aborted, or already ended,
// which it is from the Iterate on that returned its last Emission.
func (e *Engine) Abort(id scale.RequestID) bool {
	if _, ok := e.known[id]; !ok {
		return false
	}
	delete(e.known, id)
	if i := find(e.running, id); i >= 0 {
		last := i == len(e.running)-1
		e.held -= e.holds(i)
		e.running = append(e.running[:i], e.running[i+1:]...)
		e.partial = e.partial && !last
		return true
	}
	if i := find(e.preempted, id); i >= 0 {
		e.preempted = append(e.preempted[:i], e.preempted[i+1:]...)
		return true
	}
	e.waiting.remove(id)
	return true
}

// Iterate runs one iteration. It is false, and no time passes, when there is
// nothing to do. Afterwards the engine stands as at the end of the iteration.
func (e *Engine) Iterate() (Iteration, bool) {
	e.emitted, e.started = e.emitted[:0], e.started[:0]
	var it Iteration
	if e.profile.Tokens() {
		it = e.batch()
	} else {
		it = e.serve()
	}
	it.Emitted, it.Started = e.emitted, e.started
	return it, it.Batch > 0
}

// Running returns how many requests are in the batch.
func (e *Engine) Running() int { return len(e.running) }

// Waiting returns how many requests wait for a place, preempted ones included.
func (e *Engine) Waiting() int { return len(e.preempted) + e.waiting.len() }

// KVUsage returns the share of the KV cache that is held, 0..1.
func (e *Engine) KVUsage() float64 {
	if e.capacity == 0 {
		return 0
	}
	return float64(e.held) / float64(e.capacity)
}

// Preemptions returns how often a request was preempted since New.
func (e *Engine) Preemptions() int { return e.preemptions }

// batch is Iterate for a profile with tokens.
func (e *Engine) batch() Iteration {
	var it Iteration
	it.Preempted = e.makeRoom()
	ended := e.decode(&it)
	ended += e.prefill(&it)
	it.KVTokens = e.held
	e.held -= ended
	if it.Batch > 0 {
		seconds := e.profile.IterationTime(float64(it.DecodeTokens+it.PromptTokens), float64(it.ContextTokens))
		it.Took = time.Duration(math.Round(seconds * float64(time.Second)))
	}
	return it
}

// makeRoom preempts the youngest requests until every other can grow by a
// token, and returns how many it preempted.
func (e *Engine) makeRoom() int {
	n := 0
	for e.held+e.decoding() > e.capacity {
		last := len(e.running) - 1
		e.held -= e.holds(last)
		s := e.running[last]
		s.computed = 0
		e.preempted = append(e.preempted, s)
		e.running = e.running[:last]
		e.partial = false
		n++
	}
	e.preemptions += n
	return n
}

// decode lets every request that has its first token emit another, and
// returns how many tokens of cache those hold that have ended.
func (e *Engine) decode(it *Iteration) int {
	n := e.decoding()
	it.Batch, it.DecodeTokens = n, n
	e.held += n
	ended, kept := 0, 0
	for i := range n {
		s := &e.running[i]
		it.ContextTokens += s.computed
		s.computed++
		if e.emit(s) {
			ended += s.computed
			continue
		}
		if kept != i {
			e.running[kept] = *s
		}
		kept++
	}
	if e.partial {
		e.running[kept] = e.running[n]
		kept++
	}
	e.running = e.running[:kept]
	return ended
}

// prefill spends the iteration's budget of prompt tokens in order of arrival,
// and returns how many tokens of cache those hold that have ended.
func (e *Engine) prefill(it *Iteration) int {
	ended := 0
	budget := e.profile.PrefillChunk
	if e.partial {
		it.Batch++
	}
	for budget > 0 && (e.partial || e.admit(it)) {
		last := len(e.running) - 1
		s := &e.running[last]
		take := min(budget, s.length()-s.computed)
		budget -= take
		it.PromptTokens += take
		it.ContextTokens += s.computed
		s.computed += take
		if s.computed < s.length() {
			break
		}
		e.partial = false
		if e.emit(s) {
			ended += s.computed
			e.running = e.running[:last]
		}
	}
	return ended
}

// admit moves the first waiting request to the end of the batch, if it may.
func (e *Engine) admit(it *Iteration) bool {
	if it.Preempted > 0 || it.Batch >= e.profile.MaxBatch {
		return false
	}
	next := e.next()
	if next == nil || e.held+next.length() > e.capacity {
		return false
	}
	e.held += next.length()
	e.partial = true
	it.Batch++
	e.enter()
	return true
}

// next is the request that is to be admitted next, nil if none waits.
func (e *Engine) next() *sequence {
	if n := len(e.preempted); n > 0 {
		return &e.preempted[n-1]
	}
	return e.waiting.first()
}

// enter moves that request into the batch.
func (e *Engine) enter() {
	s := *e.next()
	if n := len(e.preempted); n > 0 {
		e.preempted = e.preempted[:n-1]
	} else {
		e.waiting.drop()
	}
	e.running = append(e.running, s)
	e.started = append(e.started, s.job.ID)
}

// emit makes the next token of a request and says whether it was the last.
func (e *Engine) emit(s *sequence) bool {
	last := s.emitted+1 == s.job.OutputTokens
	e.emitted = append(e.emitted, Emission{ID: s.job.ID, Index: s.emitted, Last: last})
	s.emitted++
	if last {
		delete(e.known, s.job.ID)
	}
	return last
}

// decoding returns how many requests of the batch have their first token.
func (e *Engine) decoding() int {
	if e.partial {
		return len(e.running) - 1
	}
	return len(e.running)
}

// holds returns the tokens of cache that a request of the batch holds.
func (e *Engine) holds(i int) int {
	s := &e.running[i]
	switch {
	case !e.profile.Tokens():
		return 0
	case e.partial && i == len(e.running)-1:
		return s.length() // its whole prompt, computed or not
	default:
		return s.computed
	}
}

func find(list []sequence, id scale.RequestID) int {
	for i := range list {
		if list[i].job.ID == id {
			return i
		}
	}
	return -1
}
