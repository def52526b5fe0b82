package cli

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/control"
	"github.com/penstock/penstock/internal/load"
	"github.com/penstock/penstock/internal/scale"
)

// board is what a follower of the show sees. It is safe for concurrent use.
type board struct {
	mu      sync.Mutex
	began   time.Time
	notes   []note
	samples []sample
	loaded  load.Progress
}

type note struct {
	at   time.Duration
	text string
}

// sample is the fleet at one instant.
type sample struct {
	at                        time.Duration
	demand                    float64 // requests/s
	starting, ready, draining int
	held, inFlight            int
	batch                     int // B*
}

func newBoard() *board { return &board{began: time.Now()} }

func (b *board) start() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.began = time.Now()
}

func (b *board) elapsed() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Since(b.began)
}

func (b *board) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notes = append(b.notes, note{time.Since(b.began), fmt.Sprintf(format, args...)})
}

func (b *board) progress(p load.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loaded = p
}

func (b *board) sample(latest control.Latest) {
	s := sample{}
	for i, m := range latest.Snapshot.Models {
		s.held += int(m.Demand.Held.Value)
		s.inFlight += int(m.Demand.InFlight.Value)
		s.demand += latest.Decision.Forecasts[i].Mean
		for _, r := range m.Replicas {
			switch r.Phase {
			case scale.Starting:
				s.starting++
			case scale.Ready:
				s.ready++
			case scale.Draining:
				s.draining++
			case scale.Gone:
			}
		}
		for _, a := range latest.Decision.Plans[i].Allocations {
			s.batch = max(s.batch, a.BatchLimit)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.at = time.Since(b.began)
	b.samples = append(b.samples, s)
}

// look returns what there is to see: all notes and samples so far.
func (b *board) look() (notes []note, samples []sample, loaded load.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clip(b.notes), slices.Clip(b.samples), b.loaded
}

// diary keeps the Decisions that acted.
type diary struct {
	next control.Journal

	mu      sync.Mutex
	entries []entry
	told    int
}

// entry is one Change that acted, with why.
type entry struct {
	at      time.Time // of the tick
	written time.Time // when it was journalled, just before it is acted upon
	change  scale.Change
}

func newDiary() *diary { return &diary{} }

func (d *diary) wrap(next control.Journal) control.Journal {
	d.next = next
	return d
}

// Append keeps what acts and passes everything on.
func (d *diary) Append(ctx context.Context, r scale.Record, after []byte) error {
	d.mu.Lock()
	for _, c := range r.Decision.Changes {
		if !c.Acts() {
			continue
		}
		d.entries = append(d.entries, entry{at: r.At, written: time.Now(), change: c})
	}
	d.mu.Unlock()
	return d.next.Append(ctx, r, after)
}

// news returns the entries since it was last asked.
func (d *diary) news() []entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	fresh := d.entries[d.told:len(d.entries):len(d.entries)]
	d.told = len(d.entries)
	return fresh
}

func (d *diary) all() []entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clip(d.entries)
}

// has says whether a Reason of that kind was given.
func (e entry) has(code scale.ReasonCode) bool {
	for _, r := range e.change.Reasons {
		if r.Code == code {
			return true
		}
	}
	return false
}

// sentence tells the entry in a line.
func (e entry) sentence() string {
	why := e.change.Reasons[0]
	what := fmt.Sprintf("%d → %d", e.change.From, e.change.To)
	if n := len(e.change.Drain); n > 0 && e.change.Start() > 0 {
		what += fmt.Sprintf(" (%d drained, %d started)", n, e.change.Start())
	}
	return fmt.Sprintf("%s: %s [%v]", what, why.Text, why.Code)
}
