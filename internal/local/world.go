package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/spot"
)

// errNotRunning says that the world has ended.
var errNotRunning = errors.New("the local world does not run")

// errStopping refuses starts once the world is told to end.
var errStopping = errors.New("the local world is stopping")

// Gateway is the data plane as the local world needs it. All methods are safe
// for concurrent use and return at once.
type Gateway interface {
	// Route replaces what the data plane knows of a model's Replicas. When it
	// has returned, no Replica that is Draining is sent anything new.
	Route(model string, routes []scale.Route)
	// Traffic returns what was measured since it was last called.
	Traffic(model string, now time.Time) scale.Traffic
	// InFlight returns how many requests are at a Replica now.
	InFlight(model string, replica scale.ReplicaID) int
}

// Figures are what was read of the models' business signals. It is safe for
// concurrent use and returns at once.
type Figures interface {
	// Latest returns the newest reading of each signal of a model, by name.
	Latest(model string) []scale.Figure
}

// World is this machine: an Observer and an Actuator of control.Loop. Run must
// be running for the others to be answered.
type World struct {
	Models    []scale.Model
	Runs      map[config.RunKey]config.Run
	Offerings []scale.Offering // Limited, Slots and Pool are set here, from GPUs
	Fleet     scale.FleetPolicy
	GPUs      []GPU
	Tick      time.Duration // how often Observe will be called; metrics are read as often
	StateDir  string        // records, logs and notices; one running World at a time
	Gateway   Gateway
	Figures   Figures // nil for none
	Logger    *slog.Logger

	once  sync.Once
	calls chan func(context.Context, *fleet) // to the owner of the fleet
	done  chan struct{}                      // closed when Run returns
	poked chan struct{}
	book  book
}

// prepare makes the channels; every method calls it first.
func (w *World) prepare() {
	w.once.Do(func() {
		w.calls = make(chan func(context.Context, *fleet))
		w.done = make(chan struct{})
		w.poked = make(chan struct{}, 1)
		w.book.living = map[scale.ReplicaID]scale.Lifetime{}
	})
}

// Run owns the fleet until ctx ends. It first ends what an earlier Penstock left
// behind. When ctx ends, every Replica gets SIGTERM, then, after its grace
// period, SIGKILL, and Run returns when all are gone: who wants requests in
// flight to finish drains the gateway before. Run is called once.
func (w *World) Run(ctx context.Context) error {
	w.prepare()
	defer close(w.done)
	paths := paths(w.StateDir)
	lock, err := lockDir(paths)
	if err != nil {
		return fmt.Errorf("run local world: %w", err)
	}
	err = w.run(ctx, paths)
	if err = errors.Join(err, lock.Close()); err != nil {
		return fmt.Errorf("run local world: %w", err)
	}
	return nil
}

func (w *World) run(ctx context.Context, p paths) error {
	killed, err := reapRecorded(ctx, p)
	if err != nil {
		return err
	}
	if killed > 0 {
		w.Logger.WarnContext(ctx, "leftover processes killed", "processes", killed)
	}
	if err := errors.Join(os.RemoveAll(p.notices()), os.Mkdir(p.notices(), 0o700)); err != nil {
		return fmt.Errorf("clear notices: %w", err) // no Replica that they could mean runs
	}
	transport := &http.Transport{DisableCompression: true, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10}
	defer transport.CloseIdleConnections()
	f := newFleet(w, p, transport)
	f.prune(ctx)
	notices := make(chan scale.Interruption)
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	var watcher sync.WaitGroup
	files := spot.Files{Dir: p.notices(), Logger: w.Logger}
	watcher.Go(func() {
		err = files.Run(watching, func(i scale.Interruption) {
			select {
			case notices <- i:
			case <-watching.Done():
			}
		})
	})
	f.own(ctx, w.calls, notices)
	stopWatching()
	watcher.Wait()
	f.lives.Wait()
	return err
}

// Observe returns everything that a tick may know of this machine. It waits for
// nothing that a Replica could delay.
func (w *World) Observe(ctx context.Context, now time.Time) (scale.Snapshot, error) {
	traffic := make(map[string]scale.Traffic, len(w.Models))
	for _, m := range w.Models {
		traffic[m.Name] = w.Gateway.Traffic(m.Name, now)
	}
	s, err := ask(ctx, w, func(_ context.Context, f *fleet) scale.Snapshot { return f.observe(now, traffic) })
	if err != nil {
		return scale.Snapshot{}, fmt.Errorf("observe this machine: %w", err)
	}
	return s, nil
}

// Apply makes a Decision true as far as it goes now: it drains the Replicas that
// are named, starts those for which there is a free slot and no back-off, and
// passes batch limits on to the gateway. It does not wait for any of it to
// finish. Applying the same Decision twice is harmless.
func (w *World) Apply(ctx context.Context, d scale.Decision) error {
	fault, err := ask(ctx, w, func(owner context.Context, f *fleet) error { return f.apply(owner, d) })
	if err = errors.Join(err, fault); err != nil {
		return fmt.Errorf("apply decision: %w", err)
	}
	return nil
}

// Poked says that something happened for which the next tick should not wait: a
// Replica became Ready or is gone, or a notice came. Several are one.
func (w *World) Poked() <-chan struct{} {
	w.prepare()
	return w.poked
}

func (w *World) poke() {
	select {
	case w.poked <- struct{}{}:
	default:
	}
}

// Lifetimes returns the paid lives of all Replicas, those that ended and were
// not taken included, sorted by Replica. Busy is sampled when Observe is called:
// a span counts wholly when requests were at the Replica at both its ends, half
// when at one, and with the time that finished requests took when at neither.
func (w *World) Lifetimes() []scale.Lifetime { return w.book.all() }

// TakeEnded returns the Lifetimes that have ended, and forgets them.
func (w *World) TakeEnded() []scale.Lifetime { return w.book.takeEnded() }

// ask has the owner of the fleet run a function and returns its result.
func ask[T any](ctx context.Context, w *World, fn func(context.Context, *fleet) T) (T, error) {
	w.prepare()
	reply := make(chan T, 1)
	call := func(owner context.Context, f *fleet) { reply <- fn(owner, f) }
	var none T
	select {
	case w.calls <- call:
	case <-w.done:
		return none, errNotRunning
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	select {
	case result := <-reply:
		return result, nil
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}
