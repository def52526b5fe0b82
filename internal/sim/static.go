package sim

import (
	"time"

	"github.com/penstock/penstock/internal/rival"
	"github.com/penstock/penstock/internal/scale"
)

// Static returns a Governor that keeps a constant count of each model's first
// target, whatever happens; batch limits as Rivals has them.
func Static(n int) Governor { return &static{n: n} }

type static struct {
	n      int
	limits limits
}

// Every implements Governor.
func (*static) Every() time.Duration { return limitsEvery }

// Decide implements Governor.
func (g *static) Decide(s scale.Snapshot) scale.Decision {
	d := scale.Decision{At: s.Now}
	for i := range s.Models {
		state := &s.Models[i]
		v := state.Model.Variants[0]
		want := rival.Want{Target: scale.ScaleTarget{Model: state.Model.Name, Variant: v.Name, Capacity: v.Capacities[0]}, Replicas: g.n}
		d.Changes = append(d.Changes, changes(state, scale.Range{Max: g.n}, []rival.Want{want})...)
	}
	g.limits.decide(s, &d)
	return d
}

// Restart implements Governor.
func (*static) Restart() {}

// fixed keeps what there is, and one limit for all of it.
type fixed struct{ limit scale.Allocation }

// Every implements Governor: it ticks once, at the beginning.
func (fixed) Every() time.Duration { return never }

// Decide implements Governor.
func (g fixed) Decide(s scale.Snapshot) scale.Decision {
	return scale.Decision{At: s.Now, Plans: []scale.Plan{{Model: g.limit.Target.Model, Allocations: []scale.Allocation{g.limit}}}}
}

// Restart implements Governor.
func (fixed) Restart() {}
