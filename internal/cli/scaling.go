package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/judge"
	"github.com/penstock/penstock/internal/report"
)

type scalingCmd struct {
	Traces   string   `env:"PENSTOCK_TRACES" placeholder:"DIR" help:"Folder of trace files with a workloads.yaml; without one, series that penstock generates itself."`
	Workload []string `placeholder:"NAME" help:"Only this workload; may be repeated."`
	Policy   []string `placeholder:"NAME" help:"Only this policy; may be repeated. --list shows all."`
	Seeds    int      `default:"3" placeholder:"N" help:"Runs of Penstock, each with other arrivals and another truth; a rival has the first (${default})."`
	Days     float64  `placeholder:"N" help:"Only the first N days of every workload."`
	Workers  int      `placeholder:"N" help:"Runs at once; by default one a core."`
	Report   string   `placeholder:"FILE" help:"Write a report with charts, one HTML file."`
	List     bool     `help:"List workloads and policies, and run nothing."`
	JSON     bool     `help:"Print JSON, one line."`
}

func (scalingCmd) Help() string {
	return `Simulates every workload under Penstock and under other autoscalers' algorithms, request by request in virtual time, and holds what each costs against a fleet that knows the future. The same seeds give the same result.

Examples:
  penstock bench scaling
  penstock bench scaling --traces DIR --workload W1 --policy penstock --policy keda --report scaling.html`
}

func (c *scalingCmd) Run(ctx context.Context, std Streams) error {
	if c.Seeds < 1 || c.Days < 0 || c.Workers < 0 {
		return usageError{fmt.Errorf("--seeds %d, --days %v, --workers %d: seeds begin at 1, the others are not negative", c.Seeds, c.Days, c.Workers)}
	}
	workloads, err := c.workloads()
	if err != nil {
		return usageError{err}
	}
	if c.List {
		return listAll(std.Out, workloads)
	}
	trial := judge.Trial{
		Policies: c.Policy, Seeds: c.Seeds, Workers: c.Workers, Series: c.Report != "",
		Title: "Scaling benchmark", Command: c.command(),
	}
	for _, w := range workloads {
		q, err := judge.Ask(w)
		if err != nil {
			return usageError{err}
		}
		trial.Questions = append(trial.Questions, q)
	}
	return runTrial(ctx, std, trial, output{file: c.Report, json: c.JSON})
}

// workloads are those that were asked for.
func (c *scalingCmd) workloads() ([]config.Workload, error) {
	all := config.GeneratedWorkloads()
	if c.Traces != "" {
		read, err := config.LoadWorkloads(c.Traces)
		if err != nil {
			return nil, fmt.Errorf("--traces: %w", err)
		}
		unlisted, err := read.Unlisted()
		if err != nil {
			return nil, fmt.Errorf("--traces: %w", err)
		}
		all = read
		for _, file := range unlisted {
			w, err := all.Default(file)
			if err != nil {
				return nil, fmt.Errorf("--traces: %w", err)
			}
			all.Workloads = append(all.Workloads, w)
		}
	}
	chosen := all.Workloads
	if len(c.Workload) > 0 {
		chosen = nil
		for _, name := range c.Workload {
			w, ok := all.Workload(name)
			if !ok {
				return nil, judge.UnknownError{Kind: "workload", Name: name, Known: all.Names()}
			}
			chosen = append(chosen, w)
		}
	}
	for i := range chosen {
		if c.Days > 0 {
			chosen[i] = judge.Shorten(chosen[i], c.Days)
		}
	}
	return chosen, nil
}

// command is what repeats the run.
func (c *scalingCmd) command() string {
	var b strings.Builder
	b.WriteString("penstock bench scaling")
	if c.Traces != "" {
		b.WriteString(" --traces DIR")
	}
	for _, w := range c.Workload {
		b.WriteString(" --workload " + w)
	}
	for _, p := range c.Policy {
		b.WriteString(" --policy " + p)
	}
	fmt.Fprintf(&b, " --seeds %d", c.Seeds)
	if c.Days > 0 {
		fmt.Fprintf(&b, " --days %v", c.Days)
	}
	return b.String()
}

func listAll(w io.Writer, workloads []config.Workload) error {
	var b strings.Builder
	b.WriteString("Workloads\n")
	for _, l := range workloads {
		fmt.Fprintf(&b, "  %-28s %s\n", l.Name, l.What)
	}
	b.WriteString("\nPolicies\n")
	for _, p := range judge.Policies() {
		fmt.Fprintf(&b, "  %-28s %s\n", p.Name, p.What)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print the list: %w", err)
	}
	return nil
}

const lazyCollector = 400

// output is where what a Trial found goes.
type output struct {
	file string // of the HTML report; "" for none
	json bool
	note string
	own  bool // it is about one's own models: no benchmark's targets, and a summary at the end
}

// runTrial runs a Trial with its progress on the error stream, and prints and
// writes what it found. What can not be written is said before anything runs.
func runTrial(ctx context.Context, std Streams, trial judge.Trial, to output) error {
	if err := writable(to.file); err != nil {
		return usageError{fmt.Errorf("--report: %w", err)}
	}
	// The live heap is a few megabytes, so that a lazier collector costs little
	// memory and saves a tenth of the time.
	defer debug.SetGCPercent(debug.SetGCPercent(lazyCollector))
	live := &trialLine{line: newLiveLine(std.Err)}
	trial.Progress = live.show
	verdict, err := trial.Run(ctx)
	live.line.end()
	if err != nil {
		if errors.As(err, new(judge.UnknownError)) {
			return usageError{err}
		}
		return err
	}
	if len(verdict.Workloads) == 0 {
		return failed(verdict)
	}
	if to.own {
		verdict.Targets = nil
	}
	if to.file != "" {
		if err := writeReport(to.file, verdict); err != nil {
			return err
		}
	}
	if err := to.print(std.Out, verdict.Scaling); err != nil {
		return err
	}
	return failed(verdict)
}

func (to output) print(w io.Writer, s report.Scaling) error {
	if to.json {
		return report.WriteScalingJSON(w, s)
	}
	if err := report.WriteScaling(w, s); err != nil {
		return err
	}
	if !to.own {
		return nil
	}
	if _, err := io.WriteString(w, summary(s, to.note)); err != nil {
		return fmt.Errorf("print the summary: %w", err)
	}
	return nil
}

// failed is the error of a Trial in which runs failed.
func failed(v judge.Verdict) error {
	n := len(v.Failures)
	switch {
	case n == 0:
		return nil
	case v.Unread != nil && len(v.Workloads) == 0:
		return usageError{v.Unread}
	}
	err := fmt.Errorf("%d runs failed, the first on %s: %s", n, v.Failures[0].Workload, v.Failures[0].Error)
	if v.Unread != nil {
		return usageError{err}
	}
	return err
}

// writable says before an hour's work what would be wrong after it.
func writable(file string) error {
	if file == "" {
		return nil
	}
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", file)
	}
	f, err := os.CreateTemp(filepath.Dir(file), temporary)
	if err != nil {
		return fmt.Errorf("%s can not be written: %w", file, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// temporary is what a report is called until it is whole.
const temporary = ".penstock-report-*"

// writeReport writes the HTML file whole or not at all.
func writeReport(file string, verdict judge.Verdict) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), temporary)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // what is half written helps nobody
		}
	}()
	if err := errors.Join(report.WriteHTML(f, verdict.Scaling, verdict.Series), f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// trialLine shows how far a Trial is: in place on a terminal, else a line for
// each run that begins.
type trialLine struct {
	mu    sync.Mutex
	line  *liveLine
	doing string
}

func (t *trialLine) show(p judge.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.Doing != "" {
		t.doing = p.Doing
	} else if t.line.width == 0 {
		return
	}
	text := fmt.Sprintf("%s  %s", report.Duration(p.Took), t.doing)
	if p.Total > 0 {
		text += fmt.Sprintf("; %.1f of %.1f M requests", float64(p.Done)/1e6, float64(p.Total)/1e6)
	}
	if left, ok := p.Left(); ok {
		text += fmt.Sprintf(", %s left of this workload", report.Duration(left.Round(time.Second)))
	}
	t.line.put(text)
}
