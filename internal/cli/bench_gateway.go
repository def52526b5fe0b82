package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/toll"
)

type benchGatewayCmd struct {
	Quick      bool   `help:"A few seconds that show only that everything works: no figure of it means anything."`
	Held       int    `placeholder:"N" help:"Requests to hold at zero replicas; by default as many as the target is about."`
	CPUProfile string `name:"cpuprofile" placeholder:"FILE" help:"Write a CPU profile of the gateway at saturation, for go tool pprof."`
	JSON       bool   `help:"Print JSON, the last line of standard output."`
}

func (benchGatewayCmd) Help() string {
	return `A minute and a half of load from one process to another that answers at once: direct, through a blind copy of bytes, through net/http/httputil's ReverseProxy with its defaults and with a transport that is set up for it, through Penstock's gateway and, where it is installed, through nginx. They take turns every few hundred milliseconds, so that what else the machine does meets all alike: what counts are differences and ratios within one run.

Example:
  penstock bench gateway --json`
}

// Targets of benchmark section 2.
const (
	hopTarget      = 120  // µs
	cpuTarget      = 60   // µs
	routingTarget  = 2000 // ns
	heldTarget     = 32 << 10
	inspectTarget  = 40 // µs
	inspectedBody  = 64 << 10
	cpuRatioTarget = 1.0
)

func (c *benchGatewayCmd) Run(ctx context.Context, std Streams) error {
	plan := toll.Full()
	if c.Quick {
		plan = toll.Quick()
	}
	if c.Held < 0 {
		return usageError{fmt.Errorf("--held: %d is below 0", c.Held)}
	}
	if c.Held > 0 {
		plan.Held = c.Held
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("bench gateway: %w", err)
	}
	line := newLiveLine(std.Err)
	b := &toll.Bench{Self: self, Plan: plan, CPUProfile: c.CPUProfile, Progress: line.put}
	result, err := b.Run(ctx)
	line.end()
	if err != nil {
		return fmt.Errorf("bench gateway: %w", err)
	}
	return c.print(std, result)
}

func (c *benchGatewayCmd) print(std Streams, r toll.Result) error {
	out := std.Out
	if c.JSON {
		out = std.Err
	}
	checks := gatewayChecks(r)
	if err := writeToll(out, r, checks); err != nil {
		return err
	}
	if !c.JSON {
		return nil
	}
	return json.NewEncoder(std.Out).Encode(struct {
		toll.Result
		Checks []check `json:"checks"`
	}{r, checks})
}

// gatewayChecks holds what was measured against the targets.
func gatewayChecks(r toll.Result) []check {
	small := r.Fixed[0].Ways
	own, _ := toll.Of(small, toll.Penstock)
	reverse, _ := toll.Of(small, toll.Reverse)
	full, _ := r.Saturation(toll.Penstock)
	tuned, _ := r.Saturation(toll.Tuned)
	checks := []check{
		atMost("added p50 over the blind TCP hop, 2 KB body, µs", hopTarget, own.OverHopP50),
		atMost("the same, against what httputil.ReverseProxy adds, µs", reverse.OverHopP50, own.OverHopP50),
		atMost("CPU per request at saturation, µs", cpuTarget, full.CPU),
		atMost("the same, against httputil.ReverseProxy with a tuned transport, ratio", cpuRatioTarget, full.CPU/tuned.CPU),
		atMost("routing decision at 1,000 replicas, ns", routingTarget, r.Routing.Nanoseconds),
		atMost("allocations of a routing decision", 0, r.Routing.Allocs),
		atMost("memory of a held request, bytes", heldTarget, r.Held.BytesEach),
		atMost("replies that were not whole", 0, float64(r.FailuresOf(toll.Penstock))),
		atMost("held requests released out of order", 0, float64(r.Held.OutOfOrder)),
		atMost("held requests lost", 0, float64(r.Held.Lost+r.Held.NotOnce)),
	}
	for _, i := range r.Inspection {
		if i.Body == inspectedBody {
			checks = append(checks, atMost("model name found in a body of 64 KB, µs", inspectTarget, i.Micros))
		}
	}
	return checks
}

// writeToll writes the figures for people.
func writeToll(w io.Writer, r toll.Result, checks []check) error {
	fmt.Fprintf(w, "%s, %d CPUs, load %.1f before and %.1f after. Times in µs.\n", r.Machine.Go, r.Machine.CPUs, r.Machine.LoadBefore, r.Machine.LoadAfter)
	for _, f := range r.Fixed {
		fmt.Fprintf(w, "\n%d KB body, %d requests/s\n", f.Body>>10, f.Rate)
		if err := writeWays(w, f.Ways); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "\nEach event of a stream\n")
	if err := writeWays(w, r.Streams); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nSaturation, 2 KB body\n")
	table := report.Table{Head: []string{"", "requests/s", "CPU", "failed"}}
	for _, s := range r.Saturated {
		table.Rows = append(table.Rows, []string{s.Name, whole(s.PerSecond), whole(s.CPU), strconv.Itoa(s.Failed)})
	}
	if _, err := table.WriteTo(w); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d requests held at zero: %.1f KiB each; released one by one in %.1f s\n", r.Held.Requests, r.Held.BytesEach/1024, r.Held.ReleasedIn)
	for _, i := range r.Inspection {
		fmt.Fprintf(w, "model found in a body of %d KB: %s µs, %.1f allocations\n", i.Body>>10, whole(i.Micros), i.Allocs)
	}
	fmt.Fprintln(w)
	return writeChecks(w, checks)
}

func writeWays(w io.Writer, ways []toll.Way) error {
	table := report.Table{Head: []string{"", "p50", "p99", "added p50", "added p99", "over TCP p50", "over TCP p99", "CPU", "failed"}}
	for _, y := range ways {
		table.Rows = append(table.Rows, []string{
			y.Name, whole(y.P50), whole(y.P99), whole(y.AddedP50), whole(y.AddedP99), whole(y.OverHopP50), whole(y.OverHopP99), whole(y.CPU), strconv.Itoa(y.Failed),
		})
	}
	_, err := table.WriteTo(w)
	return err
}

func whole(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) }

// writeChecks writes each figure beside its target.
func writeChecks(w io.Writer, checks []check) error {
	table := report.Table{Head: []string{"", "target", "reached", ""}}
	for _, k := range checks {
		word := "missed"
		if k.Met {
			word = "met"
		}
		table.Rows = append(table.Rows, []string{
			k.Name, "≤ " + strconv.FormatFloat(k.Target, 'f', -1, 64), strconv.FormatFloat(k.Value, 'f', 2, 64), word,
		})
	}
	_, err := table.WriteTo(w)
	return err
}

// tollCmd is what bench gateway starts its processes as.
type tollCmd struct {
	Role   string   `arg:"" help:"What to be."`
	Target []string `arg:"" optional:"" help:"Where the upstream is."`
}

func (c *tollCmd) Run(ctx context.Context, std Streams) error {
	return toll.Part(ctx, c.Role, c.Target, std.In, std.Out)
}
