package spot

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/penstock/penstock/internal/scale"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseNotice(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"gone in 30s":     30 * time.Second,
		"gone in 2m\n":    2 * time.Minute,
		"30s":             30 * time.Second,
		"30":              30 * time.Second,
		" 30 \n":          30 * time.Second,
		"gone in 30":      30 * time.Second,
		"gone in 0s":      0,
		"gone in  1.5s\n": 1500 * time.Millisecond,
	} {
		if got, err := parseNotice([]byte(text)); err != nil || got != want {
			t.Errorf("parseNotice(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "soon", "gone in", "-30s", "-30", "99999999999", "25h", "gone in 30s or so", strings.Repeat("3", 300),
	} {
		if got, err := parseNotice([]byte(text)); err == nil {
			t.Errorf("parseNotice(%q) = %v, want an error", text, got)
		}
	}
}

func FuzzParseNotice(f *testing.F) {
	for _, text := range []string{"gone in 30s", "30", "1h2m", "-1", "gone in ", "9999999999999999999"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		in, err := parseNotice(text)
		if err == nil && (in < 0 || in > longest) {
			t.Errorf("parseNotice(%q) = %v", text, in)
		}
	})
}

// watch runs Files over a new directory in virtual time.
type watch struct {
	dir     string
	notices []scale.Interruption
	log     bytes.Buffer
	stop    func()
}

func startWatch(t *testing.T) *watch {
	t.Helper()
	w := &watch{dir: filepath.Join(t.TempDir(), "notices")}
	files := Files{Dir: w.dir, Logger: slog.New(slog.NewTextHandler(&w.log, nil))}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- files.Run(ctx, func(i scale.Interruption) { w.notices = append(w.notices, i) })
	}()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	return w
}

// put writes a file as of the virtual now.
func (w *watch) put(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.touch(t, name, time.Now())
}

func (w *watch) touch(t *testing.T, name string, at time.Time) {
	t.Helper()
	if err := os.Chtimes(filepath.Join(w.dir, name), at, at); err != nil {
		t.Fatal(err)
	}
}

// look lets the watcher look at least once more.
func look() {
	time.Sleep(defaultEvery)
	synctest.Wait()
}

func TestFilesNotifyOncePerWriting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := startWatch(t)
		defer w.stop()
		look() // the directory does not exist yet, which is no fault

		if err := Write(w.dir, "chat-l4-001", 30*time.Second); err != nil {
			t.Fatal(err)
		}
		written := time.Now()
		w.touch(t, "chat-l4-001", written)
		w.put(t, ".half-written", "gone in 1s")
		look()
		look()
		want := []scale.Interruption{{
			Replica: "chat-l4-001", Noticed: written.Add(defaultEvery),
			Deadline: written.Add(30 * time.Second), Source: "notice file",
		}}
		if diff := cmp.Diff(want, w.notices); diff != "" {
			t.Fatalf("notices (-want +got):\n%s", diff)
		}

		// Written anew, it counts anew.
		w.put(t, "chat-l4-001", "5")
		rewritten := time.Now()
		look()
		if len(w.notices) != 2 || !w.notices[1].Deadline.Equal(rewritten.Add(5*time.Second)) {
			t.Fatalf("notices after rewriting: %+v", w.notices)
		}

		// A file from the future counts from when it is read.
		w.put(t, "chat-l4-002", "10")
		w.touch(t, "chat-l4-002", time.Now().Add(time.Hour))
		look()
		if len(w.notices) != 3 || !w.notices[2].Deadline.Equal(w.notices[2].Noticed.Add(10*time.Second)) {
			t.Fatalf("notice from the future: %+v", w.notices)
		}
		if w.log.Len() > 0 {
			t.Errorf("log: %s", &w.log)
		}
	})
}

func TestFilesLeaveAndLogMalformedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := startWatch(t)
		defer w.stop()
		if err := os.Mkdir(w.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		w.put(t, "chat-l4-001", "any moment now")
		if err := os.Mkdir(filepath.Join(w.dir, "chat-l4-002"), 0o700); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			look()
		}
		if len(w.notices) != 0 {
			t.Errorf("notices: %+v", w.notices)
		}
		if n := strings.Count(w.log.String(), "notice unreadable"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, &w.log)
		}
		if _, err := os.Stat(filepath.Join(w.dir, "chat-l4-001")); err != nil {
			t.Errorf("the malformed file is gone: %v", err)
		}
		w.put(t, "chat-l4-001", "gone in 3s") // mended
		look()
		if len(w.notices) != 1 {
			t.Errorf("notices after mending: %+v", w.notices)
		}
	})
}

func TestFilesLogUnreadableDirectoryOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := startWatch(t)
		defer w.stop()
		if err := os.WriteFile(w.dir, nil, 0o600); err != nil { // a file where a directory should be
			t.Fatal(err)
		}
		for range 5 {
			look()
		}
		if n := strings.Count(w.log.String(), "notice directory unreadable"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, &w.log)
		}
	})
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []scale.ReplicaID{"", ".", "..", "../x", "a/b", ".hidden"} {
		if err := Write(dir, name, time.Second); err == nil {
			t.Errorf("Write(%q) accepted", name)
		}
	}
	if err := Write(dir, "chat-l4-001", -time.Second); err == nil {
		t.Error("a negative time accepted")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
