package autoscaler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
)

var lawStart = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// arbitrary draws a Snapshot as a lying, half-blind world might give it.
func arbitrary(t *rapid.T) scale.Snapshot {
	s := scale.Snapshot{Now: lawStart, Tick: time.Second}
	for _, gpu := range []string{"a100", "h100"} {
		s.Offerings = append(s.Offerings, scale.Offering{
			Accelerator: gpu, Capacity: scale.OnDemand, PricePerHour: rapid.Float64Range(0.1, 20).Draw(t, "price"),
			Limited: rapid.Bool().Draw(t, "limited"), Slots: rapid.IntRange(0, 12).Draw(t, "slots"),
		})
	}
	s.Fleet.Limits = limits(t)
	for i := range rapid.IntRange(1, 3).Draw(t, "models") {
		s.Models = append(s.Models, anyModel(t, fmt.Sprintf("m%d", i), &s))
	}
	return s
}

func limits(t *rapid.T) scale.Limits {
	if rapid.Bool().Draw(t, "unlimited") {
		return scale.Limits{}
	}
	return scale.Limits{
		UpPerMinute: rapid.IntRange(0, 5).Draw(t, "up"), DownPerMinute: rapid.IntRange(0, 5).Draw(t, "down"),
		CostPerHour: rapid.Float64Range(0, 60).Draw(t, "cost"),
	}
}

func anyModel(t *rapid.T, name string, s *scale.Snapshot) scale.ModelState {
	least := rapid.IntRange(0, 2).Draw(t, "min")
	m := scale.Model{
		Name: name, Priority: rapid.IntRange(0, 2).Draw(t, "priority"),
		SLO:             scale.SLO{TTFT: time.Second, TPOT: 50 * time.Millisecond, Objective: 0.99, Window: time.Hour, MaxHold: time.Minute},
		Replicas:        scale.Range{Min: least, Max: least + rapid.IntRange(0, 9).Draw(t, "max")},
		ScaleToZero:     scale.ScaleToZero{After: time.Minute},
		ScaleDownWindow: time.Duration(rapid.IntRange(0, 90).Draw(t, "window")) * time.Second,
		Limits:          limits(t),
		Mode:            rapid.SampledFrom([]scale.Mode{scale.Auto, scale.Advise, scale.Paused}).Draw(t, "mode"),
	}
	for _, gpu := range []string{"a100", "h100"} {
		m.Variants = append(m.Variants, scale.Variant{
			Name: gpu, Accelerator: scale.Accelerator{Type: gpu, Count: 1 + rapid.IntRange(0, 1).Draw(t, "count")},
			Capacities: []scale.CapacityType{scale.OnDemand}, Max: rapid.IntRange(0, 10).Draw(t, "variant max"),
			Profile: llama8bA100(), ColdStart: 20 * time.Second,
		})
	}
	state := scale.ModelState{Model: m, Failures: rapid.IntRange(0, 5).Draw(t, "failures")}
	state.Demand = anyDemand(t)
	for i := range rapid.IntRange(0, 8).Draw(t, "replicas") {
		r := scale.Replica{
			ID:      scale.ReplicaID(fmt.Sprintf("%s-%d", name, i)),
			Target:  scale.ScaleTarget{Model: name, Variant: rapid.SampledFrom([]string{"a100", "h100"}).Draw(t, "on"), Capacity: scale.OnDemand},
			Phase:   rapid.SampledFrom([]scale.Phase{scale.Starting, scale.Ready, scale.Draining}).Draw(t, "phase"),
			Created: lawStart.Add(-time.Duration(rapid.IntRange(0, 600).Draw(t, "age")) * time.Second),
		}
		r.Load.InFlight = anyObservation(t)
		r.Load.KVCacheUsage = anyObservation(t)
		if rapid.IntRange(0, 9).Draw(t, "taken") == 0 {
			s.Interruptions = append(s.Interruptions, scale.Interruption{Replica: r.ID, Noticed: lawStart, Deadline: lawStart.Add(time.Minute)})
		}
		state.Replicas = append(state.Replicas, r)
	}
	return state
}

func anyDemand(t *rapid.T) scale.Demand {
	return scale.Demand{
		Arrivals: anyObservation(t), PromptTokens: anyObservation(t), LongPrompt: anyObservation(t), OutputTokens: anyObservation(t),
		Held: anyObservation(t), HeldFor: anyObservation(t), InFlight: anyObservation(t), Good: anyObservation(t), Bad: anyObservation(t),
	}
}

func anyObservation(t *rapid.T) scale.Observation {
	if rapid.IntRange(0, 3).Draw(t, "absent") == 0 {
		return scale.Observation{}
	}
	age := time.Duration(rapid.IntRange(-5, 60).Draw(t, "age")) * time.Second
	return scale.Observe(rapid.OneOf(rapid.Float64Range(0, 100), rapid.Float64()).Draw(t, "value"), lawStart.Add(-age))
}

// TestLawsOfStep are the laws of the house, over any Snapshot.
func TestLawsOfStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := arbitrary(t)
		var m Memory
		for range rapid.IntRange(1, 4).Draw(t, "ticks") {
			before, _ := m.Encode()
			decision, next := Step(s, m)
			if after, _ := m.Encode(); !bytes.Equal(before, after) {
				t.Fatal("Step changed the Memory that it was given")
			}
			sameAgain(t, s, m, decision, next)
			m = next
			holds(t, s, decision)
			s = advance(t, s, decision)
		}
	})
}

// sameAgain: the same arguments, and the Memory after a round trip through the
// journal, give the same Decision.
func sameAgain(t *rapid.T, s scale.Snapshot, m Memory, decision scale.Decision, next Memory) {
	text, err := m.Encode()
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	restored, err := DecodeMemory(text)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	again, nextAgain := Step(s, restored)
	a, _ := json.Marshal(decision)
	b, _ := json.Marshal(again)
	if !bytes.Equal(a, b) {
		t.Fatalf("replayed from the journal it decides otherwise:\n%s\n%s", a, b)
	}
	x, _ := next.Encode()
	y, _ := nextAgain.Encode()
	if !bytes.Equal(x, y) {
		t.Fatal("replayed from the journal it remembers otherwise")
	}
}

// holds checks what must be true of every Decision.
func holds(t *rapid.T, s scale.Snapshot, d scale.Decision) {
	occupied, started := map[string]int{}, map[string]int{}
	for _, state := range s.Models {
		plan := d.Plans[slices.IndexFunc(d.Plans, func(p scale.Plan) bool { return p.Model == state.Model.Name })]
		if len(plan.Allocations) != 2 {
			t.Fatalf("the Plan of %s names %d of 2 targets", state.Model.Name, len(plan.Allocations))
		}
		if len(plan.Reasons) == 0 {
			t.Fatalf("the Plan of %s has no reason", state.Model.Name)
		}
		total, slow := 0, false
		for _, c := range d.Changes {
			if c.Target.Model == state.Model.Name {
				total += c.To
				slow = slow || slowed(c)
				change(t, s, state, c)
				v, _ := state.Model.Variant(c.Target.Variant)
				if !c.DryRun {
					started[v.Accelerator.Type] += c.Start() * v.Accelerator.Count
				}
			}
		}
		for _, r := range state.Replicas {
			v, _ := state.Model.Variant(r.Target.Variant)
			occupied[v.Accelerator.Type] += v.Accelerator.Count
		}
		if late := overdue(s, state); state.Model.Mode == scale.Auto && !slow && total > state.Model.Replicas.Max+late {
			t.Fatalf("%s goes to %d, above its maximum of %d", state.Model.Name, total, state.Model.Replicas.Max)
		}
	}
	for _, o := range s.Offerings {
		if o.Limited && started[o.Accelerator] > max(0, o.Slots-occupied[o.Accelerator]) {
			t.Fatalf("%d of %s started, %d of %d in use", started[o.Accelerator], o.Accelerator, occupied[o.Accelerator], o.Slots)
		}
	}
}

// change checks one Change: counts add up, nothing foreign is drained, missing
// data never shrinks, paused never moves.
func change(t *rapid.T, s scale.Snapshot, state scale.ModelState, c scale.Change) {
	serving := map[scale.ReplicaID]bool{}
	for _, r := range state.Replicas {
		if r.Target == c.Target && r.Serving() {
			serving[r.ID] = true
		}
	}
	taken := 0
	for _, id := range c.Drain {
		if !serving[id] {
			t.Fatalf("%v drains %s, which does not serve it", c.Target, id)
		}
		if _, ok := s.Interrupted(id); ok {
			taken++
		}
		delete(serving, id)
	}
	kept := len(serving)
	if c.To < 0 || kept > c.To || c.From != kept+len(c.Drain) {
		t.Fatalf("%v: from %d, to %d, drains %d, keeps %d", c.Target, c.From, c.To, len(c.Drain), kept)
	}
	if len(c.Reasons) == 0 {
		t.Fatalf("%v: no reason", c.Target)
	}
	v, _ := state.Model.Variant(c.Target.Variant)
	if state.Model.Mode == scale.Auto && c.To > v.Max && !slowed(c) {
		t.Fatalf("%v: to %d, above the variant's maximum of %d: %+v", c.Target, c.To, v.Max, c)
	}
	if state.Model.Mode == scale.Paused && (c.Start() > 0 || len(c.Drain) > taken) {
		t.Fatalf("%v is paused and moves: %+v", c.Target, c)
	}
	blind := !state.Demand.Arrivals.Fresh(s.Now, staleLeast)
	capped := state.Model.Limits.CostPerHour > 0 || s.Fleet.Limits.CostPerHour > 0 || state.Model.Replicas.Max < len(state.Replicas) || v.Max < len(state.Replicas)
	if late := overdue(s, state); blind && !capped && len(c.Drain) > taken+late {
		t.Fatalf("%v: %d drained on missing data: %+v", c.Target, len(c.Drain), c)
	}
}

// slowed says whether a rate keeps a target above its maximum for a while.
func slowed(c scale.Change) bool {
	return c.Start() == 0 && slices.ContainsFunc(c.Reasons, func(r scale.Reason) bool {
		return r.Code == scale.ReasonDownRate || r.Code == scale.ReasonFleetDownRate
	})
}

func overdue(s scale.Snapshot, state scale.ModelState) int {
	n := 0
	for _, r := range state.Replicas {
		if r.Phase == scale.Starting && s.Now.Sub(r.Created) > time.Minute {
			n++
		}
	}
	return n
}

// advance makes the Decision true and draws what is measured next.
func advance(t *rapid.T, s scale.Snapshot, d scale.Decision) scale.Snapshot {
	s.Now = s.Now.Add(time.Second)
	models := slices.Clone(s.Models)
	for i := range models {
		m := &models[i]
		m.Replicas = slices.Clone(m.Replicas)
		for _, c := range d.Changes {
			if c.Target.Model != m.Model.Name || c.DryRun {
				continue
			}
			for j := range m.Replicas {
				if slices.Contains(c.Drain, m.Replicas[j].ID) {
					m.Replicas[j].Phase = scale.Draining
				}
			}
			for k := range c.Start() {
				m.Replicas = append(m.Replicas, scale.Replica{
					ID:     scale.ReplicaID(fmt.Sprintf("%v-%d-%d", c.Target, s.Now.Unix(), k)),
					Target: c.Target, Phase: scale.Starting, Created: s.Now,
				})
			}
		}
	}
	s.Models = models
	return s
}

// TestTheWindowLaw: while nothing but the scale-down window holds, replicas
// never fall below the largest wish of the window.
func TestTheWindowLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const window = 20
		s := scale.Snapshot{Now: lawStart, Tick: time.Second, Offerings: []scale.Offering{{Accelerator: "a100", Capacity: scale.OnDemand, PricePerHour: 2}}}
		s.Models = []scale.ModelState{{Model: scale.Model{
			Name: "m0", SLO: scale.SLO{TTFT: time.Second, TPOT: 50 * time.Millisecond, Objective: 0.99, Window: time.Hour, MaxHold: time.Minute},
			Replicas: scale.Range{Max: 100}, ScaleToZero: scale.ScaleToZero{After: time.Second}, ScaleDownWindow: window * time.Second, Mode: scale.Auto,
			Variants: []scale.Variant{{Name: "a100", Accelerator: scale.Accelerator{Type: "a100", Count: 1}, Capacities: []scale.CapacityType{scale.OnDemand}, Max: 100, Profile: llama8bA100(), ColdStart: 10 * time.Second}},
		}}}
		var m Memory
		var wishes []int
		for i := range rapid.IntRange(1, 80).Draw(t, "ticks") {
			s.Models[0].Demand.Arrivals = scale.Observe(rapid.SampledFrom([]float64{0, 0, 1, 20, 60}).Draw(t, "rate"), s.Now)
			var d scale.Decision
			d, m = Step(s, m)
			to := 0
			for _, c := range d.Changes {
				to += c.To
			}
			wishes = append(wishes, d.Plans[0].Allocations[0].Replicas)
			if largest := slices.Max(wishes[max(0, i-window+1):]); to < largest {
				t.Fatalf("tick %d: %d, below a wish of %d within the window", i, to, largest)
			}
			s = advance(t, s, d)
		}
	})
}

// TestADoubledPriceNeverRaisesACount holds for the one Plan of a first tick.
func TestADoubledPriceNeverRaisesACount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := arbitrary(t)
		before, _ := Step(s, Memory{})
		s.Offerings = slices.Clone(s.Offerings)
		s.Offerings[0].PricePerHour *= 2
		after, _ := Step(s, Memory{})
		for i, p := range before.Plans {
			for j, a := range p.Allocations {
				if a.Target.Variant == "a100" && after.Plans[i].Allocations[j].Replicas > a.Replicas {
					t.Fatalf("%v: %d, and %d at twice the price", a.Target, a.Replicas, after.Plans[i].Allocations[j].Replicas)
				}
			}
		}
	})
}

func BenchmarkStep(b *testing.B) {
	s := scale.Snapshot{Now: lawStart, Tick: time.Second, Offerings: []scale.Offering{{Accelerator: "a100", Capacity: scale.OnDemand, PricePerHour: 2}}}
	const models = 100
	for i := range models {
		name := fmt.Sprintf("m%03d", i)
		state := scale.ModelState{Model: scale.Model{
			Name: name, SLO: scale.SLO{TTFT: time.Second, TPOT: 50 * time.Millisecond, Objective: 0.99, Window: time.Hour, MaxHold: time.Minute},
			Replicas: scale.Range{Max: 100}, ScaleDownWindow: time.Minute, Mode: scale.Auto,
			Variants: []scale.Variant{{Name: "a100", Accelerator: scale.Accelerator{Type: "a100", Count: 1}, Capacities: []scale.CapacityType{scale.OnDemand}, Max: 100, Profile: llama8bA100(), ColdStart: 10 * time.Second}},
		}}
		for j := range 8 {
			state.Replicas = append(state.Replicas, scale.Replica{ID: scale.ReplicaID(fmt.Sprint(name, j)), Phase: scale.Ready, Target: scale.ScaleTarget{Model: name, Variant: "a100", Capacity: scale.OnDemand}})
		}
		s.Models = append(s.Models, state)
	}
	var m Memory
	for b.Loop() {
		s.Now = s.Now.Add(time.Second)
		for i := range s.Models {
			d := &s.Models[i].Demand
			d.Arrivals, d.Good, d.Bad = scale.Observe(40, s.Now), scale.Observe(d.Good.Value+40, s.Now), scale.Observe(0, s.Now)
		}
		_, m = Step(s, m)
	}
	text, _ := m.Encode()
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*models), "µs/model")
	b.ReportMetric(float64(len(text))/models, "bytes/model")
}

// BenchmarkEncode writes the Memory of a Model that was watched for a day.
func BenchmarkEncode(b *testing.B) {
	s := scale.Snapshot{Now: lawStart, Tick: time.Second, Offerings: []scale.Offering{{Accelerator: "a100", Capacity: scale.OnDemand, PricePerHour: 2}}}
	state := scale.ModelState{Model: scale.Model{
		Name: "m", SLO: scale.SLO{TTFT: time.Second, TPOT: 50 * time.Millisecond, Objective: 0.99, Window: 30 * 24 * time.Hour, MaxHold: time.Minute},
		Replicas: scale.Range{Max: 100}, Mode: scale.Auto,
		Variants: []scale.Variant{{Name: "a100", Accelerator: scale.Accelerator{Type: "a100", Count: 1}, Capacities: []scale.CapacityType{scale.OnDemand}, Max: 100, Profile: llama8bA100(), ColdStart: time.Minute}},
	}, Replicas: []scale.Replica{{ID: "m0", Phase: scale.Ready, Target: scale.ScaleTarget{Model: "m", Variant: "a100", Capacity: scale.OnDemand}}}}
	s.Models = []scale.ModelState{state}
	var m Memory
	for range 24 * 3600 {
		s.Now = s.Now.Add(time.Second)
		d := &s.Models[0].Demand
		d.Arrivals, d.Good, d.Bad = scale.Observe(4, s.Now), scale.Observe(d.Good.Value+4, s.Now), scale.Observe(d.Bad.Value+0.01, s.Now)
		_, m = Step(s, m)
	}
	size := 0
	b.ReportAllocs()
	for b.Loop() {
		raw, err := m.Encode()
		if err != nil {
			b.Fatal(err)
		}
		size = len(raw)
	}
	b.ReportMetric(float64(size), "bytes/model")
}
