package sim_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

// plain is a world of one model on flat engines: 10 ms a token.
func plain(g sim.Governor, list []scale.Request) sim.World {
	return sim.World{
		Services: []sim.Service{{
			Model: scale.Model{
				Name: "m", Mode: scale.Auto, Replicas: scale.Range{Max: 8},
				SLO: scale.SLO{TTFT: 300 * ms, TPOT: 10 * ms, Objective: 0.95, Window: time.Hour, MaxHold: time.Minute},
				Variants: []scale.Variant{{
					Name: "v", Accelerator: scale.Accelerator{Type: "gpu", Count: 2}, Capacities: []scale.CapacityType{scale.OnDemand}, Max: 8,
					ColdStart: 2 * time.Second, Profile: flat(),
				}},
			},
			Truths: []sim.Truth{{Profile: flat()}}, Asks: true,
		}},
		Offerings: []scale.Offering{
			{Accelerator: "gpu", Capacity: scale.OnDemand, PricePerHour: 3}, {Accelerator: "gpu", Capacity: scale.Spot, PricePerHour: 1},
		},
		Governor: g, Source: sim.List(list), Begin: trace.Epoch(),
	}
}

// counts is a Governor that wants what it is told at each of its ticks, one a
// second; the last count holds on.
type counts struct {
	wanted   []int
	capacity scale.CapacityType
	batch    int
	restarts int
}

func (*counts) Every() time.Duration { return time.Second }

func (c *counts) Restart() { c.restarts++ }

func (c *counts) Decide(s scale.Snapshot) scale.Decision {
	d := scale.Decision{At: s.Now}
	for _, m := range s.Models {
		target := scale.ScaleTarget{Model: m.Model.Name, Variant: m.Model.Variants[0].Name, Capacity: c.capacity}
		change := scale.Change{Target: target, To: c.wanted[0]}
		for _, r := range m.Replicas {
			if r.Target == target && r.Serving() {
				if change.From++; change.From > change.To {
					change.Drain = append(change.Drain, r.ID)
				}
			}
		}
		d.Plans = append(d.Plans, scale.Plan{Model: m.Model.Name, Allocations: []scale.Allocation{{Target: target, BatchLimit: c.batch}}})
		d.Changes = append(d.Changes, change)
	}
	if len(c.wanted) > 1 {
		c.wanted = c.wanted[1:]
	}
	return d
}

func want(n ...int) *counts { return &counts{wanted: n, capacity: scale.OnDemand, batch: 8} }

func every(n int, gap time.Duration, in, out int) []scale.Request {
	var list []scale.Request
	for i := range n {
		list = append(list, at(time.Duration(i)*gap, in, out))
	}
	return numbered(list)
}

// story is what a World told, by second.
type story struct {
	snapshots []scale.Snapshot
	ended     map[scale.RequestID]scale.Served
	lives     []scale.Lifetime
}

func tell(w *sim.World) *story {
	s := &story{ended: map[scale.RequestID]scale.Served{}}
	w.Watch = func(x scale.Snapshot, _ scale.Decision) { s.snapshots = append(s.snapshots, x) }
	w.Ended = func(r scale.Request, x scale.Served) { s.ended[r.ID] = x }
	w.Lived = func(l scale.Lifetime) { s.lives = append(s.lives, l) }
	return s
}

func since(at time.Time) time.Duration { return at.Sub(trace.Epoch()) }

func TestASpotReplicaIsTakenAfterItsNotice(t *testing.T) {
	g := want(2)
	g.capacity, g.batch = scale.Spot, 2
	// Two at each replica from the third second on: one that streams for six
	// seconds, and one whose prompt waits behind it.
	list := numbered([]scale.Request{at(3*time.Second, 1, 900), at(3*time.Second, 1, 900), at(9*time.Second, 1, 1), at(30*time.Second, 1, 1)})
	w := plain(g, list)
	w.Services[0].Model.Variants[0].Capacities = []scale.CapacityType{scale.Spot}
	w.Zones = []sim.Zone{{Name: "a", Nodes: []sim.Step{{Count: 1}}}, {Name: "b", Nodes: []sim.Step{{Count: 1}, {At: 5 * time.Second, Count: 0}}}}
	w.Notice = 4 * time.Second
	s := tell(&w)
	out := play(t, w)
	if diff := cmp.Diff(map[scale.Outcome]int{scale.OK: 3, scale.Interrupted: 1}, out.Outcomes); diff != "" {
		t.Error(diff)
	}
	var cut []scale.Served
	for _, x := range s.ended {
		if x.Outcome == scale.Interrupted {
			cut = append(cut, x)
		}
	}
	if diff := cmp.Diff([]scale.Served{{Outcome: scale.Interrupted, Streamed: true, TTFT: 10 * ms, Total: 6 * time.Second}}, cut); diff != "" {
		t.Error(diff)
	}
	noticed := 0
	for _, x := range s.snapshots {
		for _, i := range x.Interruptions {
			noticed++
			if i.Source != "zone b" || since(i.Noticed) != 5*time.Second || since(i.Deadline) != 9*time.Second {
				t.Errorf("%+v", i)
			}
			for _, r := range x.Models[0].Replicas {
				if (r.ID == i.Replica) != (r.Zone == "b") || r.Zone == "b" && r.Phase != scale.Draining {
					t.Errorf("%v: replica %+v under notice %+v", since(x.Now), r, i)
				}
			}
		}
	}
	if noticed != 4 { // at 5, 6, 7 and 8 s; this Governor hears no pokes
		t.Errorf("the Governor saw the notice %d times", noticed)
	}
	spot := out.Targets[0]
	if spot.Reclaimed != 1 || spot.Failed == 0 || spot.Starts != 2+spot.Failed {
		t.Errorf("%+v: one is taken, and no other zone has a node", spot)
	}
}

// TestWhatAClientHasSeenNothingOfIsTriedOnceMore: prompts that wait at a
// replica that is taken go elsewhere; taken again, they fail.
func TestWhatAClientHasSeenNothingOfIsTriedOnceMore(t *testing.T) {
	for what, tc := range map[string]struct {
		zones   []sim.Zone
		outcome scale.Outcome
	}{
		"another replica lives": {[]sim.Zone{
			{Name: "a", Nodes: []sim.Step{{Count: 1}, {At: 5 * time.Second, Count: 0}}},
			{Name: "b", Nodes: []sim.Step{{At: 4 * time.Second, Count: 1}}},
		}, scale.OK},
		"it is taken as well": {[]sim.Zone{
			{Name: "a", Nodes: []sim.Step{{Count: 1}, {At: 5 * time.Second, Count: 0}}},
			{Name: "b", Nodes: []sim.Step{{At: 4 * time.Second, Count: 1}, {At: 8 * time.Second, Count: 0}}},
		}, scale.Failed},
	} {
		t.Run(what, func(t *testing.T) {
			g := want(1, 1, 1, 1, 2)
			g.capacity = scale.Spot
			w := plain(g, numbered([]scale.Request{at(4500*ms, 990, 2)})) // 30 s of prefill
			slow := flat()
			slow.Linear = []scale.LinearPoint{{Tokens: 1, Time: 3 * time.Second}, {Tokens: 100, Time: 3 * time.Second}}
			w.Services[0].Truths[0].Profile = slow
			w.Services[0].Model.Variants[0].Capacities = []scale.CapacityType{scale.Spot}
			w.Zones, w.Notice = tc.zones, time.Second
			s := tell(&w)
			if play(t, w); s.ended[1].Outcome != tc.outcome {
				t.Errorf("%+v, want %v", s.ended[1], tc.outcome)
			}
		})
	}
}

func TestAQuotaLeavesAShareOfWhatRuns(t *testing.T) {
	g := want(4, 4, 4, 4, 4, 4, 4, 4, 1, 4)
	w := plain(g, every(300, 100*ms, 1, 1))
	w.Faults.Quota = []sim.Quota{{Window: sim.Window{Start: 6 * time.Second, End: 20 * time.Second}, Share: 0.6}}
	s := tell(&w)
	out := play(t, w)
	serving := map[int]int{}
	for _, x := range s.snapshots {
		at := int(since(x.Now).Seconds())
		serving[at] = len(x.Models[0].Replicas)
		limited := at >= 6 && at < 20
		if o := x.Offerings[0]; o.Limited != limited || limited && o.Slots != 4 { // 0.6 of 4 replicas of 2, rounded down
			t.Errorf("%d s: %+v", at, o)
		}
	}
	for at, want := range map[int]int{5: 4, 8: 4, 9: 1, 10: 2, 15: 2, 20: 2, 21: 4} {
		if serving[at] != want {
			t.Errorf("%d s: %d replicas, want %d", at, serving[at], want)
		}
	}
	if r := out.Targets[0].Refused; r < 9 {
		t.Errorf("%d starts were refused", r)
	}
}

func TestFailedBootsAreSpacedOut(t *testing.T) {
	w := plain(want(1), every(100, time.Second, 1, 1))
	w.Services[0].Model.SLO.MaxHold = time.Second
	w.Services[0].Truths[0].Boot.Fails = 1
	s := tell(&w)
	out := play(t, w)
	// A boot takes 2 s and the back-off 1, 2, 4 … s; ticks come each second.
	var starts []time.Duration
	for _, l := range s.lives {
		starts = append(starts, since(l.Created))
		if !l.Ready.IsZero() || l.Ended.Sub(l.Created) != 2*time.Second {
			t.Errorf("%+v", l)
		}
	}
	seconds := func(n ...int) (all []time.Duration) {
		for _, s := range n {
			all = append(all, time.Duration(s)*time.Second)
		}
		return all
	}
	if diff := cmp.Diff(seconds(0, 3, 7, 13, 23, 41, 75), starts); diff != "" {
		t.Error(diff)
	}
	last := s.snapshots[len(s.snapshots)-1].Models[0]
	if last.Failures != 7 || last.LastFailure == "" || len(last.ColdStarts) != 0 {
		t.Errorf("%d failures, the last %q", last.Failures, last.LastFailure)
	}
	if out.Outcomes[scale.Expired] != 100 || math.Abs(out.Hours[scale.Loading]-28./3600) > 1e-12 || math.Abs(out.Cost-3*28./3600) > 1e-12 {
		t.Errorf("%+v", out)
	}
}

func TestMissingSignalsDoNotShrinkTheFleet(t *testing.T) {
	list := every(600, 50*ms, 1, 20) // 20 requests/s for 30 s, then one late
	list = append(list, at(200*time.Second, 1, 1))
	last := func(faults sim.Faults) (least int) {
		w := plain(sim.Penstock(time.Second), numbered(slices.Clone(list)))
		w.Services[0].Model.ScaleDownWindow, w.Services[0].Model.ScaleToZero.After = 5*time.Second, 10*time.Second
		w.Faults = faults
		least = 100
		w.Watch = func(s scale.Snapshot, _ scale.Decision) {
			if at := since(s.Now); at > 40*time.Second && at < 180*time.Second {
				n := 0
				for _, r := range s.Models[0].Replicas {
					if r.Serving() {
						n++
					}
				}
				least = min(least, n)
			}
		}
		play(t, w)
		return least
	}
	window := []sim.Window{{Start: 25 * time.Second, End: 180 * time.Second}}
	if n := last(sim.Faults{}); n != 0 {
		t.Errorf("%d replicas stay while nothing is asked", n)
	}
	for what, f := range map[string]sim.Faults{"missing": {Missing: window}, "stale": {Stale: window}} {
		if n := last(f); n < 1 {
			t.Errorf("the fleet falls to %d on %s signals", n, what)
		}
	}
}

// TestARestartResumesMemory: a process that dies between two ticks and comes
// back decides what it would have decided.
func TestARestartResumesMemory(t *testing.T) {
	history := func(restarts ...time.Duration) (all []scale.Decision) {
		w := governed(steady(700, 15*ms))
		w.Begin = trace.Epoch()
		w.Faults.Restarts = restarts
		w.Watch = func(_ scale.Snapshot, d scale.Decision) { all = append(all, d) }
		play(t, w)
		return all
	}
	calm, shaken := history(), history(5*time.Second, 9*time.Second, 60*time.Second)
	if diff := cmp.Diff(calm, shaken); diff != "" || len(calm) < 70 {
		t.Errorf("%d decisions: %s", len(calm), diff)
	}
	g := want(1)
	w := plain(g, every(10, time.Second, 1, 1))
	w.Faults.Restarts = []time.Duration{2500 * ms, 4 * time.Second}
	s := tell(&w)
	if play(t, w); g.restarts != 2 || !slices.ContainsFunc(s.snapshots, func(x scale.Snapshot) bool { return since(x.Now) == 2500*ms }) {
		t.Errorf("%d restarts; a tick must follow each at once", g.restarts)
	}
}

func TestWhoMattersMoreTakesTheLastSlot(t *testing.T) {
	w := plain(want(1), nil)
	other := w.Services[0]
	other.Model.Name, other.Model.Priority = "n", 1
	w.Services = append(w.Services, other)
	w.Offerings = []scale.Offering{{Accelerator: "gpu", Capacity: scale.OnDemand, PricePerHour: 3, Limited: true, Slots: 3}}
	list := every(4, time.Second, 1, 1)
	for i := range list {
		list[i].Model = "n"
	}
	w.Source = sim.List(list)
	out := play(t, w)
	if m, n := out.Targets[0], out.Targets[1]; m.Starts != 0 || m.Refused == 0 || n.Starts != 1 {
		t.Errorf("%+v and %+v", m, n)
	}
}

// TestTheYoungestIsTakenAtItsZonesPrice: of two replicas in one zone, and what
// each cost there.
func TestTheYoungestIsTakenAtItsZonesPrice(t *testing.T) {
	g := want(1, 1, 1, 2)
	g.capacity = scale.Spot
	w := plain(g, every(200, 100*ms, 1, 1))
	w.Services[0].Model.Variants[0].Capacities = []scale.CapacityType{scale.Spot}
	w.Offerings = []scale.Offering{
		{Accelerator: "gpu", Capacity: scale.Spot, Zone: "cheap", PricePerHour: 1}, {Accelerator: "gpu", Capacity: scale.Spot, Zone: "a", PricePerHour: 4},
	}
	w.Zones = []sim.Zone{{Name: "a", Nodes: []sim.Step{{Count: 2}, {At: 8 * time.Second, Count: 1}}}}
	s := tell(&w)
	out := play(t, w)
	var first, second scale.Lifetime
	for _, l := range s.lives {
		if since(l.Created) == 0 {
			first = l
		}
		if since(l.Created) == 3*time.Second {
			second = l
		}
	}
	if !first.Ended.IsZero() || since(second.Ended) != 8*time.Second || first.PricePerHour != 8 {
		t.Errorf("%+v and %+v", first, second)
	}
	if wanted := 8 * (out.Account + 5*time.Second).Hours(); math.Abs(out.Cost-wanted) > 1e-9 {
		t.Errorf("$%v, want $%v", out.Cost, wanted)
	}
}

func TestABootThatSucceedsEndsTheRowOfFailures(t *testing.T) {
	var wanted []int // one, but for a second now and then
	for i := range 600 {
		wanted = append(wanted, min(1, i%40))
	}
	w := plain(want(wanted...), every(600, time.Second, 1, 1))
	w.Services[0].Truths[0].Boot.Fails, w.Seed = 0.6, 3
	s := tell(&w)
	out := play(t, w)
	row, waited := 0, 0
	for i, l := range s.lives {
		if !l.Ready.IsZero() {
			row = 0
			continue
		}
		row++
		if i+1 < len(s.lives) {
			wait := s.lives[i+1].Created.Sub(l.Ended)
			if least := time.Second << (row - 1); wait < least || wait > least+2*time.Second {
				t.Errorf("%v after %d failures in a row", wait, row)
			}
			waited = max(waited, row)
		}
	}
	failed := 0
	for _, x := range s.snapshots {
		m := x.Models[0]
		failed = max(failed, m.Failures)
		if len(m.Replicas) == 1 && m.Replicas[0].Phase == scale.Ready && m.Failures != 0 {
			t.Errorf("%v: %d failures with a Ready replica", since(x.Now), m.Failures)
		}
	}
	if failed < 2 || waited != failed || out.Peak != 1 {
		t.Errorf("%d failures in a row, told of %d: %+v", waited, failed, out.Targets[0])
	}
}
