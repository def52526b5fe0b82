package adversary

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
)

// stage is a world of one model with two Ready replicas, and a good tick of it.
type stage struct {
	w *witness
	t tick
}

func newStage() *stage {
	model := scale.Model{
		Name: "m1", Mode: scale.Auto, Replicas: scale.Range{Min: 1, Max: 4}, ScaleDownWindow: 5 * time.Minute,
		SLO:       scale.SLO{TTFT: time.Second, TPOT: time.Second, Objective: 0.9, MaxHold: time.Minute},
		WarmFloor: scale.WarmFloor{Replicas: 1, Capacity: scale.OnDemand},
		Limits:    scale.Limits{UpPerMinute: 3, DownPerMinute: 1, CostPerHour: 12},
		Variants: []scale.Variant{{
			Name: "v1", Accelerator: scale.Accelerator{Type: "a100", Count: 1}, Capacities: []scale.CapacityType{scale.OnDemand}, Max: 3, ColdStart: time.Minute,
			Profile: scale.Profile{Service: scale.ServiceTime{Mean: time.Millisecond, Concurrency: 1}},
		}},
	}
	c := Case{
		Begin: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), Tick: time.Second, Span: time.Hour,
		Models: []Model{{Service: sim.Service{Model: model, Truths: []sim.Truth{{
			Profile: model.Variants[0].Profile, Boot: sim.Boot{Mixture: []sim.Mode{{Share: 1, Mean: time.Minute}}},
		}}}, Traffic: Traffic{Family: steadyFamily}}},
		Offerings: []scale.Offering{{Accelerator: "a100", Capacity: scale.OnDemand, PricePerHour: 4, Limited: true, Slots: 8}},
		Fleet:     scale.FleetPolicy{Limits: scale.Limits{CostPerHour: 100}},
	}
	s := &stage{w: c.witness()}
	s.t.at = 10 * time.Minute
	s.w.now = s.t.at
	now := c.Begin.Add(s.t.at)
	target := scale.ScaleTarget{Model: "m1", Variant: "v1", Capacity: scale.OnDemand}
	state := scale.ModelState{Model: model, Demand: scale.Demand{Arrivals: scale.Observe(1, now), Held: scale.Observe(0, now), HeldFor: scale.Observe(0, now)}}
	for _, id := range []scale.ReplicaID{"m1-1.0", "m1-2.1"} {
		state.Replicas = append(state.Replicas, scale.Replica{ID: id, Target: target, Phase: scale.Ready, Created: c.Begin, Since: c.Begin})
		s.w.living[id], s.w.seen[id] = true, true
	}
	s.t.truth = scale.Snapshot{Now: now, Tick: c.Tick, Models: []scale.ModelState{state}, Offerings: c.Offerings, Fleet: c.Fleet}
	s.t.told = s.t.truth
	s.t.told.Models = slices.Clone(s.t.told.Models)
	because := []scale.Reason{{Code: scale.ReasonDemand, Text: "so"}}
	s.t.made = &scale.Decision{
		At: now, Plans: []scale.Plan{{Model: "m1", Allocations: []scale.Allocation{{Target: target, Replicas: 2, BatchLimit: 2}}, Reasons: because}},
		Changes: []scale.Change{{Target: target, From: 2, Want: 2, To: 2, Reasons: because}},
	}
	s.t.journal = &journal{record: scale.Record{Snapshot: s.t.told}}
	s.w.limits[target] = s.t.made.Plans[0].Allocations[0]
	return s
}

func (s *stage) change() *scale.Change    { return &s.t.made.Changes[0] }
func (s *stage) truth() *scale.ModelState { return &s.t.truth.Models[0] }
func (s *stage) told() *scale.ModelState  { return &s.t.told.Models[0] }
func (s *stage) end(r scale.Request, o scale.Outcome, held time.Duration) {
	r.Model, r.At = "m1", s.w.c.Begin
	s.w.end(r, scale.Served{Outcome: o, Held: held})
}

func (s *stage) send(id scale.RequestID, phase scale.Phase, limit scale.Allocation) {
	s.w.sent(sim.Sending{At: s.w.c.Begin, Request: id, Tokens: 10, Limit: limit, Replica: scale.Replica{ID: "m1-1.0", Phase: phase}})
}

// TestEveryLawCanBeBroken: a good tick breaks none, and each law has what breaks
// it and nothing else.
func TestEveryLawCanBeBroken(t *testing.T) {
	if s := newStage(); true {
		if s.w.tick(s.t); s.w.violation != nil {
			t.Fatalf("a good tick: %v", s.w.violation)
		}
	}
	broken := map[Law]bool{}
	for what, tc := range map[string]struct {
		law  Law
		play func(*stage)
	}{
		"a request ends twice":         {OneOutcome, func(s *stage) { s.end(scale.Request{ID: 3}, scale.OK, 0); s.end(scale.Request{ID: 3}, scale.OK, 0) }},
		"a request is lost":            {OneOutcome, func(s *stage) { s.end(scale.Request{ID: 3}, scale.Lost, 0) }},
		"a request never ends":         {OneOutcome, func(s *stage) { s.w.finish(sim.Result{}, 1) }},
		"interrupted though none died": {NoneHarmed, func(s *stage) { s.end(scale.Request{ID: 3}, scale.Interrupted, 0) }},
		"failed though none died":      {NoneHarmed, func(s *stage) { s.end(scale.Request{ID: 3}, scale.Failed, 0) }},
		"a drain on stale data":        {BlindHolds, func(s *stage) { s.told().Demand.Arrivals.At = s.t.told.Now.Add(-time.Minute); s.drain("m1-1.0") }},
		"a drain on absent data":       {BlindHolds, func(s *stage) { s.told().Demand.Arrivals = scale.Observation{}; s.drain("m1-1.0") }},
		"a drain on NaN":               {BlindHolds, func(s *stage) { s.told().Demand.Held.Value = math.NaN(); s.drain("m1-1.0") }},
		"a drain when a clock jumped": {SkipHolds, func(s *stage) {
			s.w.decided = decided{at: s.t.at - time.Second, told: s.t.told.Now.Add(-time.Hour), wants: map[scale.ScaleTarget]int{s.change().Target: 2}}
			s.drain("m1-1.0")
		}},
		"beyond the model's maximum":   {Maximum, func(s *stage) { s.t.told.Models[0].Model.Replicas.Max = 2; s.change().To = 3; s.change().Want = 3 }},
		"beyond the variant's maximum": {Maximum, func(s *stage) { s.change().To = 4; s.change().Want = 4 }},
		"more than the maximum serve":  {Maximum, func(s *stage) { s.w.ticks = 1; s.grow(3) }},
		"beyond the model's budget": {CostPerHour, func(s *stage) {
			s.t.told.Models[0].Model.Limits.CostPerHour = 11
			s.change().To = 3
			s.change().Want = 3
		}},
		"beyond the fleet's budget": {CostPerHour, func(s *stage) { s.t.told.Fleet.Limits.CostPerHour = 11; s.change().To = 3; s.change().Want = 3 }},
		"more starts than a minute has": {UpRate, func(s *stage) {
			for i := range 4 {
				s.w.started("m1", s.t.at-time.Duration(i)*time.Second)
			}
			slices.Reverse(s.w.starts["m1"])
		}},
		"more drains than a minute has": {DownRate, func(s *stage) { s.w.drains["m1"] = []drain{{s.t.at - time.Second, 1}}; s.drain("m1-1.0") }},
		"one more than the batch limit": {BatchLimit, func(s *stage) {
			s.send(1, scale.Ready, scale.Allocation{BatchLimit: 1})
			s.send(2, scale.Ready, scale.Allocation{BatchLimit: 1})
		}},
		"more tokens than the KV limit": {KVLimit, func(s *stage) {
			s.send(1, scale.Ready, scale.Allocation{BatchLimit: 9, KVTokens: 15})
			s.send(2, scale.Ready, scale.Allocation{BatchLimit: 9, KVTokens: 15})
		}},
		"a send to one that drains":    {NoticeLeads, func(s *stage) { s.send(1, scale.Draining, scale.Allocation{BatchLimit: 1}) }},
		"a Memory that was not this":   {Replays, func(s *stage) { s.t.journal.resumed, s.t.journal.after = true, []byte("{}") }},
		"a bill that is too small":     {Ledger, func(s *stage) { s.w.finish(sim.Result{Cost: 1}, 0) }},
		"held beyond the longest hold": {HeldInTime, func(s *stage) { s.end(scale.Request{ID: 3}, scale.Expired, 2*time.Minute) }},
		"still held after the longest": {HeldInTime, func(s *stage) { s.truth().Demand.Held.Value, s.truth().Demand.HeldFor.Value = 1, 61; s.fill() }},
		"too many are held":            {HeldInBounds, func(s *stage) { s.truth().Demand.Held.Value = 10_001; s.fill() }},
		"refused with room": {HeldInBounds, func(s *stage) {
			s.w.served = 1
			s.w.finish(sim.Result{Outcomes: map[scale.Outcome]int{scale.Refused: 1}}, 1)
		}},
		"a target that is not named":     {WholeDecision, func(s *stage) { s.t.made.Plans[0].Allocations = nil }},
		"a plan without a reason":        {WholeDecision, func(s *stage) { s.t.made.Plans[0].Reasons = nil }},
		"a model that is not named":      {WholeDecision, func(s *stage) { s.t.made.Plans = nil }},
		"replicas without a Change":      {WholeDecision, func(s *stage) { s.t.made.Changes = nil }},
		"a From that does not serve":     {CountsAdd, func(s *stage) { s.change().From = 3 }},
		"a drain of a stranger":          {CountsAdd, func(s *stage) { s.drain("m2-1.0") }},
		"paused, and it starts":          {CountsAdd, func(s *stage) { s.t.told.Models[0].Model.Mode = scale.Paused; s.change().To, s.change().Want = 3, 3 }},
		"a Change without a reason":      {SaysWhy, func(s *stage) { s.change().Reasons = nil }},
		"less than planned, unexplained": {SaysWhy, func(s *stage) { s.change().Want = 3 }},
		"more than planned, unexplained": {SaysWhy, func(s *stage) { s.change().Want = 1 }},
		"no accelerator is free":         {Slots, func(s *stage) { s.t.told.Offerings[0].Slots = 2; s.change().To, s.change().Want = 3, 3 }},
		"below the minimum":              {Floors, func(s *stage) { s.t.told.Models[0].Model.Replicas.Min = 3 }},
		"below the warm floor":           {Floors, func(s *stage) { s.t.told.Models[0].Model.WarmFloor.Replicas = 3 }},
		"there after its deadline":       {NoticeLeads, func(s *stage) { s.truth().Replicas[0].Phase = scale.Draining; s.notice() }},
		"draining, and nobody said so":   {NamedDrains, func(s *stage) { s.truth().Replicas[0].Phase = scale.Draining }},
		"drained, and nobody said so":    {NamedDrains, func(s *stage) { s.w.lived(scale.Lifetime{Replica: "x", Drained: s.t.truth.Now, Ended: s.t.truth.Now}) }},
		"one waits and a replica idles":  {RoomServes, func(s *stage) { s.truth().Demand.Held.Value = 1 }},
		"bad in calm": {Recovers, func(s *stage) {
			for i := range 300 {
				r := scale.Request{ID: scale.RequestID(i), Model: "m1", At: s.w.c.Begin.Add(30 * time.Minute)}
				s.w.c.Models[0].Model.SLO.Latency = time.Hour
				s.w.end(r, scale.Served{Outcome: scale.Expired})
			}
			s.w.recovers("m1", s.w.calm["m1"])
		}},
		"up and down and up in calm": {Settles, func(s *stage) {
			s.t.at = 40 * time.Minute
			for i := range 5 {
				s.t.at += time.Second
				s.change().To, s.change().Drain = 3, nil
				if i%2 == 1 {
					s.change().To, s.change().Drain = 1, []scale.ReplicaID{"m1-1.0"}
				}
				s.w.turn(s.t, *s.t.made)
			}
		}},
		"a cost that is no number": {Finite, func(s *stage) { s.t.made.Plans[0].CostPerHour = math.NaN() }},
		"a tick that fails":        {LoopWorks, func(s *stage) { s.t.err = errors.New("no") }},
	} {
		t.Run(what, func(t *testing.T) {
			s := newStage()
			tc.play(s)
			if s.w.violation == nil {
				s.w.tick(s.t)
			}
			if s.w.violation == nil || s.w.violation.Law != tc.law {
				t.Errorf("%v, want %v", s.w.violation, tc.law)
			}
		})
		broken[tc.law] = true
	}
	for _, law := range Laws() {
		if !broken[law] && law != NoPanic { // TestAPanicIsAViolation
			t.Errorf("nothing breaks %v", law)
		}
	}
}

func (s *stage) drain(id scale.ReplicaID) {
	c := s.change()
	c.Drain, c.To, c.Want = []scale.ReplicaID{id}, 1, 1
}

func (s *stage) grow(n int) {
	for i := range n {
		r := s.truth().Replicas[0]
		r.ID = scale.ReplicaID([]string{"m1-3.2", "m1-4.3", "m1-5.4"}[i])
		s.truth().Replicas = append(s.truth().Replicas, r)
	}
	s.t.made = nil
}

// fill has all replicas be full.
func (s *stage) fill() {
	for _, id := range []scale.ReplicaID{"m1-1.0", "m1-2.1"} {
		s.w.loads[id] = &load{requests: 2}
	}
}

func (s *stage) notice() {
	s.t.truth.Interruptions = []scale.Interruption{{Replica: "m1-1.0", Noticed: s.w.c.Begin, Deadline: s.w.c.Begin.Add(time.Minute)}}
	s.t.made = nil
}

// TestAPanicIsAViolation, and is told with where it was.
func TestAPanicIsAViolation(t *testing.T) {
	c := short(t, 3)
	c.tamper = func(scale.Decision) scale.Decision { panic("planted") }
	r, err := c.Run(t.Context())
	if err != nil || r.Violation == nil || r.Violation.Law != NoPanic {
		t.Errorf("%v, %v", r.Violation, err)
	}
}
