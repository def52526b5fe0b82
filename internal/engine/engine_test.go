package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// tiny has a cache of 20 tokens, a batch of three and chunks of eight.
func tiny() scale.Profile {
	return scale.Profile{
		Name:              "tiny",
		Linear:            []scale.LinearPoint{{Tokens: 1, Time: time.Millisecond}},
		KVBytesPerToken:   1,
		MemoryBytes:       20,
		MemoryUtilisation: 1,
		PrefillChunk:      8,
		MaxBatch:          3,
	}
}

func add(t *testing.T, e *engine.Engine, jobs ...engine.Job) {
	t.Helper()
	for _, j := range jobs {
		if err := e.Add(j); err != nil {
			t.Fatal(err)
		}
	}
}

// iterations runs the engine dry and returns what each iteration emitted.
func iterations(t *testing.T, e *engine.Engine) [][]engine.Emission {
	t.Helper()
	var all [][]engine.Emission
	for range 10_000 {
		it, ok := e.Iterate()
		if !ok {
			return all
		}
		all = append(all, append([]engine.Emission{}, it.Emitted...))
	}
	t.Fatal("the engine never ends")
	return nil
}

func TestALongPromptIsChunkedWhileOthersDecode(t *testing.T) {
	e := engine.New(tiny())
	add(t, e, engine.Job{ID: 1, PromptTokens: 2, OutputTokens: 4}, engine.Job{ID: 2, PromptTokens: 13, OutputTokens: 1})
	want := [][]engine.Emission{
		{{ID: 1, Index: 0}}, // and 6 tokens of the long prompt
		{{ID: 1, Index: 1}, {ID: 2, Index: 0, Last: true}}, // and the other 7
		{{ID: 1, Index: 2}},
		{{ID: 1, Index: 3, Last: true}},
	}
	if diff := cmp.Diff(want, iterations(t, e)); diff != "" {
		t.Error(diff)
	}
}

func TestTheYoungestIsPreemptedAndGoesOnWhereItWas(t *testing.T) {
	e := engine.New(tiny())
	add(t, e,
		engine.Job{ID: 1, PromptTokens: 4, OutputTokens: 10},
		engine.Job{ID: 2, PromptTokens: 4, OutputTokens: 10},
		engine.Job{ID: 3, PromptTokens: 4, OutputTokens: 1})
	var order []scale.RequestID
	next := map[scale.RequestID]int{}
	for {
		it, ok := e.Iterate()
		if !ok {
			break
		}
		for _, emission := range it.Emitted {
			if emission.Index != next[emission.ID] {
				t.Fatalf("%+v after %d tokens", emission, next[emission.ID])
			}
			next[emission.ID]++
			if emission.Last {
				order = append(order, emission.ID)
			}
		}
		if e.Preemptions() == 1 && it.Preempted == 1 && (e.Waiting() != 1 || e.Running() != 1) {
			t.Errorf("after the preemption %d run and %d wait", e.Running(), e.Waiting())
		}
	}
	if e.Preemptions() != 1 {
		t.Errorf("%d preemptions, want 1: 4+4 tokens of prompt and 2 tokens a step in a cache of 20", e.Preemptions())
	}
	if diff := cmp.Diff([]scale.RequestID{3, 1, 2}, order); diff != "" {
		t.Error(diff)
	}
}

func TestAnAbortFreesItsPlaceAtOnce(t *testing.T) {
	e := engine.New(tiny())
	add(t, e, engine.Job{ID: 1, PromptTokens: 15, OutputTokens: 6}, engine.Job{ID: 2, PromptTokens: 15, OutputTokens: 1})
	e.Iterate()
	if e.Running() != 1 || e.Waiting() != 1 || e.KVUsage() != 0.75 {
		t.Fatalf("%d run, %d wait, %v of the cache", e.Running(), e.Waiting(), e.KVUsage())
	}
	if !e.Abort(1) || e.Abort(1) || e.Running() != 0 || e.KVUsage() != 0 {
		t.Fatalf("after the abort %d run, %v of the cache", e.Running(), e.KVUsage())
	}
	if !e.Abort(2) || e.Waiting() != 0 {
		t.Fatal("a waiting job cannot be aborted")
	}
	if _, ok := e.Iterate(); ok {
		t.Fatal("nothing is left, but it iterates")
	}
}

func TestAddRefuses(t *testing.T) {
	weights := tiny()
	weights.WeightBytes = 20
	batchless, chunkless := tiny(), tiny()
	batchless.MaxBatch, chunkless.PrefillChunk = 0, 0
	for name, c := range map[string]struct {
		profile scale.Profile
		job     engine.Job
		want    string
	}{
		"a job above the cache":        {tiny(), engine.Job{ID: 1, PromptTokens: 11, OutputTokens: 11}, "do not fit into 20 tokens"},
		"a job without a prompt":       {tiny(), engine.Job{ID: 1, OutputTokens: 1}, "at least one"},
		"a job without output":         {tiny(), engine.Job{ID: 1, PromptTokens: 1}, "at least one"},
		"a huge job, without overflow": {tiny(), engine.Job{ID: 1, PromptTokens: 1 << 62, OutputTokens: 1 << 62}, "do not fit"},
		"weights that leave no cache":  {weights, engine.Job{ID: 1, PromptTokens: 1, OutputTokens: 1}, "no KV cache fits"},
		"a profile without a batch":    {batchless, engine.Job{ID: 1, PromptTokens: 1, OutputTokens: 1}, "batch is 0"},
		"a profile without a chunk":    {chunkless, engine.Job{ID: 1, PromptTokens: 1, OutputTokens: 1}, "no prompt token"},
		"a profile without any time":   {scale.Profile{Service: scale.ServiceTime{Concurrency: 1}}, engine.Job{ID: 1, PromptTokens: 1, OutputTokens: 1}, "neither"},
		"a profile that serves none":   {scale.Profile{}, engine.Job{ID: 1, PromptTokens: 1, OutputTokens: 1}, "concurrency is 0"},
	} {
		t.Run(name, func(t *testing.T) {
			e := engine.New(c.profile)
			if err := e.Add(c.job); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if _, ok := e.Iterate(); ok || e.Waiting() != 0 {
				t.Error("the refused job is in the engine")
			}
		})
	}
	e := engine.New(tiny())
	add(t, e, engine.Job{ID: 1, PromptTokens: 11, OutputTokens: 10})
	if got := len(iterations(t, e)); got != 11 {
		t.Errorf("the largest job that fits took %d iterations, want 2 for its prompt and 9", got)
	}
}

func TestAServiceProfileServesSoManyAtATime(t *testing.T) {
	e := engine.New(scale.Profile{Service: scale.ServiceTime{Mean: 4 * time.Second, CV: 0.6, Concurrency: 2}})
	for id := range scale.RequestID(5) {
		add(t, e, engine.Job{ID: id + 1, PromptTokens: 1, OutputTokens: 2})
	}
	ended := map[scale.RequestID]time.Duration{}
	now := time.Duration(0)
	for {
		it, ok := e.Iterate()
		if !ok {
			break
		}
		now += it.Took
		for _, emission := range it.Emitted {
			if emission.Last {
				ended[emission.ID] = now
			}
		}
	}
	want := map[scale.RequestID]time.Duration{
		1: 4 * time.Second, 2: 4 * time.Second, 3: 8 * time.Second, 4: 8 * time.Second, 5: 12 * time.Second,
	}
	if diff := cmp.Diff(want, ended); diff != "" {
		t.Error(diff)
	}
}

func TestALateJobIsServedBesideAnEarlierOne(t *testing.T) {
	e := engine.New(scale.Profile{Service: scale.ServiceTime{Mean: 4 * time.Second, Concurrency: 2}})
	add(t, e, engine.Job{ID: 1, PromptTokens: 1, OutputTokens: 1})
	now := time.Duration(0)
	for now < time.Second {
		it, _ := e.Iterate()
		now += it.Took
	}
	add(t, e, engine.Job{ID: 2, PromptTokens: 1, OutputTokens: 1})
	for e.Running()+e.Waiting() > 0 {
		it, _ := e.Iterate()
		now += it.Took
	}
	if now != 5*time.Second {
		t.Errorf("both are served after %v, want 5s", now)
	}
}
