package rival

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
)

// drawn is an arbitrary model and what was measured of it over time.
type drawn struct {
	setting Setting
	states  []scale.ModelState
	nows    []time.Time
}

func drawCase(t *rapid.T) drawn {
	draw := dice{rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))}
	d := drawn{setting: draw.setting()}
	now := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	var replicas []scale.Replica
	for i := range rapid.IntRange(1, 40).Draw(t, "calls") {
		replicas = draw.replicas(d.setting, replicas, now, i)
		m := scale.ModelState{Model: d.setting.Model, Demand: draw.demand(now)}
		for _, r := range replicas {
			r.Load = draw.load(now)
			m.Replicas = append(m.Replicas, r)
		}
		d.states, d.nows = append(d.states, m), append(d.nows, now)
		now = now.Add(time.Duration(draw.IntN(400)) * time.Second)
	}
	return d
}

// dice draw from one seed, so that a case is a number and quickly made.
type dice struct{ *rand.Rand }

func pick[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

func (d dice) setting() Setting {
	s := chatSetting(d.IntN(3), 2+d.IntN(39))
	variants := []scale.Variant{chatVariant("a100", "nvidia-a100-80gb"), chatVariant("l4", "nvidia-l4"), chatVariant("h100", "nvidia-h100-80gb")}
	s.Model.Variants = variants[:1+d.IntN(3)]
	for i := range s.Model.Variants {
		v := &s.Model.Variants[i]
		v.Max = 1 + d.IntN(30)
		if d.IntN(2) == 0 {
			v.Capacities = append(v.Capacities, scale.Spot)
		}
		if d.IntN(4) == 0 {
			v.Profile = scale.Profile{Service: scale.ServiceTime{Mean: 4 * time.Second, Concurrency: d.IntN(10)}}
		}
	}
	s.Batch = d.IntN(200)
	s.PerReplica = pick(d, 0, 0.1, 2, 50, math.Inf(1), math.NaN())
	return s
}

// replicas lets some of before go and some come; phases only ever move forward.
// A fleet begins within its maximum, and may be found beyond it later.
func (d dice) replicas(s Setting, before []scale.Replica, now time.Time, call int) []scale.Replica {
	var replicas []scale.Replica
	for _, r := range before {
		step := d.IntN(6)
		if step == 0 {
			continue
		}
		if step == 1 && r.Phase < scale.Draining {
			r.Phase, r.Since = r.Phase+1, now
		}
		replicas = append(replicas, r)
	}
	come := d.IntN(6)
	if call == 0 {
		come = min(come, 1)
	}
	for i := range come {
		v := pick(d, s.Model.Variants...)
		target := scale.ScaleTarget{Model: s.Model.Name, Variant: v.Name, Capacity: pick(d, v.Capacities...)}
		id := scale.ReplicaID(fmt.Sprintf("r-%03d-%d", call, i))
		replicas = append(replicas, scale.Replica{ID: id, Target: target, Phase: pick(d, scale.Starting, scale.Ready), Created: now, Since: now})
	}
	return replicas
}

// observation is absent, old, from the future, or no sensible number as often
// as not.
func (d dice) observation(now time.Time, most float64) scale.Observation {
	value := most * d.Float64()
	switch d.IntN(10) {
	case 0:
		return scale.Observation{}
	case 1, 2:
		value = pick(d, 0, -1, 1e18, -1e18, math.Inf(1), math.Inf(-1), math.NaN())
	}
	return scale.Observe(value, now.Add(-pick(d, 0, 0, 0, time.Second, 30*time.Second, time.Hour, -time.Hour)))
}

func (d dice) demand(now time.Time) scale.Demand {
	return scale.Demand{
		Arrivals:     d.observation(now, 100),
		ArrivalsOver: time.Duration(d.IntN(60)) * time.Second,
		PromptTokens: d.observation(now, 8000),
		LongPrompt:   d.observation(now, 8000),
		OutputTokens: d.observation(now, 1000),
		Held:         d.observation(now, 100),
		HeldTokens:   d.observation(now, 100_000),
		HeldFor:      d.observation(now, 60),
		InFlight:     d.observation(now, 1000),
		LastArrival:  d.observation(now, 1e9),
	}
}

func (d dice) load(now time.Time) scale.Load {
	l := scale.Load{
		InFlight:     d.observation(now, 100),
		Running:      d.observation(now, 100),
		Waiting:      d.observation(now, 20),
		KVCacheUsage: d.observation(now, 1),
		Busy:         d.observation(now, 1),
	}
	odd := func() float64 { return pick(d, 0, 1, 300, 300, -5, 1e300, math.NaN(), math.Inf(1)) }
	some := func() time.Duration { return pick(d, 0, -1, time.Millisecond, time.Second, math.MaxInt64) }
	if d.IntN(2) == 0 {
		l.Latency = scale.Latency{
			At: now, Requests: d.IntN(9) - 1, Concurrency: odd(), TTFT: some(), TPOT: some(), Service: some(),
			PromptTokens: odd(), OutputTokens: odd(),
		}
	}
	return l
}

// TestEveryRivalWantsCountsWithinTheMaximumWhateverIsMeasured: no panic, none
// negative, none above the variant's or the model's maximum, each target once
// and of the model, and the same again from the same.
func TestEveryRivalWantsCountsWithinTheMaximumWhateverIsMeasured(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawCase(t)
		for _, r := range All() {
			s := d.setting
			s.Target = scale.ScaleTarget{Model: s.Model.Name, Variant: s.Model.Variants[0].Name, Capacity: scale.OnDemand}
			if len(r.Grid) > 0 && rapid.Bool().Draw(t, "tuned") {
				s.Knob = rapid.SampledFrom(r.Grid).Draw(t, "knob")
			}
			one, two := r.New(s), r.New(s)
			if one.Every() <= 0 {
				t.Fatalf("%s: an interval of %v", r.Name, one.Every())
			}
			for i, m := range d.states {
				wants := one.Decide(d.nows[i], m)
				if again := two.Decide(d.nows[i], m); !cmp.Equal(wants, again) {
					t.Fatalf("%s, call %d: %v, and from the same %v", r.Name, i, wants, again)
				}
				checkWants(t, r.Name, s.Model, wants)
			}
		}
	})
}

func checkWants(t *rapid.T, name string, model scale.Model, wants []Want) {
	t.Helper()
	total, seen := 0, map[scale.ScaleTarget]bool{}
	for _, w := range wants {
		v, ok := model.Variant(w.Target.Variant)
		if !ok || w.Target.Model != model.Name || seen[w.Target] {
			t.Fatalf("%s: %v: target %v is not the model's, or there twice", name, wants, w.Target)
		}
		if w.Replicas < 0 || w.Replicas > v.Max {
			t.Fatalf("%s: %d replicas of %v, whose maximum is %d", name, w.Replicas, w.Target, v.Max)
		}
		seen[w.Target] = true
		total += w.Replicas
	}
	if total > model.Replicas.Max {
		t.Fatalf("%s: %d replicas in all, and the maximum is %d", name, total, model.Replicas.Max)
	}
}

func TestEveryRivalIsDescribed(t *testing.T) {
	names := map[string]bool{}
	for _, r := range All() {
		if r.Name == "" || r.What == "" || r.Source == "" || r.New == nil || names[r.Name] {
			t.Errorf("rival %q lacks a name of its own, a sentence, a source or a policy", r.Name)
		}
		names[r.Name] = true
		if len(r.Grid) > 0 && r.Knob == "" {
			t.Errorf("%s: a knob of %d values without a name", r.Name, len(r.Grid))
		}
		for i, k := range r.Grid {
			if k <= 0 || (i > 0 && k <= r.Grid[i-1]) {
				t.Errorf("%s: grid %v is not positive and ascending", r.Name, r.Grid)
			}
		}
	}
}

// BenchmarkDecide is one call of every rival for a fleet of 64 replicas.
func BenchmarkDecide(b *testing.B) {
	for _, r := range All() {
		b.Run(r.Name, func(b *testing.B) {
			s := chatSetting(1, 100)
			g := newStage(s, 64)
			d := dice{rand.New(rand.NewPCG(1, 2))}
			load := d.load(g.now)
			g.load = func(int) scale.Load { return load }
			m := g.state()
			p := r.New(s)
			b.ReportAllocs()
			for b.Loop() {
				g.now = g.now.Add(p.Every())
				m.Demand.Arrivals, m.Demand.ArrivalsOver, m.Demand.Held = g.at(40), p.Every(), g.at(3)
				m.Demand.PromptTokens, m.Demand.OutputTokens = g.at(1000), g.at(200)
				for i := range m.Replicas {
					m.Replicas[i].Load.InFlight.At, m.Replicas[i].Load.Running.At = g.now, g.now
				}
				p.Decide(g.now, m)
			}
		})
	}
}
