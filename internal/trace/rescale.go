package trace

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// maxFactor bounds how many requests one is turned into.
const maxFactor = 1000

// Rescaled is a source with its rate multiplied.
type Rescaled struct {
	source Source
	factor float64
	random *rand.Rand

	current scale.Request
	copies  []time.Duration // arrivals of the current request yet to come, backwards
	after   scale.Request   // read ahead
	ended   error           // why there is nothing after it
	started bool
	written scale.RequestID
}

// Rescale multiplies a source's rate, at every time, by a factor between 0 and
// 1000, and numbers the requests anew. Below 1 it drops requests at random.
// Above, each request stays and is joined by copies at random instants before
// the next one; a fraction of a copy is a copy with that probability. Either
// makes bursts more even; Counts and Clients have a Scale, which does not.
func Rescale(source Source, factor float64, seed uint64) (*Rescaled, error) {
	if !(factor > 0 && factor <= maxFactor) {
		return nil, fmt.Errorf("a factor of %v is not between 0 and %d", factor, maxFactor)
	}
	return &Rescaled{source: source, factor: factor, random: rand.New(rand.NewPCG(seed, streamRescale))}, nil
}

// Next returns the next request, or io.EOF after the last. An error is final.
func (r *Rescaled) Next() (scale.Request, error) {
	if !r.started {
		r.started = true
		r.after, r.ended = r.source.Next()
	}
	for len(r.copies) == 0 {
		if r.ended != nil {
			return scale.Request{}, r.ended
		}
		r.advance()
	}
	last := len(r.copies) - 1
	r.written++
	request := r.current
	request.ID, request.At = r.written, Epoch().Add(r.copies[last])
	r.copies = r.copies[:last]
	return request, nil
}

// advance goes on to the next request and decides how often it comes.
func (r *Rescaled) advance() {
	r.current = r.after
	r.after, r.ended = r.source.Next()
	at := r.current.At.Sub(Epoch())
	gap := time.Duration(0)
	if r.ended == nil {
		gap = r.after.At.Sub(r.current.At)
	}
	n := int(r.factor)
	if r.random.Float64() < r.factor-float64(n) {
		n++
	}
	for i := range n {
		offset := time.Duration(0)
		if i > 0 && gap > 0 {
			offset = time.Duration(r.random.Int64N(int64(gap)))
		}
		r.copies = append(r.copies, at+offset)
	}
	slices.SortFunc(r.copies, func(a, b time.Duration) int { return cmp.Compare(b, a) })
}

// Close closes the source.
func (r *Rescaled) Close() error { return Close(r.source) }
