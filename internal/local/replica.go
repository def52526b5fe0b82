package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/signals"
)

const (
	probeEvery   = 100 * time.Millisecond
	probeTimeout = 2 * time.Second
	drainLook    = 50 * time.Millisecond // how often a draining Replica is asked whether it is empty
	drainQuiet   = 2                     // looks in a row that must find it so: a request may be on its way
	tellFailure  = 3                     // scrapes in a row that must fail before it is told, once
	portAttempts = 4                     // starts in all, when others take the port
	visibleArg   = "CUDA_VISIBLE_DEVICES"
)

// order tells a Replica to end. A later order replaces an earlier one.
type order struct {
	until  time.Time // requests in flight may take until then; zero: as long as they want
	killBy time.Time // killed no later than this; zero: after the grace period
}

// sooner combines two orders: whatever either wants sooner.
func (o order) sooner(p order) order {
	earlier := func(a, b time.Time) time.Time {
		if a.IsZero() || !b.IsZero() && b.Before(a) {
			return b
		}
		return a
	}
	return order{until: earlier(o.until, p.until), killBy: earlier(o.killBy, p.killBy)}
}

// event is what a Replica tells the fleet.
type event struct {
	replica scale.ReplicaID
	kind    eventKind
	at      time.Time
	address string         // placed
	sample  signals.Sample // sampled
	path    string         // of the metrics; sampled
	ending  ending         // gone
}

type eventKind int

const (
	placed  eventKind = iota + 1 // it was promised an address
	ready                        // it may be sent requests
	sampled                      // its engine's metrics were read
	gone                         // its last process is gone
)

// ending is how a Replica's life ended.
type ending struct {
	cause endCause
	text  string // for people
}

type endCause int

const (
	ordered    endCause = iota + 1 // it was told to
	bootFailed                     // it ended by itself before it was Ready, or was not Ready in time
	portLost                       // it failed to boot, and somebody else listens on its port
	died                           // it ended by itself after it was Ready
)

// replica is one Replica's life, owned by the goroutine that runs live.
type replica struct {
	id        scale.ReplicaID
	target    scale.ScaleTarget
	run       config.Run
	values    config.Values // all but the port
	ports     *ports
	paths     paths
	collector *signals.Collector
	transport http.RoundTripper
	gateway   Gateway
	logger    *slog.Logger

	// orders holds the newest order; only the fleet sends, and replaces what was
	// not yet taken. events is received from for as long as any Replica lives.
	orders chan order
	events chan<- event
	told   bool // an order came while an attempt was ending
}

// live starts the Replica, sees it through and returns when its last process is
// gone. The fleet is told of everything; the last event is gone. ctx is not for
// stopping it: orders are.
func (r *replica) live(ctx context.Context) {
	var end ending
	for range portAttempts {
		if end = r.attempt(ctx); end.cause != portLost || r.told {
			break
		}
		r.logger.WarnContext(ctx, "replica port taken", "replica", r.id, "reason", end.text)
	}
	r.tell(event{kind: gone, ending: end})
}

func (r *replica) tell(e event) {
	e.replica, e.at = r.id, time.Now()
	r.events <- e
}

// attempt is one start on one port, and all that follows from it.
func (r *replica) attempt(ctx context.Context) ending {
	port, err := r.ports.take(ctx)
	if err != nil {
		return ending{bootFailed, err.Error()}
	}
	defer r.ports.release(port)
	r.tell(event{kind: placed, address: address(port)})
	values := r.values
	values.Port = port
	p, err := startProcess(ctx, launch{
		replica: r.id,
		target:  r.target,
		argv:    r.run.Argv(values),
		// What is accounted goes last: it must hold whatever else is set.
		environ: append(r.run.Environ(values), visibleArg+"="+visible(values.GPUs)),
		without: r.run.Without,
		dir:     r.run.Dir,
		paths:   r.paths,
		logger:  r.logger,
	})
	if err != nil {
		return ending{bootFailed, err.Error()}
	}
	r.logger.InfoContext(ctx, "replica starting", "replica", r.id, "target", r.target.String(),
		"address", address(port), "gpus", values.GPUs, "guard", p.cmd.Process.Pid, "log", r.paths.log(r.id))
	watching, stopWatching := context.WithCancel(ctx)
	isReady := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() { r.watch(watching, address(port), isReady) })
	o, end := r.serve(p, isReady)
	if end.cause == ordered {
		o = r.drain(p, o)
	}
	stopWatching()
	watcher.Wait()
	r.stop(ctx, p, o)
	r.conclude(ctx, port, p, &end)
	return end
}

// conclude completes an ending with what is known once all processes are gone.
func (r *replica) conclude(ctx context.Context, port int, p *process, end *ending) {
	if end.cause == ordered {
		end.text = "told to; " + p.status
	}
	if end.cause != bootFailed {
		return
	}
	if words := lastWords(r.paths.log(r.id)); words != "" {
		end.text += ": " + words
	}
	if taken, err := portTaken(ctx, port); err == nil && taken {
		end.cause, end.text = portLost, fmt.Sprintf("somebody else listens on %s; %s", address(port), end.text)
	}
}

// serve waits until the process ends, is not Ready in time, or is ordered to
// end.
func (r *replica) serve(p *process, isReady <-chan struct{}) (order, ending) {
	timeout := time.NewTimer(r.run.ReadyTimeout)
	defer timeout.Stop()
	ended := bootFailed
	for {
		select {
		case <-p.exited:
			return order{}, ending{ended, p.status}
		case <-isReady:
			isReady, ended = nil, died
			timeout.Stop()
			r.tell(event{kind: ready})
		case <-timeout.C:
			return order{}, ending{bootFailed, fmt.Sprintf("not ready within %s", r.run.ReadyTimeout)}
		case o := <-r.orders:
			return o, ending{cause: ordered}
		}
	}
}

// drain waits until no request is at the Replica, or may be any longer. It
// returns the order as it stands by then.
func (r *replica) drain(p *process, o order) order {
	ticker := time.NewTicker(drainLook)
	defer ticker.Stop()
	quiet := 0
	for o.until.IsZero() || time.Now().Before(o.until) {
		select {
		case <-p.exited:
			return o
		case next := <-r.orders:
			o = o.sooner(next)
		case <-ticker.C:
			quiet++
			if r.gateway.InFlight(r.target.Model, r.id) > 0 {
				quiet = 0
			}
			if quiet == drainQuiet {
				return o
			}
		}
	}
	return o
}

// stop sends SIGTERM, then kills, and returns when no process is left.
func (r *replica) stop(ctx context.Context, p *process, o order) {
	p.terminate(ctx)
	killAt := o.sooner(order{killBy: time.Now().Add(r.run.Grace)}).killBy
	timer := time.NewTimer(time.Until(killAt))
	defer timer.Stop()
	for killed := false; ; {
		select {
		case <-p.exited:
			p.kill(ctx) // lets go of the lifeline
			return
		case next := <-r.orders:
			r.told = true
			if !killed && !next.killBy.IsZero() && next.killBy.Before(killAt) {
				killAt = next.killBy
				timer.Reset(time.Until(killAt))
			}
		case <-timer.C:
			if killed {
				r.reap(ctx)
			} else {
				r.logger.WarnContext(ctx, "replica killed", "replica", r.id, "reason", "it did not end by itself in time")
				p.kill(ctx)
			}
			killed = true
			timer.Reset(guardPatience)
		}
	}
}

// reap kills the Replica's processes without its guard's help, and the guard.
func (r *replica) reap(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, guardPatience)
	defer cancel()
	n, err := reapMarked(ctx, map[string]bool{setting(r.id): true})
	r.logger.WarnContext(ctx, "leftover processes killed", "replica", r.id, "processes", n, "error", err)
}

// watch closes isReady once the Replica answers its readiness path, and then
// reads its metrics until ctx ends.
func (r *replica) watch(ctx context.Context, address string, isReady chan<- struct{}) {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for !r.answers(ctx, "http://"+address+r.run.Ready) {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
	close(isReady)
	failures := 0
	r.collector.Watch(ctx, "http://"+address+r.run.Metrics, func(sample signals.Sample, err error) {
		if err == nil {
			failures = 0
			r.tell(event{kind: sampled, sample: sample, path: r.run.Metrics})
			return
		}
		if failures++; failures == tellFailure {
			r.logger.WarnContext(ctx, "metrics not read", "replica", r.id, "error", err)
		}
	})
}

// answers says whether the URL answers 200.
func (r *replica) answers(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	resp, err := r.transport.RoundTrip(req) // follows no redirect
	if err != nil {
		return false
	}
	const enough = 4 << 10 // to reuse the connection
	_, err = io.CopyN(io.Discard, resp.Body, enough)
	if errClose := resp.Body.Close(); err != nil && !errors.Is(err, io.EOF) || errClose != nil {
		return false
	}
	return resp.StatusCode == http.StatusOK
}

// visible is the value of CUDA_VISIBLE_DEVICES. Empty hides all of them.
func visible(gpus []int) string {
	indices := make([]string, len(gpus))
	for i, gpu := range gpus {
		indices[i] = strconv.Itoa(gpu)
	}
	return strings.Join(indices, ",")
}
