// Package control is the impure half of a tick: it observes, asks the
// autoscaler, writes down what was decided, and acts. Every world runs this
// same Loop.
package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/autoscaler"
	"github.com/penstock/penstock/internal/scale"
)

// Observer gathers a Snapshot of its world. It does not block on a world that
// is slow to answer: what is not known in time is absent.
type Observer interface {
	Observe(ctx context.Context, now time.Time) (scale.Snapshot, error)
}

// Actuator makes a Decision true. Applying the same Decision twice is harmless.
type Actuator interface {
	Apply(ctx context.Context, d scale.Decision) error
}

// Journal keeps every Decision, so that it can be explained and decided again,
// and the Memory after it, so that a restart goes on from there.
type Journal interface {
	Append(ctx context.Context, r scale.Record, memoryAfter []byte) error
}

// Loop runs ticks against one world. Its exported fields are set before Run.
type Loop struct {
	Observer Observer
	Actuator Actuator
	Journal  Journal
	Interval time.Duration
	Poke     <-chan struct{}   // something cannot wait for the interval: tick now
	Memory   autoscaler.Memory // to begin with
	Report   func(error)       // told of every failed part of a tick; must not block

	before []byte // Memory, encoded; nil before the first tick

	mu     sync.Mutex
	latest Latest
}

// Latest is the most recent tick.
type Latest struct {
	Snapshot scale.Snapshot
	Decision scale.Decision
	Memory   autoscaler.Memory
}

// Latest returns the most recent tick; false before the first. It may be
// called at any time.
func (l *Loop) Latest() (Latest, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.latest, !l.latest.Decision.At.IsZero()
}

// pokeGap is the least time between a tick and one that is poked: a crowd of
// requests at a sleeping model is one reason to tick, not a thousand.
const pokeGap = 50 * time.Millisecond

// Run ticks until ctx ends, at once and then each Interval. A failed tick is
// reported, never fatal: the next one may succeed.
func (l *Loop) Run(ctx context.Context) error {
	ticker := time.NewTicker(l.Interval)
	defer ticker.Stop()
	for {
		began := time.Now()
		if err := l.Tick(ctx, began); err != nil && ctx.Err() == nil {
			l.Report(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-l.Poke:
			gap := time.NewTimer(time.Until(began.Add(pokeGap)))
			select {
			case <-ctx.Done():
				gap.Stop()
				return nil
			case <-gap.C:
			}
		}
	}
}

// Tick runs one tick as of now. A Decision that cannot be journalled is acted
// upon all the same: the fleet matters more than its history.
func (l *Loop) Tick(ctx context.Context, now time.Time) error {
	snapshot, err := l.Observer.Observe(ctx, now)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	snapshot = snapshot.Kept() // decided from what is kept, it can be decided again
	if l.before == nil {
		if l.before, err = l.Memory.Encode(); err != nil {
			return err
		}
	}
	decision, memory := autoscaler.Step(snapshot, l.Memory)
	after, err := memory.Encode()
	if err != nil {
		return err
	}
	record := scale.Record{At: now, Snapshot: snapshot, Memory: l.before, Decision: decision}
	l.Memory, l.before = memory, after
	l.mu.Lock()
	l.latest = Latest{Snapshot: snapshot, Decision: decision, Memory: memory}
	l.mu.Unlock()

	return errors.Join(
		wrap("journal", l.Journal.Append(ctx, record, after)),
		wrap("apply", l.Actuator.Apply(ctx, decision)),
	)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
