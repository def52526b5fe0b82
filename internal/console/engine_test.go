package console

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
)

// measuredState is a model with one replica whose engine tells all that it can,
// and one business signal of two that was read.
func measuredState(now time.Time) scale.ModelState {
	before := now.Add(-2 * time.Second)
	o := func(v float64) scale.Observation { return scale.Observe(v, before) }
	return scale.ModelState{
		Model: scale.Model{Name: "m", Signals: []scale.BusinessSignal{
			{Name: "carts", PerReplica: 400, FreshFor: time.Minute}, {Name: "jobs", PerReplica: 5, FreshFor: time.Minute},
		}},
		Signals: []scale.Figure{{Name: "carts", Observation: o(1834)}},
		Replicas: []scale.Replica{{
			ID: "m-1", Target: scale.ScaleTarget{Model: "m", Variant: "v", Capacity: scale.OnDemand}, Phase: scale.Ready, Since: before,
			Load: scale.Load{
				InFlight: o(3), Running: o(4), Waiting: o(1), KVCacheUsage: o(0.25),
				Engine: scale.Engine{
					Name: "vllm", TTFT: scale.Timing{At: before, Count: 9, Mean: 0.0567, Median: 0.054, P95: 0.077}, TPOT: scale.Timing{At: before, Count: 9, Mean: 0.012},
				},
			},
		}},
	}
}

func TestWhatEnginesAndFiguresSayIsInTheStatus(t *testing.T) {
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	s := modelStatus(measuredState(now), scale.Decision{}, now)
	got, err := json.Marshal(map[string]any{"engine": s.Members[0].Engine, "signals": s.Signals})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"engine":{"name":"vllm","running":{"value":4,"age_seconds":2},"waiting":{"value":1,"age_seconds":2},"kv_cache":{"value":0.25,"age_seconds":2},` +
		`"ttft":{"count":9,"mean_seconds":0.0567,"median_seconds":0.054,"p95_seconds":0.077,"age_seconds":2},` +
		`"tpot":{"count":9,"mean_seconds":0.012,"median_seconds":null,"p95_seconds":null,"age_seconds":2},"end_to_end":null},` +
		`"signals":[{"name":"carts","value":{"value":1834,"age_seconds":2},"per_replica":400,"fresh_for_seconds":60,"fresh":true},` +
		`{"name":"jobs","value":null,"per_replica":5,"fresh_for_seconds":60,"fresh":false}]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	text := Status{Models: []ModelStatus{s}}.ReplicaText()
	const table = "REPLICA  MODEL  PHASE  SINCE  IN FLIGHT  ENGINE  RUNS  WAITS    KV   TTFT   TPOT  TAKEN IN\n" +
		"m-1      m      ready    2 s          3  vllm       4      1  25 %  56 ms  12 ms          \n"
	if diff := cmp.Diff(table, text); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestWhatEnginesAndFiguresSayIsAmongTheInputs(t *testing.T) {
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	got := map[string]float64{}
	absent := map[string]bool{}
	for _, s := range seen(measuredState(now), now) {
		if s.Of != "gateway" && s.Value != nil {
			got[s.Of+": "+s.Signal] = *s.Value
		} else if s.Of != "gateway" {
			absent[s.Of+": "+s.Signal] = true
		}
	}
	want := map[string]float64{
		"business signal: carts": 1834, "m-1: in flight": 3, "m-1: running": 4, "m-1: waiting": 1, "m-1: KV cache": 0.25,
		"m-1: TTFT by the engine (mean)": 0.0567, "m-1: TPOT by the engine (mean)": 0.012,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
	if !absent["business signal: jobs"] || len(absent) != 1 {
		t.Errorf("absent are %v, want the signal that was never read", absent)
	}
}
