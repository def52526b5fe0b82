package trace

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// binRows reads rows of a time and a value, as far apart as their bins are
// long. Rows that are left out are bins of nothing, as long as those that
// follow are on the same grid.
type binRows struct {
	table       *table
	time, value int // columns
	most        float64
	length      time.Duration
	last        time.Duration // start of the row read last
	ahead       []binRow      // the first two rows, which tell the length
}

type binRow struct {
	start time.Duration
	value float64
}

// newBinRows finds the columns; "" stands for requests, or for the only column
// there is beside t_s. No value may be above most.
func newBinRows(t *table, column string, most float64) (*binRows, error) {
	at, err := t.column("t_s")
	if err != nil {
		return nil, err
	}
	if column == "" {
		column = "requests"
		if len(t.header) == 2 {
			column = t.header[1-at]
		}
	}
	value, err := t.column(column)
	if err != nil {
		return nil, err
	}
	b := &binRows{table: t, time: at, value: value, most: most}
	for range 2 {
		row, err := b.read()
		switch {
		case errors.Is(err, io.EOF) && len(b.ahead) == 0:
			return nil, fmt.Errorf("read trace %s:2: there is no row after the header", t.name)
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("read trace %s:%d: one row alone does not tell how long its bin is", t.name, t.line)
		case err != nil:
			return nil, err
		}
		b.ahead = append(b.ahead, row)
	}
	b.length = b.ahead[1].start - b.ahead[0].start
	return b, nil
}

// next returns the next row, or io.EOF.
func (b *binRows) next() (binRow, error) {
	if len(b.ahead) > 0 {
		row := b.ahead[0]
		b.ahead = b.ahead[1:]
		return row, nil
	}
	before := b.last
	row, err := b.read()
	if err != nil {
		return binRow{}, err
	}
	if apart := row.start - before; apart%b.length != 0 {
		return binRow{}, b.table.faultAt(b.time, fmt.Errorf("%s comes %s after the row before, and bins are %s long; fill rows that are missing with 0",
			b.table.fields[b.time], apart, b.length))
	}
	return row, nil
}

func (b *binRows) read() (binRow, error) {
	first := b.table.line == 1
	if err := b.table.next(); err != nil {
		return binRow{}, err
	}
	start, err := b.table.seconds(b.time)
	if err != nil {
		return binRow{}, err
	}
	if !first && start <= b.last {
		return binRow{}, b.table.faultAt(b.time, fmt.Errorf("%s is not after the %v s of the row before; sort the file by t_s",
			b.table.fields[b.time], b.last.Seconds()))
	}
	value, err := b.table.number(b.value, b.most)
	b.last = start
	return binRow{start: start, value: value}, err
}

// Counts draws requests from a file of counts: t_s, requests. Each bin has
// exactly the arrivals that the file says; they are placed by a Gamma renewal
// of shape 1/CV² conditioned on the count.
type Counts struct {
	Column string  // "": requests, or the only one beside t_s
	Scale  float64 // multiplies the counts, fractions are carried to the next bin; 0 stands for 1
	Part   Part
	Draw   Draw
}

// Open opens a file and streams from it.
func (c Counts) Open(path string) (*Drawn, error) {
	return opened(path, c.from)
}

// Read streams from a reader; name stands for it in errors.
func (c Counts) Read(name string, from io.Reader) (*Drawn, error) {
	t, err := newTable(name, from)
	if err != nil {
		return nil, err
	}
	return c.from(t)
}

func (c Counts) from(t *table) (*Drawn, error) {
	factor, err := factorOf(c.Scale)
	if err != nil {
		return nil, err
	}
	rows, err := newBinRows(t, c.Column, maxCount)
	if err != nil {
		return nil, err
	}
	return newDrawn(&countBins{rows: rows, scale: factor}, c.Part, c.Draw)
}

// countBins scales rows to whole counts.
type countBins struct {
	rows  *binRows
	scale float64
	carry carry
}

func (c *countBins) Close() error { return c.rows.table.Close() }

func (c *countBins) next() (bin, error) {
	row, err := c.rows.next()
	if err != nil {
		return bin{}, err
	}
	if row.value != math.Trunc(row.value) {
		return bin{}, c.rows.table.faultAt(c.rows.value, fmt.Errorf("%v is no whole number of requests; read it as a curve of levels", row.value))
	}
	expected := row.value * c.scale
	if expected > maxCount {
		return bin{}, c.rows.table.faultAt(c.rows.value, fmt.Errorf("%v times the scale of %v is above %d a bin", row.value, c.scale, maxCount))
	}
	return bin{start: row.start, length: c.rows.length, n: c.carry.whole(expected)}, nil
}

// factorOf checks a scale; 0 stands for 1.
func factorOf(factor float64) (float64, error) {
	switch {
	case factor == 0:
		return 1, nil
	case !(factor > 0 && factor <= 1e6):
		return 0, fmt.Errorf("a scale of %v is not between 0 and 1,000,000", factor)
	}
	return factor, nil
}

// opened makes a source of a file, which is closed where that fails.
func opened[T any](path string, from func(*table) (T, error)) (T, error) {
	t, err := openTable(path)
	if err != nil {
		return *new(T), err
	}
	source, err := from(t)
	if err != nil {
		return *new(T), errors.Join(err, t.Close())
	}
	return source, nil
}
