package scale

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

func seen(v float64) Observation { return Observe(v, noon) }

// Two gateways are one in what they counted, and neither counts for the other.
func TestTrafficOfTwoGatewaysIsCountedOnce(t *testing.T) {
	here := Traffic{
		Demand: Demand{
			Arrivals: seen(3), ArrivalsOver: time.Second, PromptTokens: seen(100), Held: seen(2), HeldTokens: seen(200), HeldFor: seen(1),
			InFlight: seen(5), Good: seen(10), Bad: seen(1), LastArrival: seen(50),
		},
		Loads: map[ReplicaID]Load{
			"a": {InFlight: seen(4), Latency: Latency{At: noon, Requests: 1, Concurrency: 4, TTFT: 100, TPOT: 10, Service: 300, PromptTokens: 10, OutputTokens: 30}},
			"b": {InFlight: seen(1)},
		},
		Uses: map[string]Use{"acme": {Requests: 3, PromptTokens: 300}},
	}
	there := Traffic{
		Demand: Demand{
			Arrivals: seen(1), ArrivalsOver: 7 * time.Second, PromptTokens: seen(500), OutputTokens: seen(40), Held: seen(1), HeldTokens: seen(10),
			HeldFor: seen(9), InFlight: seen(2), Good: seen(7), Bad: seen(0), LastArrival: seen(40),
		},
		Loads: map[ReplicaID]Load{
			"a": {InFlight: seen(2), Latency: Latency{At: noon, Requests: 3, Concurrency: 2, TTFT: 200, TPOT: 30, Service: 700, PromptTokens: 50, OutputTokens: 70}},
			"c": {InFlight: seen(2)},
		},
		Uses: map[string]Use{"acme": {Requests: 1, OutputTokens: 5}, "other": {Requests: 2}},
	}
	want := Traffic{
		Demand: Demand{
			Arrivals: seen(4), ArrivalsOver: time.Second, PromptTokens: seen(200), OutputTokens: seen(40), Held: seen(3), HeldTokens: seen(210),
			HeldFor: seen(9), InFlight: seen(7), Good: seen(17), Bad: seen(1), LastArrival: seen(50),
		},
		Loads: map[ReplicaID]Load{
			"a": {InFlight: seen(6), Latency: Latency{At: noon, Requests: 4, Concurrency: 6, TTFT: 175, TPOT: 25, Service: 600, PromptTokens: 40, OutputTokens: 60}},
			"b": {InFlight: seen(1)}, "c": {InFlight: seen(2)},
		},
		Uses: map[string]Use{"acme": {Requests: 4, PromptTokens: 300, OutputTokens: 5}, "other": {Requests: 2}},
	}
	if diff := cmp.Diff(want, Together(here, there)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(here, Together(here)); diff != "" {
		t.Error(diff)
	}
	if d := Together(Traffic{}, there).Demand; d.Arrivals.Known() || d.ArrivalsOver != 0 || d.InFlight.Value != 2 {
		t.Errorf("without a span of one's own there are %+v", d)
	}
}

// Two spans of one gateway are one longer span; what was told is told once.
func TestSpansOfOneGatewayFollowEachOther(t *testing.T) {
	first := Traffic{
		Demand: Demand{Arrivals: seen(10), ArrivalsOver: time.Second, Held: seen(9), Good: seen(1)},
		Loads:  map[ReplicaID]Load{"a": {InFlight: seen(3), Latency: Latency{Requests: 1, Concurrency: 3}}, "gone": {InFlight: seen(1), Latency: Latency{Requests: 2}}},
		Uses:   map[string]Use{"acme": {Requests: 10}},
	}
	second := Traffic{
		Demand: Demand{Arrivals: seen(1), ArrivalsOver: 2 * time.Second, Held: seen(0), Good: seen(5)},
		Loads:  map[ReplicaID]Load{"a": {InFlight: seen(1), Latency: Latency{Requests: 1, Concurrency: 1}}},
		Uses:   map[string]Use{"acme": {Requests: 2}},
	}
	want := Traffic{
		Demand: Demand{Arrivals: seen(4), ArrivalsOver: 3 * time.Second, Held: seen(0), Good: seen(5)},
		Loads:  map[ReplicaID]Load{"a": {InFlight: seen(1), Latency: Latency{Requests: 2, Concurrency: 2}}, "gone": {Latency: Latency{Requests: 2}}},
		Uses:   map[string]Use{"acme": {Requests: 12}},
	}
	both := first.Then(second)
	if diff := cmp.Diff(want, both); diff != "" {
		t.Error(diff)
	}
	told := both.Told()
	if diff := cmp.Diff(Traffic{Demand: both.Demand, Loads: map[ReplicaID]Load{"a": {InFlight: seen(1)}}}, told); diff != "" {
		t.Error(diff)
	}
	if first.Uses["acme"].Requests != 10 || len(first.Loads) != 2 {
		t.Errorf("what was merged has changed: %+v", first)
	}
}

// What another clock says is moved to one's own, the newest arrival with it.
func TestTimesMoveToAnotherClock(t *testing.T) {
	there := Traffic{
		Demand: Demand{Held: seen(1), LastArrival: seen(1000)},
		Loads:  map[ReplicaID]Load{"a": {InFlight: seen(1), Latency: Latency{At: noon, Requests: 1}}},
	}
	later := Observe(1, noon.Add(time.Hour))
	want := Traffic{
		Demand: Demand{Held: later, LastArrival: Observe(1000+3600, noon.Add(time.Hour))},
		Loads:  map[ReplicaID]Load{"a": {InFlight: later, Latency: Latency{At: noon.Add(time.Hour), Requests: 1}}},
	}
	if diff := cmp.Diff(want, there.Shift(time.Hour)); diff != "" {
		t.Error(diff)
	}
	if there.Loads["a"].InFlight != seen(1) {
		t.Error("what was moved has changed")
	}
}
