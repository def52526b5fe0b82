package engine_test

import (
	"testing"
	"time"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// The linear operators as Vidur measured them, in ms by tokens in the
// iteration (microsoft/vidur data/profiling/compute, summed over layers).
var (
	tokenCounts = []int{1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096}
	llama3A100  = []float64{9.632, 9.728, 9.728, 9.920, 10.064, 10.848, 11.136, 12.512, 13.088, 16.640, 19.360, 27.552, 34.432, 52.624, 74.720, 106.272, 144.704, 203.856, 271.776}
	llama2H100  = []float64{5.568, 5.440, 5.472, 5.472, 5.744, 5.728, 5.792, 7.232, 6.304, 7.344, 9.056, 10.912, 11.856, 18.656, 20.800, 33.056, 39.840, 63.232, 82.480}
)

func linear(ms []float64, factor float64) []scale.LinearPoint {
	points := make([]scale.LinearPoint, len(ms))
	for i, v := range ms {
		points[i] = scale.LinearPoint{Tokens: tokenCounts[i], Time: time.Duration(v * factor * float64(time.Millisecond))}
	}
	return points
}

// a100 is Llama-3-8B on one A100-80GB.
func a100() scale.Profile {
	return scale.Profile{
		Name: "8b-a100", Linear: linear(llama3A100, 1), Overhead: 3 * time.Millisecond, Bandwidth: 2039e9 * 0.85,
		KVBytesPerToken: 131072, WeightBytes: 16.1e9, MemoryBytes: 80e9, MemoryUtilisation: 0.90, PrefillChunk: 2048, MaxBatch: 256,
	}
}

// h100 is Llama-3-8B on one H100, from Llama-2-7B by parameters.
func h100() scale.Profile {
	p := a100()
	p.Name, p.Linear, p.Overhead, p.Bandwidth = "8b-h100", linear(llama2H100, 1.19), 500*time.Microsecond, 3350e9*0.85
	return p
}

// measure keeps so many requests at the engine, begun one after another, and
// returns the mean TTFT and the mean time between tokens once it is steady.
func measure(t *testing.T, p scale.Profile, concurrency, prompt, output int) (ttft, itl time.Duration) {
	t.Helper()
	e := engine.New(p)
	now := time.Duration(0)
	next := scale.RequestID(0)
	began := map[scale.RequestID]time.Duration{}
	first := map[scale.RequestID]time.Duration{}
	n := 0
	for i := 0; n < 4*concurrency; i++ {
		if int(next) < concurrency && i >= int(next)*output/concurrency || i > output && e.Running()+e.Waiting() < concurrency {
			next++
			began[next] = now
			add(t, e, engine.Job{ID: next, PromptTokens: prompt, OutputTokens: output})
		}
		it, _ := e.Iterate()
		now += it.Took
		for _, emission := range it.Emitted {
			if emission.Index == 0 {
				first[emission.ID] = now
			}
			if emission.Last && int(emission.ID) > 2*concurrency {
				n++
				ttft += first[emission.ID] - began[emission.ID]
				itl += (now - first[emission.ID]) / time.Duration(output-1)
			}
		}
	}
	return ttft / time.Duration(n), itl / time.Duration(n)
}

// ms is a duration in milliseconds.
func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func TestAnEngineIsAsFastAsPublishedOnesEndToEnd(t *testing.T) {
	for _, c := range []int{1, 16, 64, 128} {
		ttft, itl := measure(t, a100(), c, 512, 128)
		t.Logf("8b-a100, 512+128 tokens, concurrency %3d: TTFT %6.1f ms, ITL %5.1f ms, %5.0f tokens/s", c, ms(ttft), ms(itl), float64(c)*128/(ttft+itl*127).Seconds())
	}
	// Llama-3.1-8B under vLLM on an A100-40GB: about 75 tokens/s alone.
	_, itl := measure(t, a100(), 1, 512, 128)
	if got := 1 / itl.Seconds(); got < 75*0.85 || got > 75*1.15 {
		t.Errorf("alone an A100 emits %.1f tokens/s, published are 75", got)
	}
}

func TestDecodeStaysWithin15PercentOfTheH100Line(t *testing.T) {
	for _, c := range []int{1, 8, 16, 32, 64, 128, 256} {
		e := engine.New(h100())
		for id := range c {
			add(t, e, engine.Job{ID: scale.RequestID(id + 1), PromptTokens: 600, OutputTokens: 1000})
		}
		it, _ := e.Iterate()
		for it.DecodeTokens < c {
			it, _ = e.Iterate()
		}
		want := 7 + 0.044*float64(c)
		got := ms(it.Took)
		t.Logf("8b-h100 at concurrency %3d: %5.2f ms an iteration, the line says %5.2f", c, got, want)
		if got < want*0.85 || got > want*1.15 {
			t.Errorf("at concurrency %d an iteration takes %.2f ms, the line says %.2f", c, got, want)
		}
	}
}
