package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// The levels of history. A stretch of a level is the sum of those below it.
const (
	byTick = iota
	byMinute
	byFive
	byHour
	levels
)

// length is how long a level's stretches are; 0 for a tick.
func length(level int) time.Duration {
	switch level {
	case byMinute:
		return time.Minute
	case byFive:
		return 5 * time.Minute
	case byHour:
		return time.Hour
	}
	return 0
}

// history is what a tick tells of each model, and what the next will be held
// against.
func (s *Store) history(r scale.Record) ([]scale.Stretch, map[string]earlier) {
	later := make(map[string]earlier, len(r.Snapshot.Models))
	rows := make([]scale.Stretch, 0, len(r.Snapshot.Models))
	for _, m := range r.Snapshot.Models {
		name := m.Model.Name
		rows = append(rows, scale.StretchOf(r.Snapshot, m, r.Decision, s.earlier[name]))
		later[name] = earlier{At: r.Snapshot.Now, Good: m.Demand.Good, Bad: m.Demand.Bad}
	}
	return rows, later
}

// putStretch keeps what a tick tells; one that is kept already stays.
func putStretch(ctx context.Context, tx *sql.Tx, s *scale.Stretch) error {
	args := []any{s.Model, byTick, s.From.UnixNano()}
	for _, figure := range s.Figures() {
		args = append(args, finite(*figure))
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO history (model, level, at,
		covered, arrivals, arrivals_over, prompts, prompted, outputs, output_of, held, held_most, in_flight, seen_over, good, bad,
		starting, ready, draining, batch, batch_over, replies, ttft, ttft_most, tpot, tpot_most, service, planned, wanted, cost)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30)
		ON CONFLICT (model, level, at) DO NOTHING`, args...)
	if err != nil {
		return fmt.Errorf("keep history of %s: %w", s.Model, err)
	}
	return nil
}

// finite is a figure that can be added up; what is none is left out.
func finite(v float64) float64 {
	if v-v != 0 { // NaN or infinite
		return 0
	}
	return v
}

// rollUp adds up, whenever a minute of the ticks' own time has ended, what the
// level below holds of every stretch that has ended since the newest that there
// is. What a crash left out is made up for by the first tick after it.
func (s *Store) rollUp(ctx context.Context, tx *sql.Tx, now time.Time) error {
	minute := now.Truncate(time.Minute).UnixNano()
	if minute == s.rolled {
		return nil
	}
	s.rolled = minute
	for level := byMinute; level < levels; level++ {
		size := length(level)
		_, err := tx.ExecContext(ctx, `INSERT INTO history (model, level, at,
			covered, arrivals, arrivals_over, prompts, prompted, outputs, output_of, held, held_most, in_flight, seen_over, good, bad,
			starting, ready, draining, batch, batch_over, replies, ttft, ttft_most, tpot, tpot_most, service, planned, wanted, cost)
			SELECT model, CAST($1 AS BIGINT), at / $2 * $2,
			sum(covered), sum(arrivals), sum(arrivals_over), sum(prompts), sum(prompted), sum(outputs), sum(output_of),
			sum(held), max(held_most), sum(in_flight), sum(seen_over), sum(good), sum(bad),
			sum(starting), sum(ready), sum(draining), sum(batch), sum(batch_over), sum(replies),
			sum(ttft), max(ttft_most), sum(tpot), max(tpot_most), sum(service), sum(planned), sum(wanted), sum(cost)
			FROM history WHERE level = $1 - 1 AND at < $3
			AND at >= coalesce((SELECT max(at) + $2 FROM history WHERE level = $1), 0)
			GROUP BY model, at / $2 * $2
			ON CONFLICT (model, level, at) DO NOTHING`, level, int64(size), now.Truncate(size).UnixNano())
		if err != nil {
			return fmt.Errorf("roll history up by %s: %w", size, err)
		}
	}
	return nil
}

// MostStretches bounds what History returns.
const MostStretches = 5000

// History returns what demand for a model was like between two times, in
// stretches of a step, oldest first. Stretches in which nothing was observed are
// left out. What is long ago is known by the minute, by five minutes or by the
// hour only: there a stretch is as long as that.
func (r *Reader) History(ctx context.Context, model string, since, until time.Time, step time.Duration) ([]scale.Stretch, error) {
	if step <= 0 || until.Sub(since)/step > MostStretches {
		return nil, fmt.Errorf("history of %s from %s to %s by %s: at most %d steps can be had", model, since.Format(time.RFC3339), until.Format(time.RFC3339), step, MostStretches)
	}
	level := byHour
	for level > byTick && length(level) > step {
		level--
	}
	c := chart{model: model, from: nanos(since), step: step}
	err := r.look(ctx, func(tx *sql.Tx) error { return c.fill(ctx, tx, level, nanos(until)) })
	if err != nil {
		return nil, r.failed("read history of "+model, err)
	}
	return c.found, nil
}

// fill adds what all levels know, up to a time; level is the one that the step
// asks for.
func (c *chart) fill(ctx context.Context, tx *sql.Tx, level int, until int64) error {
	oldest, err := oldest(ctx, tx, c.model)
	if err != nil {
		return err
	}
	// That level may not reach back so far; a coarser one that does takes its place
	// up to where it begins. And its newest stretches are still to be rolled up.
	for next := byHour; next >= byTick; next-- {
		edge := until
		if next > level && oldest[next-1] != nil {
			edge = min(edge, *oldest[next-1])
		}
		if err := c.add(ctx, tx, next, edge); err != nil {
			return err
		}
	}
	return nil
}

// oldest returns when each level begins; nil where there is nothing.
func oldest(ctx context.Context, tx *sql.Tx, model string) ([levels]*int64, error) {
	var out [levels]*int64
	rows, err := tx.QueryContext(ctx, `SELECT level, min(at) FROM history WHERE model = $1 GROUP BY level`, model)
	if err != nil {
		return out, err
	}
	defer rows.Close()
	for rows.Next() {
		var level int
		var at int64
		if err := rows.Scan(&level, &at); err != nil {
			return out, err
		}
		if level >= 0 && level < levels {
			out[level] = &at
		}
	}
	return out, rows.Err()
}

// chart is history as it is put together.
type chart struct {
	model string
	from  int64 // what is before it is there, or was not asked for
	step  time.Duration
	found []scale.Stretch
}

// add adds what a level knows from c.from on and before an edge.
func (c *chart) add(ctx context.Context, tx *sql.Tx, level int, edge int64) error {
	size := max(int64(length(level)), 1)
	if len(c.found) == 0 && c.from > 0 {
		c.from -= c.from % size
	}
	rows, err := tx.QueryContext(ctx, `SELECT at,
		covered, arrivals, arrivals_over, prompts, prompted, outputs, output_of, held, held_most, in_flight, seen_over, good, bad,
		starting, ready, draining, batch, batch_over, replies, ttft, ttft_most, tpot, tpot_most, service, planned, wanted, cost
		FROM history WHERE model = $1 AND level = $2 AND at >= $3 AND at < $4 ORDER BY at`, c.model, level, c.from, edge)
	if err != nil {
		return err
	}
	defer rows.Close()
	step := max(c.step, length(level))
	for rows.Next() {
		s := scale.Stretch{Model: c.model, Length: step}
		var at int64
		into := []any{&at}
		for _, figure := range s.Figures() {
			into = append(into, figure)
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		c.from = at + size
		s.From = time.Unix(0, at-at%int64(step))
		if n := len(c.found); n > 0 && !c.found[n-1].From.Before(s.From) {
			c.found[n-1].Add(s)
			continue
		}
		c.found = append(c.found, s)
	}
	return rows.Err()
}
