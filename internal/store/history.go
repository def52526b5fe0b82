package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// DamagedError is a row that can not be read. Others still can.
type DamagedError struct {
	Path string
	Row  string // which one, e.g. "record 12"
	At   time.Time
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("journal %s: %s of %s is damaged: %v", e.Path, e.Row, e.At.UTC().Format(time.RFC3339), e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// Memory returns the newest checkpoint and its time. Both are zero where none
// was ever kept.
func (s *Store) Memory(ctx context.Context) ([]byte, time.Time, error) {
	var at int64
	var packed []byte
	err := s.read.QueryRowContext(ctx, `SELECT at, memory FROM checkpoint WHERE id = 1`).Scan(&at, &packed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, time.Time{}, nil
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read memory from journal %s: %w", s.path, hint(err))
	}
	memory, err := unpack(packed)
	if err != nil {
		return nil, time.Time{}, &DamagedError{Path: s.path, Row: "the checkpoint of memory", At: time.Unix(0, at), Err: err}
	}
	return memory, time.Unix(0, at), nil
}

// DecisionAt returns the newest record at or before t that speaks of the
// model: the decision that held at t, with inputs at most Heartbeat older. It
// returns false where there is none.
func (s *Store) DecisionAt(ctx context.Context, model string, t time.Time) (scale.Record, bool, error) {
	var found row
	var packed, memory []byte
	err := s.read.QueryRowContext(ctx, `SELECT seq, at, body, memory FROM records WHERE seq = (
		SELECT record FROM decisions WHERE model = ? AND at <= ? ORDER BY at DESC, record DESC LIMIT 1)`,
		model, nanos(t)).Scan(&found.seq, &found.at, &packed, &memory)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return scale.Record{}, false, nil
	case err != nil:
		return scale.Record{}, false, fmt.Errorf("read decision of %s from journal %s: %w", model, s.path, hint(err))
	}
	r, err := s.decode(found, packed, memory)
	return r, err == nil, err
}

// Decisions returns the decisions at or after since that were news, each cut
// down to what concerns one model, newest first and at most limit of them. An
// empty model means all. Damaged rows are left out and named in the error,
// beside the others.
func (s *Store) Decisions(ctx context.Context, model string, since time.Time, limit int) ([]scale.Decision, error) {
	query, args := `SELECT model, at, record, body FROM decisions WHERE body IS NOT NULL AND at >= ?
		ORDER BY at DESC, record DESC, model LIMIT ?`, []any{nanos(since), limit}
	if model != "" {
		query, args = `SELECT model, at, record, body FROM decisions WHERE body IS NOT NULL AND at >= ? AND model = ?
			ORDER BY at DESC, record DESC LIMIT ?`, []any{nanos(since), model, limit}
	}
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read decisions from journal %s: %w", s.path, hint(err))
	}
	defer rows.Close()
	var found []scale.Decision
	var faults []error
	for rows.Next() {
		var name string
		var at, record int64
		var packed []byte
		if err := rows.Scan(&name, &at, &record, &packed); err != nil {
			return found, errors.Join(append(faults, fmt.Errorf("read decisions from journal %s: %w", s.path, hint(err)))...)
		}
		var d scale.Decision
		if err := s.codec.decode(packed, &d); err != nil {
			faults = append(faults, &DamagedError{Path: s.path, Row: fmt.Sprintf("decision %d of %s", record, name), At: time.Unix(0, at), Err: err})
			continue
		}
		found = append(found, d)
	}
	if err := rows.Err(); err != nil {
		faults = append(faults, fmt.Errorf("read decisions from journal %s: %w", s.path, hint(err)))
	}
	return found, errors.Join(faults...)
}

// page is how many records are read at once. Not all, since one long read would
// keep the WAL from being reset, and memory is not free.
const page = 32

// row is one row of records, or why it can not be read.
type row struct {
	record  scale.Record
	at, seq int64
	err     error
}

// Records yields the whole records from since on and before until, oldest
// first, for replay. A damaged one comes as an error and does not end it.
func (s *Store) Records(ctx context.Context, since, until time.Time) iter.Seq2[scale.Record, error] {
	return func(yield func(scale.Record, error) bool) {
		at, seq := nanos(since), int64(-1)
		for {
			rows, err := s.readPage(ctx, at, seq, nanos(until))
			if err != nil {
				yield(scale.Record{}, fmt.Errorf("read records from journal %s: %w", s.path, hint(err)))
				return
			}
			for _, r := range rows {
				if !yield(r.record, r.err) {
					return
				}
				at, seq = r.at, r.seq
			}
			if len(rows) < page {
				return
			}
		}
	}
}

// readPage returns the records that follow (at, seq).
func (s *Store) readPage(ctx context.Context, at, seq, until int64) ([]row, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT seq, at, body, memory FROM records
		WHERE (at, seq) > (?, ?) AND at < ? ORDER BY at, seq LIMIT ?`, at, seq, until, page)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []row
	for rows.Next() {
		var r row
		var packed, memory []byte
		if err := rows.Scan(&r.seq, &r.at, &packed, &memory); err != nil {
			return nil, err
		}
		r.record, r.err = s.decode(r, packed, memory)
		found = append(found, r)
	}
	return found, rows.Err()
}

func (s *Store) decode(r row, packed, memory []byte) (scale.Record, error) {
	var b body
	at := time.Unix(0, r.at)
	damaged := func(err error) error {
		return &DamagedError{Path: s.path, Row: fmt.Sprintf("record %d", r.seq), At: at, Err: err}
	}
	if err := s.codec.decode(packed, &b); err != nil {
		return scale.Record{}, damaged(err)
	}
	raw, err := unpack(memory)
	if err != nil {
		return scale.Record{}, damaged(fmt.Errorf("its memory: %w", err))
	}
	return scale.Record{At: at, Snapshot: b.Snapshot, Decision: b.Decision, Memory: raw}, nil
}

// nanos is a time as it is kept. One that does not fit, such as the zero time,
// is before or after all others.
func nanos(t time.Time) int64 {
	switch {
	case t.Year() < 1700:
		return math.MinInt64
	case t.Year() > 2200:
		return math.MaxInt64
	}
	return t.UnixNano()
}
