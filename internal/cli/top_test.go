package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/penstock/penstock/internal/console"
	"github.com/penstock/penstock/internal/scale"
)

func TestTopPrintsOneFrameWhereThereIsNoTerminal(t *testing.T) {
	server := serveConsole(t)
	for columns, args := range map[int][]string{80: {"top"}, 81: {"top", "--once", "--columns", "81"}, 120: {"top", "--once", "--columns=120"}} {
		out, talk, code := penstock(t, append(args, "--server", server)...)
		if code != exitOK || talk != "" || !strings.Contains(out, "● chat meets its objective.") || !strings.Contains(out, "demand is 4.0 requests/s; one serves 5.0 [steady]") {
			t.Errorf("%d columns: exit code %d, %s\n%s", columns, code, talk, out)
		}
		for line := range strings.Lines(out) {
			if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > columns || strings.ContainsAny(line, "\x1b\r\x00") {
				t.Errorf("%d columns: %q", columns, line)
			}
		}
	}
	if out, _, code := penstock(t, "top", "--json", "--server", server); code != exitOK || !strings.HasPrefix(out, `{"id":`) {
		t.Errorf("exit code %d, %.80s", code, out)
	}
}

func TestTopSaysWhatIsWrong(t *testing.T) {
	away := nobody(t)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"nobody is there":  {[]string{"--server", away}, exitFailed, "nothing answers at http://" + away},
		"no address":       {[]string{"--server", "ftp://x"}, exitUsage, "is no URL"},
		"too narrow":       {[]string{"--columns", "10"}, exitUsage, "60 at least"},
		"too often":        {[]string{"--every", "1ms"}, exitUsage, "100ms at least"},
		"a token is asked": {[]string{"--server", lockedConsole(t, "")}, exitUsage, "--token-file"},
	} {
		if _, talk, code := penstock(t, append([]string{"top", "--once"}, c.args...)...); code != c.code || !strings.Contains(talk, c.says) {
			t.Errorf("%s: exit code %d, %s", name, code, talk)
		}
	}
}

// lockedConsole starts a console that asks for a token, and writes the token to
// a file.
func lockedConsole(t *testing.T, file string) string {
	t.Helper()
	fleet := oneModel{at: time.Now()}
	c := console.Console{Listen: "127.0.0.1:0", Fleet: fleet, Token: "a-token-of-the-tests", Logger: slog.New(slog.DiscardHandler)}
	if file != "" {
		if err := os.WriteFile(file, []byte(c.Token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(c.Handler())
	t.Cleanup(server.Close)
	return server.URL
}

func TestATokenOpensTheConsoleToCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	server := lockedConsole(t, file)
	for _, command := range [][]string{{"top"}, {"status"}, {"explain", "chat"}} {
		if _, talk, code := penstock(t, append(command, "--server", server, "--token-file", file)...); code != exitOK {
			t.Errorf("%v: exit code %d, %s", command, code, talk)
		}
		if _, talk, code := penstock(t, append(command, "--server", server, "--token-file", file+".not")...); code != exitUsage || !strings.Contains(talk, "read the token") {
			t.Errorf("%v without the file: exit code %d, %s", command, code, talk)
		}
	}
}

// screen is a terminal of tmux.
type screen struct {
	t      *testing.T
	socket string
}

func (s screen) tmux(args ...string) string {
	s.t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(s.t.Context()), "tmux", append([]string{"-S", s.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// until waits until the screen holds a text, and returns it.
func (s screen) until(text string) string {
	s.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		shown := s.tmux("capture-pane", "-p", "-t", "top")
		if strings.Contains(shown, text) {
			return shown
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the screen never held %q:\n%s", text, shown)
		}
		<-ticker.C
	}
}

// open starts penstock top on a screen; the shell under it says how it ended and
// whether the terminal echoes again.
func open80(t *testing.T, server string) screen {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("no tmux is installed: penstock top is not tested on a terminal")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "top") //nolint:usetesting // a socket's path must be short, and a test's name is long
	if err != nil {
		t.Fatal(err)
	}
	s := screen{t, filepath.Join(dir, "s")}
	command := fmt.Sprintf("echo before; %s top --every 200ms --server %s & echo $! > %s/pid; fg >/dev/null 2>&1; echo left with $?; stty -a | grep -q ' echo ' && echo it echoes; cat", self, server, dir)
	s.tmux("new-session", "-d", "-s", "top", "-x", "80", "-y", "24", "bash -m -c '"+strings.ReplaceAll(command, "'", `'\''`)+"'")
	t.Cleanup(func() {
		s.tmux("kill-server")
		os.RemoveAll(dir)
	})
	return s
}

func TestTopOnATerminal(t *testing.T) {
	server := serveConsole(t)
	s := open80(t, server)
	s.until("● chat meets its objective.")
	s.tmux("send-keys", "-t", "top", "Enter")
	s.until("penstock top · chat")
	s.until("requests/s")
	s.tmux("send-keys", "-t", "top", "d")
	s.until("No replica was started or drained")
	s.tmux("send-keys", "-t", "top", "?")
	s.until("page up, page down")
	s.tmux("send-keys", "-t", "top", "C-c")
	shown := s.until("left with 0")
	if !strings.Contains(shown, "before") || strings.Contains(shown, "penstock top") || !strings.Contains(s.until("it echoes"), "left") {
		t.Errorf("the terminal was not left as it was found:\n%s", shown)
	}
}

func TestTopEndsCleanlyWhenToldTo(t *testing.T) {
	s := open80(t, serveConsole(t))
	s.until("● chat meets its objective.")
	pid, err := os.ReadFile(filepath.Join(filepath.Dir(s.socket), "pid"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "kill", "-TERM", strings.TrimSpace(string(pid))).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	shown := s.until("left with 0")
	if !strings.Contains(shown, "before") || strings.Contains(shown, "penstock top") {
		t.Errorf("the terminal was not left as it was found:\n%s", shown)
	}
	s.until("it echoes")
}

// ticking is a fleet of one model that ticks with the clock.
type ticking struct{ oneModel }

func (ticking) Snapshot() (scale.Snapshot, scale.Decision, bool) {
	r := oneModel{}.record(time.Now().Truncate(100 * time.Millisecond))
	return r.Snapshot, r.Decision, true
}

func TestTopWaitsForAServerThatRestarts(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	begin := func(l net.Listener) func() {
		c := console.Console{Listen: address, Fleet: ticking{}, Logger: slog.New(slog.DiscardHandler)}
		server := &http.Server{Handler: c.Handler(), ReadHeaderTimeout: time.Second}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(l)
		}()
		return func() {
			_ = server.Close()
			<-done
		}
	}
	stop := begin(listener)
	s := open80(t, "http://"+address)
	s.until("● chat meets its objective.")
	stop()
	if shown := s.until("connecting again"); !strings.Contains(shown, "data ") || !strings.Contains(shown, "chat meets its objective.") {
		t.Errorf("what was last known is gone, or its age:\n%s", shown)
	}
	if listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", address); err != nil {
		t.Fatal(err)
	}
	defer begin(listener)()
	if shown := s.until("penstock was restarted"); strings.Contains(shown, "connecting again") {
		t.Errorf("it is back:\n%s", shown)
	}
}
