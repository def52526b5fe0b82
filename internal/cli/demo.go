package cli

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/load"
	"github.com/penstock/penstock/internal/local"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/spot"
	"github.com/penstock/penstock/internal/trace"
)

type demoCmd struct {
	Headless bool `help:"Plain lines instead of the live view."`
	JSON     bool `help:"Print the report as JSON, the last line of standard output."`
}

func (demoCmd) Help() string {
	return `Two minutes on this machine, without GPU or configuration: a sleeping model is woken by a request, meets a spike, loses one replica to a crash and another to a spot notice, and falls asleep again. The engines are emulated; gateway, processes, scaling and journal are the real ones.

Example:
  penstock demo
  penstock demo --headless --json`
}

//go:embed demo.yaml
var demoConfig []byte

// demoSpike is the demo's demand: of the shape that hurts, in the token lengths
// of a conversation a quarter as long as Azure's.
func demoSpike(model string) trace.Spike {
	return trace.Spike{
		Seed: 7, Model: model,
		Quiet: 10 * time.Second, Ramp: 45 * time.Second, Climb: 20 * time.Second, Hold: 6 * time.Second, Fall: 12 * time.Second,
		Base: 12, Peak: 110, CV: 1.5,
		Prompt: trace.ConversationPrompt(0.25), Output: trace.ConversationOutput(0.3),
	}
}

const (
	demoLongest = 118 * time.Second // the whole story
	demoNotice  = 20 * time.Second  // that the spot notice leaves
)

func (c *demoCmd) Run(ctx context.Context, std Streams) (err error) {
	s, err := newShow(ctx, "demo.yaml", demoConfig)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer func() { err = s.close(err, std.Err) }()
	s.spike = demoSpike(s.model.Name)
	s.series = s.spike.Requests()
	r, err := s.perform(ctx, c.view(std))
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if err := r.write(std.Err); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(std.Out).Encode(r)
	}
	return nil
}

// view picks how the show is followed.
func (c *demoCmd) view(std Streams) func(context.Context, *show) error {
	file, ok := std.Err.(*os.File)
	if c.Headless || !ok || !term.IsTerminal(int(file.Fd())) {
		return func(ctx context.Context, s *show) error { return followPlainly(ctx, s, std.Err) }
	}
	return func(ctx context.Context, s *show) error { return followLive(ctx, s, std) }
}

// show is one run of a story on a machine of its own.
type show struct {
	machine *machine
	model   scale.Model
	spike   trace.Spike
	series  []scale.Request
	diary   *diary
	board   *board
	log     *os.File

	killed int // streams that the crash cut
	load   load.Report
	atZero bool
	span   time.Duration // first arrival → last reply
}

// newShow opens a machine of one of the embedded configurations, whose state
// and log are in a temporary directory.
func newShow(ctx context.Context, name string, text []byte) (*show, error) {
	cfg, err := config.Parse(name, text)
	if err != nil {
		return nil, err
	}
	if cfg.Server.StateDir, err = os.MkdirTemp("", "penstock-"); err != nil {
		return nil, err
	}
	s := &show{model: cfg.Models[0], diary: newDiary(), board: newBoard()}
	if s.log, err = os.Create(filepath.Join(cfg.Server.StateDir, "penstock.log")); err == nil {
		s.machine, err = open(ctx, cfg, logger(s.log, slog.LevelInfo), s.diary.wrap)
	}
	if err != nil {
		return nil, errors.Join(err, s.log.Close(), os.RemoveAll(cfg.Server.StateDir))
	}
	return s, nil
}

// close gives back what newShow claimed. The log and the journal of a show that
// failed are kept, and it says where.
func (s *show) close(failed error, talk io.Writer) error {
	dir := s.machine.config.Server.StateDir
	err := errors.Join(failed, s.machine.close(), s.log.Close())
	if err != nil {
		fmt.Fprintf(talk, "penstock: log and journal are in %s\n", dir)
		return err
	}
	return os.RemoveAll(dir)
}

// perform runs the story and returns its report.
func (s *show) perform(ctx context.Context, follow func(context.Context, *show) error) (demoReport, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, demoLongest, errors.New("the story did not end in time"))
	defer cancel()
	running, stop := context.WithCancel(ctx)
	group, running := errgroup.WithContext(running)
	group.Go(func() error { return s.machine.Run(running) })
	watching, stopWatching := context.WithCancel(running)
	group.Go(func() error { return s.watch(watching) })
	group.Go(func() error { return follow(watching, s) })
	err := s.story(running)
	s.board.note("The end.")
	stopWatching()
	stop()
	if e := group.Wait(); err == nil {
		err = e
	}
	if err != nil {
		return demoReport{}, cmp.Or(context.Cause(ctx), err)
	}
	return s.report(ctx)
}

// story is what happens, beside the load.
func (s *show) story(ctx context.Context) error {
	s.board.start()
	s.board.note("%s sleeps: no replica runs. The first request is sent and held.", s.model.Name)
	group, loading := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		s.load, err = s.generate(loading)
		return err
	})
	peak := s.spike.Quiet + s.spike.Ramp + s.spike.Climb
	group.Go(func() error { return s.accident(loading, peak+s.spike.Hold) })
	group.Go(func() error { return s.notice(loading, peak+s.spike.Hold+s.spike.Fall/4) })
	if err := group.Wait(); err != nil {
		return err
	}
	s.span = s.board.elapsed()
	s.board.note("All requests are answered. The fleet shrinks to nothing.")
	return s.sleeps(ctx)
}

// generate sends the series and verifies every reply.
func (s *show) generate(ctx context.Context) (load.Report, error) {
	g := &load.Generator{
		Target: s.machine.url(), Models: []load.Model{{Name: s.model.Name, SLO: s.model.SLO, Emulated: true}},
		Requests: trace.Of(s.series), Start: trace.Epoch(), Total: len(s.series), Span: s.spike.Span(),
		Grace: time.Second, Stall: s.model.SLO.MaxHold + 30*time.Second, Client: load.NewClient(), Progress: s.board.progress,
	}
	return g.Run(ctx)
}

// accident kills a replica in the middle of its streams. It is stopped first,
// so that what it had begun can be counted while nothing moves.
func (s *show) accident(ctx context.Context, at time.Duration) error {
	if !s.wait(ctx, at) {
		return context.Cause(ctx)
	}
	victim, ok := s.busiest()
	if !ok {
		return errors.New("no replica is Ready to be killed")
	}
	pid, err := engineOf(victim)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop %s: %w", victim, err)
	}
	const settle = 300 * time.Millisecond // for bytes under way; a replica that stands still sends none
	if !s.wait(ctx, s.board.elapsed()+settle) {
		return context.Cause(ctx)
	}
	s.killed = s.machine.gateway.Begun(s.model.Name, victim)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", victim, err)
	}
	s.board.note("%s is killed (kill -9) with %d streams begun: each ends with an error event.", victim, s.killed)
	return nil
}

// notice tells the busiest replica that it will be taken.
func (s *show) notice(ctx context.Context, at time.Duration) error {
	if !s.wait(ctx, at) {
		return context.Cause(ctx)
	}
	victim, ok := s.busiest()
	if !ok {
		return errors.New("no replica is Ready to be taken")
	}
	if err := spot.Write(local.NoticeDir(s.machine.config.Server.StateDir), victim, demoNotice); err != nil {
		return err
	}
	s.board.note("Spot notice: %s will be taken in %v. It drains, its streams finish.", victim, demoNotice)
	return nil
}

// busiest returns the Ready replica with the most requests.
func (s *show) busiest() (scale.ReplicaID, bool) {
	latest, _ := s.machine.loop.Latest()
	var best scale.ReplicaID
	most := 0
	for _, m := range latest.Snapshot.Models {
		for _, r := range m.Replicas {
			if n := s.machine.gateway.Begun(m.Model.Name, r.ID); r.Phase == scale.Ready && n > most {
				best, most = r.ID, n
			}
		}
	}
	return best, most > 0
}

// sleeps waits until no replica is left.
func (s *show) sleeps(ctx context.Context) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		latest, _ := s.machine.loop.Latest()
		if replicas(latest.Snapshot) == 0 {
			s.atZero = true
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

func replicas(s scale.Snapshot) int {
	n := 0
	for _, m := range s.Models {
		n += len(m.Replicas)
	}
	return n
}

// wait waits until an instant of the story; false when it ended before.
func (s *show) wait(ctx context.Context, at time.Duration) bool {
	timer := time.NewTimer(at - s.board.elapsed())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// watch keeps the board up to date.
func (s *show) watch(ctx context.Context) error {
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if latest, ok := s.machine.loop.Latest(); ok {
				s.board.sample(latest)
			}
			for _, c := range s.diary.news() {
				s.board.note("%s", c.sentence())
			}
		}
	}
}

// engineOf finds the process that serves as a replica: every process of it has
// the replica's name in its environment, and the engine is the one that is not
// its guard.
func engineOf(id scale.ReplicaID) (int, error) {
	processes, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return 0, fmt.Errorf("find the process of %s: %w", id, err)
	}
	for _, environ := range processes {
		text, err := os.ReadFile(environ)
		if err != nil || !slices.ContainsFunc(bytes.Split(text, []byte{0}), func(v []byte) bool {
			return string(v) == local.ReplicaVariable+"="+string(id)
		}) {
			continue
		}
		dir := filepath.Dir(environ)
		argv, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if words := bytes.Split(argv, []byte{0}); err == nil && len(words) > 1 && string(words[1]) == "emulate" {
			return strconv.Atoi(filepath.Base(dir))
		}
	}
	return 0, fmt.Errorf("find the process of %s: none has it in its environment", id)
}
