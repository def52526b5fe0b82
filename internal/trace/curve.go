package trace

import (
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// maxLevel bounds the levels of a curve, so that their sum is exact enough.
	maxLevel = 1e15
	// maxLevels bounds the rows of a curve, which is held in memory, at 16 MB:
	// two years of minutes.
	maxLevels = 1 << 20
)

// Curve draws requests along a column of levels, of which only the relation to
// each other is meant: t_s and any numbers from 0, such as tokens per minute.
// Bins are filled as those of Counts are.
type Curve struct {
	Column  string  // "": the only one beside t_s
	MeanRPS float64 // requests/s over the Part that is read; 0: the levels are requests/s as they are
	Part    Part
	Draw    Draw
}

// Open reads a file whole.
func (c Curve) Open(path string) (*Drawn, error) {
	d, err := opened(path, c.from)
	if err != nil {
		return nil, err
	}
	return d, d.Close()
}

// Read reads a stream whole; name stands for it in errors.
func (c Curve) Read(name string, from io.Reader) (*Drawn, error) {
	t, err := newTable(name, from)
	if err != nil {
		return nil, err
	}
	return c.from(t)
}

func (c Curve) from(t *table) (*Drawn, error) {
	if !(c.MeanRPS >= 0 && c.MeanRPS <= 1e9) {
		return nil, fmt.Errorf("a mean of %v requests a second is not between 0 and 1,000,000,000", c.MeanRPS)
	}
	rows, err := newBinRows(t, c.Column, maxLevel)
	if err != nil {
		return nil, err
	}
	bins := &levelBins{table: t, length: rows.length, perLevel: rows.length.Seconds()}
	for {
		row, err := rows.next()
		switch {
		case errors.Is(err, io.EOF):
			if bins.perLevel, err = c.perLevel(bins, t); err != nil {
				return nil, err
			}
			return newDrawn(bins, c.Part, c.Draw)
		case err != nil:
			return nil, err
		case len(bins.rows) == maxLevels:
			return nil, t.fault(fmt.Errorf("a curve is held in memory and may have %d rows; use wider bins", maxLevels))
		}
		bins.rows = append(bins.rows, row)
	}
}

// perLevel returns the arrivals of a bin per unit of level.
func (c Curve) perLevel(bins *levelBins, t *table) (float64, error) {
	seconds := bins.length.Seconds()
	factor := seconds
	highest := 0.0
	sum, from, to := 0.0, bins.rows[0].start, bins.rows[0].start
	for _, row := range bins.rows {
		highest = max(highest, row.value)
		if end := row.start + bins.length; end > c.Part.From && row.start < c.Part.end() {
			inside := min(end, c.Part.end()) - max(row.start, c.Part.From)
			sum += row.value * inside.Seconds()
			to = min(end, c.Part.end())
		}
	}
	if c.MeanRPS > 0 {
		from = max(from, c.Part.From)
		if sum == 0 {
			return 0, fmt.Errorf("read trace %s: %s is 0 throughout the part that is read, so no mean can be made of it", t.name, c.column())
		}
		factor = seconds * c.MeanRPS * (to - from).Seconds() / sum
	}
	if highest*factor > maxCount {
		return 0, fmt.Errorf("read trace %s: the highest level of %s, %v, comes to more than %d requests a bin", t.name, c.column(), highest, maxCount)
	}
	return factor, nil
}

func (c Curve) column() string {
	if c.Column == "" {
		return "the column"
	}
	return "column " + c.Column
}

// levelBins turns levels into whole counts.
type levelBins struct {
	table    *table // nil where they come from no file
	length   time.Duration
	rows     []binRow
	perLevel float64
	carry    carry
}

func (l *levelBins) Close() error {
	if l.table == nil {
		return nil
	}
	return l.table.Close()
}

func (l *levelBins) next() (bin, error) {
	if len(l.rows) == 0 {
		return bin{}, io.EOF
	}
	row := l.rows[0]
	l.rows = l.rows[1:]
	return bin{start: row.start, length: l.length, n: l.carry.whole(row.value * l.perLevel)}, nil
}
