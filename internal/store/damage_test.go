package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
)

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	newer := filepath.Join(dir, "newer.db")
	s, err := Open(context.Background(), newer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.base.write.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	held := filepath.Join(dir, "held.db")
	open(t, held)

	for name, c := range map[string]struct{ path, want string }{
		"a text file":       {write("text.db", strings.Repeat("not a database, but long enough for a header\n", 99)), "the file is not a Penstock journal"},
		"a newer schema":    {newer, "its schema is 99 and this penstock knows up to 2"},
		"used by another":   {held, "another penstock uses it"},
		"a directory":       {dir, "is a directory"},
		"below a file":      {filepath.Join(write("file", "x"), "journal.db"), "not a directory"},
		"a place not there": {"/proc/no-such/journal.db", "no such file or directory"},
	} {
		s, err := Open(context.Background(), c.path)
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s: %v\nwant %q and the path", name, err, c.want)
		}
	}
}

func TestAReadOnlyPlaceIsAnErrorWithAdvice(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root may write anywhere; the kernel's own file systems refuse even it.
		_, err := Open(context.Background(), "/sys/kernel/journal.db")
		if err == nil || !errors.Is(err, os.ErrPermission) && !strings.Contains(err.Error(), "read-only file system") {
			t.Errorf("got %v", err)
		}
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), filepath.Join(dir, "journal.db")); !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

// setPages bounds the database file, as a disk does that has room for no more.
func setPages(t *testing.T, s *Store, pages int) {
	t.Helper()
	if _, err := s.base.write.Exec(fmt.Sprintf("PRAGMA max_page_count=%d", pages)); err != nil {
		t.Fatal(err)
	}
}

func TestAFullDiskIsAnErrorAndPasses(t *testing.T) {
	s := fresh(t)
	appendTick(t, s, tick(t, start, 1, 1, 1))
	setPages(t, s, 1) // SQLite raises it to the present size
	var err error
	for i := 1; err == nil && i < 1000; i++ {
		err = s.Append(context.Background(), tick(t, start.Add(time.Duration(i)*time.Minute), 1, 16, i), nil)
	}
	if err == nil || !strings.Contains(err.Error(), "the disk is full: free some space") || !strings.Contains(err.Error(), s.base.name) {
		t.Fatalf("got %v", err)
	}
	held := s.State()
	if held.Held != 1 || held.Failing == nil || held.Since.IsZero() || held.Dropped != 0 {
		t.Errorf("state %+v", held)
	}
	before := len(records(t, s))
	if err := s.Append(context.Background(), tick(t, start.Add(time.Hour*98), 1, 16, 7), nil); err == nil {
		t.Error("a full disk takes more")
	}
	setPages(t, s, 1<<30)
	appendTick(t, s, tick(t, start.Add(time.Hour*99), 1, 16, 7))
	if after := len(records(t, s)); after != before+3 {
		t.Errorf("%d ticks, then %d: the two that were held and the last should be there", before, after)
	}
	if state := s.State(); state != (State{}) {
		t.Errorf("state %+v", state)
	}
}

func TestDamagedRowsAreNamedAndTheOthersRead(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		t.Helper()
		s := openAt(t, p)
		ctx := t.Context()
		for i := range 5 {
			r := tick1(t, i)
			r.Decision.Plans[0].Allocations[0].Replicas = i
			appendTick(t, s, r)
		}
		for _, damage := range []string{
			`UPDATE ticks SET body = substr(body, 1, length(body) / 2) WHERE seq = 2`,      // torn
			`UPDATE ticks SET body = (SELECT body FROM ticks WHERE seq = 1) WHERE seq = 4`, // another's
			`UPDATE checkpoint SET memory = substr(memory, 1, 2)`,
		} {
			if _, err := s.base.write.Exec(damage); err != nil {
				t.Fatal(err)
			}
		}
		check := func() {
			t.Helper()
			read, named := readAll(ctx, t, s)
			if diff := cmp.Diff([]string{"0s", "2s", "4s"}, read); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"tick 2", "tick 4"}, named); diff != "" {
				t.Errorf("named (-want +got):\n%s", diff)
			}
			if _, _, err := s.DecisionAt(ctx, "model-0", start.Add(time.Second)); !errors.As(err, new(*DamagedError)) {
				t.Errorf("DecisionAt of a damaged tick: %v", err)
			}
			// One after it can be read, and not decided again.
			c, found, err := s.Chain(ctx, "model-0", start.Add(2*time.Second))
			if err != nil || !found || c.Broken == nil || !c.Last().At.Equal(start.Add(2*time.Second)) {
				t.Errorf("chain %+v, %t, %v", c, found, err)
			}
		}
		check()
		decisions, err := s.Decisions(ctx, "model-0", time.Time{}, 10)
		if len(decisions) != 3 || err == nil || !strings.Contains(err.Error(), "decision 2 of model-0") || !strings.Contains(err.Error(), "decision 4 of model-0") {
			t.Errorf("%d decisions, %v", len(decisions), err)
		}
		if _, _, err := s.Memory(ctx); err == nil || !strings.Contains(err.Error(), "the newest memory") {
			t.Errorf("Memory: %v", err)
		}
		// It goes on, and pressing hides nothing.
		appendTick(t, s, tick(t, start.Add(-time.Hour), 1, 2, 9))
		if _, _, err := s.Memory(ctx); err != nil {
			t.Error(err)
		}
		if _, err := s.base.write.Exec(`DELETE FROM ticks`); err != nil {
			t.Fatal(err)
		}
		check()
		if _, err := s.base.write.Exec(`UPDATE segments SET body = substr(body, 1, length(body) - 1) WHERE first = 3`); err != nil {
			t.Fatal(err)
		}
		if _, named := readAll(ctx, t, s); len(named) != 3 {
			t.Errorf("named %v", named)
		}
	})
}

// readAll returns when ticks that can be read were, since start, and the names
// of those that can not.
func readAll(ctx context.Context, t *testing.T, s *Store) (read, named []string) {
	t.Helper()
	t.Helper()
	for r, err := range s.Records(ctx, time.Time{}, start.Add(time.Hour)) {
		var damaged *DamagedError
		switch {
		case err == nil:
			read = append(read, r.At.Sub(start).String())
		case errors.As(err, &damaged):
			named = append(named, damaged.Row)
		default:
			t.Fatal(err)
		}
	}
	return read, named
}

// Whatever bytes are broken, there is an error or an answer, and no panic.
func TestABrokenFileNeverPanics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	s, err := Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		appendTick(t, s, tick(t, start.Add(time.Duration(i)*time.Minute), 2, 4, i))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	faults := 0
	for i := range 24 {
		broken := append([]byte(nil), whole...)
		from := i * len(broken) / 24
		for j := from; j < min(from+600, len(broken)); j++ {
			broken[j] ^= byte(31*j + i)
		}
		if i%4 == 3 { // cut short as well
			broken = broken[:from+600]
		}
		if err := os.WriteFile(path, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if useAll(path) != nil {
			faults++
		}
	}
	if faults < 12 {
		t.Errorf("only %d of 24 broken files were noticed", faults)
	}
}

func useAll(path string) error {
	ctx := context.Background()
	s, err := Open(ctx, path)
	if err != nil {
		return err
	}
	var errs []error
	for _, err := range s.Records(ctx, time.Time{}, start.AddDate(1, 0, 0)) {
		errs = append(errs, err)
	}
	_, err = s.Decisions(ctx, "", time.Time{}, 100)
	errs = append(errs, err)
	_, _, err = s.Memory(ctx)
	errs = append(errs, err)
	_, err = s.Lifetimes(ctx, time.Time{})
	errs = append(errs, err)
	errs = append(errs, s.Append(ctx, scale.Record{At: start.AddDate(0, 1, 0)}, []byte("m")))
	return errors.Join(append(errs, s.Close())...)
}
