package store

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// entry is what one tick adds to the journal.
type entry struct {
	record  scale.Record
	checkup map[string]substance // of every model
	news    []string             // models whose part is another decision than before
	whole   bool                 // the record is to be kept
}

// Append keeps a tick: memoryAfter as the checkpoint to resume from, and the
// record where it acts, decides something new for a model, or Heartbeat has
// passed since the last one kept. When it returns nil, that is kept.
func (s *Store) Append(ctx context.Context, r scale.Record, memoryAfter []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.judge(r)
	if err := s.inTx(ctx, func(tx *sql.Tx) error { return s.add(ctx, tx, e, memoryAfter) }); err != nil {
		return fmt.Errorf("append decision of %s to journal %s: %w", r.At.Format(time.RFC3339), s.path, err)
	}
	if e.whole {
		s.last, s.lastAt = e.checkup, r.At
		s.kept++
	}
	return nil
}

// judge decides what of a tick is to be kept.
func (s *Store) judge(r scale.Record) entry {
	e := entry{record: r, checkup: map[string]substance{}}
	for _, m := range r.Snapshot.Models {
		name := m.Model.Name
		now := substanceOf(only(r.Decision, name))
		old, known := s.last[name]
		if !known || now.differs(old) {
			e.news = append(e.news, name)
		}
		e.checkup[name] = now
	}
	since := r.At.Sub(s.lastAt)
	due := since >= s.Heartbeat || since < 0 // a clock that was set back is a new beginning
	e.whole = due || len(e.news) > 0 || len(e.checkup) != len(s.last)
	return e
}

func (s *Store) add(ctx context.Context, tx *sql.Tx, e entry, memoryAfter []byte) error {
	// The Memory before a tick is the one after the tick before.
	before := s.memory
	if e.whole && !before.holds(e.record.Memory) {
		var err error
		if before, err = s.codec.pack(e.record.Memory); err != nil {
			return err
		}
	}
	after, err := s.codec.pack(memoryAfter)
	if err != nil {
		return err
	}
	s.memory = after
	if _, err := tx.StmtContext(ctx, s.prepare.checkpoint).ExecContext(ctx, e.record.At.UnixNano(), after.zip); err != nil {
		return fmt.Errorf("keep memory: %w", err)
	}
	if !e.whole {
		return nil
	}
	if err := s.insert(ctx, tx, e, before); err != nil {
		return err
	}
	if s.kept%trimEvery != 0 {
		return nil
	}
	return s.trim(ctx, tx, e.record.At)
}

func (s *Store) insert(ctx context.Context, tx *sql.Tx, e entry, before packed) error {
	r := e.record
	whole, err := s.codec.encode(body{Snapshot: r.Snapshot, Decision: r.Decision})
	if err != nil {
		return err
	}
	done, err := tx.StmtContext(ctx, s.prepare.record).ExecContext(ctx, r.At.UnixNano(), whole, before.zip)
	if err != nil {
		return fmt.Errorf("keep record: %w", err)
	}
	seq, err := done.LastInsertId()
	if err != nil {
		return fmt.Errorf("keep record: %w", err)
	}
	parts := make(map[string][]byte, len(e.news))
	for _, model := range e.news {
		if parts[model], err = s.codec.encode(only(r.Decision, model)); err != nil {
			return err
		}
	}
	for model := range e.checkup {
		if _, err := tx.StmtContext(ctx, s.prepare.decision).ExecContext(ctx, model, r.At.UnixNano(), seq, parts[model]); err != nil {
			return fmt.Errorf("keep decision of %s: %w", model, err)
		}
	}
	return nil
}

// Every 16th record that is kept removes up to 64 that are to go: four times
// what comes, so that the store shrinks quickly and no Append is slow.
const (
	trimEvery = 16
	trimmed   = 64
)

// trim removes what Retention does not keep. A record that is too old, or the
// oldest where there is too much, goes with its decisions.
func (s *Store) trim(ctx context.Context, tx *sql.Tx, now time.Time) error {
	limit := now.Add(-s.Retention.Age).UnixNano()
	over, err := s.tooBig(ctx, tx)
	if err != nil {
		return err
	}
	if over {
		limit = math.MaxInt64
	}
	const oldest = `SELECT seq FROM records WHERE at < ?1 AND seq < (SELECT max(seq) FROM records) ORDER BY at, seq LIMIT ?2`
	if _, err := tx.ExecContext(ctx, `DELETE FROM decisions WHERE record IN (`+oldest+`)`, limit, trimmed); err != nil {
		return fmt.Errorf("remove old decisions: %w", err)
	}
	done, err := tx.ExecContext(ctx, `DELETE FROM records WHERE seq IN (`+oldest+`)`, limit, trimmed)
	if err != nil {
		return fmt.Errorf("remove old records: %w", err)
	}
	removed, err := done.RowsAffected()
	if err != nil {
		return fmt.Errorf("remove old records: %w", err)
	}
	ended := now.Add(-s.Retention.Lifetimes).UnixNano()
	if over && removed == 0 {
		ended = math.MaxInt64
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM lifetimes WHERE replica IN (
		SELECT replica FROM lifetimes WHERE ended < ? ORDER BY ended LIMIT ?)`, ended, trimmed); err != nil {
		return fmt.Errorf("remove old lifetimes: %w", err)
	}
	// Pages that have become free go back to the file system.
	if _, err := tx.ExecContext(ctx, `PRAGMA incremental_vacuum(256)`); err != nil {
		return fmt.Errorf("shrink: %w", err)
	}
	return nil
}

// tooBig says whether the live data is above Retention.Bytes.
func (s *Store) tooBig(ctx context.Context, tx *sql.Tx) (bool, error) {
	var bytes int64
	if err := tx.QueryRowContext(ctx, `SELECT (page_count - freelist_count) * page_size
		FROM pragma_page_count, pragma_freelist_count, pragma_page_size`).Scan(&bytes); err != nil {
		return false, fmt.Errorf("measure: %w", err)
	}
	return bytes > s.Retention.Bytes, nil
}
