package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/load"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/trace"
)

type loadCmd struct {
	Trace    string        `required:"" placeholder:"FILE" help:"Series of requests: columns t_ms,in_tokens,out_tokens[,model][,tenant], plain or gzip."`
	Target   string        `default:"http://127.0.0.1:8080" placeholder:"URL" help:"Server to load (${default})."`
	Speed    float64       `default:"1" placeholder:"N" help:"Divide the times between arrivals by this, and nothing else (${default})."`
	Model    string        `placeholder:"NAME" help:"Model to ask for; by default the only one that the server has, or as the file's model column says."`
	TTFT     time.Duration `name:"ttft" placeholder:"TIME" help:"Time to first token of a good reply; by default what the gateway promises."`
	TPOT     time.Duration `name:"tpot" placeholder:"TIME" help:"Time per output token of a good reply; likewise."`
	Limit    int           `placeholder:"N" help:"Send the first N requests only."`
	Duration time.Duration `placeholder:"TIME" help:"Send what arrives within this time of the run only."`
	Seed     uint64        `default:"1" help:"Seed of the prompts' texts (${default})."`
	Verify   bool          `help:"Check each token as one of an emulated engine, even if the server does not say that it is one."`
	Grace    time.Duration `default:"30s" placeholder:"TIME" help:"After an interruption, how long to wait for requests in flight (${default})."`
	JSON     bool          `help:"Print JSON."`
}

func (loadCmd) Help() string {
	return `Sends each request at its time, however slow the server is, reads every reply to its end and counts how each request ended. Exits with 1 when a reply was lost or corrupted.

Example:
  penstock load --trace azure_2023_conv.csv.gz --speed 10`
}

func (c *loadCmd) Run(ctx context.Context, std Streams) error {
	target, err := c.target()
	if err != nil {
		return usageError{err}
	}
	sum, err := c.summarise()
	if err != nil {
		return usageError{err}
	}
	client := load.NewClient()
	defer client.CloseIdleConnections()
	served, err := load.Discover(ctx, client, target)
	if err != nil {
		return fmt.Errorf("%w; start `penstock serve -f FILE` or pass --target", err)
	}
	models, err := c.choose(served, sum.Models)
	if err != nil {
		return usageError{err}
	}
	file, err := trace.Open(c.Trace)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // was read only
	live := newLiveLine(std.Err)
	generator := load.Generator{
		Target: target, Models: models, Client: client,
		Requests: c.shape(file.All()), Start: trace.Epoch(), Total: sum.Requests, Span: sum.Span,
		Seed: c.Seed, Grace: c.Grace, Stall: stall(models), Progress: live.show,
	}
	result, err := generator.Run(ctx)
	live.end()
	return errors.Join(err, c.print(std, outcome{report: result, generator: generator, interrupted: ctx.Err() != nil}))
}

// outcome is a finished run.
type outcome struct {
	report      load.Report
	generator   load.Generator
	interrupted bool
}

func (c *loadCmd) print(std Streams, o outcome) error {
	var err error
	if c.JSON {
		encoder := json.NewEncoder(std.Out)
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(o.report)
	} else {
		err = c.table(std.Out, o)
	}
	if err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if bad := o.report.Outcomes[scale.Lost] + o.report.Outcomes[scale.Corrupted]; bad > 0 {
		return fmt.Errorf("%d of %d replies were lost or corrupted", bad, o.report.Requests)
	}
	return nil
}

// target returns the server's base URL.
func (c *loadCmd) target() (string, error) {
	u, err := url.Parse(c.Target)
	switch {
	case err != nil:
		return "", fmt.Errorf("--target: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil:
		return "", fmt.Errorf("--target is %q, should be like http://127.0.0.1:8080", c.Target)
	case c.Speed <= 0:
		return "", fmt.Errorf("--speed is %v, should be above 0", c.Speed)
	}
	return strings.TrimSuffix(strings.TrimSuffix(u.String(), "/"), "/v1"), nil
}

// summarise reads the file to its end, so that a fault in it shows before
// anything is sent.
func (c *loadCmd) summarise() (trace.Summary, error) {
	file, err := trace.Open(c.Trace)
	if err != nil {
		return trace.Summary{}, err
	}
	defer func() { _ = file.Close() }() // was read only
	sum, err := trace.Summarise(c.shape(file.All()))
	if err == nil && sum.Requests == 0 {
		err = fmt.Errorf("nothing arrives in %s within --duration %v at --speed %v", c.Trace, c.Duration, c.Speed)
	}
	return sum, err
}

// shape applies the flags to the file's series.
func (c *loadCmd) shape(series trace.Series) trace.Series {
	series = trace.Speed(series, c.Speed)
	if c.Duration > 0 {
		series = trace.Window(series, 0, c.Duration)
	}
	if c.Limit > 0 {
		series = trace.Limit(series, c.Limit)
	}
	return series
}

// choose returns the models under load, of those that the server has, given
// those that the file names.
func (c *loadCmd) choose(served []load.Model, named []string) ([]load.Model, error) {
	if len(served) == 0 {
		return nil, fmt.Errorf("%s serves no model", c.Target)
	}
	var names, own []string
	for _, m := range served {
		names = append(names, m.Name)
		if !m.Alias {
			own = append(own, m.Name)
		}
	}
	all := strings.Join(names, ", ")
	chosen := named
	switch {
	case c.Model != "":
		chosen = []string{c.Model}
	case !slices.Contains(named, ""): // the file says for each request
	case len(own) != 1:
		return nil, fmt.Errorf("%s serves %s; say which with --model", c.Target, all)
	default:
		chosen = own
	}
	var models []load.Model
	for _, name := range chosen {
		i := slices.Index(names, name)
		if i < 0 {
			return nil, fmt.Errorf("%s does not serve %q; it serves %s", c.Target, name, all)
		}
		m, err := c.promised(served[i])
		if err != nil {
			return nil, err
		}
		models = append(models, m)
	}
	return models, nil
}

// promised applies the flags to what the server says of a model.
func (c *loadCmd) promised(m load.Model) (load.Model, error) {
	if c.TTFT > 0 {
		m.SLO.TTFT, m.SLO.Latency = c.TTFT, 0
	}
	if c.TPOT > 0 {
		m.SLO.TPOT, m.SLO.Latency = c.TPOT, 0
	}
	m.Emulated = m.Emulated || c.Verify
	if m.SLO.Tokens() && (m.SLO.TTFT <= 0 || m.SLO.TPOT <= 0) {
		return load.Model{}, fmt.Errorf("%s does not say what it promises for %s: give --ttft and --tpot, such as --ttft 1s --tpot 50ms", c.Target, m.Name)
	}
	return m, nil
}

// stall is how long a request may get no byte: longer than any may be held.
func stall(models []load.Model) time.Duration {
	longest := 5 * time.Minute
	for _, m := range models {
		longest = max(longest, m.SLO.MaxHold+2*time.Minute)
	}
	return longest
}
