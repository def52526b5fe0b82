package engines_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is a running `penstock serve`.
type server struct {
	t       *testing.T
	in      installation
	cmd     *exec.Cmd
	log     *lockedBuffer
	exited  chan struct{}
	gateway string // base URL
	console string
	state   string // directory
}

// change replaces a text that the configuration must hold.
type change struct{ from, to string }

// serve runs the example's configuration, sooner asleep and on free ports,
// until the test ends.
func serve(t *testing.T, in installation, changes ...change) *server {
	t.Helper()
	dir := t.TempDir()
	example, err := filepath.Abs("../../examples/llama-cpp")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, in: in, log: &lockedBuffer{}, exited: make(chan struct{}), state: filepath.Join(dir, "state")}
	changes = append([]change{
		{"spec:\n  # There is no GPU", fmt.Sprintf("spec:\n  listen: 127.0.0.1:0\n  console: 127.0.0.1:0\n  stateDir: %s\n  tick: 200ms\n  # There is no GPU", s.state)},
		{"./tiny-llama", filepath.Join(example, "tiny-llama")},
		{"scaleToZero: {after: 30s}", "scaleToZero: {after: 3s}"},
		{"scaleDownWindow: 10s", "scaleDownWindow: 2s"},
	}, changes...)
	text, err := os.ReadFile(filepath.Join(example, "cpu.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		if !bytes.Contains(text, []byte(c.from)) {
			t.Fatalf("cpu.yaml does not hold %q any more", c.from)
		}
		text = bytes.ReplaceAll(text, []byte(c.from), []byte(c.to))
	}
	file := filepath.Join(dir, "penstock.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(file)
	return s
}

func (s *server) start(file string) {
	s.t.Helper()
	s.cmd = exec.Command(s.in.penstock, "serve", "-f", file)
	s.cmd.Env = append(os.Environ(), "PENSTOCK_LLAMA="+s.in.folder)
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { defer close(s.exited); _ = s.cmd.Wait() }() // the state says how it ended
	s.t.Cleanup(func() {
		s.stop()
		if left := s.engines(); len(left) > 0 {
			s.t.Errorf("after the end %v still run", left)
		}
		if s.t.Failed() {
			s.t.Logf("log of serve:\n%s", s.log)
		}
	})
	until(s.t, "serve says where it listens", 20*time.Second, func() bool {
		text := s.log.String()
		s.gateway = field(text, "  gateway  ")
		s.console = field(text, "  console  ")
		return s.gateway != "" && s.console != ""
	})
	s.gateway = strings.TrimSuffix(s.gateway, "/v1")
}

// field returns the word that follows a text, "" while there is none.
func field(text, after string) string {
	_, rest, found := strings.Cut(text, after)
	if !found {
		return ""
	}
	word, _, ended := strings.Cut(rest, " ")
	if !ended {
		return ""
	}
	return word
}

// stop ends the server as an operator would, and waits for it.
func (s *server) stop() {
	s.t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-s.exited:
	case <-time.After(90 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.exited
		s.t.Errorf("serve did not end on SIGTERM")
	}
}

// status is the part of `penstock status --json` that the cases look at.
type status struct {
	Models []struct {
		Name     string `json:"name"`
		Replicas struct {
			Ready    int `json:"ready"`
			Starting int `json:"starting"`
			Draining int `json:"draining"`
		} `json:"replicas"`
	} `json:"models"`
}

// replicas returns how many replicas of a model are ready, and how many there
// are in all.
func (s *server) replicas(model string) (ready, all int) {
	s.t.Helper()
	text, err := command(s.t, s.in.penstock, "status", "--json", "--server", s.console)
	if err != nil {
		s.t.Fatal(err)
	}
	var st status
	if err := json.Unmarshal([]byte(text), &st); err != nil {
		s.t.Fatalf("status: %v\n%s", err, text)
	}
	for _, m := range st.Models {
		if m.Name == model {
			return m.Replicas.Ready, m.Replicas.Ready + m.Replicas.Starting + m.Replicas.Draining
		}
	}
	s.t.Fatalf("status has no model %s:\n%s", model, text)
	return 0, 0
}

// engine is the running process of a replica.
type engine struct {
	pid     int
	replica string
	address string
}

// engines lists the llama-servers of this server: those whose log is in its
// state directory.
func (s *server) engines() []engine {
	var found []engine
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is well-formed
	for _, file := range files {
		text, err := os.ReadFile(file)
		args := strings.Split(string(text), "\x00")
		if err != nil || filepath.Base(args[0]) != "llama-server" {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "environ")) // gone meanwhile: has none
		e := engine{replica: variable(environ, "PENSTOCK_REPLICA")}
		if _, err := os.Stat(filepath.Join(s.state, "logs", e.replica+".log")); err != nil || e.replica == "" {
			continue
		}
		e.pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(file))) // the pattern says that it is a number
		if i := slices.Index(args, "--port"); i >= 0 && i+1 < len(args) {
			e.address = "127.0.0.1:" + args[i+1]
		}
		found = append(found, e)
	}
	return found
}

func variable(environ []byte, name string) string {
	for v := range bytes.SplitSeq(environ, []byte{0}) {
		if value, ok := bytes.CutPrefix(v, []byte(name+"=")); ok {
			return string(value)
		}
	}
	return ""
}

// get fetches a page.
func get(t *testing.T, url string) string {
	t.Helper()
	status, text := exchange(t, http.MethodGet, url, "")
	if status != http.StatusOK {
		t.Fatalf("GET %s: %d\n%s", url, status, text)
	}
	return text
}

// exchange asks and reads the whole answer.
func exchange(t *testing.T, method, url, body string) (status int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: time.Minute}
	reply, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	all, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply.StatusCode, string(all)
}

// value returns a metric without labels, false where there is none.
func value(metrics, name string) (float64, bool) {
	for line := range strings.SplitSeq(metrics, "\n") {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			return v, err == nil
		}
	}
	return 0, false
}

// lockedBuffer is a buffer that a process may write while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
