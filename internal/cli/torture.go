package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/emulator"
	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/torture"
)

// tortureCmd mistreats Penstock as a whole; see package torture.
type tortureCmd struct {
	Soak    soakCmd           `cmd:"" help:"Load that lasts, while replicas and gateways are killed, stopped and drained."`
	Cases   casesCmd          `cmd:"" help:"Short stories of one fault each."`
	Replica tortureReplicaCmd `cmd:"" hidden:"" help:"An emulated engine that writes down what it sees."`
}

type soakCmd struct {
	For      time.Duration `default:"2m" placeholder:"TIME" help:"How long the load lasts (${default})."`
	Rate     float64       `default:"40" placeholder:"N" help:"Requests a second, on average (${default})."`
	Gateways int           `default:"1" placeholder:"N" help:"1 is that of penstock serve; more are processes of their own (${default})."`
	Faults   time.Duration `default:"4s" placeholder:"TIME" help:"From one fault of a replica to the next, on average (${default})."`
	Stop     time.Duration `default:"3s" placeholder:"TIME" help:"How long a stopped replica stays so (${default})."`
	Restart  time.Duration `placeholder:"TIME" help:"From one restart of a gateway to the next; by default five minutes, or a third of a shorter run; negative for none."`
	Kill     int           `default:"4" placeholder:"N" help:"One of so many restarts is a SIGKILL; 0 for none (${default})."`
	Abort    float64       `default:"0.1" placeholder:"SHARE" help:"Clients that go away (${default})."`
	Slow     float64       `default:"0.05" placeholder:"SHARE" help:"Clients that read slowly (${default})."`
	Replicas int           `default:"6" placeholder:"N" help:"Replicas at most (${default})."`
	Batch    int           `default:"16" placeholder:"N" help:"Requests at once at a replica (${default})."`
	Seed     uint64        `default:"1" help:"Of arrivals, lengths, manners and faults (${default})."`
	Dir      string        `placeholder:"DIR" help:"Keep logs and journal there; by default they are deleted unless a promise is broken."`
	JSON     bool          `help:"Print JSON, the last line of standard output."`
}

func (soakCmd) Help() string {
	return `Streams whose every token is verified go to penstock serve and to gateways beside it, while replicas are killed, stopped, told to go and added, clients go away or read slowly, and a gateway is restarted or killed. Exits with 1 when a promise is broken.

Example:
  penstock torture soak --for 1h --rate 280 --gateways 2`
}

func (c *soakCmd) Run(ctx context.Context, std Streams) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("soak: %w", err)
	}
	dir := c.Dir
	if dir == "" {
		dir, err = os.MkdirTemp("", "penstock-soak-")
	} else {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("soak: make a directory: %w", err)
	}
	line := newLiveLine(std.Err)
	s := &torture.Soak{
		Self: self, Dir: dir, For: c.For, Rate: c.Rate, Gateways: c.Gateways, Faults: c.Faults, Stop: c.Stop, Restart: c.restart(), Kill: c.Kill,
		Abort: c.Abort, Slow: c.Slow, Replicas: c.Replicas, Batch: c.Batch, Seed: c.Seed, Progress: line.put,
	}
	r, err := s.Run(ctx)
	line.end()
	if err == nil {
		err = c.print(std, r)
	}
	if err != nil {
		return fmt.Errorf("soak: %w; logs and journal are in %s", err, dir)
	}
	if c.Dir == "" {
		return os.RemoveAll(dir)
	}
	return nil
}

func (c *soakCmd) restart() time.Duration {
	if c.Restart != 0 {
		return c.Restart
	}
	return min(5*time.Minute, c.For/3)
}

var errPromise = errors.New("a promise was broken")

func (c *soakCmd) print(std Streams, r torture.Report) error {
	out := std.Out
	if c.JSON {
		out = std.Err
	}
	if err := writeSoak(out, r); err != nil {
		return err
	}
	if c.JSON {
		if err := json.NewEncoder(std.Out).Encode(r); err != nil {
			return err
		}
	}
	if !r.Kept() {
		return errPromise
	}
	return nil
}

func writeSoak(w io.Writer, r torture.Report) error {
	fmt.Fprintf(w, "%d requests, %d of them verified token by token.", r.Requests, r.Verified)
	if !r.Load.KeptUp() {
		fmt.Fprintf(w, " The machine was too busy to send them in time: 1 %% left %s late or more.", report.Latency(r.Load.Lag.P99))
	}
	fmt.Fprintln(w)
	table := report.Table{Head: []string{"outcome", "requests"}}
	for _, o := range scale.Outcomes() {
		table.Rows = append(table.Rows, []string{o.String(), strconv.Itoa(r.Outcomes[o])})
	}
	if _, err := table.WriteTo(w); err != nil {
		return err
	}
	f := r.Faults
	fmt.Fprintf(w, "replicas: %d started, %d killed, %d stopped, %d told to go; gateways: %d SIGTERM, %d SIGKILL\n", r.Replicas, f.Killed, f.Stopped, f.Noticed, f.Restarts, f.Kills)
	fmt.Fprintf(w, "sent on: %d refused by a gateway that was going down, %d connections refused, %d closed as they were used; lost with a killed gateway: %d\n", r.Moved, r.Unreached, r.Closed, r.ByKill)
	fmt.Fprintf(w, "%d clients went away; their replicas saw it after %.1f ms at the median\n", r.Left, r.AbortP50)
	fmt.Fprintf(w, "goroutines %d before and %d after, files %d and %d\n", r.Goroutines[0], r.Goroutines[1], r.Files[0], r.Files[1])
	for _, e := range r.Examples {
		fmt.Fprintf(w, "  %s\n", e)
	}
	fmt.Fprintln(w)
	return writePromises(w, r.Checks)
}

func writePromises(w io.Writer, promises []torture.Check) error {
	checks := report.Table{Head: []string{"", "allowed", "came", "of", "", ""}}
	for _, k := range promises {
		word := "broken"
		if k.Met {
			word = "kept"
		}
		checks.Rows = append(checks.Rows, []string{
			k.Name, strconv.FormatFloat(k.Target, 'f', -1, 64), strconv.FormatFloat(k.Value, 'f', -1, 32), strconv.Itoa(k.Of), word, k.Note,
		})
	}
	_, err := checks.WriteTo(w)
	return err
}

type casesCmd struct {
	Only []string `placeholder:"NAME" help:"These cases instead of all: held-at-zero, told-at-the-end, overload, one-sick."`
	Held int      `default:"10000" placeholder:"N" help:"Requests to hold at zero (${default})."`
	JSON bool     `help:"Print JSON, the last line of standard output."`
}

func (casesCmd) Help() string {
	return `Each case starts a penstock serve of its own with emulated engines. Exits with 1 when a promise is broken.

Example:
  penstock torture cases --only held-at-zero`
}

func (c *casesCmd) Run(ctx context.Context, std Streams) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("torture: %w", err)
	}
	dir, err := os.MkdirTemp("", "penstock-torture-")
	if err != nil {
		return fmt.Errorf("torture: make a directory: %w", err)
	}
	line := newLiveLine(std.Err)
	cases := &torture.Cases{Self: self, Dir: dir, Held: c.Held, Seed: 1, Progress: line.put}
	names := c.Only
	if len(names) == 0 {
		names = torture.Names()
	}
	var checks []torture.Check
	for _, name := range names {
		more, err := cases.Run(ctx, name)
		if err != nil {
			return fmt.Errorf("torture: %s: %w; logs are in %s", name, err, dir)
		}
		checks = append(checks, more...)
	}
	line.end()
	r := torture.Report{Checks: checks}
	if err := writePromises(std.Err, checks); err != nil {
		return err
	}
	if c.JSON {
		if err := json.NewEncoder(std.Out).Encode(checks); err != nil {
			return err
		}
	}
	if !r.Kept() {
		return fmt.Errorf("torture: %w; logs are in %s", errPromise, dir)
	}
	return os.RemoveAll(dir)
}

type tortureReplicaCmd struct {
	Port    int    `required:""`
	Model   string `required:""`
	ID      string `required:""`
	File    string `required:""`
	Variant string `required:""`
	Out     string `required:""`

	LoadDelay time.Duration `default:"500ms"`
}

func (c *tortureReplicaCmd) Run(ctx context.Context, std Streams) error {
	profile, err := (&emulateCmd{Model: []string{c.Model}, File: c.File, Variant: c.Variant}).profile()
	if err != nil {
		return usageError{err}
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	replica := &torture.Replica{
		Engine: &emulator.Server{
			Profile: profile, Model: c.Model, LoadDelay: c.LoadDelay, DrainTimeout: 10 * time.Second,
			Logger: slog.New(slog.NewTextHandler(std.Err, nil)),
		},
		Address: "127.0.0.1:" + strconv.Itoa(c.Port), ID: strings.ReplaceAll(c.ID, "/", "_"), Dir: c.Out, Limit: profile.MaxBatch,
	}
	return replica.Run(ctx)
}
