package engine_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// small is a profile whose limits a few jobs can reach.
func small(t *rapid.T) scale.Profile {
	return scale.Profile{
		Name:              "small",
		Linear:            []scale.LinearPoint{{Tokens: 1, Time: 5 * time.Millisecond}, {Tokens: 64, Time: 20 * time.Millisecond}},
		Overhead:          time.Millisecond,
		Bandwidth:         1e6,
		KVBytesPerToken:   10,
		MemoryBytes:       10 * float64(rapid.IntRange(4, 120).Draw(t, "kv")),
		MemoryUtilisation: 1,
		PrefillChunk:      rapid.IntRange(1, 40).Draw(t, "chunk"),
		MaxBatch:          rapid.IntRange(1, 8).Draw(t, "batch"),
	}
}

func service(t *rapid.T) scale.Profile {
	return scale.Profile{Name: "service", Service: scale.ServiceTime{
		Mean:        time.Duration(rapid.IntRange(1, 1e9).Draw(t, "mean")),
		Concurrency: rapid.IntRange(1, 8).Draw(t, "concurrency"),
	}}
}

// step is what is done to the engine before an iteration.
type step struct {
	Add   []engine.Job
	Abort []scale.RequestID
}

func script(t *rapid.T) []step {
	var steps []step
	next := scale.RequestID(1)
	for range rapid.IntRange(1, 40).Draw(t, "steps") {
		var s step
		for range rapid.IntRange(0, 4).Draw(t, "adds") {
			s.Add = append(s.Add, engine.Job{
				ID:           next,
				PromptTokens: rapid.IntRange(1, 60).Draw(t, "prompt"),
				OutputTokens: rapid.IntRange(1, 30).Draw(t, "output"),
			})
			next++
		}
		if rapid.IntRange(0, 3).Draw(t, "aborts") == 0 {
			s.Abort = append(s.Abort, scale.RequestID(rapid.IntRange(1, int(next)).Draw(t, "abort")))
		}
		steps = append(steps, s)
	}
	return steps
}

// observer follows what the engine says and holds it to the laws.
type observer struct {
	*rapid.T
	profile scale.Profile
	engine  *engine.Engine
	open    map[scale.RequestID]engine.Job
	emitted map[scale.RequestID]int
	history []engine.Iteration
}

func observe(t *rapid.T, p scale.Profile) *observer {
	return &observer{
		T: t, profile: p, engine: engine.New(p),
		open: map[scale.RequestID]engine.Job{}, emitted: map[scale.RequestID]int{},
	}
}

func (o *observer) play(s step) {
	for _, j := range s.Add {
		err := o.engine.Add(j)
		fits := !o.profile.Tokens() || j.PromptTokens+j.OutputTokens-1 <= o.profile.KVCapacity()
		if fits != (err == nil) {
			o.Fatalf("job %+v, which fits %v: %v", j, fits, err)
		}
		if err != nil {
			continue
		}
		o.open[j.ID] = j
		if err := o.engine.Add(j); err == nil {
			o.Fatalf("job %d was added twice", j.ID)
		}
	}
	for _, id := range s.Abort {
		_, open := o.open[id]
		if got := o.engine.Abort(id); got != open {
			o.Fatalf("abort of %d said %v, and it was open: %v", id, got, open)
		}
		delete(o.open, id)
	}
	o.iterate()
}

func (o *observer) iterate() {
	it, ok := o.engine.Iterate()
	if ok != (it.Batch > 0) || ok != (it.Took > 0) {
		o.Fatalf("iteration %+v, and something to do: %v", it, ok)
	}
	for _, e := range it.Emitted {
		job, open := o.open[e.ID]
		if !open || e.Index != o.emitted[e.ID] || e.Last != (e.Index == job.OutputTokens-1) {
			o.Fatalf("emission %+v of job %+v (open %v) after %d tokens", e, job, open, o.emitted[e.ID])
		}
		o.emitted[e.ID]++
		if e.Last {
			delete(o.open, e.ID)
		}
	}
	if got := o.engine.Running() + o.engine.Waiting(); got != len(o.open) {
		o.Fatalf("%d running and waiting, but %d are open", got, len(o.open))
	}
	if usage := o.engine.KVUsage(); usage < 0 || usage > 1 || len(o.open) == 0 && usage != 0 {
		o.Fatalf("KV usage %v with %d open", usage, len(o.open))
	}
	o.limits(it)
	it.Emitted = append([]engine.Emission(nil), it.Emitted...)
	it.Started = append([]scale.RequestID(nil), it.Started...)
	o.history = append(o.history, it)
}

// limits holds one iteration to what the profile allows and to its time.
func (o *observer) limits(it engine.Iteration) {
	if !o.profile.Tokens() {
		if it.Batch > o.profile.Service.Concurrency {
			o.Fatalf("%d served at once", it.Batch)
		}
		return
	}
	if it.Batch > o.profile.MaxBatch || it.PromptTokens > o.profile.PrefillChunk || it.KVTokens > o.profile.KVCapacity() {
		o.Fatalf("iteration %+v above the limits of %+v", it, o.profile)
	}
	if it.Batch == 0 {
		return
	}
	want := o.profile.IterationTime(float64(it.DecodeTokens+it.PromptTokens), float64(it.ContextTokens))
	if diff := it.Took.Seconds() - want; diff > 1e-9 || diff < -1e-9 {
		o.Fatalf("iteration %+v took %v, the profile says %v s", it, it.Took, want)
	}
}

// drain iterates until nothing is open. The oldest request moves on in every
// iteration, so there are never more of them than it takes to serve one after
// the other.
func (o *observer) drain() {
	bound := 0
	for id, j := range o.open {
		if o.profile.Tokens() {
			bound += (j.PromptTokens+j.OutputTokens)/o.profile.PrefillChunk + 1 + j.OutputTokens - o.emitted[id]
		} else {
			bound += 2*100 + 2 // a step may be cut in two by the end of another job
		}
	}
	for range bound {
		if len(o.open) == 0 {
			break
		}
		o.iterate()
	}
	if len(o.open) > 0 {
		o.Fatalf("%v starve after %d iterations", o.open, bound)
	}
	if _, ok := o.engine.Iterate(); ok {
		o.Fatalf("an empty engine iterates")
	}
}

func TestEveryJobEmitsItsTokensInOrderWithinTheLimits(t *testing.T) {
	for name, profile := range map[string]func(*rapid.T) scale.Profile{"tokens": small, "service": service} {
		t.Run(name, func(t *testing.T) {
			preempted := 0
			rapid.Check(t, func(t *rapid.T) {
				o := observe(t, profile(t))
				for _, s := range script(t) {
					o.play(s)
				}
				o.drain()
				preempted += o.engine.Preemptions()
			})
			t.Logf("%d preemptions", preempted)
			if name == "tokens" && preempted == 0 {
				t.Error("no script was hard enough to preempt")
			}
		})
	}
}

func TestTheSameScriptGivesTheSameIterations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, steps := small(t), script(t)
		first, second := observe(t, p), observe(t, p)
		for _, s := range steps {
			first.play(s)
			second.play(s)
		}
		if diff := cmp.Diff(first.history, second.history); diff != "" {
			t.Fatal(diff)
		}
	})
}
