package store

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// A server that is gone is waited for: what comes meanwhile is held, and written
// in order when it is back.
func TestALostServerIsWaitedForAndNothingIsOutOfOrder(t *testing.T) {
	p := onServerIn(t)
	s := openAt(t, p)
	n := 0
	next := func() error {
		r := tick1(t, n)
		n++
		return s.Append(t.Context(), r, []byte("memory after "+r.At.String()))
	}
	for range 5 {
		if err := next(); err != nil {
			t.Fatal(err)
		}
	}
	cluster.end()
	for range 5 {
		began := time.Now()
		err := next()
		if err == nil || !strings.Contains(err.Error(), "held") {
			t.Errorf("without a server: %v", err)
		}
		if took := time.Since(began); took > answerTime+connectTime {
			t.Errorf("an Append took %v", took)
		}
	}
	state := s.State()
	if state.Held != 5 || state.Failing == nil || state.Since.IsZero() {
		t.Errorf("state %+v", state)
	}
	if err := cluster.start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for err := next(); err != nil && time.Now().Before(deadline); err = next() {
		t.Log(err)
	}
	if state := s.State(); state != (State{}) {
		t.Errorf("state %+v", state)
	}
	all := records(t, s)
	if len(all) != n {
		t.Errorf("%d of %d ticks", len(all), n)
	}
	for i, r := range all {
		if !r.At.Equal(start.Add(time.Duration(i) * time.Second)) {
			t.Fatalf("tick %d is of %v", i, r.At)
		}
	}
}

// A connection that is cut is made anew, and the lock with it.
func TestACutConnectionIsMadeAnew(t *testing.T) {
	p := onServerIn(t)
	s := openAt(t, p)
	appendTick(t, s, tick1(t, 0))
	r, err := p.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range 3 {
		if _, err := r.base.read.Exec(`SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'`); err != nil {
			t.Fatal(err)
		}
		again := func() error {
			return s.Append(t.Context(), tick1(t, 1+i), []byte("memory after "+start.Add(time.Duration(1+i)*time.Second).String()))
		}
		for err := again(); err != nil; err = again() {
			t.Log(err)
		}
	}
	if n := len(records(t, s)); n < 4 {
		t.Errorf("%d ticks", n)
	}
	if _, err := p.open(t.Context()); err == nil || !strings.Contains(err.Error(), "another penstock uses it") {
		t.Errorf("a second one: %v", err)
	}
}

// Who was away for so long that another wrote may not write any more.
func TestAnOwnerThatWasReplacedWritesNoMore(t *testing.T) {
	p := onServerIn(t)
	s := openAt(t, p)
	appendTick(t, s, tick1(t, 0))
	// What another process would have left.
	if _, err := s.base.write.Exec(`UPDATE owner SET token = 'another'`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.base.write.Exec(`SELECT pg_terminate_backend(pg_backend_pid())`); err == nil {
		t.Fatal("the connection was not cut")
	}
	err := s.Append(t.Context(), tick1(t, 1), nil)
	if err == nil || !strings.Contains(err.Error(), "another penstock wrote to it") {
		t.Errorf("got %v", err)
	}
	s.pending = pending{} // so that closing has nothing to lose
}

func TestAServerSaysWhatIsWrongAndNoPassword(t *testing.T) {
	p := onServerIn(t)
	for name, c := range map[string]struct {
		url  string
		want string
	}{
		"no such database": {strings.Replace(p.url, "dbname=postgres", "dbname=none", 1), "there is no such database"},
		"nothing there":    {"postgres://me@127.0.0.1:1/penstock?sslmode=disable", "the server does not answer"},
		"no address":       {"postgres://me@127.0.0.1:port/penstock", "read its address"},
		"a user unknown":   {strings.Replace(p.url, "user=penstock", "user=nobody", 1), "the server refuses this user"},
	} {
		s, err := OpenServer(t.Context(), Server{URL: c.url, Password: "hunter2"})
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// What finds no room in memory is dropped, counted, and leaves a gap after which
// Decisions can be made again.
func TestWhatIsHeldIsBounded(t *testing.T) {
	if raceDetector {
		t.Skip("make test runs it without the race detector, under which it takes minutes")
	}
	s := fresh(t)
	appendTick(t, s, tick1(t, 0))
	setPages(t, s, 1)
	n := 1
	if err := s.Append(t.Context(), tick1(t, n), noise(100_000, n)); err == nil {
		t.Fatal("a full disk takes more")
	}
	s.retryAt = time.Now().Add(time.Hour) // trying is not what is tested
	for n++; s.State().Dropped < 3 && n < 3*pendingTicks; n++ {
		_ = s.Append(t.Context(), tick1(t, n), nil)
	}
	state := s.State()
	if state.Held > pendingTicks || state.Dropped != 3 {
		t.Fatalf("state %+v", state)
	}
	setPages(t, s, 1<<30)
	s.retryAt = time.Time{}
	appendTick(t, s, tick1(t, n))
	appendTick(t, s, tick1(t, n+1))
	all := records(t, s)
	if len(all) != n+2-3 || s.State().Held != 0 {
		t.Errorf("%d of %d ticks, %+v", len(all), n+2, s.State())
	}
	if r := all[len(all)-2]; r.Memory == nil {
		t.Error("no segment begins after the gap")
	}
}

// A real disk that is full, and one that can not be written: a limit on the size
// of files (the kernel's own, as on a disk without room), then none.
func TestADiskWithoutRoomIsWaitedFor(t *testing.T) {
	p := onFileIn(t)
	s := openAt(t, p)
	appendTick(t, s, tick1(t, 0))
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(p.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	limit := syscall.Rlimit{Cur: uint64(info.Size()) + 20_000, Max: was.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was) }()
	n, failed := 1, error(nil)
	for ; failed == nil && n < 500; n++ {
		r := tick1(t, n)
		r.Memory = noise(3000, n)
		failed = s.Append(t.Context(), r, nil)
	}
	if failed == nil || s.State().Held != 1 {
		t.Fatalf("no fault in %d ticks, %+v", n, s.State())
	}
	if err := s.Append(t.Context(), tick1(t, n), nil); err == nil {
		t.Error("a full disk takes more")
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	appendTick(t, s, tick1(t, n+1))
	if all := records(t, s); len(all) != n+2 || s.State() != (State{}) {
		t.Errorf("%d of %d ticks, %+v", len(all), n+2, s.State())
	}
}

// What is read only is an error with advice; what is held goes when it is not.
func TestADatabaseThatCanNotBeWrittenIsWaitedFor(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		t.Helper()
		s := openAt(t, p)
		appendTick(t, s, tick1(t, 0))
		off, on := `PRAGMA query_only = true`, `PRAGMA query_only = false`
		if p.path == "" {
			off, on = `SET default_transaction_read_only = on`, `SET default_transaction_read_only = off`
		}
		if _, err := s.base.write.Exec(off); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := s.Append(t.Context(), tick1(t, 1+i), nil); err == nil || !strings.Contains(err.Error(), "held") {
				t.Errorf("got %v", err)
			}
		}
		if err := s.SaveLifetimes(t.Context(), []scale.Lifetime{lifeOf(1)}); err == nil {
			t.Error("a life was saved")
		}
		if _, err := s.base.write.Exec(on); err != nil {
			t.Fatal(err)
		}
		kept := 4
		for s.Append(t.Context(), tick1(t, kept), nil) != nil { // a slow failure is not repeated at once
			kept++
		}
		if n := len(records(t, s)); n != kept+1 {
			t.Errorf("%d ticks", n)
		}
	})
}

// No statement is put together: each is a constant, so that nothing that comes
// from outside can be part of one.
func TestEveryStatementIsAConstant(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	if faults := statements(t, files); len(faults) > 0 {
		t.Errorf("statements that are put together:\n%s", strings.Join(faults, "\n"))
	}
	planted := filepath.Join(t.TempDir(), "planted.go")
	text := "package store\n\nfunc planted(db querier, model string) {\n" +
		"\tdb.QueryContext(ctx, `SELECT ` + model)\n\tdb.ExecContext(ctx, fmt.Sprintf(`DELETE FROM %s`, model))\n\tq := \"x\" + model\n\tdb.QueryRowContext(ctx, q)\n}\n"
	if err := os.WriteFile(planted, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if faults := statements(t, []string{planted}); len(faults) != 3 {
		t.Errorf("planted statements: %v", faults)
	}
}
