package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lifelineFD    = 3                     // in the guard: where penstock's end of the pipe is read
	guardArgument = "guard"               // penstock guard -- COMMAND…
	afterStop     = 2 * time.Second       // what a stopped command left behind gets to end in order
	killEvery     = 20 * time.Millisecond // while processes are being killed
	notStarted    = 127                   // exit status when the command could not be started, as in a shell
	bySignal      = 128                   // added to the signal that ended the command, as in a shell
	lifelineCheck = "the guard is started by penstock alone"
)

// errNoLifeline says that file 3 is not a pipe.
var errNoLifeline = errors.New("file 3 is no pipe: " + lifelineCheck)

// Guard runs a command in a process group of its own until it and everything
// that it started are gone, and returns the command's exit status; one that
// ended by a signal gets 128 more than that signal.
//
// When ctx ends the group gets SIGTERM. When the other end of the pipe at file
// descriptor 3 closes, because penstock asked for it or died, every descendant
// is killed, also those that left the group or the session: the guard is their
// subreaper (prctl(2)), so that none can become anybody else's child. What a
// command leaves behind when it ends by itself is killed at once, and after
// 2 s when it was told to stop.
//
// Guard takes over the process: it adopts and reaps all children. It must not
// share one with anything else.
func Guard(ctx context.Context, command []string) (int, error) {
	// PDEATHSIG, below, is sent when the thread that started the command ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	lifeline, err := openLifeline()
	if err != nil {
		return notStarted, fmt.Errorf("guard: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return notStarted, errors.Join(fmt.Errorf("guard: become subreaper: %w", err), lifeline.Close())
	}
	pid, err := startGuarded(command)
	if err != nil {
		return notStarted, errors.Join(fmt.Errorf("guard: %w", err), lifeline.Close())
	}
	g := guard{pid: pid, broken: make(chan struct{}), ended: make(chan int, 1), empty: make(chan struct{})}
	go g.reap()
	go g.hold(lifeline)
	status, err := g.keep(ctx)
	err = errors.Join(err, lifeline.Close())
	<-g.broken
	if err != nil {
		return status, fmt.Errorf("guard: %w", err)
	}
	return status, nil
}

// openLifeline takes over the pipe that penstock handed down.
func openLifeline() (*os.File, error) {
	var info unix.Stat_t
	if err := unix.Fstat(lifelineFD, &info); err != nil || info.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, errors.Join(errNoLifeline, err)
	}
	unix.CloseOnExec(lifelineFD)                               // the command must not hold it
	if err := unix.SetNonblock(lifelineFD, true); err != nil { // so that Close ends a Read
		return nil, fmt.Errorf("open lifeline: %w", err)
	}
	return os.NewFile(lifelineFD, "lifeline"), nil
}

// startGuarded starts the command as leader of a new process group that dies
// with the guard. The process is reaped by guard.reap, hence not by os/exec.
func startGuarded(command []string) (int, error) {
	if len(command) == 0 {
		return 0, errors.New("no command to run")
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return 0, fmt.Errorf("find command: %w", err)
	}
	process, err := os.StartProcess(path, command, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return 0, fmt.Errorf("start command: %w", err)
	}
	pid := process.Pid
	if err := process.Release(); err != nil {
		return 0, fmt.Errorf("start command: %w", err)
	}
	return pid, nil
}

// guard watches over one command.
type guard struct {
	pid    int           // the command, and its process group
	broken chan struct{} // closed when the lifeline broke or was closed here
	ended  chan int      // the command's exit status
	empty  chan struct{} // closed when no descendant is left
}

// reap waits for every child, adopted ones included, until there is none.
func (g guard) reap() {
	defer close(g.empty)
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil: // ECHILD: none is left
			return
		case pid == g.pid && status.Signaled():
			g.ended <- bySignal + int(status.Signal())
		case pid == g.pid:
			g.ended <- status.ExitStatus()
		}
	}
}

// hold returns when nobody holds the other end of the lifeline.
func (g guard) hold(lifeline io.Reader) {
	defer close(g.broken)
	_, _ = io.Copy(io.Discard, lifeline) // an error is as good as an end
}

// keep sees the command and its descendants to their end.
func (g guard) keep(ctx context.Context) (int, error) {
	var (
		status  int
		faults  error
		told    bool // to stop
		stop    = ctx.Done()
		broken  = g.broken
		kill    <-chan time.Time // when to kill what is left, again and again
		killNow = func() { kill = time.After(0) }
	)
	for {
		select {
		case <-stop:
			stop, told = nil, true
			faults = errors.Join(faults, ignoreGone(unix.Kill(-g.pid, unix.SIGTERM)))
		case <-broken:
			broken = nil
			killNow()
		case status = <-g.ended:
			switch {
			case kill != nil:
			case told:
				faults = errors.Join(faults, signalDescendants(unix.SIGTERM))
				kill = time.After(afterStop)
			default:
				killNow()
			}
		case <-kill:
			faults = errors.Join(faults, signalDescendants(unix.SIGKILL))
			kill = time.After(killEvery)
		case <-g.empty:
			select {
			case status = <-g.ended: // both came at once
			default:
			}
			return status, faults
		}
	}
}

// signalDescendants signals every descendant of this process.
func signalDescendants(sig syscall.Signal) error {
	all, err := descendants(os.Getpid())
	if err != nil {
		return err
	}
	return signalAll(all, sig)
}

// ignoreGone drops the error of a signal that came too late.
func ignoreGone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}
