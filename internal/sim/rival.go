package sim

import (
	"cmp"
	"fmt"
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
			d.Changes = append(d.Changes, changes(state, p.Decide(s.Now, *state))...)
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
	for model := range g.Policies {
		g.Policies[model] = g.Renew(model)
	}
}

// limits keeps the batch limits of a Governor that decides counts alone. They
// are the data plane's and survive a restart.
type limits struct {
	memory  autoscaler.Memory
	decided time.Time
}

// decide adds Plans to a Decision when limits are due. The Plans want what the
// Changes do.
func (l *limits) decide(s scale.Snapshot, d *scale.Decision) {
	if !l.decided.IsZero() && s.Now.Sub(l.decided) < limitsEvery {
		return
	}
	l.decided = s.Now
	var own scale.Decision
	own, l.memory = autoscaler.Step(s, l.memory)
	d.Plans, d.Forecasts, d.Budgets, d.Alerts = own.Plans, own.Forecasts, own.Budgets, own.Alerts
	for i := range d.Plans {
		p := &d.Plans[i]
		p.Required, p.CostPerHour, p.Reasons = 0, 0, nil
		for j := range p.Allocations {
			a := &p.Allocations[j]
			a.Replicas, a.CostPerHour = 0, 0
			for _, c := range d.Changes {
				if c.Target == a.Target {
					a.Replicas = c.To
				}
			}
		}
	}
}

// changes makes what a rival wants of a model into Changes, sorted by target.
func changes(state *scale.ModelState, wants []rival.Want) []scale.Change {
	bounds := state.Model.Replicas
	var out []scale.Change
	total := 0
	for _, v := range state.Model.Variants {
		for _, capacity := range v.Capacities {
			c := scale.Change{Target: scale.ScaleTarget{Model: state.Model.Name, Variant: v.Name, Capacity: capacity}}
			for _, r := range state.Replicas {
				if r.Target == c.Target && r.Serving() {
					c.From++
				}
			}
			for _, w := range wants {
				if w.Target == c.Target {
					c.Want += max(0, w.Replicas)
				}
			}
			c.To = min(c.Want, v.Max, bounds.Max-total)
			total += c.To
			out = append(out, c)
		}
	}
	if total < bounds.Min && len(out) > 0 {
		// To where the rival has most, else to the first.
		most := slices.IndexFunc(out, func(c scale.Change) bool {
			return c.To == slices.MaxFunc(out, func(a, b scale.Change) int { return cmp.Compare(a.To, b.To) }).To
		})
		out[most].To += bounds.Min - total
	}
	for i := range out {
		if c := &out[i]; c.To < c.From {
			c.Drain = victims(state, c.Target, c.From-c.To)
		}
		why := fmt.Sprintf("The rival wants %d", out[i].Want)
		out[i].Reasons = []scale.Reason{{Code: scale.ReasonDemand, Text: why}}
	}
	slices.SortFunc(out, func(a, b scale.Change) int { return a.Target.Compare(b.Target) })
	return slices.DeleteFunc(out, func(c scale.Change) bool { return c.From == 0 && c.To == 0 })
}

// victims names n replicas of a target as a ReplicaSet would: those that are
// not Ready, then the newest.
// (kubernetes v1.34 pkg/controller/controller_utils.go, ActivePodsWithRanks)
func victims(state *scale.ModelState, t scale.ScaleTarget, n int) []scale.ReplicaID {
	var serving []scale.Replica
	for _, r := range state.Replicas {
		if r.Target == t && r.Serving() {
			serving = append(serving, r)
		}
	}
	slices.SortFunc(serving, func(a, b scale.Replica) int {
		return cmp.Or(cmp.Compare(a.Phase, b.Phase), b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID))
	})
	ids := make([]scale.ReplicaID, n)
	for i := range ids {
		ids[i] = serving[i].ID
	}
	return ids
}
