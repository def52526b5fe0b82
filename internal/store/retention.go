package store

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"
)

// trim removes, once a minute of the ticks' own time, what Retention does not
// keep: so few rows at a time that no Append is slow, and many more than come.
func (s *Store) trim(ctx context.Context, tx *sql.Tx, now time.Time) error {
	minute := now.Truncate(time.Minute).UnixNano()
	if minute == s.trimmed {
		return nil
	}
	s.trimmed = minute
	over, err := s.tooBig(ctx, tx)
	if err != nil {
		return err
	}
	limit := now.Add(-s.Retention.Age).UnixNano()
	if over {
		limit = math.MaxInt64
	}
	removed, err := trimTicks(ctx, tx, limit)
	if err != nil {
		return err
	}
	ended := now.Add(-s.Retention.Lifetimes).UnixNano()
	if over && !removed {
		ended = math.MaxInt64
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM lifetimes WHERE replica IN (
		SELECT replica FROM lifetimes WHERE ended < $1 ORDER BY ended LIMIT $2)`, ended, trimLives); err != nil {
		return fmt.Errorf("remove old lifetimes: %w", err)
	}
	for level, age := range s.Retention.History {
		if _, err := tx.ExecContext(ctx, `DELETE FROM history WHERE level = $1 AND at < $2`, level, now.Add(-age).UnixNano()); err != nil {
			return fmt.Errorf("remove old history: %w", err)
		}
	}
	if s.base.shrink == "" {
		return nil
	}
	if _, err := tx.ExecContext(ctx, s.base.shrink); err != nil {
		return fmt.Errorf("shrink: %w", err)
	}
	return nil
}

// So much goes in a minute, in which hardly more than one segment comes.
const (
	trimSegments = 8
	trimLives    = 256
)

// trimTicks removes the oldest segments that ended before a limit, and what was
// news in them. It says whether there was one.
func trimTicks(ctx context.Context, tx *sql.Tx, limit int64) (bool, error) {
	rows, err := tx.QueryContext(ctx, `SELECT last FROM segments WHERE ended < $1 ORDER BY first LIMIT $2`, limit, trimSegments)
	if err != nil {
		return false, fmt.Errorf("find old segments: %w", err)
	}
	defer rows.Close()
	last := int64(-1)
	for rows.Next() {
		if err := rows.Scan(&last); err != nil {
			return false, fmt.Errorf("find old segments: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return false, fmt.Errorf("find old segments: %w", err)
	}
	if last < 0 {
		return false, nil
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM segments WHERE last <= $1`, last); err != nil {
		return false, fmt.Errorf("remove old segments: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM decisions WHERE seq <= $1`, last); err != nil {
		return false, fmt.Errorf("remove old decisions: %w", err)
	}
	return true, nil
}

// tooBig says whether the live data is above Retention.Bytes.
func (s *Store) tooBig(ctx context.Context, tx *sql.Tx) (bool, error) {
	var bytes int64
	if err := tx.QueryRowContext(ctx, s.base.size).Scan(&bytes); err != nil {
		return false, fmt.Errorf("measure: %w", err)
	}
	return bytes > s.Retention.Bytes, nil
}
