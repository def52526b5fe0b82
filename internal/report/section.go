package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// glanceRow is a workload in the table at the head of the page.
type glanceRow struct {
	ID, Name, What         string
	Spark                  string // points of an SVG polyline of 120 × 24
	Requests, Objective    cell
	Attainment, Cost       cell
	Ratio, Best, BestRatio cell
	Against                cell // Penstock's cost beside the best rival's
	Met, Ran               bool // Penstock
}

// section is one workload on the page.
type section struct {
	ID, Name, What string
	About, Verdict string
	Rows           []policyRow
	Seeds          []seedRow
	Factors        string // by how much the truth differed
	Scatter        scatter
	HasScatter     bool
	Data           *packed // nil without charts
}

// policyRow is one policy in a section's table.
type policyRow struct {
	Name, Knob, Lost          string
	Self, Own, Met, Best      bool
	Good, Worst, Cost         cell
	Ratio, Same, Per1k        cell
	Hours, Actions, Reversals cell
	Peak, Decision, Memory    cell
	Bar                       []bar
}

// bar is a part of a policy's GPU-hours, in percent of the table's largest.
type bar struct {
	Kind  scale.Usage
	Width float64
	Title string
}

type seedRow struct {
	Policy                         string
	Seed                           uint64
	Good, Worst, Cost, Ratio, Same cell
	Hours, Actions, Reversals      cell
}

func newGlance(id string, w Workload, s *Series) glanceRow {
	g := glanceRow{
		ID: id, Name: w.Name, What: w.What,
		Requests:  figure(Number(w.Requests), count(w.Requests)),
		Objective: figure(w.Objective, Percent(w.Objective)),
		Best:      cell{Text: None}, BestRatio: cell{Text: None}, Against: cell{Text: None},
		Attainment: cell{Text: None}, Cost: cell{Text: None}, Ratio: cell{Text: None},
	}
	if s != nil {
		g.Spark = spark(s.Demand)
	}
	best, ok := BestRival(w.Policies)
	if ok {
		g.Best, g.BestRatio = cell{Text: best.Name, Sort: best.Name}, figure(best.Ratio, times(best.Ratio))
	}
	if own, ran := named(w.Policies, Penstock); ran {
		g.Ran, g.Met = true, own.ObjectiveMet
		g.Attainment, g.Cost = figure(own.Attainment, Percent(own.Attainment)), figure(own.Cost, amount(own.Cost))
		g.Ratio = figure(own.Ratio, times(own.Ratio))
		if ok {
			saved := own.Cost/best.Cost - 1
			g.Against = figure(saved, signed(saved))
		}
	}
	return g
}

// spark draws values from zero in 120 × 24; where several share a column the
// largest shows.
func spark(values []float64) string {
	cells := fold(values, 120)
	most := 0.0
	for _, v := range cells {
		if Number(v).Known() {
			most = max(most, v)
		}
	}
	if most == 0 {
		return ""
	}
	var b strings.Builder
	for i, v := range cells {
		if Number(v).Known() && v >= 0 {
			fmt.Fprintf(&b, "%.1f,%.1f ", float64(i)*120/float64(len(cells)), 23-22*(v/most))
		}
	}
	return strings.TrimSpace(b.String())
}

func named(policies []Policy, name string) (Policy, bool) {
	i := slices.IndexFunc(policies, func(p Policy) bool { return p.Name == name })
	if i < 0 {
		return Policy{}, false
	}
	return policies[i], true
}

func newSection(id string, w Workload, s *Series, told int) section {
	v := section{ID: id, Name: w.Name, What: w.What, About: about(w), Verdict: verdict(w)}
	policies := Ranked(w.Policies)
	best, met := BestRival(w.Policies)
	most := 0.0
	for _, p := range policies {
		if p.GPUHours.Total.Known() {
			most = max(most, float64(p.GPUHours.Total))
		}
	}
	for _, p := range policies {
		row := newPolicyRow(p)
		row.Best = met && p.Name == best.Name
		row.Bar = bars(p.GPUHours, most)
		v.Rows = append(v.Rows, row)
		if len(p.Seeds) < 2 {
			continue
		}
		for _, seed := range p.Seeds {
			v.Seeds = append(v.Seeds, newSeedRow(p.Name, seed))
		}
	}
	v.Factors = factors(w.Truths)
	v.Scatter, v.HasScatter = newScatter(w)
	if s != nil {
		v.Data = packSeries(w, *s, told)
	}
	return v
}

func newPolicyRow(p Policy) policyRow {
	decision := cell{Text: None}
	if p.Decision.Mean.Known() {
		decision = figure(p.Decision.Mean, short(p.Decision.Mean)+" / "+short(p.Decision.P99))
	}
	memory := cell{Text: None}
	if p.MemoryBytes > 0 {
		kib := Number(float64(p.MemoryBytes) / 1024)
		memory = figure(kib, short(kib))
	}
	return policyRow{
		Name: p.Name, Knob: knob(p.Knob), Lost: lost(p.Outcomes), Self: p.Name == Penstock, Own: p.Own(), Met: p.ObjectiveMet,
		Good: figure(p.Attainment, Percent(p.Attainment)), Worst: figure(p.WorstTenMinutes, Percent(p.WorstTenMinutes)),
		Cost: figure(p.Cost, amount(p.Cost)), Ratio: figure(p.Ratio, times(p.Ratio)), Same: figure(p.RatioSame, times(p.RatioSame)),
		Per1k: figure(p.CostPer1kGood, amount(p.CostPer1kGood)), Hours: figure(p.GPUHours.Total, short(p.GPUHours.Total)),
		Actions: figure(p.ActionsPerHour, short(p.ActionsPerHour)), Reversals: figure(p.Reversals, short(p.Reversals)),
		Peak: figure(Number(p.PeakReplicas), count(p.PeakReplicas)), Decision: decision, Memory: memory,
	}
}

func newSeedRow(policy string, s Seed) seedRow {
	return seedRow{
		Policy: policy, Seed: s.Seed, Good: figure(s.Attainment, Percent(s.Attainment)), Worst: figure(s.WorstTenMinutes, Percent(s.WorstTenMinutes)),
		Cost: figure(s.Cost, amount(s.Cost)), Ratio: figure(s.Ratio, times(s.Ratio)), Same: figure(s.RatioSame, times(s.RatioSame)),
		Hours: figure(s.GPUHours.Total, short(s.GPUHours.Total)), Actions: figure(s.ActionsPerHour, short(s.ActionsPerHour)),
		Reversals: figure(Number(s.Reversals), count(s.Reversals)),
	}
}

// bars are the kinds of GPU-hours that there are.
func bars(h Hours, most float64) []bar {
	var out []bar
	for _, part := range []struct {
		kind  scale.Usage
		hours Number
	}{{scale.Serving, h.Serving}, {scale.IdleTime, h.Idle}, {scale.Loading, h.Loading}, {scale.DrainingTime, h.Draining}} {
		if part.hours.Known() && part.hours > 0 && most > 0 {
			width := math.Round(1000*min(1, float64(part.hours)/most)) / 10
			out = append(out, bar{Kind: part.kind, Width: width, Title: fmt.Sprintf("%s %s", part.kind, short(part.hours))})
		}
	}
	return out
}

func knob(k Knob) string {
	switch {
	case k.Name == "":
		return ""
	case k.Tuned:
		return fmt.Sprintf("%s %s, tuned in hindsight", k.Name, short(k.Value))
	default:
		return fmt.Sprintf("%s %s", k.Name, short(k.Value))
	}
}

// lost are the outcomes other than OK.
func lost(t Tally) string {
	var parts []string
	for _, o := range scale.Outcomes() {
		if n := t[o]; o != scale.OK && n > 0 {
			parts = append(parts, o.String()+" "+count(n))
		}
	}
	return strings.Join(parts, ", ")
}

// factors says by how much the truth differed in each seed.
func factors(truths []Truth) string {
	var seeds []string
	for _, t := range truths {
		var parts []string
		for _, variant := range slices.Sorted(maps.Keys(t.Factors)) {
			parts = append(parts, variant+" "+times(t.Factors[variant])+" times")
		}
		if len(parts) > 0 {
			seeds = append(seeds, fmt.Sprintf("seed %d: %s", t.Seed, strings.Join(parts, ", ")))
		}
	}
	return strings.Join(seeds, "; ")
}

// verdict is what the workload says in a few sentences.
func verdict(w Workload) string {
	best, anyMet := BestRival(w.Policies)
	own, ran := named(w.Policies, Penstock)
	switch {
	case len(w.Policies) == 0:
		return "No policy ran to its end."
	case !ran && anyMet:
		return fmt.Sprintf("The cheapest policy that met the objective is %s: %s%s.", best.Name, amount(best.Cost), overFleet(best))
	case !ran:
		return "No policy met the objective."
	}
	first := fmt.Sprintf("Penstock met the objective: %s good for %s%s.", Percent(own.Attainment), amount(own.Cost), overFleet(own))
	if !own.ObjectiveMet {
		first = fmt.Sprintf("Penstock missed the objective: %s good for %s%s.", Percent(own.Attainment), amount(own.Cost), overFleet(own))
	}
	switch {
	case !anyMet && slices.ContainsFunc(w.Policies, func(p Policy) bool { return !p.Own() }):
		return first + " No rival met it."
	case !anyMet:
		return first
	}
	return first + fmt.Sprintf(" The cheapest rival that met it is %s: %s%s. %s", best.Name, amount(best.Cost), overFleet(best), beside(own, best))
}

func overFleet(p Policy) string {
	if !p.Ratio.Known() {
		return ""
	}
	return fmt.Sprintf(", %s times the clairvoyant fleet", times(p.Ratio))
}

func beside(own, rival Policy) string {
	more := own.Cost/rival.Cost - 1
	switch {
	case !more.Known():
		return ""
	case signed(more) == "0.0 %":
		return "Penstock cost the same."
	case more < 0:
		return fmt.Sprintf("Penstock cost %s less.", strings.TrimPrefix(signed(more), "−"))
	default:
		return fmt.Sprintf("Penstock cost %s more.", strings.TrimPrefix(signed(more), "+"))
	}
}

// signed writes a difference as a percentage with its sign.
func signed(n Number) string {
	if !n.Known() {
		return None
	}
	sign := "+"
	if n < 0 {
		sign = "−"
	}
	percent := math.Abs(100 * float64(n))
	if percent < 0.05 {
		return "0.0 %"
	}
	if percent >= 10_000 {
		return sign + short(Number(percent)) + " %"
	}
	return fmt.Sprintf("%s%.1f %%", sign, percent)
}

// several writes how many there are of a thing.
func several(n int, thing string) string {
	switch stem, y := strings.CutSuffix(thing, "y"); {
	case n == 1:
		return "1 " + thing
	case y:
		return count(n) + " " + stem + "ies"
	default:
		return count(n) + " " + thing + "s"
	}
}

// seconds writes a time that was measured.
func seconds(n Number) string {
	if n > 1e9 {
		return short(n) + " s"
	}
	return Duration(time.Duration(float64(n) * float64(time.Second)))
}

// packSeries makes the charts' data; policies come in the table's order, those
// that are not in it not at all.
func packSeries(w Workload, s Series, told int) *packed {
	f := foldingOf(s)
	if f.bins == 0 || s.Bin <= 0 {
		return nil
	}
	bin := s.Bin.Seconds() * float64(f.by)
	p := &packed{
		Bin: bin, Step: min(bin, 60), Bins: f.bins, Objective: w.Objective,
		Demand: f.extremes(s.Demand), Need: f.extremes(s.Need), Policies: []packedPolicy{}, Told: packTold(s, told),
	}
	rival := firstRival(w.Policies)
	for _, policy := range Ranked(w.Policies) {
		at := slices.IndexFunc(s.Policies, func(p PolicySeries) bool { return p.Name == policy.Name })
		if at < 0 {
			continue
		}
		from := s.Policies[at]
		p.Policies = append(p.Policies, packedPolicy{
			Name: policy.Name, Own: policy.Own(), Shown: policy.Name == Penstock || policy.Name == rival,
			Ready: f.extremes(from.Ready), Attainment: f.shares(from.Good, from.Judged), Held: f.most(from.Held), Cost: f.cumulative(from.Cost),
		})
	}
	return p
}

// firstRival names the rival that the charts show at first: the best, or the
// cheapest where none meets the objective.
func firstRival(policies []Policy) string {
	for _, p := range Ranked(policies) {
		if !p.Own() {
			return p.Name
		}
	}
	return ""
}
