package rival

import (
	"fmt"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// stage is a model whose replicas become Ready a boot after they were wanted,
// and go at once when they are not.
type stage struct {
	setting  Setting
	now      time.Time
	boot     time.Duration
	replicas []scale.Replica
	made     int
	load     func(ready int) scale.Load // of each Ready replica
	demand   scale.Demand
}

// newStage has so many Ready replicas of the setting's target.
func newStage(s Setting, ready int) *stage {
	g := &stage{setting: s, now: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), load: func(int) scale.Load { return scale.Load{} }}
	g.add(s.Target, ready, scale.Ready)
	return g
}

func (g *stage) add(t scale.ScaleTarget, n int, phase scale.Phase) {
	for range n {
		g.made++
		id := scale.ReplicaID(fmt.Sprintf("%s-%04d", t, g.made))
		g.replicas = append(g.replicas, scale.Replica{ID: id, Target: t, Phase: phase, Created: g.now, Since: g.now})
	}
}

func (g *stage) count(t scale.ScaleTarget, phase scale.Phase) int {
	n := 0
	for _, r := range g.replicas {
		if r.Target == t && r.Phase == phase {
			n++
		}
	}
	return n
}

// size counts the serving replicas of the setting's target.
func (g *stage) size() int {
	return g.count(g.setting.Target, scale.Starting) + g.count(g.setting.Target, scale.Ready)
}

func (g *stage) state() scale.ModelState {
	ready := 0
	for i := range g.replicas {
		r := &g.replicas[i]
		if r.Phase == scale.Starting && g.now.Sub(r.Created) >= g.boot {
			r.Phase, r.Since = scale.Ready, g.now
		}
		if r.Phase == scale.Ready {
			ready++
		}
	}
	m := scale.ModelState{Model: g.setting.Model, Demand: g.demand}
	for _, r := range g.replicas {
		if r.Phase == scale.Ready {
			r.Load = g.load(ready)
		}
		m.Replicas = append(m.Replicas, r)
	}
	return m
}

// step asks the policy once, does what it wants, and lets its interval pass.
func (g *stage) step(p Policy) {
	wants := p.Decide(g.now, g.state())
	kept := map[scale.ScaleTarget]int{}
	var replicas []scale.Replica
	for _, r := range g.replicas {
		if kept[r.Target] < countOf(wants, r.Target) {
			kept[r.Target]++
			replicas = append(replicas, r)
		}
	}
	g.replicas = replicas
	for _, w := range wants {
		g.add(w.Target, w.Replicas-kept[w.Target], scale.Starting)
	}
	g.now = g.now.Add(p.Every())
}

// until runs for so long, calls at both ends included.
func (g *stage) until(p Policy, d time.Duration) {
	for end := g.now.Add(d); !g.now.After(end); {
		g.step(p)
	}
}

// takes returns how long it takes until the fleet has another size.
func (g *stage) takes(t *testing.T, p Policy) time.Duration {
	t.Helper()
	start, size := g.now, g.size()
	for g.now.Sub(start) < 24*time.Hour {
		before := g.now
		g.step(p)
		if g.size() != size {
			return before.Sub(start)
		}
	}
	t.Fatalf("still %d replicas after a day", size)
	return 0
}

func countOf(wants []Want, t scale.ScaleTarget) int {
	for _, w := range wants {
		if w.Target == t {
			return w.Replicas
		}
	}
	return 0
}

// chatSetting is a model with one variant of batch limit 10.
func chatSetting(least, most int) Setting {
	model := scale.Model{
		Name:     "chat",
		SLO:      scale.SLO{TTFT: time.Second, TPOT: 50 * time.Millisecond, Objective: 0.99},
		Variants: []scale.Variant{chatVariant("a100", "nvidia-a100-80gb")},
		Replicas: scale.Range{Min: least, Max: most},
	}
	return Setting{
		Model: model, Batch: 10, PerReplica: 2,
		Offerings: []scale.Offering{
			{Accelerator: "nvidia-a100-80gb", Capacity: scale.OnDemand, PricePerHour: 2},
			{Accelerator: "nvidia-l4", Capacity: scale.OnDemand, PricePerHour: 0.75},
		},
		Target: scale.ScaleTarget{Model: "chat", Variant: "a100", Capacity: scale.OnDemand},
	}
}

// chatVariant serves an 8B model: about 10 ms an iteration, 0.125 ms a prompt
// token, 400,000 tokens of KV cache.
func chatVariant(name, accelerator string) scale.Variant {
	return scale.Variant{
		Name: name, Accelerator: scale.Accelerator{Type: accelerator, Count: 1}, Max: 100,
		Capacities: []scale.CapacityType{scale.OnDemand}, ColdStart: time.Minute,
		Profile: scale.Profile{
			Name:      name,
			Linear:    []scale.LinearPoint{{Tokens: 1, Time: 10 * time.Millisecond}, {Tokens: 2001, Time: 260 * time.Millisecond}},
			Bandwidth: 2e12, KVBytesPerToken: 125_000, MemoryBytes: 80e9, MemoryUtilisation: 0.9,
			WeightBytes: 22e9, PrefillChunk: 2000, MaxBatch: 256,
		},
	}
}

// at stamps a value with the stage's time.
func (g *stage) at(value float64) scale.Observation { return scale.Observe(value, g.now) }
