package trace

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

const (
	// maxChanges bounds a file of availability, which is held in memory.
	maxChanges = 1 << 20
	// maxNodes bounds a count of nodes.
	maxNodes = 1_000_000
)

// Change is how many nodes there are from an instant on.
type Change struct {
	At    time.Duration // since the beginning
	Count int
}

// Availability reads a file of how many spot nodes there were: t_s, nodes, one
// row a change. The span ends with the last row, which so only says when the
// count before it ended. The first change is at 0: where the file begins
// later, none are there until then.
func Availability(path string) (changes []Change, span time.Duration, err error) {
	t, err := openTable(path)
	if err != nil {
		return nil, 0, err
	}
	changes, span, err = readAvailability(t)
	return changes, span, errors.Join(err, t.Close())
}

// ReadAvailability reads a stream as Availability reads a file; name stands
// for it in errors.
func ReadAvailability(name string, from io.Reader) (changes []Change, span time.Duration, err error) {
	t, err := newTable(name, from)
	if err != nil {
		return nil, 0, err
	}
	return readAvailability(t)
}

func readAvailability(t *table) (changes []Change, span time.Duration, err error) {
	at, err := t.column("t_s")
	if err != nil {
		return nil, 0, err
	}
	nodes, err := t.column("nodes")
	if err != nil {
		return nil, 0, err
	}
	for {
		c, err := readChange(t, at, nodes)
		switch {
		case errors.Is(err, io.EOF) && len(changes) == 0:
			return nil, 0, fmt.Errorf("read trace %s:2: there is no row after the header", t.name)
		case errors.Is(err, io.EOF) && span == 0:
			return nil, 0, fmt.Errorf("read trace %s:%d: one row at 0 alone does not tell how long the count holds", t.name, t.line)
		case errors.Is(err, io.EOF):
			return changes, span, nil
		case err != nil:
			return nil, 0, err
		case len(changes) > 0 && c.At <= span:
			return nil, 0, t.faultAt(at, fmt.Errorf("%s is not after the %v s of the row before; sort the file by t_s", t.fields[at], span.Seconds()))
		case len(changes) == maxChanges:
			return nil, 0, t.fault(fmt.Errorf("a file of availability is held in memory and may have %d changes", maxChanges))
		case len(changes) == 0 && c.At > 0:
			changes = append(changes, Change{})
		}
		changes, span = append(changes, c), c.At
	}
}

func readChange(t *table, at, nodes int) (Change, error) {
	if err := t.next(); err != nil {
		return Change{}, err
	}
	when, err := t.seconds(at)
	if err != nil {
		return Change{}, err
	}
	n, err := t.number(nodes, maxNodes)
	if err == nil && n != math.Trunc(n) {
		err = t.faultAt(nodes, fmt.Errorf("%v is no whole number of nodes", n))
	}
	return Change{At: when, Count: int(n)}, err
}
