// Package store keeps the journal, on SQLite or on PostgreSQL: every tick with
// what it was decided from, the newest Memory of the autoscaler, what demand
// was like, and the paid lives of replicas.
//
// Ticks are kept whole, one by one, and pressed together once there are many:
// docs/decisions/0017. A segment begins with the Memory before its first tick,
// so that each of its Decisions can be made again.
//
// What is acknowledged survives the death of the process at any instant
// (kill -9). On SQLite power loss may take the commits since the last WAL
// checkpoint (about 4 MB of journal, at most some minutes); it never leaves the
// database half-written. After it, the autoscaler resumes from the older Memory.
// On PostgreSQL what is acknowledged is as safe as the server makes it.
package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Retention bounds the store. The newest ticks, the newest Memory and the
// lifetimes of living replicas always stay.
type Retention struct {
	Age       time.Duration    // of ticks and decisions
	Bytes     int64            // of live data; the oldest ticks go first, then the oldest lifetimes
	Lifetimes time.Duration    // since a replica ended
	History   [4]time.Duration // of stretches: a tick, a minute, five minutes, an hour
}

// Keep is the Retention of a Store that is told nothing else: ticks for 7 days
// or 500 MB; history by the tick for 30 minutes, by the minute for 8 days, by five
// minutes for 35 days, and by the hour, as lifetimes, for 400 days.
func Keep() Retention {
	const day = 24 * time.Hour
	return Retention{
		Age: 7 * day, Bytes: 500_000_000, Lifetimes: 400 * day,
		History: [4]time.Duration{30 * time.Minute, 8 * day, 35 * day, 400 * day},
	}
}

// Store is an open journal. Its methods may be called concurrently: writes
// queue up behind one connection, reads neither wait for them nor delay them.
type Store struct {
	Retention Retention // Keep; set before the first Append

	*Reader

	mu      sync.Mutex // held while writing: guards what follows
	closed  bool
	last    map[string]substance // by model
	earlier map[string]earlier   // by model
	seq     int64                // of the newest tick
	lastAt  time.Time
	after   []byte // Memory after the newest tick
	segment segment
	pending pending
	state   State
	retryAt time.Time // no attempt before; a slow failure is not repeated each tick
	rolled  int64     // the minute up to which history is rolled up, in Unix nanoseconds
	trimmed int64     // likewise
}

// Open opens the journal in a file, with SQLite, and brings its schema up to
// date. Where there is none it is made, its directory too, readable by this user
// alone. Only one process may have it open.
func Open(ctx context.Context, path string) (*Store, error) {
	b := onFile(path)
	return begin(ctx, b, func() error {
		if err := b.openFile(path); err != nil {
			return err
		}
		if err := b.migrate(ctx); err != nil {
			return err
		}
		return b.readFile(ctx, path)
	})
}

// begin opens a base and makes a Store of it.
func begin(ctx context.Context, b *base, open func() error) (*Store, error) {
	s := &Store{Retention: Keep(), Reader: &Reader{base: b, codec: newCodec()}, last: map[string]substance{}, earlier: map[string]earlier{}}
	err := open()
	if err == nil {
		err = s.resume(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open journal %s: %w", b.name, b.hint(err)), b.close())
	}
	return s, nil
}

// resume finds where the journal ends.
func (s *Store) resume(ctx context.Context) error {
	const findEnd = `SELECT max(seq) FROM (
		SELECT coalesce(max(seq), 0) AS seq FROM ticks
		UNION ALL SELECT coalesce(max(last), 0) FROM segments
		UNION ALL SELECT coalesce(max(seq), 0) FROM checkpoint) AS newest`
	if err := s.base.write.QueryRowContext(ctx, findEnd).Scan(&s.seq); err != nil {
		return fmt.Errorf("find its end: %w", err)
	}
	return nil
}

// Flush writes what is held.
func (s *Store) Flush(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending.ticks) == 0 {
		return nil
	}
	began := time.Now()
	err := s.flush(ctx)
	s.tell(err, began)
	if err != nil {
		return fmt.Errorf("write the %d ticks that are held to journal %s: %w", s.state.Held, s.base.name, err)
	}
	return nil
}

// Close waits for what is being written and closes the journal. Ticks that are
// still held, see Flush, are lost, and an error says so. Closing twice is
// harmless.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var lost error
	if n := len(s.pending.ticks); n > 0 {
		lost = fmt.Errorf("%d ticks that could not be written are lost: %w", n, s.state.Failing)
	}
	if err := errors.Join(lost, s.base.close()); err != nil {
		return fmt.Errorf("close journal %s: %w", s.base.name, err)
	}
	return nil
}

// State is how writing goes.
type State struct {
	Failing error     // why what is held is not written; nil when all is
	Since   time.Time // when it began to fail
	Held    int       // ticks in memory that wait to be written
	Dropped int       // ticks that found no room there, and are lost; since Open
}

// State returns how writing goes.
func (s *Store) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}
