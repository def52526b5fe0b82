package console

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/penstock/penstock/internal/scale"
)

// width is that of a terminal as it opens.
const width = 80

// ReplicaText lists every replica, for people. What its engine says follows what
// the gateway counts; times are its means.
func (s Status) ReplicaText() string {
	rows := [][]string{{"REPLICA", "MODEL", "PHASE", "SINCE", "IN FLIGHT", "ENGINE", "RUNS", "WAITS", "KV", "TTFT", "TPOT", "TAKEN IN"}}
	for _, m := range s.Models {
		for _, r := range m.Members {
			taken := ""
			if r.TakenIn > 0 {
				taken = fmt.Sprintf("%.0f s", r.TakenIn)
			}
			rows = append(rows, []string{
				r.Replica, shorten(m.Name, 16), r.Phase, fmt.Sprintf("%.0f s", r.Since), number(r.InFlight),
				r.Engine.Name, number(r.Engine.Running), number(r.Engine.Waiting), share(r.Engine.KVCache), r.Engine.TTFT.text(), r.Engine.TPOT.text(), taken,
			})
		}
	}
	return strings.Join(table(rows, []bool{false, false, false, true, true, false, true, true, true, true, true, true}), "\n") + "\n"
}

// Text is the status for people, in lines of at most 80 columns where names
// allow. Times are in the given zone.
func (s Status) Text(zone *time.Location) string {
	var b strings.Builder
	b.WriteString(wrap(s.Sentence, ""))
	if s.Journal != nil {
		b.WriteString(wrap(s.Journal.text(zone), ""))
	}
	b.WriteString(wrap(s.Cost.sentence(), ""))
	b.WriteString(wrap(s.capacity(zone), ""))
	if len(s.Models) == 0 {
		return b.String()
	}
	rows := [][]string{{"STATUS", "BUDGET", "TTFT/LIMIT", "TPOT/LIMIT", "REPLICAS", "HELD", "$/H"}}
	for _, m := range s.Models {
		first, second := m.TTFT.text(), m.TPOT.text()
		if m.Latency != nil {
			first, second = m.Latency.text(), "end to end"
		}
		rows = append(rows, []string{
			mark(m.Condition) + " " + string(m.Condition), budget(m.SLO.BudgetLeft), first, second,
			m.Replicas.text(), number(m.Demand.Held), fmt.Sprintf("%.2f", m.Cost.PerHour),
		})
	}
	lines := table(rows, []bool{false, true, false, false, false, true, true})
	// Names get what the numbers leave.
	room := max(8, width-2-utf8.RuneCountInString(lines[0]))
	names := [][]string{{"MODEL"}}
	for _, m := range s.Models {
		names = append(names, []string{shorten(m.Name, room)})
	}
	b.WriteByte('\n')
	for i, name := range table(names, []bool{false}) {
		b.WriteString(strings.TrimRight(name+"  "+lines[i], " ") + "\n")
	}
	b.WriteByte('\n')
	for _, m := range s.Models {
		b.WriteString(m.text(zone))
	}
	return b.String()
}

// text is what a model's line in the table leaves unsaid.
func (m ModelStatus) text(zone *time.Location) string {
	why := m.Decision.why()
	title := m.Name + ": "
	if m.Mode != scale.Auto.String() {
		title += m.Mode + ". "
	}
	if why != m.Why {
		title += strings.TrimSuffix(m.Why, ".") + "."
	}
	text := wrap(strings.TrimSuffix(title, " "), "  ")
	decided := m.Decision.Headline
	switch {
	case strings.HasPrefix(why, "Kept "): // it says what the headline does
		decided = why
	case why != "":
		decided += ": " + why
	}
	text += wrap(fmt.Sprintf("  %s %s.", m.Decision.At.In(zone).Format(time.TimeOnly), strings.TrimSuffix(decided, ".")), "    ")
	if limits := m.limits(); limits != "" {
		text += wrap("  "+limits, "    ")
	}
	return text
}

// why is the reason that matters most.
func (d DecisionView) why() string {
	_, text := d.weightiest()
	return text
}

// limits says how far replicas may be filled and how full they are.
func (m ModelStatus) limits() string {
	var parts []string
	for _, t := range m.Targets {
		if t.BatchLimit > 0 && t.Replicas.Ready > 0 {
			parts = append(parts, fmt.Sprintf("up to %d at a time on each of %d %s", t.BatchLimit, t.Replicas.Ready, t.Variant))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	text := number(m.Demand.InFlight) + " in flight, " + strings.Join(parts, ", ")
	if a := m.Demand.Arrivals; a != nil {
		text += fmt.Sprintf("; %s arrive", perSecond(a.Value))
	}
	if f := m.Demand.Forecast; f != nil {
		text += fmt.Sprintf(", %s expected within %s", perSecond(*f), length(m.Demand.Horizon))
	}
	return text + "."
}

func (c Cost) sentence() string {
	text := fmt.Sprintf("$%.2f/h now, $%.2f spent", c.PerHour, c.Spent)
	var shares []string
	for _, u := range c.Usage {
		if c.Spent > 0 && u.Dollars > 0 {
			shares = append(shares, fmt.Sprintf("%s %.0f %%", u.Usage, 100*u.Dollars/c.Spent))
		}
	}
	if len(shares) > 0 {
		text += ": " + strings.Join(shares, ", ")
	}
	if c.Unpriced > 0 {
		text += fmt.Sprintf(". Not in it: %s without a price", count(c.Unpriced, "replica"))
	}
	return text + "."
}

func (s Status) capacity(zone *time.Location) string {
	var parts []string
	for _, a := range s.Accelerators {
		switch {
		case a.Slots != nil:
			parts = append(parts, fmt.Sprintf("%s: %d of %d in use", a.Type, a.Used, *a.Slots))
		default:
			parts = append(parts, fmt.Sprintf("%s: %d in use", a.Type, a.Used))
		}
	}
	waiting, oldest := 0, 0.0
	for _, m := range s.Models {
		waiting += held(m.Demand)
		oldest = max(oldest, orElse(m.Demand.HeldFor, Value{}).Value)
	}
	if waiting > 0 {
		parts = append(parts, fmt.Sprintf("%d held, the oldest for %s", waiting, length(oldest)))
	}
	parts = append(parts, fmt.Sprintf("as of %s, %s ago", s.At.In(zone).Format("15:04:05 MST"), length(s.Age)))
	return strings.Join(parts, "; ") + "."
}

// mark is a shape for each condition: never colour alone.
func mark(c Condition) string {
	switch c {
	case Missing:
		return "▲"
	case Asleep:
		return "◌"
	case Loading:
		return "◔"
	case NoData:
		return "◇"
	case Meeting:
		return "●"
	}
	return "?"
}

func budget(left *float64) string {
	switch {
	case left == nil:
		return "?"
	case *left < 0:
		return "used up"
	default:
		return fmt.Sprintf("%.0f %%", 100**left)
	}
}

func (m *Measure) text() string {
	switch {
	case m == nil:
		return "–"
	case m.Median == nil:
		return "–/" + length(m.Limit)
	case length(*m.Median) == milliseconds(*m.Median) && length(m.Limit) == milliseconds(m.Limit):
		return strings.TrimSuffix(milliseconds(*m.Median), " ms") + "/" + milliseconds(m.Limit)
	default:
		return length(*m.Median) + "/" + length(m.Limit)
	}
}

func milliseconds(s float64) string { return fmt.Sprintf("%.0f ms", 1000*s) }

// text is have, loading and wanted as three numbers.
func (r Replicas) text() string {
	var moving []string
	if r.Starting > 0 {
		moving = append(moving, fmt.Sprintf("+%d", r.Starting))
	}
	if r.Draining > 0 {
		moving = append(moving, fmt.Sprintf("-%d", r.Draining))
	}
	if len(moving) == 0 {
		return fmt.Sprintf("%d → %d", r.Ready, r.Want)
	}
	return fmt.Sprintf("%d (%s) → %d", r.Ready, strings.Join(moving, " "), r.Want)
}

func number(v *Value) string {
	if v == nil {
		return "?"
	}
	return fmt.Sprintf("%.0f", v.Value)
}

func perSecond(v float64) string {
	if v > 0 && v < 1 {
		return fmt.Sprintf("%.2g requests/s", v)
	}
	return fmt.Sprintf("%.1f requests/s", v)
}

// Text is the explanation for people.
func (e Explanation) Text(zone *time.Location) string {
	var b strings.Builder
	head := fmt.Sprintf("%s  %s", e.At.In(zone).Format("2006-01-02 15:04:05.000 MST"), e.Model)
	if e.Age >= 2 {
		head += fmt.Sprintf("  (the newest before %s)", e.Asked.In(zone).Format(time.TimeOnly))
	}
	b.WriteString(wrap(head, "  "))
	b.WriteString(wrap(e.Headline, "  ") + "\n")
	reasons := e.reasons()
	for _, s := range []struct {
		title  string
		effect Effect
	}{{"Because", Because}, {"Could not", CouldNot}, {"Did not", DidNot}} {
		title := s.title
		for _, r := range reasons {
			if r.Effect == s.effect {
				b.WriteString(entry(title, fmt.Sprintf("%s [%s]", r.Text, r.Code)))
				title = ""
			}
		}
	}
	for i, a := range e.Alerts {
		b.WriteString(entry(titled(i, "Alert"), a))
	}
	b.WriteString(entry("Does", e.does()))
	if last := e.LastChange; last != nil && !last.At.Equal(e.At) {
		why := ""
		if i := slices.IndexFunc(last.Changes, func(c ChangeView) bool { return c.Start > 0 || len(c.Drain) > 0 }); i >= 0 {
			why = fmt.Sprintf(". %s [%s]", last.Changes[i].Reasons[0].Text, last.Changes[i].Reasons[0].Code)
		}
		b.WriteString(entry("Last", fmt.Sprintf("%s: %s%s", last.At.In(zone).Format(time.TimeOnly), last.Headline, why)))
	}
	b.WriteString(entry("Plan", e.plan()))
	for i, line := range e.saw() {
		b.WriteString(entry(titled(i, "Saw"), line))
	}
	if rules := e.rules(); rules != "" {
		b.WriteString(entry("Rules", rules))
	}
	if e.Again != nil {
		b.WriteString(entry("Again", e.Again.Text))
	}
	return b.String()
}

func titled(i int, title string) string {
	if i == 0 {
		return title
	}
	return ""
}

// entry is a paragraph with its title in the margin.
func entry(title, text string) string {
	const margin = "           "
	return wrap(title+margin[min(utf8.RuneCountInString(title), len(margin)):]+text, margin)
}

func (e Explanation) does() string {
	var parts []string
	for _, c := range e.Changes {
		verbs := []string{}
		if c.Start > 0 {
			verbs = append(verbs, fmt.Sprintf("start %d", c.Start))
		}
		if len(c.Drain) > 0 {
			verbs = append(verbs, "drain "+strings.Join(first(c.Drain, 8), ", "))
		}
		if len(verbs) == 0 {
			continue
		}
		text := fmt.Sprintf("%s on %s", strings.Join(verbs, ", "), c.Variant)
		if c.DryRun {
			text += " (only advised)"
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "nothing."
	}
	return strings.Join(parts, "; ") + "."
}

func (e Explanation) plan() string {
	var parts []string
	for _, p := range e.Plan {
		switch {
		case p.BatchLimit == 0:
			parts = append(parts, fmt.Sprintf("%d on %s, which does not meet the SLO", p.Replicas, p.Variant))
		case p.Replicas == 0:
			parts = append(parts, "0 on "+p.Variant)
		default:
			parts = append(parts, fmt.Sprintf("%d on %s, up to %d at a time (%s each), $%.2f/h",
				p.Replicas, p.Variant, p.BatchLimit, perSecond(p.PerReplica), p.CostPerHour))
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "none")
	}
	text := strings.Join(parts, "; ")
	if f := e.Forecast; f != nil {
		text += fmt.Sprintf(". For %s (mean %s) within %s", perSecond(f.Upper), perSecond(f.Mean), length(f.Horizon))
		if e.Required > 0 {
			text += fmt.Sprintf(": %.1f at replicas at once", e.Required)
		}
	}
	return text + "."
}

// saw tells what was seen: first how much of it and how old, then the numbers.
func (e Explanation) saw() []string {
	known, oldest := 0, 0.0
	var absent []string
	for _, s := range e.Seen {
		if s.Value == nil {
			name := s.Signal
			if s.Of != "gateway" {
				name = s.Of + " " + s.Signal
			}
			absent = append(absent, name)
			continue
		}
		known++
		oldest = max(oldest, *s.Age)
	}
	summary := count(known, "signal")
	if known > 0 {
		summary += fmt.Sprintf(", the oldest %s old", length(oldest))
	}
	if n := len(absent); n > 0 {
		summary += fmt.Sprintf("; %d absent and not used: %s", n, strings.Join(first(absent, 4), ", "))
		if n > 4 {
			summary += ", …"
		}
	}
	lines := []string{summary + "."}
	var gateway []string
	for _, s := range e.Seen {
		if s.Of != "gateway" || s.Value == nil {
			continue
		}
		text := fmt.Sprintf("%s %s %s", s.Signal, figure(*s.Value), s.Unit)
		if *s.Age >= 0.1 {
			text += fmt.Sprintf(" (%s old)", length(*s.Age))
		}
		gateway = append(gateway, text)
	}
	if len(gateway) > 0 {
		lines = append(lines, "gateway: "+strings.Join(gateway, ", "))
	}
	return append(lines, fmt.Sprintf("%s ready, %d starting, %d draining", count(e.Replicas.Ready, "replica"), e.Replicas.Starting, e.Replicas.Draining))
}

func figure(v float64) string {
	if v == float64(int64(v)) {
		return fmt.Sprintf("%d", int64(v))
	}
	return fmt.Sprintf("%.2f", v)
}

// rules are the codes of what was decided, in the order in which it was.
func (e Explanation) rules() string {
	var codes []string
	for _, r := range e.reasons() {
		if len(codes) == 0 || codes[len(codes)-1] != r.Code {
			codes = append(codes, r.Code)
		}
	}
	return strings.Join(codes, " → ")
}

// wrap breaks text at blanks so that lines stay within width; the second and
// later lines begin with indent. The text's own leading blanks stay.
func wrap(text, indent string) string { return wrapTo(text, indent, width) }

func wrapTo(text, indent string, width int) string {
	body := strings.TrimLeft(text, " ")
	line := text[:len(text)-len(body)]
	var b strings.Builder
	empty := true
	for word := range strings.SplitSeq(body, " ") {
		switch {
		case empty:
			line += word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = indent + word
		}
		empty = false
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
	return b.String()
}

// table lays rows out in columns two blanks apart, one line for each.
func table(rows [][]string, right []bool) []string {
	widths := make([]int, len(right))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	lines := make([]string, 0, len(rows))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if cells[i] = cell + pad; right[i] {
				cells[i] = pad + cell
			}
		}
		lines = append(lines, strings.Join(cells, "  "))
	}
	return lines
}

// shorten leaves the middle out, since names differ at their ends.
func shorten(name string, n int) string {
	runes := []rune(name)
	if len(runes) <= n {
		return name
	}
	tail := n / 2
	return string(runes[:n-1-tail]) + "…" + string(runes[len(runes)-tail:])
}
