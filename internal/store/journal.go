package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// segment is the one that grows: the ticks since the newest that came with its
// Memory.
type segment struct {
	ticks int
	bytes int // of JSON
}

// A segment is pressed once it has so many ticks or bytes of JSON. To decide its
// last tick again all the others are decided again first.
const (
	segmentTicks = 600
	segmentBytes = 8 << 20
)

// full says whether the next tick begins another segment.
func (s segment) full() bool {
	return s.ticks == 0 || s.ticks >= segmentTicks || s.bytes >= segmentBytes
}

// entry is a tick as it will be written.
type entry struct {
	seq     int64
	at      time.Time
	body    []byte // packed
	memory  []byte // packed, where it begins a segment
	news    []news
	history []scale.Stretch
}

// news is a row of decisions.
type news struct {
	model string
	at    time.Time
	seq   int64
	gone  int // 1 where the model was seen for the last time
}

// pending is what could not be written yet.
type pending struct {
	ticks  []entry
	bytes  int
	after  []byte // Memory after the newest tick
	seq    int64  // of that one
	at     time.Time
	broken bool // ticks were dropped: the next begins a segment
}

// So much is held in memory while it can not be written: an hour of a small
// fleet. What comes after that finds no room: the beginning of an outage tells
// more than its middle.
const (
	pendingTicks = 3600
	pendingBytes = 64 << 20
)

// full says whether so many bytes more find no room.
func (p *pending) full(size int) bool {
	return len(p.ticks) >= pendingTicks || p.bytes+size > pendingBytes
}

// earlier is what of a model's tick before is needed to tell what came to it.
type earlier = scale.Earlier

// Append keeps a tick, and memoryAfter as the Memory to resume from. When it
// returns nil, that is kept, and all that was held before it. When it returns an
// error the tick is held in memory, and written with a later one; State says how
// many are.
//
// A Snapshot comes back as it was where it was Kept, see scale.
func (s *Store) Append(ctx context.Context, r scale.Record, memoryAfter []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending.full(0) && !time.Now().Before(s.retryAt) {
		began := time.Now()
		s.tell(s.flush(ctx), began) // so that this tick finds room
	}
	if err := s.hold(r, memoryAfter); err != nil {
		return fmt.Errorf("append decision of %s to journal %s: %w", r.At.Format(time.RFC3339), s.base.name, err)
	}
	now := time.Now()
	if now.Before(s.retryAt) {
		s.tell(s.state.Failing, now)
		return fmt.Errorf("append decision of %s to journal %s: %d held: %w", r.At.Format(time.RFC3339), s.base.name, s.state.Held, s.state.Failing)
	}
	err := s.flush(ctx)
	s.tell(err, now)
	if err != nil {
		return fmt.Errorf("append decision of %s to journal %s: %d held: %w", r.At.Format(time.RFC3339), s.base.name, s.state.Held, err)
	}
	return nil
}

// A failure that took longer than quick is not repeated before slowly times as
// long has passed: a server that does not answer must not hold up every tick.
const (
	quick   = 100 * time.Millisecond
	slowly  = 4
	longest = 30 * time.Second

	// answerTime is how long a database may take to answer at all, and flushTime
	// to write what is held, with a segment pressed on a machine that is busy.
	answerTime = 2 * time.Second
	flushTime  = 20 * time.Second
)

// tell notes how writing goes. began is when the attempt did.
func (s *Store) tell(err error, began time.Time) {
	s.state.Held = len(s.pending.ticks)
	switch took := time.Since(began); {
	case err == nil:
		s.state.Failing, s.state.Since, s.retryAt = nil, time.Time{}, time.Time{}
		return
	case took > quick:
		s.retryAt = time.Now().Add(min(slowly*took, longest))
	}
	if s.state.Failing == nil {
		s.state.Since = began
	}
	s.state.Failing = err
}

// hold puts a tick behind what is to be written.
func (s *Store) hold(r scale.Record, memoryAfter []byte) error {
	raw, err := s.codec.text(body{At: r.At, Snapshot: r.Snapshot, Decision: r.Decision})
	if err != nil {
		return err
	}
	p := &s.pending
	t := entry{seq: s.seq + 1, at: r.At, body: s.codec.zipper.pack(raw)}
	// Where Memory is another than the tick before left, or the clock was set
	// back, a segment begins.
	if s.segment.full() || p.broken || r.At.Before(s.lastAt) || !bytes.Equal(r.Memory, s.after) {
		t.memory = s.codec.zipper.packSmall(r.Memory)
	}
	now := checkup(r)
	t.news = s.news(r, now, t.seq)
	var later map[string]earlier
	t.history, later = s.history(r)

	p.after, p.seq, p.at = bytes.Clone(memoryAfter), t.seq, r.At
	size := len(t.body) + len(t.memory)
	if p.full(size) {
		p.broken = true
		s.state.Dropped++
		return nil
	}
	p.ticks, p.bytes, p.broken = append(p.ticks, t), p.bytes+size, false
	if t.memory != nil {
		s.segment = segment{}
	}
	s.segment.ticks++
	s.segment.bytes += len(raw)
	s.seq, s.lastAt, s.after, s.last, s.earlier = t.seq, r.At, p.after, now, later
	return nil
}

// checkup digests a Decision, model by model.
func checkup(r scale.Record) map[string]substance {
	now := make(map[string]substance, len(r.Snapshot.Models))
	for _, m := range r.Snapshot.Models {
		now[m.Model.Name] = substanceOf(only(r.Decision, m.Model.Name))
	}
	return now
}

// news returns a row for every model whose part of the Decision is another than
// before, and for those that are gone.
func (s *Store) news(r scale.Record, now map[string]substance, seq int64) []news {
	var rows []news
	for _, m := range r.Snapshot.Models {
		name := m.Model.Name
		if old, known := s.last[name]; known && !now[name].differs(old) {
			// What moves little by little is to be news once it has moved far.
			now[name] = old
			continue
		}
		rows = append(rows, news{model: name, at: r.At, seq: seq})
	}
	for name := range s.last {
		if _, still := now[name]; !still {
			rows = append(rows, news{model: name, at: s.lastAt, seq: s.seq, gone: 1})
		}
	}
	slices.SortFunc(rows, func(a, b news) int { return bytes.Compare([]byte(a.model), []byte(b.model)) })
	return rows
}

// flushTicks is how many ticks go in one transaction: after an outage, progress
// is made by and by.
const flushTicks = 256

// flush writes what is held.
func (s *Store) flush(ctx context.Context) error {
	if err := s.base.answers(ctx); err != nil {
		return err
	}
	for {
		some := s.pending.ticks[:min(flushTicks, len(s.pending.ticks))]
		if err := s.flushSome(ctx, some); err != nil {
			return err
		}
		for _, t := range some {
			s.pending.bytes -= len(t.body) + len(t.memory)
		}
		if s.pending.ticks = s.pending.ticks[len(some):]; len(s.pending.ticks) == 0 {
			s.pending.ticks = nil
			return nil
		}
	}
}

// flushSome writes the first of the ticks, and after the last of all the Memory.
func (s *Store) flushSome(ctx context.Context, some []entry) error {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	rolled, trimmed := s.rolled, s.trimmed
	err := s.base.inTx(ctx, func(tx *sql.Tx) error {
		for _, t := range some {
			if err := s.write(ctx, tx, t); err != nil {
				return err
			}
		}
		if len(some) < len(s.pending.ticks) {
			return nil
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO checkpoint (id, seq, at, memory) VALUES (1, $1, $2, $3)
			ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, at = excluded.at, memory = excluded.memory`,
			s.pending.seq, s.pending.at.UnixNano(), s.codec.zipper.pack(s.pending.after))
		if err != nil {
			return fmt.Errorf("keep memory: %w", err)
		}
		return s.trim(ctx, tx, s.pending.at)
	})
	if err != nil {
		s.rolled, s.trimmed = rolled, trimmed
	}
	return err
}

// write writes one tick. Doing it twice is harmless: whether a commit came
// through whose answer was lost is not known.
func (s *Store) write(ctx context.Context, tx *sql.Tx, t entry) error {
	if t.memory != nil {
		if err := s.pressTail(ctx, tx, t.seq); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO ticks (seq, at, body, memory) VALUES ($1, $2, $3, $4) ON CONFLICT (seq) DO NOTHING`,
		t.seq, t.at.UnixNano(), t.body, t.memory); err != nil {
		return fmt.Errorf("keep tick: %w", err)
	}
	for _, n := range t.news {
		if _, err := tx.ExecContext(ctx, `INSERT INTO decisions (model, at, seq, gone) VALUES ($1, $2, $3, $4) ON CONFLICT (seq, model) DO NOTHING`,
			n.model, n.at.UnixNano(), n.seq, n.gone); err != nil {
			return fmt.Errorf("keep decision of %s: %w", n.model, err)
		}
	}
	for i := range t.history {
		if err := putStretch(ctx, tx, &t.history[i]); err != nil {
			return err
		}
	}
	return s.rollUp(ctx, tx, t.at)
}
