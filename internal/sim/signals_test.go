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

// second returns the Snapshot of a second.
func (s *story) second(t *testing.T, n int) scale.Snapshot {
	t.Helper()
	for _, x := range s.snapshots {
		if since(x.Now) == time.Duration(n)*time.Second {
			return x
		}
	}
	t.Fatalf("no tick at %d s", n)
	return scale.Snapshot{}
}

// lone is four requests a second of 5 + 5 tokens at one replica, each alone
// there for 50 ms, from 5 s on.
func lone(n int) []scale.Request {
	var list []scale.Request
	for i := range n {
		list = append(list, at(5*time.Second+time.Duration(i)*250*ms, 5, 5))
	}
	return numbered(list)
}

func TestSignalsAreThoseOfTheGateway(t *testing.T) {
	w := plain(want(1), lone(60))
	s := tell(&w)
	play(t, w)
	x := s.second(t, 10)
	now := x.Now
	see := func(v float64) scale.Observation { return scale.Observe(v, now) }
	want := scale.Demand{
		Arrivals: see(4), ArrivalsOver: time.Second, PromptTokens: see(5), LongPrompt: see(5), OutputTokens: see(5), OutputLimit: see(5),
		Held: see(0), HeldTokens: see(0), HeldFor: see(0), InFlight: see(0), LastArrival: see(9.75), Good: see(20), Bad: see(0),
	}
	if diff := cmp.Diff(want, x.Models[0].Demand); diff != "" {
		t.Error(diff)
	}
	load := scale.Load{
		InFlight: see(0), Running: see(0), Waiting: see(0), KVCacheUsage: see(0), Busy: see(0.2),
		Latency: scale.Latency{
			At: now, Requests: 4, Concurrency: 1, TTFT: 10 * ms, TPOT: 10 * ms, Service: 50 * ms, PromptTokens: 5, OutputTokens: 5, Timed: 4,
		},
	}
	if diff := cmp.Diff(load, x.Models[0].Replicas[0].Load); diff != "" {
		t.Error(diff)
	}
	starting := s.second(t, 1).Models[0].Replicas[0]
	if diff := cmp.Diff(scale.Load{InFlight: scale.Observe(0, s.second(t, 1).Now)}, starting.Load); diff != "" || starting.Phase != scale.Starting {
		t.Errorf("%v replica: %s", starting.Phase, diff)
	}
	boots := s.second(t, 2).Models[0].ColdStarts
	if diff := cmp.Diff([]scale.ColdStart{{Target: starting.Target, Took: 2 * time.Second}}, boots); diff != "" {
		t.Error(diff)
	}
	for _, x := range s.snapshots {
		if at := since(x.Now); at != 2*time.Second && len(x.Models[0].ColdStarts) > 0 {
			t.Errorf("%v: told of a boot again", at)
		}
	}
}

// TestEnginesInsideShowWhatWaits: a batch of two, one of which fits the engine.
func TestEnginesInsideShowWhatWaits(t *testing.T) {
	w := plain(want(1), numbered([]scale.Request{at(3*time.Second, 5, 300), at(3500*ms, 5, 300), at(3500*ms, 5, 10)}))
	w.Services[0].Truths[0].Profile.MaxBatch = 1
	g := want(1)
	g.batch = 2
	w.Governor = g
	s := tell(&w)
	play(t, w)
	x := s.second(t, 4).Models[0]
	load, d := x.Replicas[0].Load, x.Demand
	if load.InFlight.Value != 2 || load.Running.Value != 1 || load.Waiting.Value != 1 || d.InFlight.Value != 2 || d.Held.Value != 1 || d.HeldTokens.Value != 5 || d.HeldFor.Value != 0.5 {
		t.Errorf("%+v and %+v", load, d)
	}
	if load.Busy.Value != 1 || math.Abs(load.KVCacheUsage.Value-0.105) > 0.0011 { // 5 + 100 of 1,000 tokens
		t.Errorf("busy %v, cache %v", load.Busy, load.KVCacheUsage)
	}
}

// TestLengthsAreEstimatedWhereNoClientTells: admission learns how long replies
// are, and clients that set a limit are believed as far as they were right.
func TestLengthsAreEstimatedWhereNoClientTells(t *testing.T) {
	pairs := append(lone(200), lone(200)...) // one for each replica while there are two
	slices.SortStableFunc(pairs, func(a, b scale.Request) int { return a.At.Compare(b.At) })
	w := plain(want(1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 1, 2, 2, 2, 1), numbered(pairs))
	w.Services[0].Asks = false
	s := tell(&w)
	play(t, w)
	for _, x := range s.snapshots { // also when replicas are gone whose tokens counted
		if d := x.Models[0].Demand; d.OutputTokens.Known() && d.OutputTokens.Value != 5 {
			t.Errorf("%v: replies of %v", since(x.Now), d.OutputTokens.Value)
		}
	}
	early, late := s.second(t, 6).Models[0].Demand, s.second(t, 20).Models[0].Demand
	if early.OutputTokens.Known() || early.OutputLimit.Known() || late.OutputTokens.Value != 5 || late.OutputLimit.Known() {
		t.Errorf("lengths %+v, then %+v", early.OutputTokens, late.OutputTokens)
	}
}

func TestFaultsInSignals(t *testing.T) {
	span := func(from, to int) []sim.Window {
		return []sim.Window{{Start: time.Duration(from) * time.Second, End: time.Duration(to) * time.Second}}
	}
	w := plain(want(1), lone(200))
	w.Faults = sim.Faults{Missing: span(10, 13), Stale: span(20, 23), Zero: span(30, 33)}
	s := tell(&w)
	play(t, w)
	for _, n := range []int{10, 12} {
		if m := s.second(t, n).Models[0]; m.Demand != (scale.Demand{}) || m.Replicas[0].Load != (scale.Load{}) {
			t.Errorf("%d s: %+v though signals are missing", n, m)
		}
	}
	if d := s.second(t, 13).Models[0].Demand; d.Arrivals.Value != 4 || d.ArrivalsOver != 4*time.Second || d.Good.Value != 32 {
		t.Errorf("after the gap: %+v", d)
	}
	for _, n := range []int{20, 22} {
		if diff := cmp.Diff(s.second(t, 19).Models[0], s.second(t, n).Models[0]); diff != "" {
			t.Errorf("%d s: %s", n, diff)
		}
	}
	if d := s.second(t, 23).Models[0].Demand; d.ArrivalsOver != 4*time.Second || since(d.Arrivals.At) != 23*time.Second {
		t.Errorf("after the stale: %+v", d)
	}
	x := s.second(t, 31)
	d, load := x.Models[0].Demand, x.Models[0].Replicas[0].Load
	if d.Arrivals != scale.Observe(0, x.Now) || d.Held != scale.Observe(0, x.Now) || d.InFlight != scale.Observe(0, x.Now) {
		t.Errorf("a liar says %+v", d)
	}
	if load.Busy != scale.Observe(0, x.Now) || load.InFlight != scale.Observe(0, x.Now) || load.Latency.Requests != 0 || d.Good.Value == 0 {
		t.Errorf("a liar says %+v, %+v", load, d.Good)
	}
	if d := s.second(t, 33).Models[0].Demand; d.Arrivals.Value != 4 || d.ArrivalsOver != time.Second {
		t.Errorf("after the lie: %+v", d)
	}
}

// TestAWakeDoesNotWaitForTheTick: as the product's loop, and only for those
// who listen.
func TestAWakeDoesNotWaitForTheTick(t *testing.T) {
	first := func(g sim.Governor) time.Duration {
		w := plain(g, numbered([]scale.Request{at(3333*ms, 5, 5), at(3334*ms, 5, 5), at(3400*ms, 5, 5)}))
		s := tell(&w)
		play(t, w)
		for _, x := range s.snapshots {
			if x.Models[0].Demand.Held.Value > 0 {
				return since(x.Now)
			}
		}
		return 0
	}
	if at := first(sim.Penstock(10 * time.Second)); at != 3333*ms {
		t.Errorf("told at %v", at)
	}
	if at := first(want(0, 0, 0, 0, 1)); at != 4*time.Second {
		t.Errorf("told at %v", at)
	}
	w := plain(sim.Penstock(time.Minute), every(400, 10*ms, 5, 5))
	s := tell(&w)
	play(t, w)
	for i := 1; i < len(s.snapshots); i++ {
		if gap := s.snapshots[i].Now.Sub(s.snapshots[i-1].Now); gap < 50*ms {
			t.Errorf("ticks at %v and %v", since(s.snapshots[i-1].Now), since(s.snapshots[i].Now))
		}
	}
	if n := len(s.snapshots); n < 10 || n > 60 {
		t.Errorf("%d ticks", n) // each 200 ms while requests are held
	}
}

// TestServiceTimesAreOfTheRequestAndNotOfTheFleet: without tokens, a request
// takes as long under any policy, and as spread as the profile says.
func TestServiceTimesAreOfTheRequestAndNotOfTheFleet(t *testing.T) {
	service := scale.ServiceTime{Mean: 400 * ms, CV: 0.6, Concurrency: 8}
	times := func(n int) map[scale.RequestID]time.Duration {
		w := plain(want(n), every(20_000, 20*ms, 0, 0))
		w.Services[0].Model.SLO = scale.SLO{Latency: 5 * time.Second, Objective: 0.99, MaxHold: 10 * time.Second}
		w.Services[0].Model.Variants[0].Profile = scale.Profile{Service: service}
		w.Services[0].Truths[0].Profile = scale.Profile{Service: service}
		w.Services[0].Start = n
		all := map[scale.RequestID]time.Duration{}
		w.Ended = func(r scale.Request, s scale.Served) { all[r.ID] = s.Total - s.Held }
		play(t, w)
		return all
	}
	few, many := times(4), times(8)
	if diff := cmp.Diff(few, many); diff != "" {
		t.Error(diff)
	}
	sum, squares := 0.0, 0.0
	for _, d := range few {
		sum += d.Seconds() / 20_000
		squares += d.Seconds() * d.Seconds() / 20_000
	}
	if cv := math.Sqrt(squares-sum*sum) / sum; !(math.Abs(sum/0.4-1) < 0.02) || !(math.Abs(cv/0.6-1) < 0.05) {
		t.Errorf("mean %.4f s, variation %.3f", sum, cv)
	}
}

func TestTheInstantZeroIsTheFirstArrivalOrWhatIsSaid(t *testing.T) {
	for begin, want := range map[time.Time]time.Duration{{}: 50 * ms, trace.Epoch(): 3050 * ms} {
		w := plain(sim.Static(1), numbered([]scale.Request{at(3*time.Second, 5, 5)}))
		w.Services[0].Start = 1
		w.Begin = begin
		if out := play(t, w); out.Span != want {
			t.Errorf("a span of %v, want %v", out.Span, want)
		}
	}
}
