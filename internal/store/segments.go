package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
)

// kept is a row of ticks.
type kept struct {
	seq, at      int64
	body, memory []byte
}

// tail returns the ticks that are not pressed yet and come before seq.
func tail(ctx context.Context, tx *sql.Tx, before int64) ([]kept, error) {
	rows, err := tx.QueryContext(ctx, `SELECT seq, at, body, memory FROM ticks WHERE seq < $1 ORDER BY seq`, before)
	if err != nil {
		return nil, fmt.Errorf("read ticks: %w", err)
	}
	defer rows.Close()
	var all []kept
	for rows.Next() {
		var k kept
		if err := rows.Scan(&k.seq, &k.at, &k.body, &k.memory); err != nil {
			return nil, fmt.Errorf("read ticks: %w", err)
		}
		all = append(all, k)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read ticks: %w", err)
	}
	return all, nil
}

// pressTail presses the ticks before seq into segments.
func (s *Store) pressTail(ctx context.Context, tx *sql.Tx, before int64) error {
	rows, err := tail(ctx, tx, before)
	if err != nil || len(rows) == 0 {
		return err
	}
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].memory == nil && rows[n].seq == rows[n-1].seq+1 {
			n++
		}
		if err := s.pressRun(ctx, tx, rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM ticks WHERE seq < $1`, before); err != nil {
		return fmt.Errorf("remove pressed ticks: %w", err)
	}
	return nil
}

// pressRun presses ticks that follow each other. A damaged one becomes a segment
// of its own, as it is, so that reading it says so; those after it can be read
// but not decided again, and so are a segment without Memory.
func (s *Store) pressRun(ctx context.Context, tx *sql.Tx, rows []kept) error {
	var documents [][]byte
	begun := 0
	end := func(n int) error {
		if len(documents) == 0 {
			return nil
		}
		pressed := s.codec.zipper.press(documents)
		// What replaces the ticks is read back before they go.
		again, err := s.codec.zipper.release(pressed)
		if err != nil || !equal(again, documents) {
			pressed = s.codec.zipper.pressPlain(documents)
		}
		documents = nil
		return putSegment(ctx, tx, rows[begun:n], pressed)
	}
	for i, row := range rows {
		raw, err := s.openTick(row)
		if err == nil {
			documents = append(documents, raw)
			continue
		}
		if err := end(i); err != nil {
			return err
		}
		if err := putSegment(ctx, tx, rows[i:i+1], row.body); err != nil {
			return err
		}
		begun = i + 1
	}
	return end(len(rows))
}

func equal(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func putSegment(ctx context.Context, tx *sql.Tx, rows []kept, pressed []byte) error {
	first, last := rows[0], rows[len(rows)-1]
	if _, err := tx.ExecContext(ctx, `INSERT INTO segments (first, last, begun, ended, body, memory) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (first) DO NOTHING`, first.seq, last.seq, first.at, last.at, pressed, first.memory); err != nil {
		return fmt.Errorf("keep segment: %w", err)
	}
	return nil
}
