package bound_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/bound"
	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// llama is Llama-3-8B on one A100, as in traces-papers, section 4.
func llama() scale.Profile {
	ms := func(m float64) time.Duration { return time.Duration(m * float64(time.Millisecond)) }
	return scale.Profile{
		Name: "8b-a100", Overhead: ms(3), Bandwidth: 0.85 * 2039e9,
		Linear:          []scale.LinearPoint{{Tokens: 1, Time: ms(9.6)}, {Tokens: 64, Time: ms(11.1)}, {Tokens: 256, Time: ms(19.4)}, {Tokens: 1024, Time: ms(74.7)}, {Tokens: 4096, Time: ms(271.3)}},
		KVBytesPerToken: 131072, WeightBytes: 16.1e9, MemoryBytes: 80e9, MemoryUtilisation: 0.9, PrefillChunk: 2048, MaxBatch: 256,
	}
}

// profile draws one whose limits a few jobs can reach. Nothing in it need be
// convex: measured tables are not.
func profile(t *rapid.T) scale.Profile {
	p := scale.Profile{
		Overhead:          time.Duration(rapid.IntRange(0, 5000).Draw(t, "overhead")) * time.Microsecond,
		Bandwidth:         math.Pow(10, rapid.Float64Range(2, 8).Draw(t, "bandwidth")),
		KVBytesPerToken:   10,
		MemoryBytes:       10 * float64(rapid.IntRange(60, 200).Draw(t, "kv")),
		MemoryUtilisation: 1,
		PrefillChunk:      rapid.IntRange(1, 40).Draw(t, "chunk"),
		MaxBatch:          rapid.IntRange(1, 8).Draw(t, "batch"),
	}
	tokens, took := 0, 0
	for range rapid.IntRange(1, 5).Draw(t, "points") {
		tokens += rapid.IntRange(1, 20).Draw(t, "tokens")
		took += rapid.IntRange(0, 10000).Draw(t, "took")
		p.Linear = append(p.Linear, scale.LinearPoint{Tokens: tokens, Time: time.Duration(1+took) * time.Microsecond})
	}
	return p
}

// busy serves jobs, some of them at the beginning and the others as iterations
// go by, and returns how long the engine worked.
func busy(t *rapid.T, p scale.Profile, jobs []bound.Tokens) (time.Duration, int) {
	e := engine.New(p)
	var took time.Duration
	for next := 0; ; {
		for range rapid.IntRange(0, 4).Draw(t, "adds") {
			if next == len(jobs) {
				break
			}
			j := engine.Job{ID: scale.RequestID(next), PromptTokens: jobs[next].Prompt, OutputTokens: jobs[next].Output}
			if err := e.Add(j); err != nil {
				t.Fatal(err)
			}
			next++
		}
		it, worked := e.Iterate()
		took += it.Took
		if !worked && next == len(jobs) {
			return took, e.Preemptions()
		}
	}
}

func TestNoEngineWorksLessThanTheBound(t *testing.T) {
	preemptions := 0
	rapid.Check(t, func(t *rapid.T) {
		p := profile(t)
		jobs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) bound.Tokens {
			return bound.Tokens{Prompt: rapid.IntRange(1, 30).Draw(t, "prompt"), Output: rapid.IntRange(1, 30).Draw(t, "output")}
		}), 1, 30).Draw(t, "jobs")
		took, preempted := busy(t, p, jobs)
		preemptions += preempted
		// Prices for other requests than these hold as well.
		other := []bound.Tokens{{Prompt: rapid.IntRange(1, 1000).Draw(t, "P"), Output: rapid.IntRange(1, 1000).Draw(t, "O")}}
		for what, w := range map[string]bound.WorkBound{"Work": bound.Work(p), "WorkFor these": bound.WorkFor(p, jobs), "WorkFor others": bound.WorkFor(p, other)} {
			var sum time.Duration
			for _, j := range jobs {
				sum += w.Time(j.Prompt, j.Output)
			}
			if sum > took {
				t.Fatalf("%s: the engine worked for %v, the bound is %v", what, took, sum)
			}
		}
	})
	if preemptions == 0 {
		t.Error("nothing was ever preempted, so that the hardest part of the proof was not tried")
	}
}

func TestNoEngineWithoutTokensWorksLessThanTheBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := scale.Profile{Service: scale.ServiceTime{
			Mean: time.Duration(rapid.IntRange(1, 1e9).Draw(t, "mean")), Concurrency: rapid.IntRange(1, 8).Draw(t, "concurrency"),
		}}
		jobs := slices.Repeat([]bound.Tokens{{Prompt: 1, Output: 1}}, rapid.IntRange(1, 30).Draw(t, "jobs"))
		took, _ := busy(t, p, jobs)
		w := bound.WorkFor(p, jobs)
		if sum := time.Duration(len(jobs)) * w.Time(1, 1); sum > took {
			t.Fatalf("the engine worked for %v, the bound is %v", took, sum)
		}
		if w.Service(8*time.Second) != 8*time.Second/time.Duration(p.Service.Concurrency) {
			t.Fatalf("8 s of %d at once are %v", p.Service.Concurrency, w.Service(8*time.Second))
		}
	})
}

// What a bound misses is what no batch can do at once: it must not be much.
func TestTheBoundIsNearAFullEngine(t *testing.T) {
	for name, c := range map[string]struct {
		request bound.Tokens
		uniform float64 // of the engine's time, at least
		fitted  float64
	}{
		"conversation":  {bound.Tokens{Prompt: 1155, Output: 211}, 0.96, 0.97},
		"prompts alone": {bound.Tokens{Prompt: 4000, Output: 1}, 0.98, 0.99},
		"long replies":  {bound.Tokens{Prompt: 50, Output: 1000}, 0.78, 0.91},
		"long context":  {bound.Tokens{Prompt: 12000, Output: 350}, 0.93, 0.95},
	} {
		t.Run(name, func(t *testing.T) {
			p := llama()
			e := engine.New(p)
			const n = 600
			for i := range n {
				if err := e.Add(engine.Job{ID: scale.RequestID(i), PromptTokens: c.request.Prompt, OutputTokens: c.request.Output}); err != nil {
					t.Fatal(err)
				}
			}
			var took time.Duration
			for it, worked := e.Iterate(); worked; it, worked = e.Iterate() {
				took += it.Took
			}
			share := func(w bound.WorkBound) float64 {
				return n * w.Time(c.request.Prompt, c.request.Output).Seconds() / took.Seconds()
			}
			uniform, fitted := share(bound.Work(p)), share(bound.WorkFor(p, []bound.Tokens{c.request}))
			t.Logf("%.3f, fitted %.3f of the engine's time", uniform, fitted)
			if uniform < c.uniform || fitted < c.fitted || fitted > 1 || uniform > fitted {
				t.Errorf("%.3f, fitted %.3f of the engine's time; want %.2f and %.2f at least", uniform, fitted, c.uniform, c.fitted)
			}
		})
	}
}

func TestWorkGrowsWithTheRequest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := profile(t)
		r := bound.Tokens{Prompt: rapid.IntRange(1, 500).Draw(t, "prompt"), Output: rapid.IntRange(1, 500).Draw(t, "output")}
		for _, w := range []bound.WorkBound{bound.Work(p), bound.WorkFor(p, []bound.Tokens{r})} {
			base := w.Time(r.Prompt, r.Output)
			if base <= 0 || w.Time(r.Prompt+1, r.Output) < base || w.Time(r.Prompt, r.Output+1) < base {
				t.Fatalf("%v: %v, a token more of prompt %v, of output %v", r, base, w.Time(r.Prompt+1, r.Output), w.Time(r.Prompt, r.Output+1))
			}
		}
		if bound.WorkFor(p, []bound.Tokens{r}).Time(r.Prompt, r.Output) < bound.Work(p).Time(r.Prompt, r.Output) {
			t.Fatal("fitted to a request, the bound is lower for it")
		}
	})
}
