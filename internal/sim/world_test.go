package sim_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

// governed is a world of engines that take 20 ms a token, four requests at a
// time: 25 requests/s of eight tokens each.
func governed(requests []scale.Request) sim.World {
	profile := scale.Profile{
		Linear:       []scale.LinearPoint{{Tokens: 1, Time: 20 * time.Millisecond}, {Tokens: 4096, Time: 40 * time.Millisecond}},
		PrefillChunk: 2048, MaxBatch: 4, KVBytesPerToken: 1, MemoryBytes: 1e6, MemoryUtilisation: 1,
	}
	return sim.World{
		Services: []sim.Service{{
			Model: scale.Model{
				Name: "m", SLO: scale.SLO{TTFT: time.Second, TPOT: 60 * time.Millisecond, Objective: 0.95, Window: time.Hour, MaxHold: time.Minute},
				Replicas: scale.Range{Max: 10}, ScaleToZero: scale.ScaleToZero{After: 5 * time.Second}, ScaleDownWindow: 3 * time.Second, Mode: scale.Auto,
				Variants: []scale.Variant{{
					Name: "v", Accelerator: scale.Accelerator{Type: "gpu", Count: 1}, Capacities: []scale.CapacityType{scale.OnDemand}, Max: 10,
					ColdStart: 2 * time.Second, Profile: profile,
				}},
			},
			Truths: []sim.Truth{{Profile: profile}}, Asks: true,
		}},
		Offerings: []scale.Offering{{Accelerator: "gpu", Capacity: scale.OnDemand, PricePerHour: 3.6}},
		Governor:  sim.Penstock(time.Second), Source: sim.List(requests), Settle: 2*time.Minute + 5*time.Second,
	}
}

// steady is a series of one request every gap.
func steady(n int, gap time.Duration) []scale.Request {
	out := make([]scale.Request, n)
	for i := range out {
		at := trace.Epoch().Add(time.Duration(i) * gap)
		out[i] = scale.Request{ID: scale.RequestID(i + 1), At: at, Deadline: at.Add(time.Minute), PromptTokens: 10, OutputTokens: 8}
	}
	return out
}

func play(t *testing.T, w sim.World) sim.Result {
	t.Helper()
	out, err := w.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAGovernedFleetWakesServesAndSleeps(t *testing.T) {
	out := play(t, governed(steady(2000, 20*time.Millisecond)))
	at, _ := out.Attainment()
	t.Logf("%.3f good, peak %d, empty at %v, $%.4f", at, out.Peak, out.Empty, out.Cost)
	if out.Requests != 2000 || out.Judged != 2000 || at < 0.9 {
		t.Errorf("%d of %d judged, %.3f good", out.Judged, out.Requests, at)
	}
	if out.Peak < 2 || out.Peak > 6 { // six: pokes measure bursts over moments
		t.Errorf("a peak of %d, where 50 requests/s need 2", out.Peak)
	}
	if out.Empty < 40*time.Second || out.Empty > 60*time.Second {
		t.Errorf("asleep after %v, %v after the last arrival", out.Empty, out.Empty-40*time.Second)
	}
	hours := 0.0
	for _, h := range out.Hours {
		hours += h
	}
	if want := hours * 3.6; math.Abs(out.Cost-want) > 1e-9 {
		t.Errorf("cost $%.6f, want $%.6f for %.4f hours", out.Cost, want, hours)
	}
}

func TestAnEmptySeriesIsNoWorld(t *testing.T) {
	if out := play(t, governed(nil)); out.Requests != 0 || out.Cost != 0 || out.Span != 0 {
		t.Errorf("%+v", out)
	}
}
