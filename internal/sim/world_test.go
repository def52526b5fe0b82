package sim

import (
	"math"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/trace"
)

// governed is a world of engines that take 20 ms a token, four requests at a
// time: 25 requests/s of eight tokens each.
func governed() World {
	return World{
		Model: scale.Model{
			Name: "m", SLO: scale.SLO{TTFT: time.Second, TPOT: 60 * time.Millisecond, Objective: 0.95, Window: time.Hour, MaxHold: time.Minute},
			Replicas: scale.Range{Max: 10}, ScaleToZero: scale.ScaleToZero{After: 5 * time.Second}, ScaleDownWindow: 3 * time.Second, Mode: scale.Auto,
			Variants: []scale.Variant{{
				Name: "v", Accelerator: scale.Accelerator{Type: "gpu", Count: 1}, Capacities: []scale.CapacityType{scale.OnDemand}, Max: 10,
				ColdStart: 2 * time.Second, Profile: scale.Profile{
					Linear:       []scale.LinearPoint{{Tokens: 1, Time: 20 * time.Millisecond}, {Tokens: 4096, Time: 40 * time.Millisecond}},
					PrefillChunk: 2048, MaxBatch: 4, KVBytesPerToken: 1, MemoryBytes: 1e6, MemoryUtilisation: 1,
				},
			}},
		},
		Offerings: []scale.Offering{{Accelerator: "gpu", Capacity: scale.OnDemand, PricePerHour: 3.6}},
		Tick:      time.Second, Boot: 2 * time.Second,
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

func TestAGovernedFleetWakesServesAndSleeps(t *testing.T) {
	out, err := governed().Run(trace.Of(steady(2000, 20*time.Millisecond)))
	if err != nil {
		t.Fatal(err)
	}
	at, _ := out.Attainment()
	t.Logf("%+v, attainment %.3f", out, at)
	if out.Requests != 2000 || out.Judged != 2000 || at < 0.9 {
		t.Errorf("%d of %d judged, %.3f good", out.Judged, out.Requests, at)
	}
	if out.Peak < 2 || out.Peak > 5 {
		t.Errorf("a peak of %d, where 50 requests/s need 2", out.Peak)
	}
	if out.ToZero < 40*time.Second || out.ToZero > 60*time.Second {
		t.Errorf("asleep after %v, %v after the last arrival", out.ToZero, out.ToZero-40*time.Second)
	}
	if want := out.ReplicaTime.Hours() * 3.6; math.Abs(out.Cost-want) > 1e-9 {
		t.Errorf("cost $%.6f, want $%.6f for %v", out.Cost, want, out.ReplicaTime)
	}
}

// TestTheSameWorldTwice: the same series gives the same history, tick for tick.
func TestTheSameWorldTwice(t *testing.T) {
	history := func() (all []int, out Summary) {
		w := governed()
		w.Watch = func(s scale.Snapshot, d scale.Decision) {
			for _, c := range d.Changes {
				all = append(all, int(s.Now.UnixMilli()), c.From, c.To, len(c.Drain))
			}
		}
		out, err := w.Run(trace.Of(steady(700, 15*time.Millisecond)))
		if err != nil {
			t.Fatal(err)
		}
		return all, out
	}
	a, first := history()
	b, second := history()
	if first != second || len(a) != len(b) || len(a) == 0 {
		t.Fatalf("%+v, then %+v", first, second)
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("decision value %d is %d, then %d", i, a[i], b[i])
		}
	}
}

func TestAnEmptySeriesIsNoWorld(t *testing.T) {
	if out, err := governed().Run(trace.Of(nil)); err != nil || out != (Summary{}) {
		t.Errorf("%+v, %v", out, err)
	}
}
