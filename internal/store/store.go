// Package store keeps the journal on SQLite: every decision of substance with
// what it was made from, the newest Memory of the autoscaler, and the paid
// lives of replicas.
//
// What is acknowledged survives the death of the process at any instant
// (kill -9). Power loss may take the commits since the last WAL checkpoint
// (about 4 MB of journal, at most some minutes); it never leaves the database
// half-written. After it, the autoscaler resumes from the older Memory.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"modernc.org/sqlite"
	sqlitecode "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Retention bounds the store. The newest record, the checkpoint and the
// lifetimes of living replicas always stay.
type Retention struct {
	Age       time.Duration // of records and decisions
	Bytes     int64         // of live data; the oldest records go first, then the oldest lifetimes
	Lifetimes time.Duration // since a replica ended
}

// Store is an open journal. Its methods may be called concurrently: writes
// queue up behind one connection, reads neither wait for them nor delay them.
type Store struct {
	Retention Retention     // 7 days, 200 MB, lifetimes 400 days; set before the first Append
	Heartbeat time.Duration // a whole record is kept at least this often; 30 s

	path    string
	lock    *os.File
	write   *sql.DB // one connection
	read    *sql.DB
	prepare statements

	mu     sync.Mutex // held while writing: guards what follows
	codec  *codec
	last   map[string]substance // by model
	lastAt time.Time            // of the newest whole record
	kept   int                  // whole records so far
	memory packed               // after the newest tick
}

// statements are those of the path that runs each tick.
type statements struct {
	checkpoint, record, decision, lifetime *sql.Stmt
}

// Open opens the journal at path and brings its schema up to date. Where there
// is none it is made, its directory too, readable by this user alone. Only one
// process may have it open.
func Open(ctx context.Context, path string) (*Store, error) {
	s := &Store{
		Retention: Retention{Age: 7 * 24 * time.Hour, Bytes: 200_000_000, Lifetimes: 400 * 24 * time.Hour},
		Heartbeat: 30 * time.Second,
		codec:     newCodec(),
		last:      map[string]substance{},
	}
	if err := s.open(ctx, path); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal %s: %w", path, hint(err)), s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	s.path = path
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if s.lock, err = lock(path + ".lock"); err != nil {
		return err
	}
	// SQLite gives its own files (-wal, -shm) the mode of this one.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if s.write, err = sql.Open("sqlite", dsn(path, url.Values{
		"_auto_vacuum":  {"INCREMENTAL"},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"NORMAL"},
		"_txlock":       {"immediate"},
		"_pragma":       {"journal_size_limit(16000000)"},
	})); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if err := migrate(ctx, s.write); err != nil {
		return err
	}
	if err := s.prepareAll(ctx); err != nil {
		return err
	}
	s.read, err = sql.Open("sqlite", dsn(path, url.Values{"_query_only": {"true"}}))
	if err != nil {
		return err
	}
	s.read.SetMaxOpenConns(4)
	return s.read.PingContext(ctx)
}

// dsn names the database file for the driver. Path may hold any character.
func dsn(path string, options url.Values) string {
	options.Set("_busy_timeout", "5000")
	options.Set("_defensive", "true")
	options.Set("_dqs", "false")
	options.Set("_error_rc", "true")
	return (&url.URL{Scheme: "file", Path: path, RawQuery: options.Encode()}).String()
}

// lock takes the journal for this process. The kernel lets go of it when the
// process ends, however it ends.
func lock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		err := fmt.Errorf("lock %s: another penstock uses it: stop that one, or give this one its own state directory: %w", path, err)
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	// A nil logger of goose means the standard one; Verbose is off, so it
	// says nothing.
	provider, err := goose.NewProvider(database.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	current, newest, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	if current > newest {
		return fmt.Errorf("its schema is %d and this penstock knows up to %d: use the newer penstock, or move the file away to begin afresh", current, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("update schema %d to %d: %w", current, newest, err)
	}
	return nil
}

func (s *Store) prepareAll(ctx context.Context) error {
	for _, p := range []struct {
		into **sql.Stmt
		text string
	}{
		{&s.prepare.checkpoint, `INSERT INTO checkpoint (id, at, memory) VALUES (1, ?, ?)
			ON CONFLICT (id) DO UPDATE SET at = excluded.at, memory = excluded.memory`},
		{&s.prepare.record, `INSERT INTO records (at, body, memory) VALUES (?, ?, ?)`},
		{&s.prepare.decision, `INSERT INTO decisions (model, at, record, body) VALUES (?, ?, ?, ?)`},
		{&s.prepare.lifetime, `INSERT INTO lifetimes (replica, model, variant, capacity, price, created, ready, drained, ended, busy)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (replica) DO UPDATE SET price = excluded.price, created = excluded.created, ready = excluded.ready,
			drained = excluded.drained, ended = excluded.ended, busy = excluded.busy`},
	} {
		stmt, err := s.write.PrepareContext(ctx, p.text)
		if err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
		*p.into = stmt
	}
	return nil
}

// Close waits for what is being written and closes the journal.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
		s.lock = nil
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close journal %s: %w", s.path, err)
	}
	return nil
}

// inTx runs do in one transaction of the writing connection.
func (s *Store) inTx(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return hint(err)
	}
	if err := do(tx); err != nil {
		// The rollback's own error adds nothing: the first one says why.
		_ = tx.Rollback()
		return hint(err)
	}
	return hint(tx.Commit())
}

// hint adds what to do to the errors of SQLite that a user can mend.
func hint(err error) error {
	var failed *sqlite.Error
	if !errors.As(err, &failed) {
		if errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("the disk is full: free some space: %w", err)
		}
		return err
	}
	advice := ""
	switch failed.Code() & 0xff {
	case sqlitecode.SQLITE_FULL:
		advice = "the disk is full: free some space"
	case sqlitecode.SQLITE_READONLY, sqlitecode.SQLITE_PERM:
		advice = "it can not be written: make the file and its directory writable by this user"
	case sqlitecode.SQLITE_CANTOPEN:
		advice = "it can not be opened: check the path and its permissions"
	case sqlitecode.SQLITE_NOTADB:
		advice = "the file is not a Penstock journal: give another path, or move the file away"
	case sqlitecode.SQLITE_CORRUPT:
		advice = "the file is damaged: move it away to begin afresh, its readable rows can be saved with sqlite3 .recover"
	case sqlitecode.SQLITE_BUSY, sqlitecode.SQLITE_LOCKED:
		advice = "another program holds it locked"
	case sqlitecode.SQLITE_IOERR:
		advice = "the disk failed"
	}
	if advice == "" || strings.Contains(err.Error(), advice) {
		return err
	}
	return fmt.Errorf("%s: %w", advice, err)
}
