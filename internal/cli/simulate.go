package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/api/v1alpha1"
	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/judge"
	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

// compareFlags are those of a comparison on one's own models.
type compareFlags struct {
	Policy  []string         `placeholder:"NAME" help:"Policy to compare; may be repeated, or all; by default penstock, static-peak, hpa-concurrency, keda and knative-kpa. bench scaling --list shows all."`
	Seeds   int              `default:"1" placeholder:"N" help:"Runs of each policy, with other boots and, where they are drawn, other arrivals (${default})."`
	Truth   v1alpha1.Percent `default:"0%" placeholder:"SHARE" help:"How far serving may be from the profiles, either way, drawn for each seed, such as 30% (${default})."`
	CV      float64          `name:"cv" default:"1" placeholder:"X" help:"How uneven drawn arrivals are within a bin: 1 is Poisson, 2 to 4 are public APIs (${default})."`
	Tokens  string           `placeholder:"FILE" help:"File of requests from which drawn arrivals have their lengths; by default those of a public conversation trace."`
	Workers int              `placeholder:"N" help:"Runs at once; by default one a core."`
	Report  string           `placeholder:"FILE" help:"Write a report with charts, one HTML file."`
	JSON    bool             `help:"Print JSON, one line."`
}

// usualPolicies are what people have instead.
func usualPolicies() []string {
	return []string{report.Penstock, "static-peak", "hpa-concurrency", "keda", "knative-kpa"}
}

func (c *compareFlags) check() error {
	switch {
	case c.Seeds < 1 || c.Workers < 0:
		return fmt.Errorf("--seeds %d, --workers %d: seeds begin at 1, workers are not negative", c.Seeds, c.Workers)
	case !(c.CV >= 0.001 && c.CV <= 10):
		return fmt.Errorf("--cv is %v, should be from 0.001 to 10", c.CV)
	}
	return nil
}

// trial asks a Question of the policies that were named.
func (c *compareFlags) trial(title, command string, q judge.Question) judge.Trial {
	policies := c.Policy
	switch {
	case len(policies) == 0:
		policies = usualPolicies()
	case slices.Contains(policies, "all"):
		policies = nil
	}
	return judge.Trial{
		Questions: []judge.Question{q}, Policies: policies, Seeds: c.Seeds, RivalSeed: c.Seeds, Workers: c.Workers,
		Series: c.Report != "", Title: title, Command: command,
	}
}

// repeats is the part of a command that repeats the comparison.
func (c *compareFlags) repeats() string {
	var b strings.Builder
	for _, p := range c.Policy {
		b.WriteString(" --policy " + p)
	}
	fmt.Fprintf(&b, " --seeds %d", c.Seeds)
	if c.Truth > 0 {
		fmt.Fprintf(&b, " --truth %v%%", float64(c.Truth)*100)
	}
	b.WriteString(flags("cv", figure(c.CV, 1), "tokens", c.Tokens))
	return b.String()
}

// flags writes names and values in turn; a value that is "" is left out.
func flags(pairs ...string) string {
	var b strings.Builder
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" {
			fmt.Fprintf(&b, " --%s %s", pair[0], quoted(pair[1]))
		}
	}
	return b.String()
}

// figure is a flag's value, or "" where it is what it is anyway.
func figure(value, otherwise float64) string {
	if value == otherwise {
		return ""
	}
	return strconv.FormatFloat(value, 'g', -1, 64)
}

type simulateCmd struct {
	File    string  `short:"f" default:"penstock.yaml" placeholder:"FILE" help:"Configuration file (${default})."`
	Trace   string  `placeholder:"FILE" help:"Requests (t_ms,in_tokens,out_tokens[,model]) or counts (t_s,requests), plain or gzip."`
	Model   string  `placeholder:"NAME" help:"Model that every request is for; by default as the file's model column says, or the only one."`
	Column  string  `placeholder:"NAME" help:"Column of a file of counts; by default requests, or the only one beside t_s."`
	MeanRPS float64 `name:"mean-rps" placeholder:"X" help:"Take the column as a curve of levels with this many requests a second on average."`
	Speed   float64 `default:"1" placeholder:"N" help:"Divide the times between arrivals by this, and nothing else (${default})."`
	Days    float64 `placeholder:"N" help:"Only the first N days of the file."`
	Start   moment  `placeholder:"TIME" help:"When the file begins, such as 2026-03-02T00:00:00Z, for schedules; by default a Thursday at midnight UTC."`

	compareFlags `embed:""`
	fuzzFlags    `embed:""`
}

func (simulateCmd) Help() string {
	return `Plays a series of requests to the models of a configuration file, request by request in virtual time, once under Penstock and once under each other policy, and holds what each costs and how many requests met the SLO beside a fleet that knows the future. The same seeds give the same result. docs/guide/simulate.md says how to read it.

With --fuzz it plays worlds that are drawn from seeds instead, with faults in them, and holds Penstock to its promises in each.

Examples:
  penstock simulate -f penstock.yaml --trace requests.csv.gz
  penstock simulate -f penstock.yaml --trace counts.csv --cv 2 --policy all --report simulation.html
  penstock simulate --fuzz --seeds 1000`
}

func (c *simulateCmd) Run(ctx context.Context, std Streams) error {
	if c.asked() {
		return c.fuzz(ctx, std)
	}
	q, note, err := c.question()
	if err != nil {
		return usageError{err}
	}
	return runTrial(ctx, std, c.trial("Simulation", c.command(), q), output{file: c.Report, json: c.JSON, own: true, note: note})
}

// command is what repeats the run.
func (c *simulateCmd) command() string {
	var b strings.Builder
	fmt.Fprintf(&b, "penstock simulate -f %s --trace %s", quoted(c.File), quoted(c.Trace))
	b.WriteString(flags(
		"model", c.Model, "column", c.Column, "mean-rps", figure(c.MeanRPS, 0), "speed", figure(c.Speed, 1),
		"days", figure(c.Days, 0), "start", string(c.Start),
	))
	b.WriteString(c.repeats())
	return b.String()
}

func (c *simulateCmd) check() error {
	switch {
	case c.Trace == "":
		return errors.New("--trace is missing: name a file of requests or counts; docs/reference/traces.md has the formats")
	case !(c.Speed > 0):
		return fmt.Errorf("--speed is %v, should be above 0", c.Speed)
	case !(c.Days >= 0):
		return fmt.Errorf("--days is %v, should not be negative", c.Days)
	case !(c.MeanRPS >= 0):
		return fmt.Errorf("--mean-rps is %v, should not be negative", c.MeanRPS)
	}
	return c.compareFlags.check()
}

// question is what the flags ask, and what is to be said of its answer.
func (c *simulateCmd) question() (q judge.Question, note string, err error) {
	if err := c.check(); err != nil {
		return judge.Question{}, "", err
	}
	cfg, err := config.Load(c.File)
	if err != nil {
		return judge.Question{}, "", err
	}
	begin, err := c.Start.instant(time.Now())
	if err != nil {
		return judge.Question{}, "", fmt.Errorf("--start: %w", err)
	}
	open, what, err := c.source(cfg.Models)
	if err != nil {
		return judge.Question{}, "", err
	}
	return judge.AskConfig(cfg, judge.Question{
		Name: strings.TrimSuffix(strings.TrimSuffix(filepath.Base(c.Trace), ".gz"), ".csv"), What: what,
		CV: c.CV, Truth: float64(c.Truth), Begin: begin,
		Open: func(seed uint64) (sim.Source, error) {
			source, err := open(seed)
			if err != nil {
				return nil, err
			}
			if c.Speed != 1 {
				source = &judge.Faster{Source: source, Factor: c.Speed}
			}
			return source, nil
		},
	}), unfigured(cfg.Models), nil
}

// opener opens a series, drawn with a seed where it is drawn.
type opener func(seed uint64) (sim.Source, error)

// source tells what kind of file the trace is, and how it is opened.
func (c *simulateCmd) source(models []scale.Model) (open opener, what string, err error) {
	columns, err := trace.Header(c.Trace)
	if err != nil {
		return nil, "", err
	}
	named := judge.Namer(models)
	rename := named
	if c.Model != "" {
		name, err := named(c.Model)
		if err != nil {
			return nil, "", fmt.Errorf("--model: %w", err)
		}
		rename = func(string) (string, error) { return name, nil }
	}
	if slices.Contains(columns, "t_ms") {
		return c.requests(rename), "requests of " + filepath.Base(c.Trace), nil
	}
	if !slices.Contains(columns, "t_s") {
		return nil, "", fmt.Errorf("read trace %s:1: found %s, where t_ms,in_tokens,out_tokens (requests) or t_s,requests (counts) is wanted", c.Trace, strings.Join(columns, ","))
	}
	model, err := rename("")
	if err != nil {
		return nil, "", fmt.Errorf("%w; say which with --model", err)
	}
	tokens, err := c.tokens(models, model)
	if err != nil {
		return nil, "", err
	}
	open, what = c.counts(model, tokens)
	// Its columns are looked at before anything else is done.
	first, err := open(1)
	if err != nil {
		return nil, "", err
	}
	return open, what, trace.Close(first)
}

// requests opens a file that says every request.
func (c *simulateCmd) requests(rename func(string) (string, error)) opener {
	return func(uint64) (sim.Source, error) {
		r, err := trace.Open(c.Trace)
		if err != nil {
			return nil, err
		}
		r.Rename = rename
		if part := trace.Days(0, c.Days); part.For > 0 {
			return &trace.Clip{Source: r, For: part.For}, nil
		}
		return r, nil
	}
}

// counts draws requests into a file of counts, or along one of levels.
func (c *simulateCmd) counts(model string, tokens trace.Tokens) (open opener, what string) {
	part := trace.Days(0, c.Days)
	draw := func(seed uint64) trace.Draw { return trace.Draw{Seed: seed, CV: c.CV, Model: model, Tokens: tokens} }
	if c.MeanRPS > 0 {
		return func(seed uint64) (sim.Source, error) {
			return trace.Curve{Column: c.Column, MeanRPS: c.MeanRPS, Part: part, Draw: draw(seed)}.Open(c.Trace)
		}, fmt.Sprintf("along the curve of %s, %v requests/s on average", filepath.Base(c.Trace), c.MeanRPS)
	}
	return func(seed uint64) (sim.Source, error) {
		return trace.Counts{Column: c.Column, Part: part, Draw: draw(seed)}.Open(c.Trace)
	}, "drawn into the counts of " + filepath.Base(c.Trace)
}

// tokens are the lengths of drawn requests for a model; nil for one without.
func (c *compareFlags) tokens(models []scale.Model, model string) (trace.Tokens, error) {
	m, _ := servedAs(models, model)
	switch {
	case !m.SLO.Tokens():
		return nil, nil
	case c.Tokens == "":
		return trace.Conversation(), nil
	}
	return c.lengths()
}

// lengths are those of --tokens; nil without it.
func (c *compareFlags) lengths() (trace.Tokens, error) {
	if c.Tokens == "" {
		return nil, nil
	}
	sample, err := trace.OpenSample(c.Tokens)
	if err != nil {
		return nil, fmt.Errorf("--tokens: %w", err)
	}
	return sample, nil
}

// summary is what a comparison on one's own models comes to, in sentences, and
// what else is to be said of it.
func summary(s report.Scaling, note string) string {
	var b strings.Builder
	for _, w := range s.Workloads {
		i := slices.IndexFunc(w.Policies, func(p report.Policy) bool { return p.Name == report.Penstock })
		if i < 0 {
			continue
		}
		own := w.Policies[i]
		fmt.Fprintf(&b, "\nUnder Penstock this would have cost %s, and %s of the requests would have met the SLO: %s the objective of %s.\n",
			report.Dollars(float64(own.Cost)), report.Percent(own.Attainment), verdict(own), report.Percent(w.Objective))
		rival, ok := report.BestRival(w.Policies)
		switch {
		case ok:
			fmt.Fprintf(&b, "The cheapest other policy that meets it, %s, would have cost %s at %s%s.\n",
				rival.Name, report.Dollars(float64(rival.Cost)), report.Percent(rival.Attainment), cheaper(own, rival))
		case len(w.Policies) > 1:
			b.WriteString("No other policy that was compared meets it.\n")
		}
	}
	if note != "" {
		b.WriteString("\n" + note)
	}
	return b.String()
}

// verdict says how a policy stands to the objective.
func verdict(p report.Policy) string {
	if p.ObjectiveMet {
		return "within"
	}
	return "short of"
}

// cheaper compares the cost of a policy with a rival's.
func cheaper(own, rival report.Policy) string {
	if !own.Cost.Known() || !(rival.Cost > 0) {
		return ""
	}
	percent := 100 * float64(1-own.Cost/rival.Cost)
	switch {
	case percent >= 0.5:
		return fmt.Sprintf("; Penstock is %.0f %% cheaper", percent)
	case percent <= -0.5:
		return fmt.Sprintf("; Penstock is %.0f %% dearer", -percent)
	}
	return "; Penstock costs the same"
}
