package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/adversary"
	"github.com/penstock/penstock/internal/report"
)

// fuzzFlags ask for worlds drawn from seeds.
type fuzzFlags struct {
	Fuzz     bool          `help:"Play worlds full of faults, drawn from seeds, and hold Penstock to its promises in each; needs no files."`
	Seed     uint64        `placeholder:"N" help:"With --fuzz: the first seed; --seeds says how many (0)."`
	Without  []string      `placeholder:"FAULT" help:"With --fuzz: leave faults out, by kind (crash) or by name (crash.2)."`
	For      time.Duration `placeholder:"TIME" help:"With --fuzz: only so much of each world."`
	Models   int           `placeholder:"N" help:"With --fuzz: only the first N models of each world."`
	Variants int           `placeholder:"N" help:"With --fuzz: only the first N variants of each model."`
	Rate     float64       `placeholder:"X" help:"With --fuzz: multiply how much is asked."`
}

// asked says whether any of the flags is set.
func (f *fuzzFlags) asked() bool {
	return f.Fuzz || f.Seed > 0 || len(f.Without) > 0 || f.For != 0 || f.Models != 0 || f.Variants != 0 || f.Rate != 0
}

func (f *fuzzFlags) cut() adversary.Cut {
	return adversary.Cut{Without: f.Without, For: f.For, Models: f.Models, Variants: f.Variants, Rate: f.Rate}
}

// fuzzOptions are what a run over seeds needs.
type fuzzOptions struct {
	first   uint64
	seeds   int
	workers int
	cut     adversary.Cut
	json    bool
}

// mostShrunk is how many violations are made smaller: each takes as long as some
// dozens of seeds.
const mostShrunk = 5

// runFuzz plays seeds, shows how far it is, and prints what it found. A
// violation makes it fail.
func runFuzz(ctx context.Context, std Streams, o fuzzOptions) error {
	campaign := adversary.Campaign{First: o.first, Seeds: o.seeds, Workers: o.workers, Cut: o.cut, Shrink: mostShrunk}
	if o.seeds > 1 && o.cut.None() {
		kept, err := adversary.Kept()
		if err != nil {
			return err
		}
		campaign.Kept = kept
	} else if _, err := adversary.Draw(o.first).Apply(o.cut); err != nil {
		return usageError{err}
	}
	live := fuzzLine{line: newLiveLine(std.Err)}
	campaign.Progress = live.show
	found, err := campaign.Run(ctx)
	live.line.end()
	if err != nil {
		return err
	}
	text := fuzzText(found)
	if o.json {
		encoded, err := json.Marshal(found)
		if err != nil {
			return fmt.Errorf("encode what was found: %w", err)
		}
		text = string(encoded) + "\n"
	}
	if _, err := io.WriteString(std.Out, text); err != nil {
		return fmt.Errorf("print what was found: %w", err)
	}
	return fuzzVerdict(found)
}

// fuzzVerdict fails where something is wrong in a Summary.
func fuzzVerdict(found adversary.Summary) error {
	if len(found.Found) > 0 || found.Incomplete() {
		return statusError(exitFailed)
	}
	return nil
}

// fuzzLine shows how far a run over seeds is.
type fuzzLine struct {
	mu   sync.Mutex
	line *liveLine
	last time.Duration
}

func (l *fuzzLine) show(p adversary.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gap := 10 * time.Second
	if l.line.width > 0 {
		gap = 200 * time.Millisecond
	}
	if p.Took-l.last < gap {
		return
	}
	l.last = p.Took
	text := fmt.Sprintf("%s  %d of %d seeds, %.0f simulated hours, %d violations", report.Duration(p.Took), p.Done, p.Total, p.Simulated.Hours(), p.Violations)
	if left, ok := p.Left(); ok && p.Done < p.Total {
		text += fmt.Sprintf(", %s left", report.Duration(left.Round(time.Second)))
	}
	l.line.put(text)
}

// fuzzText is a Summary for people.
func fuzzText(s adversary.Summary) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d seeds in %s: %.1f simulated hours, %d requests, %d admission events, %d ticks\n",
		s.Seeds, report.Duration(time.Duration(s.Seconds*float64(time.Second)).Round(100*time.Millisecond)), s.Hours, s.Requests, s.Events, s.Ticks)
	all := len(adversary.Reachable())
	fmt.Fprintf(&b, "Reached %d of %d reasons, faults and branches", all-len(s.Unreached), all)
	if n := len(s.Unreached); n > 0 && s.Seeds > 1 {
		fmt.Fprintf(&b, "; not %s", strings.Join(s.Unreached, ", "))
	}
	b.WriteString("\n")
	if len(s.Found) == 0 {
		b.WriteString("No law was broken\n")
		return b.String()
	}
	fmt.Fprintf(&b, "Broken in %d seeds\n", len(s.Found))
	for _, f := range s.Found {
		fmt.Fprintf(&b, "\nSeed %d broke %s\n", f.Seed, f.What)
		if f.Shrunk {
			fmt.Fprintf(&b, "The smallest case that was found: %s", f.Words)
		}
		fmt.Fprintf(&b, "Again: %s\n", f.Command)
	}
	return b.String()
}

// fuzz runs over seeds what the command's flags ask.
func (c *simulateCmd) fuzz(ctx context.Context, std Streams) error {
	switch {
	case !c.Fuzz:
		return usageError{errors.New("--seed, --without, --for, --models, --variants and --rate are of --fuzz, which is missing")}
	case c.Trace != "" || c.Report != "" || len(c.Policy) > 0:
		return usageError{errors.New("--fuzz draws everything from seeds: it takes no --trace, no --policy and writes no --report")}
	case c.Seeds < 1 || c.Workers < 0:
		return usageError{fmt.Errorf("--seeds %d, --workers %d: seeds begin at 1, workers are not negative", c.Seeds, c.Workers)}
	}
	return runFuzz(ctx, std, fuzzOptions{first: c.Seed, seeds: c.Seeds, workers: c.Workers, cut: c.cut(), json: c.JSON})
}
