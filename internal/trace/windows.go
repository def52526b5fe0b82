package trace

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxWindows bounds the windows of a file of token distributions, which are
// held in memory: eleven years of windows of six hours.
const maxWindows = 1 << 14

// Windows draws lengths from distributions that change over time: a row per
// window (t_s) and field (input_tokens, output_tokens), with the mean and
// quantiles (q0 to q100). A window lasts until the next one begins, the last
// one on and on. Prompt and output are drawn independently, as only their
// margins are published.
type Windows struct {
	starts         []time.Duration
	prompt, output []quantiles // as many
}

// OpenWindows reads a file whole.
func OpenWindows(path string) (*Windows, error) {
	return opened(path, func(t *table) (*Windows, error) {
		w, err := windowsFrom(t)
		return w, errors.Join(err, t.Close())
	})
}

// ReadWindows reads a stream whole; name stands for it in errors.
func ReadWindows(name string, from io.Reader) (*Windows, error) {
	t, err := newTable(name, from)
	if err != nil {
		return nil, err
	}
	return windowsFrom(t)
}

// Draw returns lengths by inverse transform from the window of that time.
func (w *Windows) Draw(at time.Duration, random *rand.Rand) (prompt, output int) {
	i, found := slices.BinarySearch(w.starts, at)
	if !found && i > 0 {
		i--
	}
	return w.prompt[i].draw(random), w.output[i].draw(random)
}

func windowsFrom(t *table) (*Windows, error) {
	reader, err := newWindowReader(t)
	if err != nil {
		return nil, err
	}
	w := &Windows{}
	for {
		start, field, q, err := reader.next()
		switch {
		case errors.Is(err, io.EOF):
			return w, w.complete(t)
		case err != nil:
			return nil, err
		}
		if len(w.starts) == 0 || start != w.starts[len(w.starts)-1] {
			if err := w.begin(t, start); err != nil {
				return nil, err
			}
		}
		of := &w.prompt
		if field == fieldOutput {
			of = &w.output
		}
		if len(*of) == len(w.starts) {
			return nil, t.faultAt(reader.field, fmt.Errorf("%s is there twice in one window", field))
		}
		*of = append(*of, q)
	}
}

// begin goes on to the next window.
func (w *Windows) begin(t *table, start time.Duration) error {
	if last := len(w.starts) - 1; last >= 0 {
		if err := w.complete(t); err != nil {
			return err
		}
		if start < w.starts[last] {
			return t.fault(errors.New("the window is earlier than the one before; sort the file by t_s"))
		}
	}
	if len(w.starts) == maxWindows {
		return t.fault(fmt.Errorf("windows are held in memory, and there may be %d", maxWindows))
	}
	w.starts = append(w.starts, start)
	return nil
}

// complete says whether the last window has both fields.
func (w *Windows) complete(t *table) error {
	switch n := len(w.starts); {
	case n == 0:
		return fmt.Errorf("read trace %s:2: there is no row after the header", t.name)
	case len(w.prompt) < n:
		return t.fault(fmt.Errorf("the window at %v s has no row of %s", w.starts[n-1].Seconds(), fieldInput))
	case len(w.output) < n:
		return t.fault(fmt.Errorf("the window at %v s has no row of %s", w.starts[n-1].Seconds(), fieldOutput))
	}
	return nil
}

// The fields of a file of token distributions.
const (
	fieldInput  = "input_tokens"
	fieldOutput = "output_tokens"
)

// windowReader reads rows of quantiles.
type windowReader struct {
	table             *table
	time, field, mean int // columns
	at                []int
	shares            []float64 // 0..1, of the columns at
}

func newWindowReader(t *table) (*windowReader, error) {
	r := &windowReader{table: t}
	for _, c := range []struct {
		name string
		at   *int
	}{{"t_s", &r.time}, {"field", &r.field}, {"mean", &r.mean}} {
		var err error
		if *c.at, err = t.column(c.name); err != nil {
			return nil, err
		}
	}
	for i, name := range t.header {
		percent, isQuantile := strings.CutPrefix(name, "q")
		if !isQuantile {
			continue
		}
		share, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(share >= 0 && share <= 100) || len(r.shares) > 0 && share/100 <= r.shares[len(r.shares)-1] {
			return nil, fmt.Errorf("read trace %s:1: column %s is no quantile after those before; they rise from q0 to q100", t.name, name)
		}
		r.at, r.shares = append(r.at, i), append(r.shares, share/100)
	}
	if n := len(r.shares); n > maxPoints {
		return nil, fmt.Errorf("read trace %s:1: %d quantiles are more than %d", t.name, n, maxPoints)
	} else if n < 2 || r.shares[0] != 0 || r.shares[n-1] != 1 {
		return nil, fmt.Errorf("read trace %s:1: quantiles from q0 to q100 are missing; found %s", t.name, strings.Join(t.header, ","))
	}
	return r, nil
}

func (r *windowReader) next() (start time.Duration, field string, q quantiles, err error) {
	if err := r.table.next(); err != nil {
		return 0, "", q, err
	}
	if start, err = r.table.seconds(r.time); err != nil {
		return 0, "", q, err
	}
	field = string(r.table.fields[r.field])
	if field != fieldInput && field != fieldOutput {
		return 0, "", q, r.table.faultAt(r.field, fmt.Errorf("%q is neither %s nor %s", field, fieldInput, fieldOutput))
	}
	mean, err := r.table.number(r.mean, maxTokens)
	if err != nil {
		return 0, "", q, err
	}
	values := make([]float64, len(r.at))
	for i, column := range r.at {
		if values[i], err = r.table.number(column, maxTokens); err != nil {
			return 0, "", q, err
		}
		if i > 0 && values[i] < values[i-1] {
			return 0, "", q, r.table.faultAt(column, fmt.Errorf("%v is below the quantile before, %v", values[i], values[i-1]))
		}
	}
	return start, field, newQuantiles(r.shares, values, mean), nil
}

// quantiles is a distribution known at some points. Between two of them it is
// geometric, as token counts fall off by factors. Between the last two it is
// bent so that the mean is the published one as nearly as may be.
type quantiles struct {
	shares []float64
	values []float64
	logs   []float64     // of the values
	bend   float64       // of the last piece: the power of the share within it
	guide  [guides]uint8 // the first point that may be above a share of i/guides
}

const (
	guides = 128
	// maxPoints bounds the points of a distribution, so that a byte holds one.
	maxPoints = 250
	// least stands for a value of zero, which has no logarithm; it is rounded
	// to zero again.
	least = 0.25
)

func newQuantiles(shares, values []float64, mean float64) quantiles {
	q := quantiles{shares: shares, values: values, logs: make([]float64, len(values)), bend: 1}
	for i := range q.guide {
		for share := float64(i) / guides; shares[q.guide[i]] <= share; {
			q.guide[i]++
		}
	}
	last := len(values) - 1
	for i, v := range values {
		values[i] = max(v, least)
		q.logs[i] = math.Log(values[i])
		if i > 0 && i < last {
			mean -= geometric(values[i-1], values[i]) * (shares[i] - shares[i-1])
		}
	}
	// The last piece is low + (high − low)·v^bend, of mean low + (high − low)/(1 + bend).
	low, high := values[last-1], values[last]
	if wanted := mean/(shares[last]-shares[last-1]) - low; high > low {
		const straightest, bentest = 0.25, 1000
		q.bend = bentest
		if wanted > 0 {
			q.bend = min(max((high-low)/wanted-1, straightest), bentest)
		}
	}
	return q
}

// geometric is the mean of low·(high/low)^v over v in 0..1.
func geometric(low, high float64) float64 {
	if high-low < 1e-9*low {
		return low
	}
	return (high - low) / math.Log(high/low)
}

func (q *quantiles) draw(random *rand.Rand) int {
	u := random.Float64()
	i := q.guide[int(u*guides)]
	for q.shares[i] <= u {
		i++
	}
	part := (u - q.shares[i-1]) / (q.shares[i] - q.shares[i-1])
	low, high := q.values[i-1], q.values[i]
	switch {
	case int(i) == len(q.shares)-1:
		return int(low + (high-low)*math.Pow(part, q.bend) + 0.5)
	case high <= low*1.1: // a straight line is off by a thousandth at most
		return int(low + (high-low)*part + 0.5)
	}
	return int(math.Exp(q.logs[i-1]+part*(q.logs[i]-q.logs[i-1])) + 0.5)
}
