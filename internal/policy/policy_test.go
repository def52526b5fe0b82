package policy

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// The rules' stories are the scenarios of package autoscaler. Here is what a
// story can not tell well: pools, victims, moves.

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// wish is a Case of one model that wants n replicas of one variant.
func wish(name string, n int, capacity scale.CapacityType, replicas ...scale.Replica) Case {
	target := scale.ScaleTarget{Model: name, Variant: "v", Capacity: capacity}
	for i := range replicas {
		replicas[i].ID, replicas[i].Target = scale.ReplicaID(fmt.Sprintf("%s-%d", name, i)), target
	}
	return Case{
		State: scale.ModelState{Replicas: replicas, Model: scale.Model{
			Name: name, Mode: scale.Auto, Replicas: scale.Range{Max: 9},
			Variants: []scale.Variant{{
				Name: "v", Accelerator: scale.Accelerator{Type: "gpu", Count: 1}, Capacities: []scale.CapacityType{capacity}, Max: 9,
			}},
		}},
		Plan:    scale.Plan{Model: name, Allocations: []scale.Allocation{{Target: target, Replicas: n, BatchLimit: 8, PerReplica: 1}}},
		Signals: Fresh, Boot: func(string) time.Duration { return time.Minute },
	}
}

func offers(slots int, pool string) []scale.Offering {
	return []scale.Offering{
		{Accelerator: "gpu", Capacity: scale.OnDemand, PricePerHour: 2, Limited: true, Slots: slots, Pool: pool},
		{Accelerator: "gpu", Capacity: scale.Spot, PricePerHour: 1, Limited: true, Slots: slots, Pool: pool},
	}
}

func TestCapacityTypesOfOnePoolShareItsSlots(t *testing.T) {
	for _, c := range []struct {
		pool string
		want int
	}{{"this machine", 3}, {"", 4}} {
		cases := []Case{wish("a", 2, scale.OnDemand), wish("b", 2, scale.Spot)}
		started := 0
		for _, change := range Review(scale.Snapshot{Now: noon, Offerings: offers(3, c.pool)}, cases) {
			started += change.Start()
		}
		if started != c.want {
			t.Errorf("pool %q: %d started, want %d", c.pool, started, c.want)
		}
	}
}

func TestTheIdlestGoFirstAndTheOldestLast(t *testing.T) {
	load := func(n float64) scale.Load { return scale.Load{InFlight: scale.Observe(n, noon)} }
	ready := func(age time.Duration, n float64) scale.Replica {
		return scale.Replica{Phase: scale.Ready, Created: noon.Add(-age), Load: load(n)}
	}
	cases := []Case{wish("a", 2, scale.OnDemand,
		ready(time.Hour, 3), ready(2*time.Hour, 0), ready(time.Minute, 0), ready(time.Minute, 5),
		scale.Replica{Phase: scale.Starting, Created: noon.Add(-time.Second)},
	)}
	changes := Review(scale.Snapshot{Now: noon}, cases)
	want := []scale.ReplicaID{"a-4", "a-2", "a-1"} // loading, idle and young, idle
	if len(changes) != 1 || !slices.Equal(changes[0].Drain, want) {
		t.Errorf("drains %v, want %v", changes[0].Drain, want)
	}
}

func TestARateCountsWhatWasStartedNotWhatWasDecided(t *testing.T) {
	c := wish("a", 3, scale.OnDemand)
	c.State.Model.Limits.UpPerMinute = 2
	for i := range 30 { // the world refuses each time
		changes := Review(scale.Snapshot{Now: noon.Add(time.Duration(i) * time.Second)}, []Case{c})
		if got := changes[0].Start(); got != 2 {
			t.Fatalf("tick %d: %d to start, though none was started yet", i, got)
		}
	}
	cases := []Case{c}
	Review(scale.Snapshot{Now: noon}, cases)
	c = cases[0]
	c.State.Replicas = wish("a", 3, scale.OnDemand,
		scale.Replica{Phase: scale.Starting, Created: noon.Add(time.Second)}, scale.Replica{Phase: scale.Starting, Created: noon.Add(time.Second)}).State.Replicas
	changes := Review(scale.Snapshot{Now: noon.Add(2 * time.Second)}, []Case{c})
	if changes[0].Start() != 0 {
		t.Errorf("a third was started within the minute: %+v", changes[0])
	}
}
