package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/signals"
)

type signalsCmd struct {
	From  string        `arg:"" placeholder:"URL" help:"Where the metrics are: a URL, host:port for its /metrics, a file, or - for standard input."`
	Over  time.Duration `placeholder:"TIME" help:"Read again after this long, and show what came between instead of all since the server began."`
	Parts bool          `help:"Show each replica, model or accelerator that the metrics tell apart as well."`
	JSON  bool          `help:"Print JSON."`
}

func (signalsCmd) Help() string {
	return `Reads a model server's metrics once and shows what Penstock understands of them: whose they are, and each signal in Penstock's unit with its age, or why it is absent. It needs no running Penstock and changes nothing. Exits with 1 when the metrics can not be read, or nothing in them is understood.

What is understood of which engine is in docs/reference/signals.md.

Examples:
  penstock signals http://localhost:8000/metrics
  penstock signals localhost:8000 --over 10s
  penstock signals saved.prom --parts --json`
}

// heard is what signals prints as JSON.
type heard struct {
	From     string         `json:"from"`
	Dialects []heardDialect `json:"dialects"`
}

type heardDialect struct {
	Engine  string        `json:"engine"`
	Title   string        `json:"title"`
	Of      signals.Scope `json:"of"`
	Signals []heardSignal `json:"signals"`
	Unknown []string      `json:"without_metric"` // signals for which the engine has no metric
	Parts   []heardPart   `json:"parts,omitempty"`
}

type heardPart struct {
	Of      string        `json:"of"`
	Signals []heardSignal `json:"signals"`
}

type heardSignal struct {
	Signal scale.Signal `json:"signal"`
	Unit   string       `json:"unit"`
	// Value is null where it is absent or a Timing. A count is since the server
	// began, or, with --over, per second between.
	Value  *float64     `json:"value"`
	Timing *heardTiming `json:"timing,omitempty"`
	Age    *float64     `json:"age_seconds"`
	Absent string       `json:"absent,omitempty"`
}

type heardTiming struct {
	Count  float64  `json:"count"`
	Mean   float64  `json:"mean"`
	Median *float64 `json:"median"` // null without buckets
	P95    *float64 `json:"p95"`
}

func (c *signalsCmd) Run(ctx context.Context, std Streams) error {
	if c.Over < 0 || c.Over > time.Hour {
		return usageError{fmt.Errorf("--over %s: between 0 and 1h", c.Over)}
	}
	transport := &http.Transport{DisableCompression: true, MaxResponseHeaderBytes: 64 << 10}
	defer transport.CloseIdleConnections()
	from := source{where: c.From, in: std.In, collector: &signals.Collector{Transport: transport}}
	if c.Over > 0 && !from.server() {
		return usageError{fmt.Errorf("--over %s: %s does not change; name a server", c.Over, c.From)}
	}
	before, _, err := from.read(ctx)
	if err != nil {
		return err
	}
	after, now := before, time.Now()
	if c.Over > 0 {
		timer := time.NewTimer(c.Over)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if after, now, err = from.read(ctx); err != nil {
			return err
		}
	}
	h := heard{From: from.name(), Dialects: []heardDialect{}}
	for i, s := range after.Samples() {
		l := listener{now: now, since: c.Over}
		if all := before.Samples(); c.Over > 0 && i < len(all) && all[i].Engine == s.Engine {
			l.before = all[i]
		}
		h.Dialects = append(h.Dialects, c.dialect(l, after, s))
	}
	if c.JSON {
		encoder := json.NewEncoder(std.Out)
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(h)
	} else {
		_, err = io.WriteString(std.Out, h.text(c.Over))
	}
	if err != nil {
		return fmt.Errorf("print signals: %w", err)
	}
	if len(h.Dialects) == 0 {
		return fmt.Errorf("nothing in the metrics of %s is understood: penstock knows those of %s", h.From, titles())
	}
	return nil
}

// source is where the metrics are read.
type source struct {
	where     string
	in        io.Reader
	collector *signals.Collector
}

// server says whether it is a server, which may say something else later.
func (s source) server() bool {
	if strings.Contains(s.where, "://") {
		return true
	}
	_, err := os.Stat(s.where)
	return s.where != "-" && err != nil && strings.Contains(s.where, ":")
}

func (s source) name() string {
	switch {
	case s.where == "-":
		return "standard input"
	case s.server() && !strings.Contains(s.where, "://"):
		if host, path, found := strings.Cut(s.where, "/"); found {
			return "http://" + host + "/" + path
		}
		return "http://" + s.where + "/metrics"
	default:
		return s.where
	}
}

func (s source) read(ctx context.Context) (signals.Exposition, time.Time, error) {
	if s.server() {
		e, err := s.collector.Ask(ctx, s.name())
		return e, time.Now(), err
	}
	in, now := s.in, time.Now()
	if s.where != "-" {
		file, err := os.Open(s.where)
		if err != nil {
			return signals.Exposition{}, now, usageError{fmt.Errorf("read metrics: %w", err)}
		}
		defer func() { _ = file.Close() }() // it was read
		in = file
	}
	e, err := signals.Read(in, now)
	if err != nil {
		err = fmt.Errorf("%s: %w", s.name(), err)
	}
	return e, now, err
}

func (c *signalsCmd) dialect(l listener, e signals.Exposition, s signals.Sample) heardDialect {
	d := heardDialect{Engine: s.Engine, Of: s.Scope, Signals: l.signals(s), Unknown: []string{}}
	for _, engine := range signals.Engines() {
		if engine.Name == s.Engine {
			d.Title = engine.Title
		}
	}
	for _, signal := range scale.Signals() {
		if _, value := s.Values[signal]; value {
			continue
		}
		if _, timing := s.Timings[signal]; !timing {
			d.Unknown = append(d.Unknown, signal.String())
		}
	}
	if !c.Parts {
		return d
	}
	l.before, l.since = signals.Sample{}, 0
	for _, p := range e.Parts(s.Engine) {
		part := heardPart{Of: p.Of, Signals: l.signals(p.Sample)}
		part.Signals = slices.DeleteFunc(part.Signals, func(s heardSignal) bool { return s.Absent != "" })
		d.Parts = append(d.Parts, part)
	}
	return d
}

// listener turns a Sample into what is printed.
type listener struct {
	now    time.Time
	before signals.Sample // an earlier Sample of the same server
	since  time.Duration  // between the two; 0 where there is none
}

func (l listener) signals(s signals.Sample) []heardSignal {
	all := []heardSignal{}
	for _, signal := range scale.Signals() {
		h := heardSignal{Signal: signal, Unit: signal.Unit()}
		if r, found := s.Values[signal]; found {
			all = append(all, l.value(h, r))
		} else if d, found := s.Timings[signal]; found {
			all = append(all, l.timing(h, d))
		}
	}
	return all
}

func (l listener) value(h heardSignal, r signals.Reading) heardSignal {
	if h.Absent = r.Absent; !r.Known() {
		return h
	}
	h.Value, h.Age = &r.Value, l.age(r.At)
	if l.since == 0 || !h.Signal.Counts() {
		return h
	}
	more, ok := signals.Increase(l.before.Value(h.Signal), r.Observation)
	if !ok {
		h.Value, h.Age, h.Absent = nil, nil, "was absent before"
		return h
	}
	rate := more / l.since.Seconds()
	h.Value = &rate
	return h
}

func (l listener) timing(h heardSignal, d signals.Timed) heardSignal {
	h.Absent = d.Absent
	if !d.Known() {
		return h
	}
	t := d.Overall()
	if l.since > 0 {
		t = signals.Between(l.before.Timings[h.Signal].Distribution, d.Distribution)
	}
	if !t.Known() {
		h.Absent = "nothing ended"
		return h
	}
	h.Age = l.age(t.At)
	h.Timing = &heardTiming{Count: t.Count, Mean: t.Mean}
	if t.P95 > 0 {
		h.Timing.Median, h.Timing.P95 = &t.Median, &t.P95
	}
	return h
}

func (l listener) age(at time.Time) *float64 {
	age := max(0, l.now.Sub(at).Seconds())
	return &age
}

func titles() string {
	var all []string
	for _, e := range signals.Engines() {
		all = append(all, e.Title)
	}
	return strings.Join(all, ", ")
}

// text is what was heard, for people.
func (h heard) text(over time.Duration) string {
	var b strings.Builder
	for _, d := range h.Dialects {
		fmt.Fprintf(&b, "%s speaks as %s (%s), of %s.\n", h.From, d.Title, d.Engine, d.Of)
		rows(&b, d.Signals, over)
		if len(d.Unknown) > 0 {
			fmt.Fprintf(&b, "It has no metric for: %s.\n", strings.Join(d.Unknown, ", "))
		}
		for _, p := range d.Parts {
			fmt.Fprintf(&b, "\n%s\n", p.Of)
			rows(&b, p.Signals, 0)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// rows writes signals as a table, and after it what is absent and why.
func rows(b *strings.Builder, all []heardSignal, over time.Duration) {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for _, s := range all {
		if s.Absent != "" {
			continue
		}
		old := ""
		if *s.Age >= oldEnough {
			old = seconds(*s.Age) + " old"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", s.Signal, s.words(over), old)
	}
	_ = w.Flush() // into memory
	for _, s := range all {
		if s.Absent != "" {
			fmt.Fprintf(w, "  %s\tabsent: %s\n", s.Signal, s.Absent)
		}
	}
	_ = w.Flush()
	for line := range strings.Lines(table.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
}

// oldEnough is the age from which it is worth a word, in seconds: what a server
// dates itself, for what it does not is as old as the reading.
const oldEnough = 1

// words is a signal's value with its unit.
func (s heardSignal) words(over time.Duration) string {
	switch {
	case s.Timing != nil && s.Timing.P95 != nil:
		return fmt.Sprintf("mean %s, median %s, p95 %s of %.0f", seconds(s.Timing.Mean), seconds(*s.Timing.Median), seconds(*s.Timing.P95), s.Timing.Count)
	case s.Timing != nil:
		return fmt.Sprintf("mean %s of %.0f", seconds(s.Timing.Mean), s.Timing.Count)
	case s.Signal.Counts() && over > 0:
		return fmt.Sprintf("%.4g %s/s", *s.Value, s.Unit)
	case s.Signal.Counts():
		return fmt.Sprintf("%.0f %s since it began", *s.Value, s.Unit)
	case s.Signal == scale.SignalAsleep && *s.Value > 0:
		return "yes"
	case s.Signal == scale.SignalAsleep:
		return "no"
	case s.Unit == scale.SignalKVCacheUsage.Unit():
		return fmt.Sprintf("%.4g %%", 100**s.Value)
	case s.Unit == scale.SignalGPUMemoryUsed.Unit():
		return fmt.Sprintf("%.1f GiB", *s.Value/(1<<30))
	default:
		return fmt.Sprintf("%.4g %s", *s.Value, s.Unit)
	}
}

// seconds is a time for people.
func seconds(s float64) string {
	switch {
	case s < 1e-3:
		return fmt.Sprintf("%.3g µs", s*1e6)
	case s < 1:
		return fmt.Sprintf("%.3g ms", s*1e3)
	case s < 120:
		return fmt.Sprintf("%.3g s", s)
	default:
		return (time.Duration(s) * time.Second).String()
	}
}
