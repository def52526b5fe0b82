package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/console"
	"github.com/penstock/penstock/internal/scale"
)

// A past decision is explained by the running Penstock and, once it has ended,
// by its journal alone, and either says that it was decided again the same.
func TestAPastMomentIsExplainedWithAndWithoutServe(t *testing.T) {
	m := serveQuick(t)
	server := "http://" + m.asking.Addr().String()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if latest, ok := m.loop.Latest(); ok && time.Now().After(latest.Decision.At.Add(100*time.Millisecond)) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the loop does not tick")
		}
	}
	state := m.config.Server.StateDir
	file := filepath.Join(filepath.Dir(state), "penstock.yaml")
	for name, where := range map[string][]string{
		"serve": {"--server", server}, "a state directory": {"--store", state}, "a file": {"--store", filepath.Join(state, "journal.db")}, "a configuration": {"-f", file},
	} {
		out, talk, code := penstock(t, append([]string{"explain", "quick", "--at", "-0s"}, where...)...)
		if code != exitOK || !strings.Contains(out, "decided again from the journal") {
			t.Errorf("%s: exit code %d\n%s%s", name, code, out, talk)
		}
		out, _, code = penstock(t, append([]string{"explain", "quick", "--at", "-0s", "--json"}, where...)...)
		if e, err := decode[console.Explanation]([]byte(out)); code != exitOK || err != nil || e.Again == nil || e.Again.Verdict != "same" {
			t.Errorf("%s: exit code %d, %v\n%s", name, code, err, out)
		}
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no such journal": {[]string{"--store", filepath.Join(state, "none.db")}, "no such file"},
		"another model":   {[]string{"--store", state}, "the journal holds nothing of quik"},
		"two places":      {[]string{"--store", state, "-f", file}, "can't be used together"},
	} {
		model := "quick"
		if name == "another model" {
			model = "quik"
		}
		if out, talk, code := penstock(t, append([]string{"explain", model}, c.args...)...); code == exitOK || !strings.Contains(talk, c.want) {
			t.Errorf("%s: exit code %d, %s%s, want %q", name, code, out, talk, c.want)
		}
	}
}

// A journal that can not be written is said in the status and the metrics, the
// fleet goes on, and all is written once it can be.
func TestAJournalThatFailsIsSaid(t *testing.T) {
	dir := t.TempDir()
	s, err := openStore(t.Context(), config.Store{Path: filepath.Join(dir, "journal.db"), Keep: time.Hour, MaxBytes: 1e9})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if troubles(s) != nil {
		t.Error("a fresh journal has troubles")
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "journal.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(info.Size()) + 1, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was) }()
	record := scale.Record{At: time.Now(), Snapshot: scale.Snapshot{Now: time.Now()}}
	for range 2 {
		err = s.Append(t.Context(), record, nil)
		record.At = record.At.Add(time.Second)
	}
	v := troubles(s)
	if err == nil || v == nil || v.Held != 2 || !strings.Contains(v.Failing, "disk") {
		t.Fatalf("%v, %+v", err, v)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); s.Append(t.Context(), record, nil) != nil && time.Now().Before(deadline); {
		record.At = record.At.Add(time.Second)
	}
	if v := troubles(s); v != nil {
		t.Errorf("%+v", v)
	}
}

func TestThePasswordIsReadFromItsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := serverOf(config.Store{Postgres: "postgres://me@db/x", PasswordFile: file})
	if err != nil || s.Password != "hunter2" {
		t.Errorf("%q, %v", s.Password, err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, file + ".none"} {
		if _, err := serverOf(config.Store{Postgres: "postgres://me@db/x", PasswordFile: path}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%v", err)
		}
	}
}
