package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/pressly/goose/v3/database"
	"modernc.org/sqlite"
	sqlitecode "modernc.org/sqlite/lib"
)

// onFile is a base in an SQLite file that is not open yet.
func onFile(path string) *base {
	return &base{
		name: path, dialect: database.DialectSQLite3, schema: "sqlite", hint: fileHint,
		size: `SELECT (page_count - freelist_count) * page_size
			FROM pragma_page_count, pragma_freelist_count, pragma_page_size`,
		shrink: `PRAGMA incremental_vacuum(1024)`,
	}
}

// openFile opens an SQLite file for this process alone, and makes it where
// there is none.
func (b *base) openFile(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	lock, err := lock(path + ".lock")
	if err != nil {
		return err
	}
	b.release = lock.Close
	// SQLite gives its own files (-wal, -shm) the mode of this one.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if b.write, err = sql.Open("sqlite", dsn(path, url.Values{
		"_auto_vacuum":  {"INCREMENTAL"},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"NORMAL"},
		"_txlock":       {"immediate"},
		"_pragma":       {"journal_size_limit(16000000)"},
	})); err != nil {
		return err
	}
	b.write.SetMaxOpenConns(1)
	return nil
}

// readFile opens an SQLite file, which must be there, to be read alone.
func (b *base) readFile(ctx context.Context, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return err
	}
	if b.read, err = sql.Open("sqlite", dsn(path, url.Values{"_query_only": {"true"}})); err != nil {
		return err
	}
	b.read.SetMaxOpenConns(4)
	return b.read.PingContext(ctx)
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

// fileHint adds what to do to the errors of SQLite that a user can mend.
func fileHint(err error) error {
	var failed *sqlite.Error
	if !errors.As(err, &failed) {
		return full(err)
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
