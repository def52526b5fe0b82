package sim_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/rival"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

// wishes is a Policy that wants what it is told, in turn.
type wishes struct {
	every time.Duration
	list  [][]rival.Want
	calls []time.Duration
}

func (w *wishes) Every() time.Duration { return w.every }

func (w *wishes) Decide(now time.Time, _ scale.ModelState) []rival.Want {
	w.calls = append(w.calls, since(now))
	next := w.list[0]
	if len(w.list) > 1 {
		w.list = w.list[1:]
	}
	return next
}

func wish(n int) []rival.Want {
	return []rival.Want{{Target: scale.ScaleTarget{Model: "m", Variant: "v", Capacity: scale.OnDemand}, Replicas: n}}
}

func TestARivalsVictimsAreThoseOfAReplicaSet(t *testing.T) {
	p := &wishes{every: time.Second, list: [][]rival.Want{wish(2), wish(2), wish(2), wish(4), wish(3), wish(1)}}
	w := plain(sim.Rival(map[string]rival.Policy{"m": p}), every(100, 100*ms, 1, 1))
	s := tell(&w)
	play(t, w)
	// Born at 0 s twice and at 3 s twice, Ready 2 s later: at 4 s one that boots
	// goes, the newest; at 5 s the other, Ready by then, and the newer of the first two.
	ended := map[scale.ReplicaID]time.Duration{}
	for _, l := range s.lives {
		if !l.Ended.IsZero() {
			ended[l.Replica] = since(l.Ended)
		}
	}
	want := map[scale.ReplicaID]time.Duration{"m-0000004.3": 4 * time.Second, "m-0000003.2": 5 * time.Second, "m-0000002.1": 5 * time.Second}
	for id, at := range want {
		if got := ended[id]; got < at || got > at+20*ms { // what is there finishes
			t.Errorf("%s ended at %v, want %v; all: %v", id, got, at, ended)
		}
	}
	if len(ended) != 3 {
		t.Errorf("ended: %v", ended)
	}
}

func TestARivalStaysWithinTheModelsBounds(t *testing.T) {
	p := &wishes{every: 2 * time.Second, list: [][]rival.Want{wish(99), nil, nil, wish(-3)}}
	w := plain(sim.Rival(map[string]rival.Policy{"m": p}), every(100, 100*ms, 1, 1))
	w.Services[0].Model.Replicas = scale.Range{Min: 2, Max: 5}
	s := tell(&w)
	out := play(t, w)
	if n := len(s.second(t, 2).Models[0].Replicas); n != 5 || out.Targets[0].Starts != 5 {
		t.Errorf("%d replicas of at most 5", n)
	}
	if n := len(s.second(t, 8).Models[0].Replicas); n != 2 {
		t.Errorf("%d replicas of at least 2", n)
	}
	limits := 0
	w = plain(sim.Rival(map[string]rival.Policy{"m": &wishes{every: 2 * time.Second, list: [][]rival.Want{wish(3)}}}), every(300, 100*ms, 1, 1))
	w.Watch = func(_ scale.Snapshot, d scale.Decision) {
		for _, p := range d.Plans {
			if limits++; len(p.Allocations) != 1 || p.Allocations[0].Replicas != 3 || p.Allocations[0].BatchLimit < 1 {
				t.Errorf("%+v", p)
			}
		}
	}
	if play(t, w); limits != 3 {
		t.Errorf("limits were decided %d times in 30 s", limits)
	}
}

func TestARivalHearsWhatItsControllerHears(t *testing.T) {
	list := numbered([]scale.Request{at(3333*ms, 5, 5), at(20*time.Second, 5, 5)})
	calls := func(heeds ...sim.Poke) []time.Duration {
		p := &wishes{every: 10 * time.Second, list: [][]rival.Want{wish(0), wish(1)}}
		w := plain(sim.Rival(map[string]rival.Policy{"m": p}, heeds...), append([]scale.Request(nil), list...))
		play(t, w)
		return p.calls
	}
	at := func(n ...int) (all []time.Duration) {
		for _, x := range n {
			all = append(all, time.Duration(x)*ms)
		}
		return all
	}
	if diff := cmp.Diff(at(0, 10_000, 20_000), calls()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(at(0, 3333, 10_000, 20_000), calls(sim.PokeWake)); diff != "" {
		t.Error(diff)
	}
}

func TestARivalsStateIsLostAtARestart(t *testing.T) {
	g := sim.Rival(map[string]rival.Policy{"m": &wishes{every: time.Second, list: [][]rival.Want{wish(1)}}})
	g.Renew = func(string) rival.Policy { return &wishes{every: time.Second, list: [][]rival.Want{wish(3)}} }
	w := plain(g, every(100, 100*ms, 1, 1))
	w.Faults.Restarts = []time.Duration{4500 * ms}
	s := tell(&w)
	play(t, w)
	if a, b := len(s.second(t, 4).Models[0].Replicas), len(s.second(t, 5).Models[0].Replicas); a != 1 || b != 3 {
		t.Errorf("%d replicas, then %d", a, b)
	}
}

func TestAStaticFleetStays(t *testing.T) {
	w := plain(sim.Static(3), every(3000, 10*ms, 1, 8))
	w.Services[0].Start, w.Services[0].Model.Replicas.Max = 3, 2 // bounds are for those who scale
	out := play(t, w)
	if out.Peak != 3 || out.Targets[0].Starts != 3 || out.Actions != 0 || out.Empty != 0 {
		t.Errorf("%+v", out)
	}
	if want := 3 * out.Account.Hours() * 2; out.Cost < want*3-1e-9 || out.Cost > want*3+1e-9 {
		t.Errorf("$%v for %v of 3 replicas of 2 accelerators at $3", out.Cost, out.Account)
	}
}

func TestReversalsAreChangesOfDirectionWithinAColdStart(t *testing.T) {
	for what, tc := range map[string]struct {
		wanted             []int
		actions, reversals int
	}{
		"up and on":               {[]int{1, 2, 3}, 3, 0},
		"up and down at once":     {[]int{3, 1}, 2, 1},
		"down two seconds later":  {[]int{3, 3, 1}, 2, 1},
		"down after a cold start": {[]int{3, 3, 3, 1}, 2, 0},
		"to and fro":              {[]int{3, 1, 3, 1}, 4, 3},
		"nothing new":             {[]int{2, 2, 2}, 1, 0},
	} {
		t.Run(what, func(t *testing.T) {
			out := play(t, plain(want(tc.wanted...), every(100, 100*ms, 1, 1)))
			if out.Actions != tc.actions || out.Reversals != tc.reversals {
				t.Errorf("%d actions, %d reversals, want %d, %d", out.Actions, out.Reversals, tc.actions, tc.reversals)
			}
		})
	}
}

func TestPenstockTellsHowMuchItRemembers(t *testing.T) {
	out := play(t, governed(steady(500, 20*ms)))
	if out.MemoryBytes < 500 || out.MemoryBytes > 64<<10 || out.DecisionTime.Ticks < 10 || out.DecisionTime.Mean <= 0 || out.DecisionTime.P99 < out.DecisionTime.Mean {
		t.Errorf("%d bytes, %+v", out.MemoryBytes, out.DecisionTime)
	}
}

// torn is a Source that breaks.
type torn struct{ err error }

func (s torn) Next() (scale.Request, error) { return scale.Request{}, s.err }

func TestWhatIsWrongWithAWorldIsSaid(t *testing.T) {
	broken := errors.New("line 7 is torn")
	for want, spoil := range map[string]func(*sim.World){
		"line 7 is torn":                          func(w *sim.World) { w.Source = torn{broken} },
		"there is no source":                      func(w *sim.World) { w.Source = nil },
		"nobody governs":                          func(w *sim.World) { w.Governor = nil },
		"ticks every 0s":                          func(w *sim.World) { w.Governor = sim.Penstock(0) },
		"nothing is served":                       func(w *sim.World) { w.Services = nil },
		`for model "x", which is not served`:      func(w *sim.World) { w.Source = sim.List([]scale.Request{{ID: 1, Model: "x", At: trace.Epoch()}}) },
		"request 2 arrives 1s before":             func(w *sim.World) { w.Source = sim.List(numbered([]scale.Request{at(time.Second, 1, 1), at(0, 1, 1)})) },
		"models \"m\" and \"m\" are not in order": func(w *sim.World) { w.Services = append(w.Services, w.Services[0]) },
		"has 1 variants and 0 truths":             func(w *sim.World) { w.Services[0].Truths = nil },
		"can be had as nothing":                   func(w *sim.World) { w.Services[0].Model.Variants[0].Capacities = nil },
		"no room for so many":                     func(w *sim.World) { w.Services[0].Start, w.Offerings[0].Limited = 1, true },
		"a mode of share 1":                       func(w *sim.World) { w.Services[0].Truths[0].Boot.Mixture = []sim.Mode{{Share: 1}} },
		"of which 2 fail":                         func(w *sim.World) { w.Services[0].Truths[0].Boot.Fails = 2 },
		`zone "a": -1 nodes`:                      func(w *sim.World) { w.Zones = []sim.Zone{{Name: "a", Nodes: []sim.Step{{Count: -1}}}} },
		"it repeats after 1s":                     func(w *sim.World) { w.Zones = []sim.Zone{{Nodes: []sim.Step{{At: time.Second}}, Repeat: time.Second}} },
		"a share of 1.5 of failed boots":          func(w *sim.World) { w.Faults.FailedBoots = 1.5 },
		"a quota of 2":                            func(w *sim.World) { w.Faults.Quota = []sim.Quota{{Share: 2, Window: sim.Window{End: 1}}} },
		"a fault from 1s to 1s":                   func(w *sim.World) { w.Faults.Stale = []sim.Window{{Start: time.Second, End: time.Second}} },
	} {
		t.Run(want, func(t *testing.T) {
			w := plain(sim.Penstock(time.Second), every(3, time.Second, 1, 1))
			spoil(&w)
			if _, err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v", err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := plain(sim.Static(1), every(3, time.Second, 1, 1)).Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
	if _, err := sim.List(nil).Next(); !errors.Is(err, io.EOF) {
		t.Errorf("the end: error %v", err)
	}
}
