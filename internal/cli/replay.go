package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/judge"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/signals"
)

type replayCmd struct {
	File        string        `short:"f" default:"penstock.yaml" placeholder:"FILE" help:"Configuration file (${default})."`
	Prometheus  string        `xor:"past" placeholder:"URL" help:"Prometheus to read the past from, such as http://localhost:9090."`
	Journal     string        `xor:"past" placeholder:"DIR" help:"State directory of the Penstock whose journal is read where no Prometheus is, running or not; by default that of the configuration."`
	Since       time.Duration `default:"168h" placeholder:"TIME" help:"How far back it begins (${default})."`
	Until       moment        `placeholder:"TIME" help:"When it ends: 2026-03-02T09:00:00Z or -24h; by default now."`
	Engine      string        `placeholder:"NAME" help:"Whose metrics Prometheus has: vllm, sglang, tgi or triton."`
	Model       string        `placeholder:"NAME" help:"Model that is asked about, as its engine's metrics and the configuration name it; by default the only one."`
	Selector    string        `placeholder:"PROMQL" help:"What else picks the engine's series, such as namespace=\"chat\"; instead of the model's name."`
	QueryRate   string        `placeholder:"PROMQL" help:"Query of your own for requests/s, instead of --engine."`
	QueryPrompt string        `placeholder:"PROMQL" help:"Query of your own for the mean of prompt tokens."`
	QueryOutput string        `placeholder:"PROMQL" help:"Query of your own for the mean of output tokens."`
	TokenFile   string        `placeholder:"FILE" help:"File with a bearer token for Prometheus."`
	Step        time.Duration `default:"1m" placeholder:"TIME" help:"Grain at which Prometheus is read: at least twice the time between scrapes, better four times (${default})."`

	where config.Store // of the journal

	compareFlags `embed:""`
}

func (replayCmd) Help() string {
	return `Reads past demand out of a Prometheus, or out of the journal that Penstock itself keeps, draws requests that come and are as long as was measured, and does with them what penstock simulate does: what would it have cost, and how many would have met the SLO? A time of which nothing was measured is left out, and said to be. docs/guide/simulate.md says how to read the result.

Examples:
  penstock replay -f penstock.yaml --prometheus http://localhost:9090 --engine vllm
  penstock replay -f penstock.yaml --since 24h --report replay.html`
}

func (c *replayCmd) Run(ctx context.Context, std Streams) error {
	if err := c.check(); err != nil {
		return usageError{err}
	}
	cfg, err := config.Load(c.File)
	if err != nil {
		return usageError{err}
	}
	if err := writable(c.Report); err != nil { // before a long query
		return usageError{fmt.Errorf("--report: %w", err)}
	}
	until, err := c.Until.instant(time.Now())
	if err != nil {
		return usageError{fmt.Errorf("--until: %w", err)}
	}
	if until.IsZero() {
		until = time.Now()
	}
	c.where = cfg.Server.Store
	if c.Journal != "" {
		c.where = config.Store{Path: filepath.Join(c.Journal, "journal.db")}
	}
	m, note, err := c.read(ctx, &cfg, until)
	if err != nil {
		return err
	}
	if m.tokens, err = c.lengths(); err != nil {
		return usageError{err}
	}
	m.cv = c.CV
	q := judge.AskConfig(cfg, judge.Question{
		Name: strings.Join(m.models, ", "), What: m.what(), CV: c.CV, Truth: float64(c.Truth), Begin: m.from, Open: m.open,
	})
	return runTrial(ctx, std, c.trial("Replay", c.command(until), q), output{file: c.Report, json: c.JSON, own: true, note: m.note() + note + unfigured(cfg.Models)})
}

func (c *replayCmd) check() error {
	switch {
	case c.Since < journalStep:
		return fmt.Errorf("--since is %s, should be at least %s", c.Since, journalStep)
	case c.Step < time.Second || c.Step%time.Second != 0 || c.Since < c.Step:
		return fmt.Errorf("--step is %s, should be whole seconds and no more than --since", c.Step)
	case c.Prometheus == "" && (c.Engine != "" || c.QueryRate != "" || c.QueryPrompt != "" || c.QueryOutput != "" || c.Selector != "" || c.TokenFile != ""):
		return errors.New("--engine, --selector, --token-file and queries are for --prometheus, which is missing")
	}
	return c.compareFlags.check()
}

// read reads the past, and leaves in the configuration the models that it is of.
func (c *replayCmd) read(ctx context.Context, cfg *config.Config, until time.Time) (measured, string, error) {
	models, err := c.asked(cfg.Models)
	if err != nil {
		return measured{}, "", usageError{err}
	}
	cfg.Models = models
	if c.Prometheus == "" {
		return c.journalled(ctx, models, until)
	}
	q, err := c.queries(models[0])
	if err != nil {
		return measured{}, "", usageError{err}
	}
	h := signals.History{URL: c.Prometheus}
	if c.TokenFile != "" {
		token, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return measured{}, "", usageError{fmt.Errorf("--token-file: %w", err)}
		}
		h.Token = strings.TrimSpace(string(token))
	}
	p := newPast(until.Add(-c.Since), until, c.Step)
	if err := readPrometheus(ctx, h, q, p, models[0]); err != nil {
		return measured{}, "", err
	}
	m, err := p.measured()
	return m, "", err
}

// journalled reads the past out of a journal.
func (c *replayCmd) journalled(ctx context.Context, models []scale.Model, until time.Time) (measured, string, error) {
	p := newPast(until.Add(-c.Since), until, journalStep)
	j, err := readJournal(ctx, c.where, p, models)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return measured{}, "", usageError{fmt.Errorf("%w; penstock serve keeps one and prints where; give it with --journal, or a Prometheus with --prometheus", err)}
	case err != nil:
		return measured{}, "", err
	}
	m, err := p.measured()
	if err != nil {
		return measured{}, "", fmt.Errorf("journal %s: %w", cmp.Or(c.where.Path, "in postgres"), err)
	}
	return m, j.note(), nil
}

// command is what repeats the run.
func (c *replayCmd) command(until time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "penstock replay -f %s", quoted(c.File))
	b.WriteString(flags(
		"prometheus", c.Prometheus, "journal", c.Journal, "since", c.Since.String(), "until", until.UTC().Format(time.RFC3339),
		"engine", c.Engine, "model", c.Model, "selector", c.Selector,
		"query-rate", c.QueryRate, "query-prompt", c.QueryPrompt, "query-output", c.QueryOutput,
	))
	if c.Prometheus != "" {
		b.WriteString(" --step " + c.Step.String())
	}
	b.WriteString(c.repeats())
	return b.String()
}

// quoted is a word as a shell takes it.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=,@%+", r)
	}
	if word != "" && !slices.ContainsFunc([]rune(word), func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
