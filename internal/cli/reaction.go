package cli

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/load"
	"github.com/penstock/penstock/internal/local"
	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/spot"
	"github.com/penstock/penstock/internal/trace"
)

type reactionCmd struct {
	Rounds int  `default:"5" help:"How often to measure."`
	JSON   bool `help:"Print JSON, the last line of standard output."`
}

func (reactionCmd) Help() string {
	return `Each round, about half a minute, begins at zero replicas: one request wakes the model, a trickle follows, then load steps up thirtyfold; a spot notice comes and the load ends. Measured are the time from the first request to the start of the replica's process, the time from the step to the decision that starts replicas, and what was lost. The engines are emulated.

Example:
  penstock bench reaction --json`
}

//go:embed reaction.yaml
var reactionConfig []byte

// The phases of a round.
const (
	reactionTrickle = 6 * time.Second // after the first request
	reactionStep    = 16 * time.Second
	reactionEnd     = 24 * time.Second
	trickleRate     = 2 // requests/s
	stepRate        = 60
)

// Targets of benchmark section 3, in milliseconds.
const (
	stepTarget = 1000
	wakeTarget = 100
)

// reaction is what one round measured.
type reaction struct {
	wake, step time.Duration
	short      int // requests not answered in full
}

func (c *reactionCmd) Run(ctx context.Context, std Streams) (err error) {
	if c.Rounds < 1 {
		return usageError{fmt.Errorf("--rounds: %d is below 1", c.Rounds)}
	}
	s, err := newShow(ctx, "reaction.yaml", reactionConfig)
	if err != nil {
		return fmt.Errorf("bench reaction: %w", err)
	}
	defer func() { err = s.close(err, std.Err) }()
	rounds, err := c.measure(ctx, s, std)
	if err != nil {
		return fmt.Errorf("bench reaction: %w", err)
	}
	return c.print(std, rounds)
}

// measure runs the rounds beside the machine.
func (c *reactionCmd) measure(ctx context.Context, s *show, std Streams) ([]reaction, error) {
	running, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(running)
	group.Go(func() error { return s.machine.Run(running) })
	var rounds []reaction
	group.Go(func() error {
		defer stop()
		for i := range c.Rounds {
			r, err := s.react(running, uint64(i))
			if err != nil {
				return cmp.Or(context.Cause(running), err)
			}
			fmt.Fprintf(std.Err, "round %d of %d: wake %s, step %s, %d not answered in full\n", i+1, c.Rounds,
				report.Latency(r.wake), report.Latency(r.step), r.short)
			rounds = append(rounds, r)
		}
		return nil
	})
	err := group.Wait()
	if err == nil && len(rounds) < c.Rounds {
		err = context.Cause(ctx)
	}
	return rounds, err
}

// react runs one round.
func (s *show) react(ctx context.Context, seed uint64) (reaction, error) {
	s.board.start()
	told := len(s.diary.all())
	asked, err := bootClock()
	if err != nil {
		return reaction{}, err
	}
	began := time.Now()
	group, loading := errgroup.WithContext(ctx)
	var out reaction
	var r load.Report
	group.Go(func() (err error) {
		g := &load.Generator{
			Target: s.machine.url(), Models: []load.Model{{Name: s.model.Name, SLO: s.model.SLO, Emulated: true}}, Seed: seed,
			Requests: trace.Of(reactionSeries(s.model.Name)), Start: trace.Epoch(), Grace: time.Second, Stall: time.Minute, Client: load.NewClient(),
		}
		r, err = g.Run(loading)
		return err
	})
	group.Go(func() (err error) {
		if !s.wait(loading, reactionTrickle) {
			return context.Cause(loading)
		}
		out.wake, err = s.woke(asked)
		return err
	})
	group.Go(func() error {
		if !s.wait(loading, (reactionStep+reactionEnd)/2) {
			return context.Cause(loading)
		}
		victim, ok := s.busiest()
		if !ok {
			return errors.New("no replica is Ready to be taken")
		}
		return spot.Write(local.NoticeDir(s.machine.config.Server.StateDir), victim, demoNotice)
	})
	if err := group.Wait(); err != nil {
		return reaction{}, err
	}
	ok := r.Outcomes[scale.OK]
	out.short = r.Requests - ok
	for _, e := range s.diary.all()[told:] {
		if since := e.written.Sub(began) - reactionStep; since >= 0 && e.change.Start() > 0 {
			out.step = since
			return out, s.sleeps(ctx)
		}
	}
	return reaction{}, errors.New("the step in load led to no decision")
}

// reactionSeries is the load of a round.
func reactionSeries(model string) []scale.Request {
	var out []scale.Request
	add := func(at time.Duration) {
		out = append(out, scale.Request{
			ID: scale.RequestID(len(out) + 1), At: trace.Epoch().Add(at), Model: model, PromptTokens: 200, OutputTokens: 40,
		})
	}
	add(0)
	for at := reactionTrickle; at < reactionStep; at += time.Second / trickleRate {
		add(at)
	}
	for at := reactionStep; at < reactionEnd; at += time.Second / stepRate {
		add(at)
	}
	return out
}

// woke returns how long after an instant of the boot clock the oldest replica's
// engine process began.
func (s *show) woke(asked time.Duration) (time.Duration, error) {
	latest, _ := s.machine.loop.Latest()
	replicas := latest.Snapshot.Models[0].Replicas
	if len(replicas) == 0 {
		return 0, errors.New("the first request woke no replica")
	}
	pid, err := engineOf(replicas[0].ID)
	if err != nil {
		return 0, err
	}
	began, err := startOf(pid)
	return began - asked, err
}

// clockTick is the grain of process start times: USER_HZ, 100 on every Linux.
const clockTick = 10 * time.Millisecond

// startOf returns when a process began, on the clock that counts from boot,
// rounded up to the kernel's grain. Source: proc(5), /proc/pid/stat, field 22.
func startOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("find when process %d began: %w", pid, err)
	}
	const afterName, startTime = 1, 19 // fields behind the name, which may hold blanks
	_, rest, _ := bytes.Cut(text[max(0, bytes.LastIndexByte(text, ')')):], []byte{' '})
	fields := bytes.Fields(rest)
	if len(fields) <= startTime+afterName {
		return 0, fmt.Errorf("find when process %d began: %q is no stat line", pid, text)
	}
	ticks, err := strconv.ParseInt(string(fields[startTime]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("find when process %d began: %w", pid, err)
	}
	return time.Duration(ticks+1) * clockTick, nil
}

func bootClock() (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, fmt.Errorf("read the boot clock: %w", err)
	}
	return time.Duration(now.Nano()), nil
}

// print writes the figures and whether they meet their targets.
func (c *reactionCmd) print(std Streams, rounds []reaction) error {
	var wakes, steps []time.Duration
	short := 0
	for _, r := range rounds {
		wakes, steps, short = append(wakes, r.wake), append(steps, r.step), short+r.short
	}
	slices.Sort(wakes)
	slices.Sort(steps)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	worst := len(rounds) - 1
	checks := []check{
		atMost("step in load to decision written, worst, ms", stepTarget, ms(steps[worst])),
		atMost("first request at zero to process start, worst, ms", wakeTarget, ms(wakes[worst])),
		atMost("requests not answered in full, spot notices and scale-downs included", 0, float64(short)),
	}
	table := report.Table{Head: []string{"", "median", "worst", "target", ""}}
	word := func(met bool) string {
		if met {
			return "met"
		}
		return "missed"
	}
	table.Rows = [][]string{
		{"step in load → decision written", report.Latency(steps[len(steps)/2]), report.Latency(steps[worst]), "1000 ms", word(checks[0].Met)},
		{"first request at zero → process start", report.Latency(wakes[len(wakes)/2]), report.Latency(wakes[worst]), "100 ms", word(checks[1].Met)},
		{"requests not answered in full", "", strconv.Itoa(short), "0", word(checks[2].Met)},
	}
	if !c.JSON {
		_, err := table.WriteTo(std.Out)
		return err
	}
	if _, err := table.WriteTo(std.Err); err != nil {
		return err
	}
	return json.NewEncoder(std.Out).Encode(struct {
		Rounds int     `json:"rounds"`
		Checks []check `json:"checks"`
	}{len(rounds), checks})
}
