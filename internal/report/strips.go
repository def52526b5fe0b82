package report

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Strip is one value over time, such as a count of replicas.
type Strip struct {
	Label  string
	Values []float64 // at even steps; NaN where nothing is known
}

// Strips are drawn one below the other over the same span.
type Strips struct {
	Rows  []Strip
	Span  time.Duration
	Width int // characters, labels apart
}

// WriteTo draws a line of blocks for each strip, with its label before and its
// range behind, and the span below.
func (s Strips) WriteTo(w io.Writer) (int64, error) {
	label, drawn := 0, 0
	for _, row := range s.Rows {
		label = max(label, utf8.RuneCountInString(row.Label))
		drawn = max(drawn, min(s.Width, len(row.Values)))
	}
	var b strings.Builder
	for _, row := range s.Rows {
		line := Sparkline(row.Values, s.Width)
		fmt.Fprintf(&b, "%-*s  %s%s  %s\n", label, row.Label, line, strings.Repeat(" ", drawn-utf8.RuneCountInString(line)), extent(row.Values))
	}
	end := Duration(s.Span)
	fmt.Fprintf(&b, "%*s  0%*s\n", label, "", max(drawn-1, utf8.RuneCountInString(end)+1), end)
	n, err := io.WriteString(w, b.String())
	if err != nil {
		return int64(n), fmt.Errorf("write strips: %w", err)
	}
	return int64(n), nil
}

// extent is the range of what is known, in words.
func extent(values []float64) string {
	least, most := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if !math.IsNaN(v) {
			least, most = min(least, v), max(most, v)
		}
	}
	if least > most {
		return None
	}
	return fmt.Sprintf("%s to %s", number(least), number(most))
}

func number(v float64) string {
	if v == math.Trunc(v) || math.Abs(v) >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

// Sparkline draws values from zero to their largest in at most width blocks.
// Where several values share a block the largest shows, so that no peak is
// drawn away; nothing is a dot, and what is not known is blank.
func Sparkline(values []float64, width int) string {
	const blocks = "▁▂▃▄▅▆▇█"
	levels := []rune(blocks)
	cells := fold(values, width)
	most := 0.0
	for _, v := range cells {
		if v > most { // false for NaN
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

// fold brings values down to at most width cells.
func fold(values []float64, width int) []float64 {
	if len(values) <= width || width <= 0 {
		return values[:min(len(values), max(width, 0))]
	}
	cells := make([]float64, width)
	for i := range cells {
		cells[i] = math.NaN()
		for _, v := range values[i*len(values)/width : (i+1)*len(values)/width] {
			if math.IsNaN(cells[i]) || v > cells[i] {
				cells[i] = v
			}
		}
	}
	return cells
}
