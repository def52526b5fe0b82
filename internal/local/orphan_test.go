package local

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
)

// penstock is a Penstock in a process of its own.
type penstock struct {
	cmd      *exec.Cmd
	stateDir string
	settings map[string]bool // of its Replicas
	daemons  []processID     // what the servers put into sessions of their own
	guards   []processID
}

// startPenstock returns when two Replicas are Ready.
func startPenstock(t *testing.T, serverArguments ...string) *penstock {
	t.Helper()
	dir := t.TempDir()
	p := &penstock{stateDir: filepath.Join(dir, "state"), settings: map[string]bool{}}
	daemons := filepath.Join(dir, "daemons")
	args := append([]string{"world", p.stateDir, "-daemon", daemons}, serverArguments...)
	p.cmd = exec.Command("/proc/self/exe", args...)
	p.cmd.Stderr = io.Discard
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		_, _ = reapMarked(context.Background(), p.settings)
		_ = signalAll(p.daemons, syscall.SIGKILL)
	})
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		said <- line
	}()
	select {
	case line := <-said:
		if line != "up\n" {
			t.Fatalf("penstock said %q", line)
		}
	case <-time.After(patience):
		t.Fatal("penstock does not come up")
	}
	ids, err := Replicas(p.stateDir)
	if err != nil || len(ids) != 2 {
		t.Fatalf("on record: %v, %v", ids, err)
	}
	for _, id := range ids {
		p.settings[setting(id)] = true
	}
	p.daemons = pids(t, daemons)
	p.guards = childrenOf(t, p.cmd.Process.Pid)
	if len(p.daemons) != 2 || len(p.guards) != 2 {
		t.Fatalf("%d daemons and %d guards, want two of each", len(p.daemons), len(p.guards))
	}
	return p
}

func childrenOf(t *testing.T, pid int) []processID {
	t.Helper()
	all, err := allProcesses()
	if err != nil {
		t.Fatal(err)
	}
	var children []processID
	for _, s := range all {
		if s.parent == pid {
			children = append(children, s.processID)
		}
	}
	return children
}

// kill kills Penstock itself, which then cannot do anything any more.
func (p *penstock) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
}

func (p *penstock) left(t *testing.T) int {
	t.Helper()
	return leftovers(t, p.settings, append(append([]processID{}, p.daemons...), p.guards...))
}

func TestNoOrphanWhenPenstockIsKilled(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string][]string{
		"servers with daemons":                          nil,
		"that ignore SIGTERM":                           {"-stubborn"},
		"whose daemons cannot be told by their environ": {"-clean-env"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPenstock(t, arguments...)
			before := p.left(t)
			if before < 6 { // two each of guards, servers and daemons
				t.Fatalf("%d processes before, want 6 at least", before)
			}
			p.kill(t)
			eventually(t, "the end of all processes", func() bool { return p.left(t) == 0 })
		})
	}
}

func TestKilledAgainAndAgainWhileReplicasComeAndGo(t *testing.T) {
	t.Parallel()
	const rounds = 5
	dir := t.TempDir()
	for range rounds {
		cmd := exec.Command("/proc/self/exe", "world", dir, "-daemon", filepath.Join(dir, "daemons"), "-never")
		cmd.Stderr = io.Discard
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// At whatever instant the first record is there.
		eventually(t, "a record", func() bool { ids, err := Replicas(dir); return err == nil && len(ids) > 0 })
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	ids, err := Replicas(dir)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]bool{}
	for _, id := range ids {
		settings[setting(id)] = true
	}
	r := start(t, testRun(), func(w *World) { w.StateDir = dir })
	r.observe(t) // it runs, hence has reaped
	if n := leftovers(t, settings, nil); n > 0 {
		t.Errorf("%d processes left", n)
	}
	if ids, err := Replicas(dir); err != nil || len(ids) > 0 {
		t.Errorf("on record: %v, %v", ids, err)
	}
}

func TestNextStartEndsWhatDeadGuardsLeft(t *testing.T) {
	t.Parallel()
	p := startPenstock(t)
	// Penstock stands still, so that it cannot see to its guards' end.
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := signalAll(p.guards, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.kill(t)
	for _, daemon := range p.daemons {
		if !daemon.alive() {
			t.Fatal("the daemons ended by themselves: nothing is tested")
		}
	}
	r := start(t, testRun(), func(w *World) { w.StateDir = p.stateDir })
	r.observe(t)
	if n := p.left(t); n > 0 {
		t.Errorf("%d processes left", n)
	}
	if r.log.count("leftover processes killed") != 1 {
		t.Error("it was not told")
	}
}

func TestInnocentProcessOnRecordLives(t *testing.T) {
	t.Parallel()
	innocent := exec.Command("/proc/self/exe", "stay")
	if err := innocent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = innocent.Process.Kill()
		_ = innocent.Wait()
	})
	s, err := readStat(innocent.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(paths(dir).records(), 0o700); err != nil {
		t.Fatal(err)
	}
	// Its number was a guard's once: the start time is another.
	stale := record{Replica: "chat-v-abcdef-001", Guard: processID{PID: s.PID, Start: s.Start - 1}}
	if err := stale.write(paths(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths(dir).record("torn"), []byte(`{"replica": "to`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, testRun(), func(w *World) { w.StateDir = dir })
	r.observe(t)
	if !s.alive() {
		t.Error("it was killed")
	}
	if ids, err := Replicas(dir); err != nil || len(ids) > 0 {
		t.Errorf("on record: %v, %v", ids, err)
	}
}

func TestGuardThatIsKilledLeavesNothing(t *testing.T) {
	t.Parallel()
	daemons := filepath.Join(t.TempDir(), "daemons")
	r := start(t, testRun("-daemon", daemons))
	r.apply(t, grow("chat", 0, 1))
	replica := r.phase(t, 1, scale.Ready)[0]
	daemon := pids(t, daemons)
	text, err := os.ReadFile(paths(r.StateDir).record(replica.ID))
	if err != nil || !strings.Contains(string(text), `"target":"chat/v"`) {
		t.Fatalf("record %s: %v", text, err)
	}
	all, err := allProcesses()
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]bool{setting(replica.ID): true}
	for _, s := range all {
		if strings.Contains(string(text), `"pid":`+valueOfPID(s)) {
			if err := s.signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.none(t)
	if n := leftovers(t, settings, daemon); n > 0 {
		t.Errorf("%d processes left", n)
	}
	if r.log.count("guard killed") != 1 || r.log.count("replica died") != 1 {
		t.Error("it was not told")
	}
	r.apply(t, grow("chat", 0, 1)) // its GPU is free
	r.phase(t, 1, scale.Ready)
}

func TestGuardThatStandsStillIsOvercome(t *testing.T) {
	t.Parallel()
	run := testRun()
	run.Grace = 100 * time.Millisecond
	r := start(t, run)
	r.apply(t, grow("chat", 0, 1))
	replica := r.phase(t, 1, scale.Ready)[0]
	settings := map[string]bool{setting(replica.ID): true}
	all, err := marked(settings)
	if err != nil {
		t.Fatal(err)
	}
	if err := signalAll(all, syscall.SIGSTOP); err != nil { // guard and server
		t.Fatal(err)
	}
	r.apply(t, shrink("chat", 1, replica.ID))
	r.none(t)
	if n := leftovers(t, settings, nil); n > 0 {
		t.Errorf("%d processes left", n)
	}
}

func TestDaemonsOfAReplicaEndWithIt(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string][]string{
		"known by their environment": nil,
		"known by descent alone":     {"-clean-env"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			daemons := filepath.Join(t.TempDir(), "daemons")
			run := testRun(append(arguments, "-daemon", daemons)...)
			r := start(t, run, func(w *World) { w.Runs[config.RunKey{Model: "chat", Variant: "v"}] = run })
			r.apply(t, grow("chat", 0, 1))
			replica := r.phase(t, 1, scale.Ready)[0]
			daemon := pids(t, daemons)
			crash(replica) // the daemon survives the server, if it may
			r.none(t)
			if daemon[0].alive() {
				t.Error("the GPU was freed while a process of the replica lives")
			}
			r.apply(t, grow("chat", 0, 1))
			replica = r.phase(t, 1, scale.Ready)[0]
			r.apply(t, shrink("chat", 1, replica.ID))
			r.none(t)
			for _, d := range daemon {
				if d.alive() {
					t.Error("a daemon outlived the replica that was stopped")
				}
			}
		})
	}
}

func TestGuardRefusesToRunAlone(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/proc/self/exe", "guard", "--", "true")
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != notStarted || !strings.Contains(string(out), "started by penstock alone") {
		t.Errorf("guard without a lifeline: %v, %s", err, out)
	}
}

func TestGuardPassesTheStatusOn(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]int{
		"exit 0":        0,
		"exit 42":       42,
		"kill -9 $$":    bySignal + 9,
		"kill -TERM $$": bySignal + 15,
	} {
		hold, lifeline, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe", "guard", "--", "sh", "-c", command)
		cmd.ExtraFiles = []*os.File{hold}
		err = cmd.Run()
		hold.Close()
		lifeline.Close()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%s: exit status %d (%v), want %d", command, got, err, want)
		}
	}
}
