package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/autoscaler"
	"github.com/penstock/penstock/internal/rival"
	"github.com/penstock/penstock/internal/scale"
)

// limitsEvery is how often the batch limits of a Governor that is not Penstock
// are decided anew.
const limitsEvery = 10 * time.Second

// Rivals is a Governor whose counts are a rival's. What one replica may be sent
// (batch limit, tokens) comes from autoscaler.Step, every ten seconds on the
// rival's own Snapshots. Counts stay within Model.Replicas. A count that falls
// takes replicas that are not Ready first, then the newest, as a ReplicaSet
// does.
type Rivals struct {
	Policies map[string]rival.Policy // by model, all with one interval
	// Renew makes a model's Policy anew after a restart of its controller; nil
	// for one that keeps its state.
	Renew func(model string) rival.Policy
	Heeds []Poke // at which its controller ticks, beside its interval

	limits limits
}

// Rival returns the Governor of a rival whose controller listens to the pokes
// that heeds names.
func Rival(policies map[string]rival.Policy, heeds ...Poke) *Rivals {
	return &Rivals{Policies: policies, Heeds: heeds}
}

// Every implements Governor: the shortest interval of the Policies.
func (g *Rivals) Every() time.Duration {
	least := time.Duration(0)
	for _, p := range g.Policies {
		if every := p.Every(); least == 0 || every < least {
			least = every
		}
	}
	return least
}

// Poked implements Heeder.
func (g *Rivals) Poked(p Poke) bool { return slices.Contains(g.Heeds, p) }

// Decide implements Governor.
func (g *Rivals) Decide(s scale.Snapshot) scale.Decision {
	d := scale.Decision{At: s.Now}
	for i := range s.Models {
		state := &s.Models[i]
		if p := g.Policies[state.Model.Name]; p != nil {
			d.Changes = append(d.Changes, changes(state, state.Model.Replicas, p.Decide(s.Now, *state))...)
		}
	}
	g.limits.decide(s, &d)
	return d
}

// Restart implements Governor.
func (g *Rivals) Restart() {
	if g.Renew == nil {
		return
	}
	for _, model := range slices.Sorted(maps.Keys(g.Policies)) {
		g.Policies[model] = g.Renew(model)
	}
}

// limits keeps the batch limits of a Governor that decides counts alone. They
// are the data plane's and survive a restart.
type limits struct {
	memories map[string]autoscaler.Memory // by model
	decided  time.Time
}

// decide adds Plans to a Decision when limits are due: of every model, or of
// those alone at which something happened. The Plans want what the Changes do.
func (l *limits) decide(s scale.Snapshot, d *scale.Decision) {
	if !l.decided.IsZero() && s.Now.Sub(l.decided) < limitsEvery {
		return
	}
	l.decided = s.Now
	if l.memories == nil {
		l.memories = map[string]autoscaler.Memory{}
	}
	all := s.Models
	for i := range all {
		memory, known := l.memories[all[i].Model.Name]
		if known && idle(&all[i]) {
			continue
		}
		s.Models = all[i : i+1]
		var own scale.Decision
		own, l.memories[all[i].Model.Name] = autoscaler.Step(s, memory)
		for _, p := range own.Plans {
			d.Plans = append(d.Plans, wanted(p, d.Changes))
		}
	}
}

// idle says whether nothing was measured of a model that could move its limits.
func idle(m *scale.ModelState) bool {
	d := m.Demand
	return d.Arrivals.Value == 0 && d.Held.Value == 0 && d.InFlight.Value == 0 &&
		!slices.ContainsFunc(m.Replicas, func(r scale.Replica) bool { return r.Load.Latency.Requests > 0 })
}

// wanted is a Plan with the counts of Changes.
func wanted(p scale.Plan, changes []scale.Change) scale.Plan {
	p.Required, p.CostPerHour, p.Reasons = 0, 0, nil
	for i := range p.Allocations {
		a := &p.Allocations[i]
		a.Replicas, a.CostPerHour = 0, 0
		for _, c := range changes {
			if c.Target == a.Target {
				a.Replicas = c.To
			}
		}
	}
	return p
}

// changes makes what a rival wants of a model into Changes, sorted by target.
func changes(state *scale.ModelState, bounds scale.Range, wants []rival.Want) []scale.Change {
	var out []scale.Change
	total := 0
	for _, v := range state.Model.Variants {
		for _, capacity := range v.Capacities {
			c := asked(state, wants, scale.ScaleTarget{Model: state.Model.Name, Variant: v.Name, Capacity: capacity})
			c.To = min(c.Want, v.Max, bounds.Max-total)
			total += c.To
			out = append(out, c)
		}
	}
	if total < bounds.Min { // to where the rival has most
		most := 0
		for i, c := range out {
			if c.To > out[most].To {
				most = i
			}
		}
		out[most].To += bounds.Min - total
	}
	for i := range out {
		c := &out[i]
		if c.To < c.From {
			c.Drain = victims(state, c.Target, c.From-c.To)
		}
		if c.To != c.From {
			c.Reasons = []scale.Reason{{Code: scale.ReasonDemand, Text: fmt.Sprintf("The rival wants %d", c.Want)}}
		}
	}
	slices.SortFunc(out, func(a, b scale.Change) int { return a.Target.Compare(b.Target) })
	return slices.DeleteFunc(out, func(c scale.Change) bool { return c.From == 0 && c.To == 0 })
}

// asked is what serves at a target, and what the rival wants there.
func asked(state *scale.ModelState, wants []rival.Want, target scale.ScaleTarget) scale.Change {
	c := scale.Change{Target: target, From: len(serving(state, target))}
	for _, w := range wants {
		if w.Target == target {
			c.Want += max(0, w.Replicas)
		}
	}
	return c
}

// victims names n replicas of a target as a ReplicaSet would: those that are
// not Ready, then the newest.
// (kubernetes v1.34 pkg/controller/controller_utils.go, ActivePodsWithRanks)
func victims(state *scale.ModelState, t scale.ScaleTarget, n int) []scale.ReplicaID {
	all := serving(state, t)
	slices.SortFunc(all, func(a, b *scale.Replica) int {
		return cmp.Or(cmp.Compare(a.Phase, b.Phase), b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID))
	})
	ids := make([]scale.ReplicaID, n)
	for i := range ids {
		ids[i] = all[i].ID
	}
	return ids
}

func serving(state *scale.ModelState, t scale.ScaleTarget) []*scale.Replica {
	var all []*scale.Replica
	for i := range state.Replicas {
		if r := &state.Replicas[i]; r.Target == t && r.Serving() {
			all = append(all, r)
		}
	}
	return all
}
