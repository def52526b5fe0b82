package capacity

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
)

// a100 is Llama-3-8B on one A100: linear operators as measured by Vidur.
func a100() scale.Profile {
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

var (
	conversation = Mix{Prompt: 1155, LongPrompt: 4000, Output: 211}
	code         = Mix{Prompt: 2048, LongPrompt: 6800, Output: 28}
	slo          = scale.SLO{TTFT: time.Second, TPOT: 50 * time.Millisecond, Objective: 0.99}
)

func TestBatchLimitFollowsTheMix(t *testing.T) {
	server := Server{Profile: a100(), Mix: conversation}
	conv := server.Solve(slo)
	server.Mix = code
	coding := server.Solve(slo)
	t.Logf("conversation: B* %d by %v, %.2f req/s, %+v", conv.Batch, conv.Bound, conv.PerReplica, conv.At)
	t.Logf("code: B* %d by %v, %.2f req/s, %+v", coding.Batch, coding.Bound, coding.PerReplica, coding.At)
	if conv.Batch < 32 || conv.Batch > 46 {
		t.Errorf("conversation: B* is %d; the engine reaches a p99 of 50 ms near 39", conv.Batch)
	}
	if coding.Batch < 1 || coding.Batch >= conv.Batch/2 {
		t.Errorf("code: B* is %d, against %d for short prompts", coding.Batch, conv.Batch)
	}
}

func TestMemoryBoundsTheBatch(t *testing.T) {
	p := a100()
	p.MemoryBytes = 24e9 // 5.5 GB for KV cache: 41,962 tokens
	server := Server{Profile: p, Mix: Mix{Prompt: 4000, LongPrompt: 4000, Output: 1000}}
	limit := server.Solve(scale.SLO{TTFT: time.Minute, TPOT: time.Second, Objective: 0.99})
	if limit.Batch != 8 || limit.Bound != ByMemory {
		t.Errorf("B* is %d by %v, want 8 by KV cache (41,962 ÷ 5,000)", limit.Batch, limit.Bound)
	}
	p.MemoryBytes = 16e9
	server.Profile = p
	if limit := server.Solve(slo); limit.Batch != 0 || limit.KVTokens != 0 {
		t.Errorf("weights do not fit, yet B* is %d with %d KV tokens", limit.Batch, limit.KVTokens)
	}
}

func TestAnSLOBelowALoneRequestIsInfeasible(t *testing.T) {
	server := Server{Profile: a100(), Mix: conversation}
	limit := server.Solve(scale.SLO{TTFT: time.Second, TPOT: 5 * time.Millisecond, Objective: 0.99})
	if limit.Batch != 0 || limit.Bound != ByTPOT || limit.PerReplica != 0 {
		t.Errorf("got %+v, want infeasible by TPOT", limit)
	}
}

func TestConcurrencySolvesLittlesLaw(t *testing.T) {
	server := Server{Profile: a100(), Mix: conversation}
	for _, rate := range []float64{0.01, 0.5, 2, 4} {
		c := server.Concurrency(rate)
		if got := c / server.Predict(math.Max(1, c), 0.5).Service; math.Abs(got-rate) > 1e-3*rate {
			t.Errorf("rate %.2f: c = %.3f serves %.4f/s", rate, c, got)
		}
	}
	if c := server.Concurrency(1000); !math.IsInf(c, 1) {
		t.Errorf("1000/s at one replica: c = %v, want +Inf", c)
	}
}

func TestAloneLeavesRoomThatShrinksWithScale(t *testing.T) {
	server := Server{Profile: a100(), Mix: conversation}
	limit := server.Solve(slo)
	previous := 0.0
	for _, rate := range []float64{0.1, 1, 5, 50, 500} {
		n, c := server.Alone(limit, rate, 1)
		use := c / float64(limit.Batch)
		t.Logf("%.1f req/s: %.2f replicas at %.1f of %d", rate, n, c, limit.Batch)
		if use <= previous || use >= 1 {
			t.Errorf("%.1f req/s fills replicas to %.2f, the smaller fleet to %.2f", rate, use, previous)
		}
		if served := n * c / server.Predict(math.Max(1, c), 0.5).Service; math.Abs(served-rate) > 1e-6*rate {
			t.Errorf("%.2f replicas at %.2f serve %.3f/s, not %.1f", n, c, served, rate)
		}
		previous = use
	}
	if n, _ := server.Alone(Limit{}, 1, 1); !math.IsInf(n, 1) {
		t.Errorf("without a batch limit %v replicas suffice", n)
	}
}

func TestModelsWithoutTokens(t *testing.T) {
	p := scale.Profile{Service: scale.ServiceTime{Mean: 4 * time.Second, CV: 0.6, Concurrency: 8}}
	limit := (&Server{Profile: p}).Solve(scale.SLO{Latency: 20 * time.Second, Objective: 0.99})
	if limit.Batch != 8 || math.Abs(limit.PerReplica-2) > 1e-9 {
		t.Errorf("got %+v, want 8 at once and 2/s", limit)
	}
}

func TestLearningFindsAWrongProfile(t *testing.T) {
	truth := Server{Profile: a100(), Mix: conversation}
	told := truth
	for i := range 200 {
		c := float64(8 + i%40)
		actual := truth.Predict(c, 0.5)
		told.Learned = told.Learn(scale.Latency{
			Requests: 5, Concurrency: c, PromptTokens: conversation.Prompt, OutputTokens: conversation.Output,
			TTFT: seconds(actual.TTFT * 1.4), TPOT: seconds(actual.TPOT * 1.3),
		})
	}
	for _, c := range []float64{8, 20, 45} {
		want, got := 1.3*truth.Predict(c, 0.5).TPOT, told.Predict(c, 0.5).TPOT
		if math.Abs(got/want-1) > 0.03 {
			t.Errorf("at %v: TPOT %.4f, want %.4f", c, got, want)
		}
	}
	if a, b := told.Solve(slo).Batch, truth.Solve(slo).Batch; a >= b {
		t.Errorf("an engine 30 %% slower than told has B* %d, not below %d", a, b)
	}
}

func TestOutliersMoveLittle(t *testing.T) {
	server := Server{Profile: a100(), Mix: conversation}
	good := server.Predict(20, 0.5)
	honest := scale.Latency{Requests: 5, Concurrency: 20, PromptTokens: 1155, OutputTokens: 211, TTFT: seconds(good.TTFT), TPOT: seconds(good.TPOT)}
	for range 50 {
		server.Learned = server.Learn(honest)
	}
	wild := honest
	wild.TPOT, wild.TTFT = time.Minute, time.Hour
	server.Learned = server.Learn(wild)
	if got := server.Predict(20, 0.5).TPOT / good.TPOT; got > 1.05 {
		t.Errorf("one wild sample moved TPOT by a factor of %.3f", got)
	}
}

// TestLaws: predictions grow with concurrency, B* shrinks when the SLO does,
// and learning stays bounded whatever comes in.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		server := Server{Profile: a100(), Mix: Mix{
			Prompt: rapid.Float64Range(16, 20_000).Draw(t, "prompt"),
			Output: rapid.Float64Range(2, 2000).Draw(t, "output"),
		}}
		server.Mix.LongPrompt = server.Mix.Prompt * rapid.Float64Range(1, 4).Draw(t, "long")
		for range rapid.IntRange(0, 20).Draw(t, "samples") {
			server.Learned = server.Learn(scale.Latency{
				Requests:     rapid.IntRange(-1, 100).Draw(t, "requests"),
				Concurrency:  rapid.Float64().Draw(t, "concurrency"),
				TTFT:         time.Duration(rapid.Int64().Draw(t, "ttft")),
				TPOT:         time.Duration(rapid.Int64().Draw(t, "tpot")),
				PromptTokens: rapid.Float64Range(-1, 1e5).Draw(t, "in"),
				OutputTokens: rapid.Float64Range(-1, 1e4).Draw(t, "out"),
			})
		}
		bare := server
		bare.Learned = Learned{}
		previous := Times{}
		for c := 1.0; c <= 256; c *= 1.5 {
			now := bare.Predict(c, 0.99)
			if now.TPOT < previous.TPOT*0.9 || now.TTFTTail < previous.TTFTTail*0.9 { // measured operators are not quite convex
				t.Fatalf("at %.1f: %+v after %+v", c, now, previous)
			}
			previous = now
			for _, v := range []float64{server.Predict(c, 0.99).TPOT / now.TPOT, server.Predict(c, 0.99).TTFT / now.TTFT} {
				if !(v >= 1/maxError-1e-9 && v <= maxError+1e-9) {
					t.Fatalf("learned factor %v", v)
				}
			}
		}
		loose := slo
		loose.TPOT *= 2
		loose.TTFT *= 2
		if a, b := bare.Solve(slo).Batch, bare.Solve(loose).Batch; a > b {
			t.Fatalf("B* %d, and %d under a looser SLO", a, b)
		}
	})
}

func TestBootsForgetAndHaveAPrior(t *testing.T) {
	var b Boots
	if got := b.Quantile(0.9, time.Minute); got != time.Minute {
		t.Errorf("no boot seen: %v", got)
	}
	for i := range 100 {
		b = b.Observe(time.Duration(i+1) * time.Second)
	}
	if got := b.Quantile(0.9, time.Minute); got != 99*time.Second || len(b.Took) != keepBoots {
		t.Errorf("p90 %v of %d boots", got, len(b.Took))
	}
}

func BenchmarkSolve(b *testing.B) {
	server := Server{Profile: a100(), Mix: conversation}
	for b.Loop() {
		server.Solve(slo)
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
