package adversary

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/autoscaler"
	"github.com/penstock/penstock/internal/control"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/store"
)

// injected is a failure that a fault makes, so that any other is seen.
type injected string

func (e injected) Error() string { return string(e) }

// foreign returns the part of an error that no fault made.
func foreign(err error) error {
	var joined interface{ Unwrap() []error }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &joined):
		var out []error
		for _, e := range joined.Unwrap() {
			out = append(out, foreign(e))
		}
		return errors.Join(out...)
	case errors.As(err, new(injected)):
		return nil
	}
	return err
}

// governor is the product's own loop as a sim.Governor: it is the loop's
// Observer and Actuator, and does to both what faults say.
type governor struct {
	c       *Case
	ctx     context.Context //nolint:containedctx // of the one run that the governor lives for
	loop    *control.Loop
	journal *journal
	witness *witness

	told     scale.Snapshot   // of the present tick: what the loop is told
	made     *scale.Decision  // and what it decided; nil for nothing
	done     scale.Decision   // and what the world is to do
	late     []scale.Decision // decided, and not done yet
	last     scale.Decision   // the newest that was done
	mangles  bool             // a fault may change what the loop is told
	restarts []Fault          // to come, in order
}

func (c *Case) governor(ctx context.Context, w *witness) (*governor, error) {
	g := &governor{
		c: c, ctx: ctx, witness: w, journal: &journal{hash: sha256.New()},
		mangles: c.has(NaN, Negative, CounterReset, Spike, ClockAhead, ClockBack, PriceJump),
	}
	if c.Disk {
		dir, err := os.MkdirTemp("", "penstock-adversary-")
		if err != nil {
			return nil, fmt.Errorf("make a folder for the journal: %w", err)
		}
		g.journal.dir = dir
		if err := g.journal.open(ctx); err != nil {
			return nil, errors.Join(err, g.journal.close())
		}
	}
	for _, f := range c.Faults {
		if f.Kind == Restart || f.Kind == RestartOlder {
			g.restarts = append(g.restarts, f)
		}
	}
	slices.SortStableFunc(g.restarts, func(a, b Fault) int { return cmp.Compare(a.Start, b.Start) })
	g.begin(autoscaler.Memory{})
	return g, nil
}

func (g *governor) begin(m autoscaler.Memory) {
	g.loop = &control.Loop{Observer: g, Actuator: g, Journal: g.journal, Interval: g.c.Tick, Memory: m}
}

// Every implements sim.Governor.
func (g *governor) Every() time.Duration { return g.c.Tick }

// Poked implements sim.Heeder.
func (*governor) Poked(sim.Poke) bool { return true }

// Decide implements sim.Governor.
func (g *governor) Decide(s scale.Snapshot) scale.Decision {
	if g.witness.violation != nil {
		return scale.Decision{At: s.Now}
	}
	truth := s
	if g.mangles {
		s.Models = slices.Clone(s.Models)
		for i := range s.Models {
			s.Models[i].Replicas = slices.Clone(s.Models[i].Replicas)
		}
		s.Interruptions = slices.Clone(s.Interruptions)
		s = g.c.mangle(s)
	}
	at := truth.Now.Sub(g.c.Begin)
	_, g.journal.failing = g.c.on(at, JournalFails)
	g.told, g.made, g.done = s, nil, scale.Decision{At: s.Now}
	g.witness.now = at
	err := foreign(g.loop.Tick(g.ctx, s.Now))
	g.witness.tick(tick{at: at, truth: truth, told: s, made: g.made, done: g.done, err: err, journal: g.journal})
	return g.done
}

// Observe implements control.Observer.
func (g *governor) Observe(context.Context, time.Time) (scale.Snapshot, error) {
	if f, on := g.c.on(g.witness.now, Dark); on {
		g.witness.reach("fault " + f.Kind.String())
		return scale.Snapshot{}, injected("the world can not be observed")
	}
	return g.told, nil
}

// Apply implements control.Actuator: it says what the world is to do.
func (g *governor) Apply(_ context.Context, d scale.Decision) error {
	if g.c.tamper != nil {
		d = g.c.tamper(d)
	}
	made := d
	g.made = &made
	at := g.witness.now
	if f, on := g.c.on(at, WriteLost); on {
		g.witness.reach("fault " + f.Kind.String())
		return injected("the write is lost")
	}
	if f, on := g.c.on(at, WriteLate); on {
		g.witness.reach("fault " + f.Kind.String())
		g.late = append(g.late, d)
		if delay := 1 + int(4*f.Share); len(g.late) <= delay {
			return nil
		}
		d, g.late = g.late[0], g.late[1:]
	} else if len(g.late) > 0 { // what is decided now is newer than all that is late
		g.late = nil
	}
	if f, on := g.c.on(at, WriteTwice); on && len(g.last.Plans) > 0 {
		g.witness.reach("fault " + f.Kind.String())
		d, g.last = g.last, d
		g.done = d
		return nil
	}
	g.done, g.last = d, d
	return nil
}

// Restart implements sim.Governor: what is not in the journal is forgotten.
func (g *governor) Restart() {
	if len(g.restarts) == 0 {
		return
	}
	f := g.restarts[0]
	g.restarts = slices.DeleteFunc(g.restarts, func(o Fault) bool { return o.Start == f.Start })
	steps := 0
	if f.Kind == RestartOlder {
		steps = 1 + int(6*f.Share)
	}
	g.witness.reach("fault " + f.Kind.String())
	g.witness.now = f.Start
	text, err := g.journal.resume(g.ctx, steps)
	if err != nil {
		g.witness.fail(Replays, "the journal can not be read after a restart: %v", err)
	}
	m, err := autoscaler.DecodeMemory(text)
	if err != nil {
		g.witness.fail(Replays, "the Memory can not be read after a restart: %v", err)
	}
	g.late, g.last = nil, scale.Decision{}
	g.witness.forgot = f.Start
	g.begin(m)
}

// journal keeps what is needed to go on after a restart, in memory or with the
// product's own store.
type journal struct {
	failing bool
	record  scale.Record // of the newest tick, kept or not
	after   []byte       // the Memory after it
	kept    [][]byte     // newest last
	hash    hash.Hash    // of all that was decided and remembered
	resumed bool         // the newest record is the first since a restart
	fresh   bool         // the next one will be

	dir  string // "" for in memory
	disk *store.Store
}

// keepMemories is how many Memories a restart may find.
const keepMemories = 8

// Append implements control.Journal.
func (j *journal) Append(ctx context.Context, r scale.Record, after []byte) error {
	j.record, j.after, j.resumed, j.fresh = r, after, j.fresh, false
	changes, err := json.Marshal(r.Decision.Changes)
	if err != nil {
		return fmt.Errorf("write the changes of %v: %w", r.At, err)
	}
	j.hash.Write(changes)
	j.hash.Write(after)
	if j.failing {
		return injected("no space left")
	}
	j.kept = append(j.kept, after)
	if extra := len(j.kept) - keepMemories; extra > 0 {
		j.kept = slices.Delete(j.kept, 0, extra)
	}
	if j.disk != nil {
		return j.disk.Append(ctx, r, after)
	}
	return nil
}

// resume returns the Memory that a restarted process finds: the newest kept, or
// one of some steps before.
func (j *journal) resume(ctx context.Context, steps int) ([]byte, error) {
	j.fresh = true
	j.kept = j.kept[:max(0, len(j.kept)-steps)]
	if len(j.kept) == 0 {
		return nil, nil
	}
	newest := j.kept[len(j.kept)-1]
	if j.disk == nil || steps > 0 {
		return newest, nil
	}
	if err := errors.Join(j.disk.Close(), j.open(ctx)); err != nil {
		return nil, err
	}
	text, _, err := j.disk.Memory(ctx)
	if err == nil && string(text) != string(newest) {
		err = errors.New("the Memory on disk is not the one that was acknowledged last")
	}
	return text, err
}

func (j *journal) open(ctx context.Context) (err error) {
	j.disk, err = store.Open(ctx, filepath.Join(j.dir, "journal.db"))
	return err
}

// close leaves nothing behind.
func (j *journal) close() error {
	if j.dir == "" {
		return nil
	}
	var err error
	if j.disk != nil {
		err = j.disk.Close()
	}
	return errors.Join(err, os.RemoveAll(j.dir))
}
