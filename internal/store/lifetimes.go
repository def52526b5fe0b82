package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const saveLifetime = `INSERT INTO lifetimes (replica, model, variant, capacity, price, created, ready, drained, ended, busy)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
	ON CONFLICT (replica) DO UPDATE SET price = excluded.price, created = excluded.created, ready = excluded.ready,
	drained = excluded.drained, ended = excluded.ended, busy = excluded.busy`

// SaveLifetimes keeps the lifetimes as they are known now; one that is kept
// already is replaced. Doing it twice is harmless.
func (s *Store) SaveLifetimes(ctx context.Context, lifetimes []scale.Lifetime) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.base.inTx(ctx, func(tx *sql.Tx) error {
		for _, l := range lifetimes {
			capacity, err := l.Target.Capacity.MarshalText()
			if err != nil {
				return fmt.Errorf("replica %s: %w", l.Replica, err)
			}
			if _, err := tx.ExecContext(ctx, saveLifetime, string(l.Replica), l.Target.Model, l.Target.Variant, string(capacity), l.PricePerHour,
				l.Created.UnixNano(), moment(l.Ready), moment(l.Drained), moment(l.Ended), int64(l.Busy)); err != nil {
				return fmt.Errorf("replica %s: %w", l.Replica, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep lifetimes in journal %s: %w", s.base.name, err)
	}
	return nil
}

// Lifetimes returns the lifetimes of replicas that live, or ended at or after
// since, in the order of their creation. Those of an earlier process that was
// killed are among the living until they are saved with their end.
func (r *Reader) Lifetimes(ctx context.Context, since time.Time) ([]scale.Lifetime, error) {
	rows, err := r.base.read.QueryContext(ctx, `SELECT replica, model, variant, capacity, price, created, ready, drained, ended, busy
		FROM lifetimes WHERE ended IS NULL OR ended >= $1 ORDER BY created, replica`, nanos(since))
	if err != nil {
		return nil, fmt.Errorf("read lifetimes from journal %s: %w", r.base.name, r.base.hint(err))
	}
	defer rows.Close()
	var found []scale.Lifetime
	for rows.Next() {
		l, err := scanLifetime(rows)
		if err != nil {
			return nil, fmt.Errorf("read lifetimes from journal %s: %w", r.base.name, r.base.hint(err))
		}
		found = append(found, l)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read lifetimes from journal %s: %w", r.base.name, r.base.hint(err))
	}
	return found, nil
}

func scanLifetime(rows *sql.Rows) (scale.Lifetime, error) {
	var l scale.Lifetime
	var capacity string
	var created int64
	var ready, drained, ended sql.NullInt64
	if err := rows.Scan(&l.Replica, &l.Target.Model, &l.Target.Variant, &capacity, &l.PricePerHour,
		&created, &ready, &drained, &ended, &l.Busy); err != nil {
		return scale.Lifetime{}, err
	}
	if err := l.Target.Capacity.UnmarshalText([]byte(capacity)); err != nil {
		return scale.Lifetime{}, fmt.Errorf("replica %s: %w", l.Replica, err)
	}
	l.Created = time.Unix(0, created)
	for _, f := range []struct {
		from sql.NullInt64
		into *time.Time
	}{{ready, &l.Ready}, {drained, &l.Drained}, {ended, &l.Ended}} {
		if f.from.Valid {
			*f.into = time.Unix(0, f.from.Int64)
		}
	}
	return l, nil
}

// moment is a time as it is kept; the zero time, which has not come, is NULL.
func moment(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixNano(), Valid: !t.IsZero()}
}
