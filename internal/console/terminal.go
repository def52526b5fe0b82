package console

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Terminal is the fleet laid out for a terminal: plain text, so that whoever
// shows it chooses what to make bold.
type Terminal struct {
	Head    []string   // the sentence, then money and counts
	Columns string     // the table's head
	Rows    []string   // one for each model, most hurt first
	Notes   [][]string // what is to be said of each model below the table
}

// Terminal lays the fleet out in so many columns, at least 60, with times in a
// zone.
func (f FleetView) Terminal(columns int, zone *time.Location) Terminal {
	columns = max(columns, 60)
	t := Terminal{Head: append(fold(f.mark()+" "+f.Sentence, "  ", columns), fold(f.counts(), "", columns)...)}
	rows := [][]string{{"", "STATUS", "BUDGET", "TTFT/LIMIT", "TPOT/LIMIT", "REPLICAS", "$/H", "REQ/S"}}
	right := []bool{false, false, true, false, false, false, true, true}
	for _, m := range f.Models {
		rows = append(rows, m.cells())
		t.Notes = append(t.Notes, m.notes(columns, zone))
	}
	if columns < 110 { // then without TPOT
		right = slices.Delete(right, 4, 5)
		for i := range rows {
			rows[i] = slices.Delete(rows[i], 4, 5)
		}
	}
	lines := table(rows, right)
	// Names and sparklines get what the numbers leave.
	left := columns - 2 - utf8.RuneCountInString(lines[0]) - 2
	spark := max(8, min(30, left-16))
	name := max(8, min(28, left-spark-1))
	longest := 0
	for _, m := range f.Models {
		longest = max(longest, utf8.RuneCountInString(m.Name))
	}
	if name > longest {
		name = max(longest, 5)
	}
	for i, line := range lines {
		if i == 0 {
			t.Columns = fmt.Sprintf("  %-*s%s  15 MIN", name, "MODEL", line)
			continue
		}
		m := f.Models[i-1]
		t.Rows = append(t.Rows, strings.TrimRight(fmt.Sprintf("%s %-*s%s  %s", mark(m.Condition), name, shorten(m.Name, name), line, Sparks(values(m.Spark), spark)), " "))
	}
	return t
}

func (f FleetView) mark() string {
	for _, m := range f.Models {
		if m.Condition == Missing {
			return mark(Missing)
		}
	}
	return mark(Meeting)
}

// counts is money, replicas and who waits.
func (f FleetView) counts() string {
	r := f.Replicas
	text := fmt.Sprintf("$%.2f/h now, $%.2f spent", f.Cost.PerHour, f.Cost.Spent)
	if f.Cost.Unpriced > 0 {
		text += fmt.Sprintf(" (%s without a price)", count(f.Cost.Unpriced, "replica"))
	}
	var phases []string
	for _, p := range []struct {
		n    int
		what string
	}{{r.Ready - f.Idle, "serving"}, {f.Idle, "idle"}, {r.Starting, "loading"}, {r.Draining, "draining"}} {
		if p.n > 0 {
			phases = append(phases, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	text += " · " + count(r.Ready+r.Starting+r.Draining, "replica")
	if len(phases) > 0 {
		text += ": " + strings.Join(phases, ", ")
	}
	parts := []string{text}
	for _, a := range f.Accelerators {
		part := fmt.Sprintf("%s %d", a.Type, a.Used)
		if a.Slots != nil {
			part += fmt.Sprintf(" of %d", *a.Slots)
		}
		parts = append(parts, part)
	}
	if f.Held > 0 {
		parts = append(parts, fmt.Sprintf("%d held, the oldest for %s", f.Held, length(f.HeldFor)))
	}
	return strings.Join(parts, " · ")
}

func (m ModelLine) cells() []string {
	first, second := m.TTFT.text(), m.TPOT.text()
	if m.Latency != nil {
		first, second = m.Latency.text(), "end to end"
	}
	price := fmt.Sprintf("%.2f", m.PerHour)
	if m.Unpriced > 0 {
		price = "?"
	}
	rate := "?"
	if m.Arrivals != nil {
		rate = fmt.Sprintf("%.1f", *m.Arrivals)
	}
	if m.StaleFor > 0 {
		rate = "◇" + rate
	}
	return []string{"", string(m.Condition), budget(m.SLO.BudgetLeft), first, second, m.Replicas.text(), price, rate}
}

// notes say why: what the condition comes from, what was decided, what waits.
func (m ModelLine) notes(columns int, zone *time.Location) []string {
	since := ""
	if m.Since != nil {
		since = " since "
		if m.AtLeast {
			since = " since before "
		}
		since += m.Since.In(zone).Format(time.TimeOnly)
	}
	lines := fold(fmt.Sprintf("%s: %s%s, %s.", m.Name, m.Condition, since, strings.TrimSuffix(m.Why, ".")), "  ", columns)
	decided := "  " + m.Headline
	if m.Reason != "" {
		decided += ": " + m.Reason + " [" + m.Code + "]"
	}
	lines = append(lines, fold(decided, "    ", columns)...)
	var parts []string
	if m.Batch > 0 {
		parts = append(parts, fmt.Sprintf("up to %d at once on each", m.Batch))
	}
	if m.InFlight != nil {
		parts = append(parts, fmt.Sprintf("%.0f in flight", *m.InFlight))
	}
	if m.Held != nil && *m.Held > 0 {
		parts = append(parts, fmt.Sprintf("%.0f held", *m.Held))
	}
	if len(parts) > 0 {
		lines = append(lines, fold("  "+strings.Join(parts, ", "), "    ", columns)...)
	}
	return lines
}

// values turns a line of the table into numbers; NaN is a gap.
func values(all []*number32) []float64 {
	out := make([]float64, len(all))
	for i, v := range all {
		out[i] = math.NaN()
		if v != nil {
			out[i] = float64(*v)
		}
	}
	return out
}

// Sparks draws numbers as a line of blocks, the newest at the right; a gap
// stays a gap and zero is a dot. Where there are more than fit, each block is
// the largest of those that it stands for.
func Sparks(all []float64, columns int) string {
	const blocks = "▁▂▃▄▅▆▇█"
	levels := []rune(blocks)
	cells := make([]float64, min(columns, len(all)))
	for i := range cells {
		cells[i] = math.NaN()
		for _, v := range all[i*len(all)/len(cells) : (i+1)*len(all)/len(cells)] {
			if math.IsNaN(cells[i]) || v > cells[i] {
				cells[i] = v
			}
		}
	}
	most := 0.0
	for _, v := range cells {
		if v > most {
			most = v
		}
	}
	var b strings.Builder
	for _, v := range cells {
		switch {
		case math.IsNaN(v):
			b.WriteByte(' ')
		case v <= 0:
			b.WriteString("·")
		default:
			b.WriteRune(levels[max(0, int(math.Ceil(v/most*float64(len(levels))))-1)])
		}
	}
	return b.String()
}

// Detail lays one model out in so many columns: its charts as lines, what it may
// run on, its replicas.
func (m ModelStatus) Detail(s SeriesView, columns int) []string {
	columns = max(columns, 60)
	title := m.Name
	if m.BusinessUnit != "" {
		title += " · " + m.BusinessUnit
	}
	lines := fold(fmt.Sprintf("%s %s: %s, %s.", mark(m.Condition), title, m.Condition, strings.TrimSuffix(m.Why, ".")), "  ", columns)
	if limits := m.limits(); limits != "" {
		lines = append(lines, fold(limits, "  ", columns)...)
	}
	lines = append(lines, "", fmt.Sprintf("the last %s", span(time.Duration((s.Until-s.Since)*float64(time.Second)).Round(time.Minute))))
	room := max(20, columns-34)
	for _, c := range []struct {
		name   string
		values []*number32
		write  func(float64) string
		limit  *Measure
	}{
		{"requests/s", s.Arrivals, func(v float64) string { return fmt.Sprintf("%.1f", v) }, nil},
		{"ready", s.Ready, whole, nil},
		{"loading", s.Starting, whole, nil},
		{"batch limit", s.Batch, whole, nil},
		{"held", s.Held, whole, nil},
		{"TTFT", s.TTFT, length, m.TTFT},
		{"TPOT", s.TPOT, length, m.TPOT},
		{"latency", s.Latency, length, m.Latency},
		{"$/h", s.PerHour, func(v float64) string { return fmt.Sprintf("%.2f", v) }, nil},
	} {
		all := values(c.values)
		last := "–"
		if n := len(all); n > 0 && !math.IsNaN(all[n-1]) {
			last = c.write(all[n-1])
		}
		switch {
		case c.limit != nil:
			last += " / " + length(c.limit.Limit)
		case c.name == "TTFT" || c.name == "TPOT" || c.name == "latency":
			continue
		}
		drawn := Sparks(all, room)
		lines = append(lines, strings.TrimRight(fmt.Sprintf("  %-11s %s%s %s", c.name, drawn, strings.Repeat(" ", room-utf8.RuneCountInString(drawn)), last), " "))
	}
	rows := [][]string{{"  REPLICA", "PHASE", "FOR", "IN FLIGHT", "ON"}}
	for _, r := range m.Members {
		on := r.Variant
		if r.Capacity != "on-demand" {
			on += "@" + r.Capacity
		}
		if r.TakenIn > 0 {
			on += fmt.Sprintf(", taken in %.0f s", r.TakenIn)
		}
		rows = append(rows, []string{"  " + r.Replica, r.Phase, length(r.Since), number(r.InFlight), on})
	}
	lines = append(lines, "")
	if len(m.Members) == 0 {
		return append(lines, "  No replica runs.")
	}
	for _, line := range table(rows, []bool{false, false, true, true, false}) {
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return lines
}

func whole(v float64) string { return fmt.Sprintf("%.0f", v) }

// Line is a decision in a line of at most so many columns.
func (d DecisionView) Line(zone *time.Location, columns int) string {
	text := fmt.Sprintf("%s  %s  %s", d.At.In(zone).Format(time.TimeOnly), d.Model, d.Headline)
	if i := slices.IndexFunc(d.Changes, func(c ChangeView) bool { return (c.Start > 0 || len(c.Drain) > 0) && len(c.Reasons) > 0 }); i >= 0 {
		text += ": " + d.Changes[i].Reasons[0].Text
	}
	if runes := []rune(text); len(runes) > columns {
		return string(runes[:columns-1]) + "…"
	}
	return text
}

// fold breaks text at blanks so that lines stay within so many columns, and
// returns them.
func fold(text, indent string, columns int) []string {
	return strings.Split(strings.TrimSuffix(wrapTo(text, indent, columns), "\n"), "\n")
}
