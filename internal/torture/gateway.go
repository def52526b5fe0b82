package torture

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	startWithin = 20 * time.Second
	endWithin   = 40 * time.Second // the configuration's drainTimeout and what goes with it
)

// gateway is a process that clients ask.
type gateway struct {
	name    string
	address string // host:port
	args    []string
	self    string
	log     *os.File
	command *exec.Cmd
	ended   chan error
}

// start starts the process and waits until it is ready.
func (g *gateway) start(ctx context.Context) error {
	g.command = exec.CommandContext(context.WithoutCancel(ctx), g.self, g.args...)
	g.command.Stdout, g.command.Stderr = g.log, g.log
	g.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := g.command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", g.name, err)
	}
	g.ended = make(chan error, 1)
	go func(c *exec.Cmd, ended chan error) { ended <- c.Wait() }(g.command, g.ended)
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		if ready(ctx, g.address) {
			return nil
		}
		select {
		case err := <-g.ended:
			g.ended = nil
			return fmt.Errorf("%s ended as it started: %w; see %s", g.name, err, g.log.Name())
		default:
		}
		if !pause(ctx, askAgain) {
			return fmt.Errorf("wait for %s: %w; see %s", g.name, ctx.Err(), g.log.Name())
		}
	}
}

// end ends the process by a signal and waits for that.
func (g *gateway) end(by syscall.Signal) error {
	if g.ended == nil {
		return nil
	}
	err := g.command.Process.Signal(by)
	late := time.AfterFunc(endWithin, func() { _ = g.command.Process.Kill() })
	exit := <-g.ended
	if !late.Stop() {
		err = errors.Join(err, fmt.Errorf("%s did not end within %s of %s", g.name, endWithin, by))
	}
	g.ended = nil
	if by == syscall.SIGTERM && exit != nil {
		err = errors.Join(err, fmt.Errorf("%s ended by %s with: %w", g.name, by, exit))
	}
	return err
}

func (g *gateway) pid() int { return g.command.Process.Pid }

func ready(ctx context.Context, address string) bool {
	reply, err := get(ctx, "http://"+address+"/readyz")
	if err != nil {
		return false
	}
	defer reply.Body.Close()
	return reply.StatusCode == http.StatusOK
}

func get(ctx context.Context, url string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Close = true // no connection of ours shall count as a leak
	return (&http.Client{Timeout: 5 * time.Second}).Do(request)
}

// open makes the gateways: penstock serve, and penstock gateway as often as is
// asked for.
func (r *run) open() (err error) {
	addresses, err := freePorts(2 + r.Gateways)
	if err != nil {
		return err
	}
	r.console = addresses[0]
	sharing, addresses := addresses[1], addresses[2:]
	file := filepath.Join(r.Dir, "penstock.yaml")
	text := fmt.Appendf(nil, soakConfig, addresses[0], r.console, r.Dir, r.Replicas, r.Batch, sharing)
	if err := errors.Join(os.WriteFile(file, text, 0o600), os.MkdirAll(r.seenDir(), 0o700)); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	for i, address := range addresses {
		g := &gateway{name: fmt.Sprintf("gateway-%d", i+1), address: address, self: r.Self, args: []string{"serve", "-f", file}}
		if i > 0 {
			g.args = []string{"gateway", "--server", "http://" + sharing, "--listen", address}
		}
		if g.log, err = os.Create(filepath.Join(r.Dir, g.name+".log")); err != nil {
			return fmt.Errorf("open a log: %w", err)
		}
		r.gateways = append(r.gateways, g)
	}
	return nil
}
