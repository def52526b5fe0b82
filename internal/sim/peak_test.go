package sim_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

func numbered(list []scale.Request) []scale.Request {
	for i := range list {
		list[i].ID = scale.RequestID(i + 1)
	}
	return list
}

func TestStaticPeakByHand(t *testing.T) {
	// Batch of one: each replica takes one of the simultaneous requests, and
	// one more 50 ms later, which is too late.
	five := numbered([]scale.Request{at(0, 5, 5), at(0, 5, 5), at(0, 5, 5), at(0, 5, 5), at(0, 5, 5)})
	for what, tc := range map[string]struct {
		objective float64
		batch     int
		want      sim.Peak
	}{
		"all of five at once":      {1, 1, sim.Peak{Replicas: 5, Attainment: 1, Cost: 5}},
		"three of five suffice":    {0.6, 1, sim.Peak{Replicas: 3, Attainment: 0.6, Cost: 3}},
		"one does in a batch of 5": {1, 5, sim.Peak{Replicas: 1, Attainment: 1, Cost: 1}},
		"batches of two":           {1, 2, sim.Peak{Replicas: 3, Attainment: 1, Cost: 3}},
	} {
		t.Run(what, func(t *testing.T) {
			p := sim.PeakProblem{Fleet: fleet(0, tc.batch), Requests: five, Most: 9, Span: 30 * time.Minute, PricePerHour: 2}
			p.Fleet.SLO.Objective = tc.objective
			got, err := sim.StaticPeak(context.Background(), p)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
	_, err := sim.StaticPeak(context.Background(), sim.PeakProblem{Fleet: fleet(0, 1), Requests: five, Most: 3})
	if err == nil || !strings.Contains(err.Error(), "3 replicas serve 60.00 % of requests within the SLO, below the objective of 99.00 %") {
		t.Errorf("out of reach: error %v", err)
	}
	if got, err := sim.StaticPeak(context.Background(), sim.PeakProblem{Fleet: fleet(0, 1), Most: 3}); err != nil || got != (sim.Peak{}) {
		t.Errorf("no requests: %+v, error %v", got, err)
	}
}

func TestStaticPeakSufficesAndOneLessDoesNot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := fleet(0, rapid.IntRange(1, 4).Draw(t, "batch"))
		f.SLO.Objective = rapid.Float64Range(0.5, 1).Draw(t, "objective")
		list := numbered(poisson(rapid.Uint64().Draw(t, "seed"), 200, rapid.Float64Range(1, 200).Draw(t, "rate"), rapid.IntRange(1, 30).Draw(t, "out")))
		got, err := sim.StaticPeak(context.Background(), sim.PeakProblem{Fleet: f, Requests: list, Most: 200})
		if err != nil {
			t.Fatal(err)
		}
		for n, enough := range map[int]bool{got.Replicas: true, got.Replicas - 1: false} {
			if n == 0 {
				continue
			}
			f.Replicas = n
			totals, err := f.Run(context.Background(), trace.Of(list), nil)
			if share, _ := totals.Attainment(); err != nil || (share >= f.SLO.Objective) != enough {
				t.Fatalf("%d replicas: attainment %.4f, objective %.4f, answer %+v (%v)", n, share, f.SLO.Objective, got, err)
			}
		}
	})
}

// demoSpike is a spike as the demo's, over an A100's figures rounded.
func demoSpike() (sim.Fleet, []scale.Request) {
	f := sim.Fleet{
		Profile: scale.Profile{
			Name: "8b", Linear: []scale.LinearPoint{{Tokens: 1, Time: 9 * ms}, {Tokens: 128, Time: 10 * ms}, {Tokens: 2048, Time: 130 * ms}}, Overhead: 3 * ms,
			Bandwidth: 1.7e12, KVBytesPerToken: 131072, WeightBytes: 16.1e9, MemoryBytes: 80e9, MemoryUtilisation: 0.9, PrefillChunk: 2048, MaxBatch: 256,
		},
		BatchLimit: 24, KVTokens: 400_000,
		SLO: scale.SLO{TTFT: time.Second, TPOT: 50 * ms, Objective: 0.95, MaxHold: time.Minute},
	}
	spike := trace.Spike{
		Seed: 1, Quiet: 15 * time.Second, Ramp: 20 * time.Second, Climb: 5 * time.Second, Hold: 30 * time.Second, Fall: 20 * time.Second,
		Base: 10, Peak: 50, CV: 1.5, Prompt: trace.ConversationPrompt(0.5), Output: trace.ConversationOutput(0.5),
	}
	return f, spike.Requests()
}

func TestAttainmentGrowsWithTheFleet(t *testing.T) {
	f, list := demoSpike()
	last := 0.0
	for f.Replicas = 1; f.Replicas <= 10; f.Replicas++ {
		totals, err := f.Run(context.Background(), trace.Of(list), nil)
		if err != nil {
			t.Fatal(err)
		}
		share, _ := totals.Attainment()
		if share < last-0.005 { // routing may shift a request or two for the worse
			t.Errorf("%d replicas serve %.4f, one less served %.4f", f.Replicas, share, last)
		}
		last = share
	}
	if last < 0.99 {
		t.Errorf("10 replicas serve %.4f", last)
	}
}

func TestADoubledPriceChangesTheCostAlone(t *testing.T) {
	f, list := demoSpike()
	p := sim.PeakProblem{Fleet: f, Requests: list, Most: 64, Span: 2 * time.Minute, PricePerHour: 2}
	once, err := sim.StaticPeak(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	p.PricePerHour = 4
	twice, err := sim.StaticPeak(context.Background(), p)
	if err != nil || twice.Replicas != once.Replicas || math.Abs(twice.Cost-2*once.Cost) > 1e-12 || once.Attainment < 0.95 {
		t.Errorf("%+v at $2, %+v at $4 (%v)", once, twice, err)
	}
}

func BenchmarkStaticPeak(b *testing.B) {
	f, list := demoSpike()
	for b.Loop() {
		peak, err := sim.StaticPeak(context.Background(), sim.PeakProblem{Fleet: f, Requests: list, Most: 64})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(peak.Replicas), "replicas")
		b.ReportMetric(float64(len(list)), "requests")
	}
}
