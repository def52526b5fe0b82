package autoscaler

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/capacity"
	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// llama8bA100 is Llama-3-8B on one A100: linear operators as measured by Vidur.
func llama8bA100() scale.Profile {
	ms := func(tokens int, t float64) scale.LinearPoint {
		return scale.LinearPoint{Tokens: tokens, Time: time.Duration(t * float64(time.Millisecond))}
	}
	return scale.Profile{
		Name: "8b-a100",
		Linear: []scale.LinearPoint{
			ms(1, 9.632), ms(8, 9.92), ms(32, 10.848), ms(64, 11.136), ms(128, 13.088), ms(256, 19.36),
			ms(512, 34.432), ms(1024, 74.72), ms(2048, 144.704), ms(4096, 271.776),
		},
		Overhead: 3 * time.Millisecond, Bandwidth: 2039e9 * 0.85, KVBytesPerToken: 131072,
		WeightBytes: 16.1e9, MemoryBytes: 80e9, MemoryUtilisation: 0.9, PrefillChunk: 2048, MaxBatch: 256,
	}
}

// TestPredictionsAgreeWithTheEngine holds capacity's arithmetic against the
// engine that it predicts: c requests circulate, and what they experience is
// compared with what was predicted for c.
func TestPredictionsAgreeWithTheEngine(t *testing.T) {
	mixes := map[string][2][]int{
		// in, out: shapes like the Azure 2023 conversation and code traces.
		"conversation": {{100, 300, 700, 1000, 1200, 1500, 4000}, {20, 80, 150, 200, 300, 500}},
		"code":         {{500, 1000, 1500, 2000, 2500, 4800}, {5, 10, 20, 30, 80}},
	}
	for name, mix := range mixes {
		for _, c := range []int{1, 4, 16, 48} {
			r := rand.New(rand.NewPCG(1, uint64(c)))
			got, in, out := circulate(t, r, c, mix)
			server := capacity.Server{Profile: llama8bA100(), Mix: capacity.Mix{Prompt: in, LongPrompt: float64(slices.Max(mix[0])), Output: out}}
			want := server.Predict(float64(c), 0.99)
			t.Logf("%s c=%d: TPOT %.1f ms predicted %.1f, p99 %.1f predicted %.1f; TTFT mean %.0f predicted %.0f, p99 %.0f predicted %.0f",
				name, c, 1e3*got.tpot, 1e3*want.TPOT, 1e3*got.tpotTail, 1e3*want.TPOTTail, 1e3*got.ttft, 1e3*want.TTFT, 1e3*got.ttftTail, 1e3*want.TTFTTail)
			if name == "conversation" && (!near(want.TPOT, got.tpot, 0.05) || !near(want.TPOTTail, got.tpotTail, 0.2)) {
				t.Errorf("%s c=%d: TPOT is off by more than 5 %%, or its tail by more than 20 %%", name, c)
			}
			if want.TPOT < 0.8*got.tpot || want.TTFT < 0.9*got.ttft && c < 48 {
				t.Errorf("%s c=%d: the prediction is too rosy", name, c)
			}
		}
	}
}

type experienced struct{ tpot, tpotTail, ttft, ttftTail float64 }

// circulate keeps c requests at one engine until 3,000 have finished.
func circulate(t *testing.T, r *rand.Rand, c int, mix [2][]int) (experienced, float64, float64) {
	t.Helper()
	e := engine.New(llama8bA100())
	type live struct {
		arrived, first time.Duration
		out            int
	}
	running := map[scale.RequestID]*live{}
	var now time.Duration
	var next scale.RequestID
	var ins, outs float64
	add := func() {
		next++
		in, out := mix[0][r.IntN(len(mix[0]))], mix[1][r.IntN(len(mix[1]))]
		ins += float64(in)
		outs += float64(out)
		running[next] = &live{arrived: now, out: out}
		if err := e.Add(engine.Job{ID: next, PromptTokens: in, OutputTokens: out}); err != nil {
			t.Fatal(err)
		}
	}
	for range c {
		add()
	}
	var tpots, ttfts []float64
	var sumTPOT, sumTokens float64
	for len(ttfts) < 3000 {
		it, ok := e.Iterate()
		if !ok {
			t.Fatal("engine idle")
		}
		now += it.Took
		done := 0
		for _, em := range it.Emitted {
			l := running[em.ID]
			if em.Index == 0 {
				l.first = now
				ttfts = append(ttfts, (l.first - l.arrived).Seconds())
			}
			if em.Last {
				if l.out > 1 {
					tpots = append(tpots, (now-l.first).Seconds()/float64(l.out-1))
					sumTPOT += (now - l.first).Seconds()
					sumTokens += float64(l.out - 1)
				}
				delete(running, em.ID)
				done++
			}
		}
		for range done {
			add()
		}
	}
	mean := func(x []float64) (m float64) {
		for _, v := range x {
			m += v / float64(len(x))
		}
		return m
	}
	tail := func(x []float64) float64 { slices.Sort(x); return x[len(x)*99/100] }
	return experienced{tpot: sumTPOT / sumTokens, tpotTail: tail(tpots), ttft: mean(ttfts), ttftTail: tail(ttfts)}, ins / float64(next), outs / float64(next)
}

func near(got, want, within float64) bool { return math.Abs(got/want-1) <= within }
