package emulator

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// owner drives the engine in real time. One goroutine, run, owns everything in
// it but the channels.
type owner struct {
	engine  *engine.Engine
	metrics *metrics
	logger  *slog.Logger
	drain   time.Duration

	// Handlers send; run receives until it closes gone.
	arrivals chan *query
	aborts   chan *query
	gone     chan struct{}

	queries  map[scale.RequestID]*query // in the engine, or with their last token on its way
	next     scale.RequestID
	draining bool

	// The iteration that runs, if any. Iterations follow one another at absolute
	// times, so that a late timer shortens the next wait and nothing drifts.
	current engine.Iteration
	busy    bool
	ends    time.Time
	timer   *time.Timer

	warned time.Time // when the log last said that the machine is late
}

// lateness is what the log mentions, at most once in each lateEvery.
const (
	lateness  = 250 * time.Millisecond
	lateEvery = 10 * time.Second
)

var errDraining = errors.New("the server is shutting down")

// run drives the engine until the context ends, and then until what is in
// flight is done or the drain timeout is over.
func (o *owner) run(ctx context.Context) {
	defer close(o.gone)
	o.timer = time.NewTimer(time.Hour)
	o.timer.Stop()
	defer o.timer.Stop()

	stop := ctx.Done()
	var deadline <-chan time.Time
	for {
		select {
		case q := <-o.arrivals:
			o.arrive(q)
		case q := <-o.aborts:
			o.abort(q)
		case <-o.timer.C:
			o.end(ctx, time.Now())
		case <-deadline:
			o.cutOff()
		case <-stop:
			stop, o.draining = nil, true
			if o.drain <= 0 {
				o.cutOff()
				break
			}
			timer := time.NewTimer(o.drain)
			defer timer.Stop()
			deadline = timer.C
		}
		if !o.busy {
			o.begin(time.Now())
		}
		o.metrics.state(o.engine, len(o.queries)-o.engine.Waiting())
		if o.draining && len(o.queries) == 0 {
			return
		}
	}
}

// arrive puts a request into the engine and tells its handler whether it is.
func (o *owner) arrive(q *query) {
	if o.draining {
		q.admitted <- errDraining
		return
	}
	o.next++
	q.id = o.next
	err := o.engine.Add(engine.Job{ID: q.id, PromptTokens: q.promptTokens, OutputTokens: q.outputTokens})
	if err == nil {
		o.queries[q.id] = q
	}
	q.admitted <- err
}

// abort forgets a request whose client went away. Its place is free at once.
func (o *owner) abort(q *query) {
	if o.queries[q.id] != q {
		return
	}
	delete(o.queries, q.id)
	o.engine.Abort(q.id)
	o.metrics.ended(q, time.Now(), reasonAbort)
}

// cutOff aborts everything in flight.
func (o *owner) cutOff() {
	for _, q := range o.queries {
		o.abort(q)
		q.cut.Store(true)
		q.signal()
	}
}

// begin starts the next iteration at a time, if there is something to do.
func (o *owner) begin(at time.Time) {
	o.current, o.busy = o.engine.Iterate()
	if !o.busy {
		o.metrics.lag.Set(0)
		return
	}
	for _, id := range o.current.Started {
		if q := o.queries[id]; q.scheduled.IsZero() {
			q.scheduled = at
		}
	}
	o.metrics.preemptions.Add(float64(o.current.Preempted))
	o.ends = at.Add(o.current.Took)
	o.timer.Reset(time.Until(o.ends))
}

// end hands out the tokens of the iteration that is over and begins the next.
func (o *owner) end(ctx context.Context, now time.Time) {
	o.late(ctx, now)
	for _, e := range o.current.Emitted {
		q := o.queries[e.ID]
		if q == nil { // aborted meanwhile
			continue
		}
		o.metrics.emitted(q, now)
		q.last = now
		q.emitted.Store(int64(e.Index) + 1)
		if e.Last {
			delete(o.queries, e.ID)
			o.metrics.ended(q, now, q.reason)
		}
		if e.Last || q.stream {
			q.signal()
		}
	}
	o.begin(o.ends)
}

// late measures how far the machine is behind the engine's time, and says so
// when that is much: then the times that clients see are the machine's.
func (o *owner) late(ctx context.Context, now time.Time) {
	lag := now.Sub(o.ends)
	o.metrics.lag.Set(lag.Seconds())
	if lag > lateness && now.Sub(o.warned) > lateEvery {
		o.warned = now
		o.logger.WarnContext(ctx, "this machine is too slow for the emulated engine: latencies are its own", "lag", lag)
	}
}
