package cli

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/penstock/penstock/internal/console"
)

// topFrame is what is drawn, as lines of plain text.
type topFrame struct {
	seen    topSeen
	server  string
	columns int
	rows    int    // of the terminal; 0: as many as are needed
	chosen  int    // the model that is pointed at; -1 for none
	trouble string // what keeps the data from being fresh
}

// title is the first line: where it looks and how fresh that is.
func (f topFrame) title(what string) string {
	left := "penstock top"
	if what != "" {
		left += " · " + what
	}
	right := f.freshness()
	if f.columns >= 100 && f.trouble == "" {
		right = f.server + " · " + right
	}
	if room := f.columns - utf8.RuneCountInString(left) - utf8.RuneCountInString(right); room >= 2 {
		return left + strings.Repeat(" ", room) + right
	}
	return right
}

func (f topFrame) freshness() string {
	if f.seen.fleet.ID == "" {
		return f.trouble
	}
	old := time.Duration(f.seen.fleet.Age*float64(time.Second)) + time.Since(f.seen.at)
	stale := old > max(5*time.Second, time.Duration(3*f.seen.fleet.Tick*float64(time.Second)))
	text := fmt.Sprintf("data %d s old", int(old.Seconds()))
	switch {
	case f.trouble != "":
		return fmt.Sprintf("◇ %s · %s", f.trouble, text)
	case stale:
		return "◇ the loop does not tick · " + text
	default:
		return f.seen.fleet.At.In(time.Local).Format("15:04:05 MST") + " · " + text
	}
}

// fleet is the first view: the sentence, the table, the chosen model, what
// changed last.
func (f topFrame) fleet() []string {
	t := f.seen.fleet.Terminal(f.columns, time.Local)
	lines := append([]string{f.title("")}, t.Head...)
	lines = append(lines, "", t.Columns)
	below := f.below(t)
	rows, first := t.Rows, 0
	if room := f.rows - len(lines) - len(below) - 1; f.rows > 0 && len(rows) > room {
		// The chosen row stays in sight.
		room = max(room-1, 1)
		first = max(0, min(f.chosen-room/2, len(rows)-room))
		rows = rows[first : first+room]
	}
	for i, row := range rows {
		if first+i == f.chosen {
			row = topChosen + row
		}
		lines = append(lines, row)
	}
	if hidden := len(t.Rows) - len(rows); hidden > 0 {
		lines = append(lines, fmt.Sprintf("  %d to %d of %d", first+1, first+len(rows), len(t.Rows)))
	}
	return append(lines, below...)
}

// topChosen begins the line that is pointed at; what draws takes it off.
const topChosen = "\x00"

// below is what stands under the table.
func (f topFrame) below(t console.Terminal) []string {
	const changes = 5
	var lines []string
	switch {
	case f.chosen >= 0 && f.chosen < len(t.Notes):
		lines = append(append(lines, ""), t.Notes[f.chosen]...)
	case f.chosen < 0: // on paper: of each
		for _, n := range t.Notes {
			lines = append(append(lines, ""), n...)
		}
	}
	if len(f.seen.decisions) > 0 {
		lines = append(lines, "", "What changed last")
		for _, d := range f.seen.decisions[:min(changes, len(f.seen.decisions))] {
			lines = append(lines, "  "+d.Line(time.Local, f.columns-2))
		}
	}
	return lines
}

// model is one model with its charts.
func (f topFrame) model(name string) []string {
	lines := []string{f.title(name)}
	if f.seen.model == nil {
		return append(lines, "", "looking …")
	}
	lines = append(lines, f.seen.model.Detail(f.seen.series, f.columns)...)
	if len(f.seen.decisions) > 0 {
		lines = append(lines, "", "What changed last")
		for _, d := range f.seen.decisions[:min(5, len(f.seen.decisions))] {
			lines = append(lines, "  "+d.Line(time.Local, f.columns-2))
		}
	}
	return lines
}

// decisions is the list of those that acted.
func (f topFrame) decisions(chosen int) []string {
	lines := []string{f.title("decisions that acted"), ""}
	all := f.seen.decisions
	if len(all) == 0 {
		return append(lines, "No replica was started or drained in the last day.")
	}
	room, first := len(all), 0
	if f.rows > 0 {
		room = max(1, f.rows-len(lines)-2)
		first = max(0, min(chosen-room/2, len(all)-room))
	}
	for i, d := range all[first:min(len(all), first+room)] {
		line := d.Line(time.Local, f.columns)
		if first+i == chosen {
			line = topChosen + line
		}
		lines = append(lines, line)
	}
	return lines
}

// explained is one decision with what it was made from.
func (f topFrame) explained() []string {
	lines := []string{f.title("why"), ""}
	if f.seen.explained == "" {
		return append(lines, "reading the journal …")
	}
	return append(lines, strings.Split(strings.TrimRight(f.seen.explained, "\n"), "\n")...)
}
