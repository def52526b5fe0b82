package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is a PostgreSQL of the tests' own: a cluster in a temporary folder, on
// a Unix socket alone, as a user without rights. It is started by the first test
// that asks and stopped after the last.
type server struct {
	once    sync.Once
	folder  string
	missing string // why there is none
	process *exec.Cmd
	schemas int
	mu      sync.Mutex
}

// cluster is the one of this test binary.
var cluster server //nolint:gochecknoglobals // one server serves all tests

// binaries is where Debian puts the programs of the newest version.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("PostgreSQL is not installed (apt-get install postgresql): what the journal does on it was NOT tested")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// as runs a program as a user that PostgreSQL, which refuses root, accepts.
func as(program string, args ...string) *exec.Cmd {
	if os.Geteuid() == 0 {
		args = append([]string{"--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=QUIT", program}, args...)
		program = "setpriv"
	}
	c := exec.Command(program, args...)
	c.Dir = "/"
	c.Env = append(os.Environ(), "LC_ALL=C")
	if os.Geteuid() != 0 { // it ends with this test, however that ends; else setpriv sees to it
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	}
	return c
}

func (s *server) init() {
	bin, err := binaries()
	if err != nil {
		s.missing = err.Error()
		return
	}
	if s.folder, err = os.MkdirTemp("", "pg"); err != nil {
		s.missing = err.Error()
		return
	}
	if err := os.Chmod(s.folder, 0o777); err != nil { //nolint:gosec // another user's
		s.missing = err.Error()
		return
	}
	if out, err := as(filepath.Join(bin, "initdb"), "-D", s.data(), "-U", "penstock", "-A", "trust", "--no-sync", "-E", "UTF8").CombinedOutput(); err != nil {
		s.missing = fmt.Sprintf("initdb: %v: %s", err, out)
		return
	}
	if err := s.start(); err != nil {
		s.missing = err.Error()
	}
}

func (s *server) data() string { return filepath.Join(s.folder, "data") }

// start starts the server and waits until it answers.
func (s *server) start() error {
	bin, err := binaries()
	if err != nil {
		return err
	}
	s.process = as(filepath.Join(bin, "postgres"), "-D", s.data(), "-k", s.folder, "-c", "listen_addresses=",
		"-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=40", "-c", "autovacuum_naptime=1s", "-c", "jit=off")
	var said strings.Builder
	s.process.Stderr = &said
	if err := s.process.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		db, err := ReadServer(ctx, Server{URL: s.url("")})
		if err == nil {
			return db.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w: %s", err, said.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// end stops the server at once, as its own death would.
func (s *server) end() {
	if s.process != nil {
		_ = s.process.Process.Signal(syscall.SIGQUIT)
		_ = s.process.Wait()
		s.process = nil
	}
}

// remove leaves nothing behind.
func (s *server) remove() {
	s.end()
	if s.folder != "" {
		_ = os.RemoveAll(s.folder)
	}
}

func (s *server) url(schema string) string {
	url := fmt.Sprintf("host=%s user=penstock dbname=postgres sslmode=disable", s.folder)
	if schema != "" {
		url += " search_path=" + schema
	}
	return url
}

// site is where a test's journal is.
type site struct {
	name string
	path string // of a file; "" on a server
	url  string
}

func (p site) open(ctx context.Context) (*Store, error) {
	if p.path != "" {
		return Open(ctx, p.path)
	}
	return OpenServer(ctx, Server{URL: p.url})
}

func (p site) read(ctx context.Context) (*Reader, error) {
	if p.path != "" {
		return Read(ctx, p.path)
	}
	return ReadServer(ctx, Server{URL: p.url})
}

// onFileIn is a place in a file of the test's own.
func onFileIn(tb testing.TB) site {
	tb.Helper()
	return site{name: "sqlite", path: filepath.Join(tb.TempDir(), "state", "journal.db")}
}

// onServerIn is a place in a schema of the test's own.
func onServerIn(tb testing.TB) site {
	tb.Helper()
	s := &cluster
	s.once.Do(s.init)
	if s.missing != "" {
		tb.Skip(s.missing)
	}
	s.mu.Lock()
	s.schemas++
	name := fmt.Sprintf("test%d", s.schemas)
	s.mu.Unlock()
	r, err := ReadServer(tb.Context(), Server{URL: s.url("") + " default_transaction_read_only=off"})
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	tx, err := r.base.read.BeginTx(tb.Context(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	for _, statement := range []string{"SET TRANSACTION READ WRITE", "CREATE SCHEMA " + name} {
		if _, err := tx.ExecContext(tb.Context(), statement); err != nil {
			tb.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		tb.Fatal(err)
	}
	return site{name: "postgres", url: s.url(name)}
}

// everywhere runs a test on either database.
func everywhere(t *testing.T, test func(t *testing.T, p site)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, onFileIn(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, onServerIn(t)) })
}

// openAt opens a place until the test ends.
func openAt(tb testing.TB, p site) *Store {
	tb.Helper()
	s, err := p.open(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}
