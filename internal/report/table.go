// Package report renders results. Plain text for people has tables whose
// columns line up and lines drawn with blocks; it uses no colour and moves no
// cursor, so that it is the same in a terminal, a file and a log. A comparison
// of scaling policies (Scaling) is written as text, as JSON and as one HTML
// file that needs nothing else.
package report

import (
	"fmt"
	"io"
	"strings"
)

// Table is rows of cells below a head. Columns of numbers line up at their
// right, others at their left. A row may have fewer cells than the head.
type Table struct {
	Head []string // none for a table without one
	Rows [][]string
}

// gap is what stands between two columns.
const gap = "  "

// WriteTo writes the table, a line for each row.
func (t Table) WriteTo(w io.Writer) (int64, error) {
	widths, right := t.columns()
	var b strings.Builder
	for _, row := range t.all() {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString(gap)
			}
			pad := strings.Repeat(" ", widths[i]-width(cell))
			if right[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	n, err := io.WriteString(w, b.String())
	if err != nil {
		return int64(n), fmt.Errorf("write a table: %w", err)
	}
	return int64(n), nil
}

func (t Table) all() [][]string {
	if len(t.Head) == 0 {
		return t.Rows
	}
	return append([][]string{t.Head}, t.Rows...)
}

// columns returns each column's width and whether it is one of numbers.
func (t Table) columns() (widths []int, right []bool) {
	for _, row := range t.all() {
		for i, cell := range row {
			if i == len(widths) {
				widths, right = append(widths, 0), append(right, true)
			}
			widths[i] = max(widths[i], width(cell))
		}
	}
	for _, row := range t.Rows {
		for i, cell := range row {
			right[i] = right[i] && (cell == "" || cell == None || strings.IndexAny(cell, "0123456789") == numberAt(cell))
		}
	}
	return widths, right
}

// numberAt is where the first digit of a number would be: after a sign and a
// currency.
func numberAt(cell string) int {
	return len(cell) - len(strings.TrimLeft(cell, "+-−$<>~"))
}
