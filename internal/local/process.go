package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/scale"
)

const (
	// selfExecutable is this program, wherever its file is and even when that
	// has been replaced: the kernel resolves it in the child.
	selfExecutable = "/proc/self/exe"
	guardPatience  = 5 * time.Second // for a guard to do what it is told
)

// launch is what a process is started with.
type launch struct {
	replica scale.ReplicaID
	target  scale.ScaleTarget
	argv    []string
	environ []string // added to ours
	without []string // names of ours that are left out
	dir     string
	paths   paths
	logger  *slog.Logger
}

// process is the running command of a Replica, under its guard.
type process struct {
	launch
	cmd      *exec.Cmd // the guard
	lifeline *os.File  // broken when closed
	closed   bool      // only touched by the goroutine that calls stop
	exited   chan struct{}
	status   string // how the command ended; set before exited is closed
}

// startProcess starts a command under a guard, recorded before it runs. Its
// output goes to the Replica's log. The caller waits for exited.
func startProcess(ctx context.Context, l launch) (*process, error) {
	log, err := openLog(l.paths.log(l.replica))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", l.replica, err)
	}
	p := &process{launch: l, exited: make(chan struct{})}
	output, err := p.start(ctx)
	if err != nil {
		err = errors.Join(err, log.Close(), p.forget())
		return nil, fmt.Errorf("start %s: %w", l.replica, err)
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		p.copyOutput(ctx, log, output)
	}()
	go p.wait(ctx, output, copied)
	return p, nil
}

// start makes the pipes, starts the guard and records it. It returns the end of
// the pipe from which the output comes.
func (p *process) start(ctx context.Context) (*os.File, error) {
	rec := record{Replica: p.replica, Target: p.target.String()}
	if err := rec.write(p.paths); err != nil {
		return nil, err
	}
	hold, lifeline, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make lifeline: %w", err)
	}
	output, input, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make pipe for output: %w", err), hold.Close(), lifeline.Close())
	}
	p.lifeline = lifeline
	// The guard ends by its lifeline, in order, and not when a context does.
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), selfExecutable, append([]string{guardArgument, "--"}, p.argv...)...)
	p.cmd.Args[0] = "penstock"
	inherited := slices.DeleteFunc(p.cmd.Environ(), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return slices.Contains(p.without, name)
	})
	p.cmd.Env = append(append(inherited, p.environ...), setting(p.replica))
	p.cmd.Dir = p.dir
	p.cmd.Stdout, p.cmd.Stderr = input, input
	p.cmd.ExtraFiles = []*os.File{hold}                    // becomes lifelineFD
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // away from the terminal's signals
	err = p.cmd.Start()
	err = errors.Join(err, hold.Close(), input.Close())
	if err != nil && p.cmd.Process == nil {
		return nil, errors.Join(fmt.Errorf("start guard: %w", err), output.Close(), lifeline.Close())
	}
	if s, errStat := readStat(p.cmd.Process.Pid); errStat == nil {
		rec.Guard = s.processID
		err = errors.Join(err, rec.write(p.paths))
	}
	if err != nil {
		p.logger.WarnContext(ctx, "guard not recorded", "replica", p.replica, "error", err) // it is found by its mark
	}
	return output, nil
}

// copyOutput moves the output to the log until the last process that holds the
// pipe is gone. A log that cannot be written must not stall the Replica: what
// it says then is dropped.
func (p *process) copyOutput(ctx context.Context, log *rotation, output io.ReadCloser) {
	const chunk = 32 << 10
	buffer := make([]byte, chunk)
	var fault error
	for {
		n, err := output.Read(buffer)
		if n > 0 && fault == nil {
			_, fault = log.Write(buffer[:n])
			if fault != nil {
				p.logger.WarnContext(ctx, "replica output dropped", "replica", p.replica, "error", fault)
			}
		}
		if err != nil { // its end, or the deadline that wait set
			break
		}
	}
	if err := errors.Join(output.Close(), log.Close()); err != nil && fault == nil {
		p.logger.WarnContext(ctx, "replica log not closed", "replica", p.replica, "error", err)
	}
}

// wait closes exited once no process of the Replica is left, also where the
// guard was killed and could not see to it.
func (p *process) wait(ctx context.Context, output *os.File, copied <-chan struct{}) {
	const drainOutput = time.Second
	defer close(p.exited)
	err := p.cmd.Wait()
	p.status = p.describe()
	if err != nil && p.cmd.ProcessState == nil {
		p.logger.WarnContext(ctx, "guard not waited for", "replica", p.replica, "error", err)
	}
	if p.guardKilled() {
		p.logger.WarnContext(ctx, "guard killed", "replica", p.replica)
		n, err := reapMarked(ctx, map[string]bool{setting(p.replica): true})
		if n > 0 || err != nil {
			p.logger.WarnContext(ctx, "leftover processes killed", "replica", p.replica, "processes", n, "error", err)
		}
	}
	select {
	case <-copied:
	case <-time.After(drainOutput): // somebody else holds the pipe
		_ = output.SetReadDeadline(time.Now()) // fails only when it was closed just now
		<-copied
	}
	if err := p.forget(); err != nil {
		p.logger.WarnContext(ctx, "record not removed", "replica", p.replica, "error", err)
	}
}

// forget removes the record.
func (p *process) forget() error {
	if err := os.Remove(p.paths.record(p.replica)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget %s: %w", p.replica, err)
	}
	return nil
}

// guardKilled says whether the guard itself was ended by a signal. It never
// ends that way by itself.
func (p *process) guardKilled() bool {
	if p.cmd.ProcessState == nil { // it could not even be waited for
		return true
	}
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

// describe says for people how the command ended.
func (p *process) describe() string {
	if p.guardKilled() {
		return "its guard was killed"
	}
	code := p.cmd.ProcessState.ExitCode()
	if code == notStarted {
		return "the command could not be started"
	}
	if name := unix.SignalName(syscall.Signal(code - bySignal)); code > bySignal && name != "" {
		return "ended by " + name
	}
	return "exit status " + strconv.Itoa(code)
}

// terminate sends SIGTERM to the process group, by way of the guard.
func (p *process) terminate(ctx context.Context) {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.logger.WarnContext(ctx, "replica not told to stop", "replica", p.replica, "error", err)
	}
}

// kill has the guard kill every process of the Replica. Calling it again is
// harmless.
func (p *process) kill(ctx context.Context) {
	if p.closed {
		return
	}
	p.closed = true
	if err := p.lifeline.Close(); err != nil {
		p.logger.WarnContext(ctx, "lifeline not closed", "replica", p.replica, "error", err)
	}
}
