package sim_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/rival"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
)

var fluidOnDemand = scale.ScaleTarget{Model: "chat", Variant: "gpu", Capacity: scale.OnDemand}

// fluid has ten requests at once at each replica for a second each, and rates
// in requests/s for a minute each.
func fluid(rates ...float64) sim.Fluid {
	f := sim.Fluid{
		Setting: rival.Setting{
			Model: scale.Model{
				Name: "chat", Replicas: scale.Range{Max: 100},
				SLO: scale.SLO{Latency: 3 * time.Second, Objective: 0.99, MaxHold: 5 * time.Minute},
				Variants: []scale.Variant{{
					Name: "gpu", ColdStart: 30 * time.Second, Accelerator: scale.Accelerator{Type: "gpu", Count: 2}, Capacities: []scale.CapacityType{scale.OnDemand},
					Profile: scale.Profile{Service: scale.ServiceTime{Mean: time.Second, Concurrency: 10}},
				}},
			},
			Offerings: []scale.Offering{{Accelerator: "gpu", Capacity: scale.OnDemand, PricePerHour: 3}, {Accelerator: "gpu", Capacity: scale.Spot, PricePerHour: 1}},
			Target:    fluidOnDemand, Batch: 10, PerReplica: 10,
		},
		Bin: time.Minute, Boot: 30 * time.Second, Patience: 2 * time.Second, Start: 1,
	}
	for _, r := range rates {
		f.Bins = append(f.Bins, sim.Inflow{Requests: 60 * r, PromptTokens: 100, OutputTokens: 50})
	}
	return f
}

// script is a policy that wants what it says, and keeps what it saw.
type fluidScript struct {
	every time.Duration
	wants []int // one a call; the last stays
	saw   []scale.ModelState
}

func (s *fluidScript) Every() time.Duration { return s.every }

func (s *fluidScript) Decide(_ time.Time, m scale.ModelState) []rival.Want {
	n := s.wants[min(len(s.saw), len(s.wants)-1)]
	m.Replicas = append([]scale.Replica(nil), m.Replicas...)
	s.saw = append(s.saw, m)
	return []rival.Want{{Target: fluidOnDemand, Replicas: n}}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*(1+math.Abs(b)) }

func TestFluidKeepsItsBooks(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*sim.Fluid)
		rates  []float64
		every  time.Duration
		wants  []int
		late   float64 // requests
		hours  float64 // in seconds
	}{
		"what fits is served":                      {nil, []float64{8, 8}, 15 * time.Second, []int{1}, 0, 120},
		"a full replica is enough":                 {nil, []float64{10, 10}, 15 * time.Second, []int{1}, 0, 120},
		"what waits beyond the patience is late":   {nil, []float64{15}, 15 * time.Second, []int{1}, 300 - 20, 60},
		"fresh work goes before late work":         {nil, []float64{15, 9}, 15 * time.Second, []int{1}, 300 - 20, 120},
		"a replica boots from its order on":        {nil, []float64{20, 20}, 15 * time.Second, []int{2}, 300 - 20, 240},
		"a boot may end between two decisions":     {func(f *sim.Fluid) { f.Boot = 31 * time.Second }, []float64{20, 20}, time.Minute, []int{2}, 310 - 20, 240},
		"and between two bins of another length":   {func(f *sim.Fluid) { f.Boot = 90 * time.Second }, []float64{20, 20}, 7 * time.Second, []int{2}, 900 - 20, 240},
		"one that still boots goes first":          {nil, []float64{10, 10}, 15 * time.Second, []int{2, 1}, 0, 120 + 15},
		"a replica that goes is paid until done":   {func(f *sim.Fluid) { f.Start = 2 }, []float64{10}, 30 * time.Second, []int{2, 1}, 0, 60 + 30 + 1},
		"patience shrinks with the fleet":          {func(f *sim.Fluid) { f.Start = 2 }, []float64{20, 20}, time.Minute, []int{2, 1}, 600 - 20, 120 + 60 + 1},
		"who wakes within the hold is good":        {func(f *sim.Fluid) { f.Start = 0 }, []float64{5, 5}, 15 * time.Second, []int{1}, 0, 120},
		"who waits longer for a wake is not":       {func(f *sim.Fluid) { f.Start = 0; f.Setting.Model.SLO.MaxHold = 10 * time.Second }, []float64{5, 5}, 15 * time.Second, []int{1}, 100, 120},
		"who is never woken is late":               {func(f *sim.Fluid) { f.Start = 0 }, []float64{5, 5, 5, 5, 5, 5, 5, 5}, 15 * time.Second, []int{0}, 900, 0},
		"no more than the model may have":          {func(f *sim.Fluid) { f.Setting.Model.Replicas.Max = 3 }, []float64{5}, 15 * time.Second, []int{50}, 0, 180},
		"a bin may have its own capacity":          {func(f *sim.Fluid) { f.Bins[1].PerReplica = 5 }, []float64{10, 10}, 15 * time.Second, []int{1}, 300 - 10, 120},
		"nothing wanted and nothing that arrives":  {nil, []float64{0}, 15 * time.Second, []int{0}, 0, 0},
		"a policy may decide less often than bins": {nil, []float64{20, 20, 20, 20}, 3 * time.Minute, []int{2}, 300 - 20, 480},
	} {
		t.Run(name, func(t *testing.T) {
			f := fluid(c.rates...)
			if c.change != nil {
				c.change(&f)
			}
			got := f.Run(&fluidScript{every: c.every, wants: c.wants})
			if late := got.Late * got.Requests; !near(late, c.late) || !near(got.Hours*3600, c.hours) || !near(got.Cost, 6*got.Hours) {
				t.Errorf("%v late, want %v; %v replica-seconds, want %v; $%v", late, c.late, got.Hours*3600, c.hours, got.Cost)
			}
		})
	}
}

func TestFluidShowsWhatLittleSays(t *testing.T) {
	f := fluid(5, 0, 30, 30, 0, 0)
	f.Start = 1
	s := &fluidScript{every: 30 * time.Second, wants: []int{2}}
	f.Run(s)
	type shown struct {
		Ready, Starting                                        int
		Arrivals, Held, HeldFor, InFlight, Each, Running, Busy float64
		Requests                                               int
		Service                                                time.Duration
	}
	round := func(x float64) float64 { return math.Round(1000*x) / 1000 }
	at := func(i int) shown {
		d := s.saw[i].Demand
		out := shown{Arrivals: round(d.Arrivals.Value), Held: round(d.Held.Value), HeldFor: round(d.HeldFor.Value), InFlight: round(d.InFlight.Value)}
		for _, r := range s.saw[i].Replicas {
			if r.Phase == scale.Starting {
				out.Starting++
				continue
			}
			out.Ready++
			l := r.Load
			out.Each, out.Running, out.Busy, out.Requests, out.Service = round(l.InFlight.Value), round(l.Running.Value), round(l.Busy.Value), l.Latency.Requests, l.Latency.Service
		}
		return out
	}
	if d := s.saw[0].Demand; d.Arrivals.Known() || d.LastArrival.Known() {
		t.Errorf("before anything arrived: %+v", d)
	}
	for i, want := range map[int]shown{
		1: {Ready: 2, Arrivals: 5, InFlight: 5, Each: 2.5, Running: 2.5, Busy: 0.993, Requests: 150, Service: time.Second},
		2: {Ready: 2, Arrivals: 5, InFlight: 5, Each: 2.5, Running: 2.5, Busy: 0.918, Requests: 75, Service: time.Second},
		4: {Ready: 2},
		5: {Ready: 2, Arrivals: 30, Held: 300, HeldFor: 30, InFlight: 20, Each: 10, Running: 10, Busy: 1, Requests: 300, Service: time.Second},
	} {
		if diff := cmp.Diff(want, at(i)); diff != "" {
			t.Errorf("call %d: %s", i, diff)
		}
	}
	if boots := s.saw[1].ColdStarts; len(boots) != 1 || boots[0].Took != f.Boot || len(s.saw[2].ColdStarts) != 0 {
		t.Errorf("boots are told once: %v, then %v", boots, s.saw[2].ColdStarts)
	}
}

// Between a request alone and a full replica, time grows with the requests.
func TestFluidReplicasSlowDownAsTheyFill(t *testing.T) {
	f := fluid(5, 5)
	f.Alone = 200 * time.Millisecond
	s := &fluidScript{every: 30 * time.Second, wants: []int{1}}
	f.Run(s)
	// c = 5·S and S = 0.2 + 0.8·c/10 give S = 1/3.
	got := s.saw[1].Replicas[0].Load
	if !near(got.InFlight.Value, 5.0/3) || (got.Latency.Service-time.Second/3).Abs() > time.Microsecond {
		t.Errorf("%v at once for %v each, want 5/3 for 1/3 s", got.InFlight.Value, got.Latency.Service)
	}
}

// Every request is served, late or still waiting, and all replica-time is paid.
func TestFluidLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := fluid(rapid.SliceOfN(rapid.Float64Range(0, 60), 1, 12).Draw(t, "rates")...)
		f.Boot = time.Duration(rapid.IntRange(0, 200).Draw(t, "boot")) * time.Second
		f.Patience = time.Duration(rapid.IntRange(0, 20).Draw(t, "patience")) * time.Second
		f.Start = rapid.IntRange(0, 4).Draw(t, "start")
		script := func() *fluidScript {
			return &fluidScript{
				every: time.Duration(rapid.IntRange(1, 100).Draw(t, "every")) * time.Second,
				wants: rapid.SliceOfN(rapid.IntRange(0, 8), 1, 12).Draw(t, "wants"),
			}
		}
		p := script()
		got := f.Run(p)
		if got.Late < 0 || got.Late > 1+1e-9 || got.Hours < 0 {
			t.Fatalf("%+v", got)
		}
		again := f.Run(&fluidScript{every: p.every, wants: p.wants})
		if again != got {
			t.Fatalf("%+v, and the second time %+v", got, again)
		}
		patient := f
		patient.Patience += 5 * time.Second
		if more := patient.Run(&fluidScript{every: p.every, wants: p.wants}); more.Late > got.Late+1e-9 || !near(more.Hours, got.Hours) {
			t.Fatalf("more patience: %+v, less %+v", more, got)
		}
		for _, m := range p.saw {
			for i, r := range m.Replicas {
				if i > 0 && m.Replicas[i-1].ID >= r.ID {
					t.Fatalf("replicas are not in order: %v", m.Replicas)
				}
			}
		}
	})
}

// A week of minutes under every rival as it ships.
func BenchmarkFluidOfAWeek(b *testing.B) {
	f := fluid()
	for i := range 7 * 24 * 60 {
		rate := 60 + 50*math.Sin(2*math.Pi*float64(i)/1440) + 25*float64(i%7)/7
		f.Bins = append(f.Bins, sim.Inflow{Requests: 60 * rate})
	}
	f.Start = 8
	for _, r := range rival.All() {
		b.Run(r.Name, func(b *testing.B) {
			for b.Loop() {
				got := f.Run(r.New(f.Setting))
				b.ReportMetric(100*got.Late, "%late")
				b.ReportMetric(got.Hours/(7*24), "replicas")
			}
		})
	}
}
