package engine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// plain drives an Engine as a Stepper does: an iteration begins whenever there
// is something to do, with all that came until then. It is what a Stepper is
// held against.
type plain struct {
	engine     *engine.Engine
	at         time.Duration // the end of the iteration under way, if later than now
	iterations int
	busy       time.Duration
	tokens     int
	pending    []engine.Event // of that iteration
	lately     int            // its tokens
}

// until begins every iteration that begins before now, and returns the events
// until now.
func (p *plain) until(now time.Duration) []engine.Event {
	events := p.take(now)
	for p.at < now {
		it, ok := p.engine.Iterate()
		if !ok {
			break
		}
		p.at += it.Took
		p.busy += it.Took
		p.iterations++
		p.tokens += len(it.Emitted)
		p.lately = len(it.Emitted)
		for _, e := range it.Emitted {
			if e.Index == 0 {
				p.pending = append(p.pending, engine.Event{At: p.at, Key: engine.Key(e.ID), Kind: engine.FirstToken})
			}
			if e.Last {
				p.pending = append(p.pending, engine.Event{At: p.at, Key: engine.Key(e.ID), Kind: engine.LastToken})
			}
		}
		events = append(events, p.take(now)...)
	}
	return events
}

func (p *plain) take(now time.Duration) []engine.Event {
	if p.at > now {
		return nil
	}
	out := p.pending
	p.pending = nil
	return out
}

func (p *plain) add(w engine.Work, now time.Duration) error {
	if p.engine.Running()+p.engine.Waiting() == 0 {
		p.at = max(p.at, now)
	}
	return p.engine.Add(engine.Job{ID: scale.RequestID(w.Key), PromptTokens: w.PromptTokens, OutputTokens: w.OutputTokens})
}

// abort also takes back what the iteration under way would have told of it.
func (p *plain) abort(k engine.Key) bool {
	found := p.engine.Abort(scale.RequestID(k))
	kept := p.pending[:0]
	for _, e := range p.pending {
		if e.Key == k {
			found = true
			continue
		}
		kept = append(kept, e)
	}
	p.pending = kept
	return found
}

// running counts those that end with the iteration under way.
func (p *plain) running() int {
	n := p.engine.Running()
	for _, e := range p.pending {
		if e.Kind == engine.LastToken {
			n++
		}
	}
	return n
}

func (p *plain) state(now time.Duration) engine.State {
	st := engine.State{
		Running: p.running(), Waiting: p.engine.Waiting(), KVUsage: p.engine.KVUsage(),
		Busy: p.busy, Tokens: p.tokens, Preemptions: p.engine.Preemptions(),
	}
	if p.at > now {
		st.Busy -= p.at - now
		st.Tokens -= p.lately
	}
	return st
}

// pair is a Stepper and what it is held against.
type pair struct {
	*rapid.T
	stepper *engine.Stepper
	plain   *plain
	now     time.Duration
	slack   time.Duration // between their instants, for each iteration
	open    map[engine.Key]engine.Work
	events  int
}

// tolerance is how far apart the two may be by now: each rounds by half a
// nanosecond, an Engine every iteration, a Stepper at most as often.
func (p *pair) tolerance() time.Duration { return p.slack * time.Duration(p.plain.iterations) }

// advance lets time pass in both and compares the events.
func (p *pair) advance(now time.Duration) {
	want := p.plain.until(now)
	// What ends within the tolerance of now may be on either side of it.
	for p.slack > 0 && near(p.plain.at, now, p.tolerance()+1) {
		now += 2*p.tolerance() + 2
		want = append(want, p.plain.until(now)...)
	}
	p.now = now
	var got []engine.Event
	if rapid.IntRange(0, 4).Draw(p.T, "at once") == 0 {
		got = append(got, p.stepper.Advance(now)...)
	}
	for next := p.stepper.Next(); next <= now; next = p.stepper.Next() {
		if early := p.stepper.Advance(next - 1); len(early) > 0 {
			p.Fatalf("next was %v, and before it came %v", next, early)
		}
		events := p.stepper.Advance(next)
		if len(events) == 0 {
			p.Fatalf("next was %v, and nothing came", next)
		}
		for _, e := range events {
			if e.At != next {
				p.Fatalf("next was %v, and %v came", next, e)
			}
		}
		got = append(got, events...)
	}
	p.compare(want, got)
}

func near(a, b, by time.Duration) bool { return a-b <= by && b-a <= by }

func (p *pair) compare(want, got []engine.Event) {
	if len(want) != len(got) {
		p.Fatalf("at %v %d events, want %d:\n%v\n%v", p.now, len(got), len(want), got, want)
	}
	for i, w := range want {
		g := got[i]
		if g.Key != w.Key || g.Kind != w.Kind || !near(g.At, w.At, p.tolerance()) {
			p.Fatalf("event %+v, want %+v within %v", g, w, p.tolerance())
		}
		if w.Kind == engine.LastToken {
			delete(p.open, w.Key)
		}
	}
	p.events += len(want)
}

func (p *pair) check() {
	next := p.stepper.Next()
	got, want := p.stepper.State(p.now), p.plain.state(p.now)
	if after := p.stepper.Next(); after != next {
		p.Fatalf("a look at it moved the next event from %v to %v", next, after)
	}
	busy := got.Busy
	if !near(busy, want.Busy, p.tolerance()) || busy > p.now || busy < 0 {
		p.Fatalf("at %v busy for %v, want %v", p.now, busy, want.Busy)
	}
	got.Busy = want.Busy
	if diff := cmp.Diff(want, got); diff != "" {
		p.Fatalf("at %v: %s", p.now, diff)
	}
	if got.Running+got.Waiting != len(p.open) {
		p.Fatalf("%d running and %d waiting, but %d are open", got.Running, got.Waiting, len(p.open))
	}
}

func (p *pair) add(w engine.Work) {
	want, got := p.plain.add(w, p.now), p.stepper.Add(w, p.now)
	if fmt.Sprint(want) != fmt.Sprint(got) {
		p.Fatalf("add said %v, want %v", got, want)
	}
	if got == nil {
		p.open[w.Key] = w
		again := p.stepper.Add(w, p.now)
		if again == nil || again.Error() != fmt.Sprintf("add request %d: it is already in the engine", w.Key) {
			p.Fatalf("request %d was added twice: %v", w.Key, again)
		}
	}
}

func (p *pair) abort(k engine.Key) {
	_, want := p.open[k]
	if got, plain := p.stepper.Abort(k, p.now), p.plain.abort(k); got != want || plain != want {
		p.Fatalf("abort of %d said %v, and by iteration %v; it was open: %v", k, got, plain, want)
	}
	delete(p.open, k)
}

// drain lets all end.
func (p *pair) drain() {
	for range 100_000 {
		if len(p.open) == 0 {
			break
		}
		p.advance(p.now + 100*time.Millisecond)
	}
	p.check()
	if next := p.stepper.Next(); next != engine.Never || len(p.open) > 0 {
		p.Fatalf("%v never end, the next event is at %v", p.open, next)
	}
}

// whole is a profile in which every iteration takes whole nanoseconds, so that
// neither has anything to round.
func whole(t *rapid.T) scale.Profile {
	p := scale.Profile{
		Name:              "whole",
		Linear:            []scale.LinearPoint{{Tokens: rapid.IntRange(1, 4).Draw(t, "first"), Time: time.Duration(rapid.IntRange(1, 1000).Draw(t, "time"))}},
		Overhead:          time.Duration(rapid.IntRange(0, 20).Draw(t, "overhead")),
		Bandwidth:         1e9,
		KVBytesPerToken:   float64(rapid.IntRange(1, 3).Draw(t, "read")),
		MemoryUtilisation: 1,
		PrefillChunk:      rapid.IntRange(1, 40).Draw(t, "chunk"),
		MaxBatch:          rapid.IntRange(1, 12).Draw(t, "batch"),
	}
	for range rapid.IntRange(1, 3).Draw(t, "points") {
		last := p.Linear[len(p.Linear)-1]
		more := rapid.IntRange(1, 40).Draw(t, "tokens")
		p.Linear = append(p.Linear, scale.LinearPoint{Tokens: last.Tokens + more, Time: last.Time + time.Duration(more*rapid.IntRange(0, 9).Draw(t, "slope"))})
	}
	p.MemoryBytes = p.KVBytesPerToken * float64(rapid.IntRange(4, 300).Draw(t, "kv"))
	return p
}

// fractional is a profile in which no iteration takes whole nanoseconds.
func fractional(t *rapid.T) scale.Profile {
	p := small(t)
	p.Bandwidth = rapid.Float64Range(1e6, 1e8).Draw(t, "bandwidth")
	p.Linear[1].Tokens = rapid.IntRange(3, 90).Draw(t, "tokens")
	return p
}

// play draws what comes when, and holds the two against each other.
func (p *pair) play(longest time.Duration) {
	next := engine.Key(1)
	for range rapid.IntRange(1, 60).Draw(p.T, "actions") {
		switch rapid.IntRange(0, 9).Draw(p.T, "action") {
		case 0, 1, 2:
			p.advance(p.now + time.Duration(rapid.Int64Range(0, int64(longest)).Draw(p.T, "pause")))
		case 3:
			p.advance(max(p.now, p.plain.at)) // to the instant at which an iteration ends
		case 4:
			p.abort(engine.Key(rapid.IntRange(1, int(next)).Draw(p.T, "abort")))
		case 5:
			p.check()
		default:
			for range rapid.IntRange(1, 4).Draw(p.T, "burst") {
				p.add(engine.Work{
					Key:          next,
					PromptTokens: rapid.IntRange(0, 90).Draw(p.T, "prompt"),
					OutputTokens: rapid.IntRange(0, 60).Draw(p.T, "output"),
				})
				next++
			}
		}
	}
	p.drain()
}

func TestAStepperTellsWhatPlainIterationTells(t *testing.T) {
	for name, c := range map[string]struct {
		profile func(*rapid.T) scale.Profile
		slack   time.Duration
		longest time.Duration
	}{
		"to the nanosecond where there is nothing to round": {profile: whole, longest: 20 * time.Microsecond},
		"within a nanosecond for each iteration":            {profile: fractional, slack: 1, longest: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			preempted, events := 0, 0
			rapid.Check(t, func(t *rapid.T) {
				profile := c.profile(t)
				p := &pair{
					T: t, stepper: engine.NewStepper(profile), plain: &plain{engine: engine.New(profile)},
					slack: c.slack, open: map[engine.Key]engine.Work{},
				}
				p.play(c.longest)
				preempted += p.plain.engine.Preemptions()
				events += p.events
			})
			t.Logf("%d events, %d preemptions", events, preempted)
			if preempted == 0 {
				t.Error("no series was hard enough to preempt")
			}
		})
	}
}

// arrival is a request of a series.
type arrival struct {
	at   time.Duration
	work engine.Work
}

// enterprise draws a series like workload W1's: 1,000 prompt and 130 output
// tokens on average, long-tailed, at a rate per second.
func enterprise(n int, rate float64, seed uint64) []arrival {
	r := rand.New(rand.NewPCG(seed, 1))
	list := make([]arrival, n)
	now := 0.0
	for i := range list {
		now += r.ExpFloat64() / rate
		list[i] = arrival{at: time.Duration(now * float64(time.Second)), work: engine.Work{
			Key:          engine.Key(i),
			PromptTokens: 1 + int(min(r.ExpFloat64()*1000, 7000)),
			OutputTokens: 1 + int(min(r.ExpFloat64()*130, 1000)),
		}}
	}
	return list
}

// TestAStepperIsExactOverAnHourOfOneReplica holds the two against each
// other over a series as long as an hour of one replica.
func TestAStepperIsExactOverAnHourOfOneReplica(t *testing.T) {
	const away = time.Microsecond
	p := &plain{engine: engine.New(a100())}
	list := enterprise(20_000, 7, 1)
	var want []engine.Event
	began := time.Now()
	for i := range list {
		a := &list[i]
		want = append(want, p.until(a.at)...)
		for near(p.at, a.at, away) { // so that both find it in the same iteration
			a.at += 2 * away
			want = append(want, p.until(a.at)...)
		}
		if err := p.add(a.work, a.at); err != nil {
			t.Fatal(err)
		}
	}
	want = append(want, p.until(engine.Never-1)...)
	plainly := time.Since(began)

	s := engine.NewStepper(a100())
	var got []engine.Event
	began = time.Now()
	for _, a := range list {
		for s.Next() <= a.at {
			got = append(got, s.Advance(s.Next())...)
		}
		if err := s.Add(a.work, a.at); err != nil {
			t.Fatal(err)
		}
	}
	for s.Next() != engine.Never {
		got = append(got, s.Advance(s.Next())...)
	}
	stepping := time.Since(began)

	if len(got) != len(want) || len(got) != 2*len(list) {
		t.Fatalf("%d events, by iteration %d", len(got), len(want))
	}
	worst := time.Duration(0)
	for i := range want {
		if got[i].Key != want[i].Key || got[i].Kind != want[i].Kind {
			t.Fatalf("event %d is %+v, by iteration %+v", i, got[i], want[i])
		}
		worst = max(worst, got[i].At-want[i].At, want[i].At-got[i].At)
	}
	t.Logf("%d requests, %d iterations: by iteration %v, from event to event %v; instants differ by %v at most",
		len(list), p.iterations, plainly, stepping, worst)
	if worst > away {
		t.Errorf("instants differ by up to %v", worst)
	}
	if s.State(got[len(got)-1].At).Preemptions != p.engine.Preemptions() {
		t.Error("they did not preempt as often")
	}
}
