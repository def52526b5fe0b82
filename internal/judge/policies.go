package judge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock/penstock/internal/capacity"
	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/rival"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
)

// The policies that are sized or cut by the judge.
const (
	staticPeak = "static-peak"
	staticP99  = "static-p99"
	// onDemandOnly is Penstock where spot is for sale, without it.
	onDemandOnly = report.Penstock + "-on-demand"
	tunedSuffix  = "-tuned"
)

// PolicyInfo is an entry of the list of policies.
type PolicyInfo struct {
	Name, What, Source string
	Knob               string // what is set, where something is
}

// Policies lists what can be compared: Penstock, every rival as it ships and,
// where it has a target, with that tuned in hindsight.
func Policies() []PolicyInfo {
	list := []PolicyInfo{
		{Name: report.Penstock, What: "The product's own deciding.", Source: "internal/autoscaler"},
		{Name: onDemandOnly, What: "The same without spot, where spot is for sale.", Source: "internal/autoscaler"},
	}
	for _, r := range rival.All() {
		list = append(list, PolicyInfo{Name: r.Name, What: r.What, Source: r.Source, Knob: r.Knob})
		if len(r.Grid) > 0 {
			list = append(list, PolicyInfo{
				Name: r.Name + tunedSuffix, What: r.What + " Its target is tuned for the workload in hindsight.", Source: r.Source, Knob: r.Knob,
			})
		}
	}
	return list
}

// policy is one entry, ready to be run.
type policy struct {
	name  string
	own   bool
	tuned bool
	rival rival.Rival // where not own
}

// choose returns the policies of those names, or all of them; an unknown name
// is an error that suggests the nearest.
func choose(names []string) ([]policy, error) {
	all := []policy{{name: report.Penstock, own: true}, {name: onDemandOnly, own: true}}
	for _, r := range rival.All() {
		all = append(all, policy{name: r.Name, rival: r})
		if len(r.Grid) > 0 {
			all = append(all, policy{name: r.Name + tunedSuffix, rival: r, tuned: true})
		}
	}
	if len(names) == 0 {
		return all, nil
	}
	var chosen []policy
	for _, name := range names {
		i := slices.IndexFunc(all, func(p policy) bool { return p.name == name })
		if i < 0 {
			known := make([]string, len(all))
			for j, p := range all {
				known[j] = p.name
			}
			return nil, UnknownError{Kind: "policy", Name: name, Known: known}
		}
		if !slices.ContainsFunc(chosen, func(p policy) bool { return p.name == name }) {
			chosen = append(chosen, all[i])
		}
	}
	return chosen, nil
}

// UnknownError is a name that stands for nothing.
type UnknownError struct {
	Kind, Name string
	Known      []string
}

func (e UnknownError) Error() string {
	near := slices.MinFunc(e.Known, func(a, b string) int {
		return cmp.Compare(scale.EditDistance(e.Name, a), scale.EditDistance(e.Name, b))
	})
	return fmt.Sprintf("there is no %s %q; did you mean %s? All: %s", e.Kind, e.Name, near, strings.Join(e.Known, ", "))
}

// asks says whether a policy has anything to do with a Question.
func (p policy) asks(q Question) bool {
	spot := len(q.Zones) > 0
	return p.name != onDemandOnly && !p.rival.Spot || spot
}

// governor makes a policy's Governor for a drawn Question, with a knob where
// that is above 0, and says with what it runs.
func (d *drawn) governor(p policy, value float64) (sim.Governor, report.Knob) {
	if p.own {
		return sim.Penstock(d.Tick), report.Knob{}
	}
	knob := report.Knob{Name: p.rival.Knob, Tuned: p.tuned}
	policies := make(map[string]rival.Policy, len(d.Models))
	settings := make(map[string]rival.Setting, len(d.Models))
	for i, m := range d.Models {
		s := d.setting(i)
		switch p.name {
		case staticPeak:
			s.Knob = float64(slices.Max(d.need(i, d.lane(i, s.Target))))
		case staticP99:
			s.Knob = float64(d.p99(i, d.need(i, d.lane(i, s.Target))))
		default:
			s.Knob = value
		}
		if s.Knob == 0 && (p.name == staticPeak || p.name == staticP99) {
			continue // nobody asks for it, and nothing of it stays
		}
		if s.Knob > 0 && (len(d.Models) == 1 || p.tuned) {
			knob.Value = report.Number(s.Knob)
		}
		settings[m.Name], policies[m.Name] = s, p.rival.New(s)
	}
	g := sim.Rival(policies, heeds(p.name)...)
	g.Renew = func(model string) rival.Policy { return p.rival.New(settings[model]) }
	return g, knob
}

// heeds are the events at which a rival's controller does not wait for its
// interval: the activator of Knative and the handles of Ray Serve tell theirs
// of the first request at zero.
func heeds(name string) []sim.Poke {
	switch strings.TrimSuffix(name, tunedSuffix) {
	case "knative-kpa", "ray-serve":
		return []sim.Poke{sim.PokeWake}
	}
	return nil
}

// setting is what whoever deploys a rival for a model knows.
func (d *drawn) setting(i int) rival.Setting {
	m := d.Models[i]
	s := rival.Setting{Model: m, Offerings: d.Offerings}
	best := 0.0
	for _, v := range m.Variants {
		limit := (&capacity.Server{Profile: v.Profile, Mix: d.asked(i).all.Mix}).Solve(m.SLO)
		price := d.price(v, v.Capacities[0])
		if per := limit.PerReplica / price; per > best {
			best = per
			s.Target = scale.ScaleTarget{Model: m.Name, Variant: v.Name, Capacity: v.Capacities[0]}
			s.Batch, s.PerReplica = limit.Batch, limit.PerReplica
		}
	}
	if best == 0 { // by what everybody is told, nothing meets the SLO: one at a time
		v := m.Variants[0]
		at := (&capacity.Server{Profile: v.Profile, Mix: d.asked(i).all.Mix}).Predict(1, m.SLO.Objective)
		s.Target = scale.ScaleTarget{Model: m.Name, Variant: v.Name, Capacity: v.Capacities[0]}
		s.Batch, s.PerReplica = 1, 1/at.Service
	}
	return s
}

// price is that of a replica.
func (q Question) price(v scale.Variant, c scale.CapacityType) float64 {
	for _, o := range q.Offerings {
		if o.Accelerator == v.Accelerator.Type && o.Capacity == c {
			return o.PricePerHour * float64(v.Accelerator.Count)
		}
	}
	return 0
}

// p99 is the smallest constant fleet of a model that is too small only for the
// minutes in which one request in a hundred comes, needs being of a replica's
// kind.
func (d *drawn) p99(i int, needs []int) int {
	type load struct {
		need int
		rate float64
	}
	loads := make([]load, len(needs))
	total := 0.0
	for t, need := range needs {
		loads[t] = load{need, d.survey.rate(i, t)}
		total += loads[t].rate
	}
	slices.SortFunc(loads, func(a, b load) int { return cmp.Compare(b.need, a.need) })
	above := 0.0
	for _, l := range loads {
		if above += l.rate; above > total/100 {
			return l.need
		}
	}
	return 0
}
