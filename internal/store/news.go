package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Decisions returns the decisions at or after since that were news, each cut
// down to what concerns one model, newest first and at most limit of them. An
// empty model means all. Damaged ones are left out and named in the error,
// beside the others.
func (r *Reader) Decisions(ctx context.Context, model string, since time.Time, limit int) ([]scale.Decision, error) {
	var found []scale.Decision
	var faults []error
	err := r.look(ctx, func(tx *sql.Tx) error {
		rows, err := r.newest(ctx, tx, model, nanos(since), limit)
		if err != nil {
			return err
		}
		at := opened{last: -1}
		for _, n := range rows {
			if err := at.move(ctx, r, tx, n.seq); err != nil {
				return err
			}
			if at.err != nil {
				faults = append(faults, fmt.Errorf("decision %d of %s: %w", n.seq, n.model, at.err))
				continue
			}
			found = append(found, only(at.tick.Decision, n.model))
		}
		return nil
	})
	return found, errors.Join(append(faults, err)...)
}

// opened is the tick that was asked for last, and the segment that holds it.
type opened struct {
	segment stored
	last    int64 // seq of the tick
	tick    scale.Record
	err     error // why it can not be read
}

// move goes to another tick.
func (o *opened) move(ctx context.Context, r *Reader, tx *sql.Tx, seq int64) (err error) {
	if seq == o.last {
		return nil
	}
	known := o.last >= 0 && seq >= o.segment.first && seq <= o.segment.last
	if o.last = seq; !known {
		if o.segment, err = r.runOf(ctx, tx, seq); err != nil {
			return err
		}
	}
	if o.err = o.segment.err; o.err == nil {
		o.tick, o.err = r.tick(o.segment.documents[seq-o.segment.first], seq)
	}
	return nil
}

// newest returns which ticks had news, newest first.
func (r *Reader) newest(ctx context.Context, tx *sql.Tx, model string, since int64, limit int) ([]news, error) {
	query, args := `SELECT model, seq FROM decisions WHERE gone = 0 AND at >= $1 ORDER BY seq DESC, model LIMIT $2`, []any{since, limit}
	if model != "" {
		query, args = `SELECT model, seq FROM decisions WHERE gone = 0 AND at >= $1 AND model = $3 ORDER BY seq DESC LIMIT $2`, []any{since, limit, model}
	}
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, r.failed("read decisions", err)
	}
	defer rows.Close()
	var found []news
	for rows.Next() {
		var n news
		if err := rows.Scan(&n.model, &n.seq); err != nil {
			return nil, r.failed("read decisions", err)
		}
		found = append(found, n)
	}
	if err := rows.Err(); err != nil {
		return nil, r.failed("read decisions", err)
	}
	return found, nil
}

// runOf returns the segment, or the tick of the tail, that holds a tick.
func (r *Reader) runOf(ctx context.Context, tx *sql.Tx, seq int64) (stored, error) {
	var n stored
	var begun int64
	var pressed []byte
	err := tx.QueryRowContext(ctx, `SELECT first, last, begun, body FROM segments WHERE first <= $1 ORDER BY first DESC LIMIT 1`, seq).
		Scan(&n.first, &n.last, &begun, &pressed)
	if err == nil && seq <= n.last {
		n.documents, n.err = r.open(n.first, n.last, begun, pressed)
		return n, nil
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return n, r.failed("read segment", err)
	}
	var k kept
	err = tx.QueryRowContext(ctx, `SELECT seq, at, body FROM ticks WHERE seq = $1`, seq).Scan(&k.seq, &k.at, &k.body)
	if err != nil {
		return n, r.failed(fmt.Sprintf("read tick %d", seq), err)
	}
	raw, err := r.openTick(k)
	return stored{run: run{first: seq, documents: [][]byte{raw}}, last: seq, err: err}, nil
}
