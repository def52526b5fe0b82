package emulator

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// query is one request, shared by its handler and the owner. The owner hands
// tokens over by raising a number: since a token is a function of the seed and
// its index, nothing has to be buffered, and a slow handler costs the owner
// nothing.
type query struct {
	request
	arrived  time.Time
	admitted chan error    // the owner's answer, one
	wake     chan struct{} // capacity one: emitted or cut has changed
	emitted  atomic.Int64  // tokens that exist
	cut      atomic.Bool   // the server ended before the request did

	// The owner's.
	id        scale.RequestID
	scheduled time.Time // entered the batch, first
	first     time.Time // first token
	last      time.Time // newest token
}

var errCut = errors.New("the server ended before the request")

func newQuery(r request, arrived time.Time) *query {
	return &query{request: r, arrived: arrived, admitted: make(chan error, 1), wake: make(chan struct{}, 1)}
}

// signal wakes the handler and never blocks.
func (q *query) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// submit hands the query to the owner and returns its answer.
func (o *owner) submit(ctx context.Context, q *query) error {
	select {
	case o.arrivals <- q:
		return <-q.admitted
	case <-o.gone:
		return errDraining
	case <-ctx.Done():
		return ctx.Err()
	}
}

// withdraw tells the owner that nobody waits for the query any more. It may be
// called after the query has ended.
func (o *owner) withdraw(q *query) {
	select {
	case o.aborts <- q:
	case <-o.gone:
	}
}

// await waits until more than so many tokens exist and returns how many do.
func (q *query) await(ctx context.Context, known int) (int, error) {
	for {
		if n := int(q.emitted.Load()); n > known {
			return n, nil
		}
		if q.cut.Load() {
			return known, errCut
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return known, ctx.Err()
		}
	}
}
