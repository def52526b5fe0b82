package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Columns is how wide a line of WriteScaling may be.
const Columns = 100

// WriteScaling writes the result for a terminal: a block for each workload and
// then the targets. A policy that is Penstock's has > before it, one that
// misses the objective x, and those stand below the ones that meet it.
func WriteScaling(w io.Writer, s Scaling) error {
	var b strings.Builder
	b.WriteString(clip(plain(s.Title), Columns) + "\n")
	for _, workload := range s.Workloads {
		b.WriteString("\n")
		block(&b, workload)
	}
	legend(&b, s)
	failures(&b, s.Failures)
	targets(&b, s.Targets)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// block is one workload.
func block(b *strings.Builder, w Workload) {
	head := plain(w.Name)
	if w.What != "" {
		head += ", " + plain(w.What)
	}
	fmt.Fprintln(b, clip(head, Columns))
	fmt.Fprintln(b, clip(about(w), Columns))
	if len(w.Policies) == 0 {
		return
	}
	t := Table{Head: []string{"", "policy", "good %", "worst %", "cost", "ratio", "same", "GPU-h", "acts/h", "rev.", "µs"}}
	policies := Ranked(w.Policies)
	for _, p := range policies {
		t.Rows = append(t.Rows, []string{
			mark(p), plain(p.Name), percents(p.Attainment), percents(p.WorstTenMinutes), amount(p.Cost), times(p.Ratio), times(p.RatioSame),
			short(p.GPUHours.Total), short(p.ActionsPerHour), short(p.Reversals), short(p.Decision.Mean),
		})
	}
	t.clip(1)
	lines := strings.SplitAfter(t.text(), "\n")
	fmt.Fprint(b, lines[0])
	for i, p := range policies {
		if first := i == 0 || policies[i-1].ObjectiveMet != p.ObjectiveMet; first {
			fmt.Fprintln(b, group(p, w.Objective))
		}
		fmt.Fprint(b, lines[i+1])
	}
}

// Ranked returns the policies that meet the objective, the cheapest first, and
// then those that miss it, the cheapest first.
func Ranked(policies []Policy) []Policy {
	return slices.SortedStableFunc(slices.Values(policies), func(a, b Policy) int {
		switch {
		case a.ObjectiveMet != b.ObjectiveMet && a.ObjectiveMet:
			return -1
		case a.ObjectiveMet != b.ObjectiveMet:
			return 1
		case a.Cost.Known() != b.Cost.Known() && a.Cost.Known():
			return -1
		case a.Cost.Known() != b.Cost.Known():
			return 1
		}
		return cmp.Or(cmp.Compare(a.Cost, b.Cost), cmp.Compare(a.Name, b.Name))
	})
}

// BestRival returns the cheapest policy that is not Penstock's own and meets
// the objective.
func BestRival(policies []Policy) (Policy, bool) {
	ranked := Ranked(policies)
	i := slices.IndexFunc(ranked, func(p Policy) bool { return !p.Own() && p.ObjectiveMet && p.Cost.Known() })
	if i < 0 {
		return Policy{}, false
	}
	return ranked[i], true
}

// about says what the workload asks and what its bounds cost.
func about(w Workload) string {
	parts := []string{count(w.Requests) + " requests", days(w.Days), "objective " + Percent(w.Objective), "clairvoyant fleet " + amount(w.Bound.Cost)}
	if w.Bound.WorkCost.Known() {
		parts = append(parts, "work alone "+amount(w.Bound.WorkCost))
	}
	return strings.Join(parts, "; ")
}

func mark(p Policy) string {
	m := ""
	if p.Own() {
		m = ">"
	}
	if !p.ObjectiveMet {
		m += "x"
	}
	return m
}

func group(p Policy, objective Number) string {
	if p.ObjectiveMet {
		return "    met the objective, " + Percent(objective) + ":"
	}
	return "    missed the objective, " + Percent(objective) + ":"
}

func legend(b *strings.Builder, s Scaling) {
	if !slices.ContainsFunc(s.Workloads, func(w Workload) bool { return len(w.Policies) > 0 }) {
		return
	}
	b.WriteString(`
>      Penstock's own; x: misses the objective
good   share of requests within the SLO; worst: of the worst ten minutes
ratio  cost over the clairvoyant fleet's; same: over the least that the work costs at the same share
acts/h scale actions per hour; rev.: reversals within a cold start; µs: mean time of a decision
`)
}

func failures(b *strings.Builder, all []Failure) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "\nRuns that failed: %d\n", len(all))
	for _, f := range all {
		what := plain(f.Workload)
		if f.Policy != "" {
			what += fmt.Sprintf(", %s, seed %d", plain(f.Policy), f.Seed)
		}
		fmt.Fprintln(b, clip("  "+what+": "+plain(f.Error), Columns))
	}
}

func targets(b *strings.Builder, all []Target) {
	if len(all) == 0 {
		return
	}
	met := 0
	t := Table{Head: []string{"target", "", "aimed at", "found"}}
	for _, target := range all {
		verdict := "missed"
		if target.Met {
			verdict = "met"
			met++
		}
		t.Rows = append(t.Rows, []string{plain(target.Name), verdict, aim(target), found(target)})
	}
	t.clip(0)
	lines := strings.SplitAfter(t.text(), "\n")
	fmt.Fprintf(b, "\nTargets met: %d of %d\n%s", met, len(all), lines[0])
	for i, target := range all {
		fmt.Fprint(b, lines[i+1])
		if target.Note != "" {
			fmt.Fprintln(b, clip("  "+plain(target.Note), Columns))
		}
	}
}

// clip cuts the cells of one column so that a line fits into Columns.
func (t Table) clip(column int) {
	widths, _ := t.columns()
	room := Columns - len(gap)*(len(widths)-1)
	for i, w := range widths {
		if i != column {
			room -= w
		}
	}
	for _, row := range t.Rows {
		row[column] = clip(row[column], room)
	}
}

// text is the table as a string.
func (t Table) text() string {
	var b strings.Builder
	_, _ = t.WriteTo(&b) // a Builder takes everything
	return b.String()
}
