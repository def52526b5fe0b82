package trace_test

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/trace"
)

func tenSeconds() trace.Series {
	var requests []scale.Request
	for i := range 10 {
		requests = append(requests, scale.Request{ID: scale.RequestID(i + 1), At: at(time.Duration(i) * time.Second), PromptTokens: i, OutputTokens: 1, Model: "m"})
	}
	return trace.Of(requests)
}

func offsets(t *testing.T, series trace.Series) []time.Duration {
	t.Helper()
	requests, err := collect(series)
	if err != nil {
		t.Fatal(err)
	}
	var got []time.Duration
	for _, r := range requests {
		got = append(got, r.At.Sub(trace.Epoch()))
	}
	return got
}

func TestShapes(t *testing.T) {
	second := time.Second
	for what, tc := range map[string]struct {
		series trace.Series
		want   []time.Duration
	}{
		"speed divides arrival times":     {trace.Limit(trace.Speed(tenSeconds(), 4), 3), []time.Duration{0, second / 4, second / 2}},
		"a window starts at its own zero": {trace.Window(tenSeconds(), 3*second, 5*second), []time.Duration{0, second}},
		"a window without an end":         {trace.Window(tenSeconds(), 8*second, 0), []time.Duration{0, second}},
		"a limit beyond the end":          {trace.Limit(trace.Window(tenSeconds(), 9*second, 0), 5), []time.Duration{0}},
		"a limit of nothing":              {trace.Limit(tenSeconds(), 0), nil},
	} {
		t.Run(what, func(t *testing.T) {
			if d := cmp.Diff(tc.want, offsets(t, tc.series)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestShapesPassErrorsOn(t *testing.T) {
	fault := errors.New("torn")
	broken := func(yield func(scale.Request, error) bool) {
		_ = yield(scale.Request{At: at(0)}, nil) && yield(scale.Request{}, fault)
	}
	for what, series := range map[string]trace.Series{
		"speed": trace.Speed(broken, 2), "window": trace.Window(broken, 0, time.Hour), "limit": trace.Limit(broken, 9),
	} {
		if _, err := trace.Summarise(series); !errors.Is(err, fault) {
			t.Errorf("%s: error %v, want %v", what, err, fault)
		}
	}
}

func TestSummarise(t *testing.T) {
	got, err := trace.Summarise(tenSeconds())
	if err != nil {
		t.Fatal(err)
	}
	want := trace.Summary{Requests: 10, Span: 9 * time.Second, PromptTokens: 45, OutputTokens: 10, Models: []string{"m"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func aSpike(seed uint64) trace.Spike {
	return trace.Spike{
		Seed: seed, Model: "chat",
		Quiet: 15 * time.Second, Ramp: 20 * time.Second, Climb: 5 * time.Second, Hold: 30 * time.Second, Fall: 20 * time.Second,
		Base: 10, Peak: 60, CV: 1.5,
		Prompt: trace.ConversationPrompt(0.5), Output: trace.ConversationOutput(0.5),
	}
}

func TestSpikeHasItsShape(t *testing.T) {
	s := aSpike(1)
	requests := s.Requests()
	if requests[0].At != trace.Epoch() || requests[1].At.Before(at(s.Quiet)) {
		t.Errorf("first request at %v, second at %v: the first should come alone", requests[0].At, requests[1].At)
	}
	if end := requests[len(requests)-1].At.Sub(trace.Epoch()); end > s.Span() {
		t.Errorf("last arrival at %v, after the span of %v", end, s.Span())
	}
	in := func(from, to time.Duration) float64 {
		n := 0
		for _, r := range requests {
			if o := r.At.Sub(trace.Epoch()); o >= from && o < to {
				n++
			}
		}
		return float64(n) / (to - from).Seconds()
	}
	// Bounds of three standard deviations: CV × √n around the integral of the rate.
	ramp, hold, end := in(15*time.Second, 35*time.Second), in(40*time.Second, 70*time.Second), in(85*time.Second, 90*time.Second)
	if math.Abs(hold-60) > 3*1.5*math.Sqrt(60*30)/30 || math.Abs(ramp-5) > 3*1.5*math.Sqrt(5*20)/20 || end > 10 {
		t.Errorf("rates: ramp %.1f (want about 5), hold %.1f (want about 60), last seconds %.1f (want below 10)", ramp, hold, end)
	}
}

func TestSpikeIsAFunctionOfItsSeed(t *testing.T) {
	if !slices.Equal(aSpike(7).Requests(), aSpike(7).Requests()) {
		t.Error("one seed gave two series")
	}
	if slices.Equal(aSpike(7).Requests(), aSpike(8).Requests()) {
		t.Error("two seeds gave one series")
	}
}

// The gaps of a renewal process at an even rate have the CV that was asked for.
func TestSpikeBurstiness(t *testing.T) {
	for _, cv := range []float64{0.5, 1, 1.5, 3} {
		s := trace.Spike{Seed: 3, Hold: 2000 * time.Second, Peak: 20, CV: cv, Prompt: trace.ConversationPrompt(1), Output: trace.ConversationOutput(1)}
		requests := s.Requests()[1:]
		var sum, squares float64
		for i := 1; i < len(requests); i++ {
			gap := requests[i].At.Sub(requests[i-1].At).Seconds()
			sum, squares = sum+gap, squares+gap*gap
		}
		n := float64(len(requests) - 1)
		mean := sum / n
		got := math.Sqrt(squares/n-mean*mean) / mean
		if math.Abs(got-cv) > 0.05*cv || math.Abs(mean*20-1) > 0.05 {
			t.Errorf("cv %.2f, mean gap %.4f s; want %.2f and 0.05 s", got, mean, cv)
		}
	}
}

func TestConversationLengths(t *testing.T) {
	s := trace.Spike{Seed: 3, Hold: 1000 * time.Second, Peak: 20, CV: 1, Prompt: trace.ConversationPrompt(1), Output: trace.ConversationOutput(1)}
	sum, err := trace.Summarise(trace.Of(s.Requests()))
	if err != nil {
		t.Fatal(err)
	}
	prompt, output := float64(sum.PromptTokens)/float64(sum.Requests), float64(sum.OutputTokens)/float64(sum.Requests)
	if math.Abs(prompt-1220) > 40 || math.Abs(output-213) > 6 {
		t.Errorf("means %.0f and %.0f tokens, want about 1220 and 213 as documented", prompt, output)
	}
}

func TestAnySpikeIsSortedAndBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := func(name string) time.Duration {
			return time.Duration(rapid.IntRange(0, 20_000).Draw(t, name)) * time.Millisecond
		}
		s := trace.Spike{
			Seed: rapid.Uint64().Draw(t, "seed"), Quiet: length("quiet"), Ramp: length("ramp"), Climb: length("climb"), Hold: length("hold"), Fall: length("fall"),
			Base: rapid.Float64Range(0, 20).Draw(t, "base"), Peak: rapid.Float64Range(0, 50).Draw(t, "peak"), CV: rapid.Float64Range(0.2, 4).Draw(t, "cv"),
			Prompt: trace.ConversationPrompt(rapid.Float64Range(0.001, 100).Draw(t, "prompt")), Output: trace.ConversationOutput(1),
		}
		last := trace.Epoch()
		for i, r := range s.Requests() {
			if r.ID != scale.RequestID(i+1) || r.At.Before(last) || r.At.Sub(trace.Epoch()) > s.Span() {
				t.Fatalf("request %+v after %v, span %v", r, last, s.Span())
			}
			if r.PromptTokens < 1 || r.PromptTokens > 14050 || r.OutputTokens < 1 || r.OutputTokens > 1000 {
				t.Fatalf("request %+v has lengths out of bounds", r)
			}
			last = r.At
		}
	})
}
