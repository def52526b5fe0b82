package cli

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/penstock/penstock/internal/load"
	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/scale"
)

// liveLine shows progress: in place on a terminal, else line by line.
type liveLine struct {
	w     io.Writer
	width int // of the terminal; 0 where there is none
}

func newLiveLine(w io.Writer) *liveLine {
	l := &liveLine{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		l.width = 80
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			l.width = width
		}
	}
	return l
}

func (l *liveLine) show(p load.Progress) { l.put(progress(p)) }

// put shows a line.
func (l *liveLine) put(text string) {
	if l.width == 0 {
		fmt.Fprintln(l.w, text)
		return
	}
	if runes := []rune(text); len(runes) >= l.width {
		text = string(runes[:l.width-1])
	}
	fmt.Fprintf(l.w, "\r\x1b[K%s", text)
}

// end leaves the line free for what comes after.
func (l *liveLine) end() {
	if l.width > 0 {
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}

func progress(p load.Progress) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %d of %d sent, %.0f/s, %d in flight, %s good", report.Duration(p.Elapsed),
		p.Started, p.Total, p.Arriving, p.Started-p.Ended, report.Share(p.Good, p.Judged))
	for _, o := range scale.Outcomes() {
		if o != scale.OK && p.Outcomes[o] > 0 {
			fmt.Fprintf(&b, ", %d %s", p.Outcomes[o], o)
		}
	}
	if p.Draining {
		b.WriteString("; waiting for those in flight")
	} else {
		fmt.Fprintf(&b, "; last is sent in %s", report.Duration(max(0, p.Span-p.Elapsed)))
	}
	return b.String()
}

// table writes the report for people.
func (c *loadCmd) table(w io.Writer, o outcome) error {
	r := o.report
	out := &sticky{w: w}
	out.printf("%d requests to %s in %s, arrivals at %g× the speed of %s\n", r.Requests, c.Target, report.Duration(r.Duration), c.Speed, c.Trace)
	if o.interrupted {
		out.printf("Interrupted: %d of %d requests were sent.\n", r.Requests, o.generator.Total)
	}
	out.printf("\n")
	out.write(outcomeTable(r))
	out.printf("\n")
	out.write(report.Table{Rows: attainmentRows(o)})
	out.printf("\n")
	out.write(timeTable(r))
	out.printf("\n")
	out.write(strips(r))
	out.printf("\n%s\n", verified(r))
	for _, e := range r.Examples {
		out.printf("%s at %s: %s\n", e.Outcome, report.Duration(time.Duration(e.AtS*float64(time.Second))), e.Detail)
	}
	if !r.KeptUp() {
		out.printf("This machine could not keep up: one request in a hundred was sent %s or more late. Do not trust the times above.\n", report.Latency(r.Lag.P99))
	}
	return out.err
}

func outcomeTable(r load.Report) report.Table {
	t := report.Table{Head: []string{"outcome", "requests", "share"}}
	for _, o := range scale.Outcomes() {
		t.Rows = append(t.Rows, []string{o.String(), strconv.Itoa(r.Outcomes[o]), report.Share(r.Outcomes[o], r.Requests)})
	}
	return t
}

func attainmentRows(o outcome) [][]string {
	r := o.report
	rows := [][]string{
		{"within the SLO", report.Share(r.Good, r.Judged), fmt.Sprintf("%d of %d not cancelled", r.Good, r.Judged)},
		{"worst minute", report.Share(r.Worst.Good, r.Worst.Judged), fmt.Sprintf("from %s, %d of %d", report.Duration(r.Worst.At), r.Worst.Good, r.Worst.Judged)},
	}
	requests, tokens := r.Rates()
	rows = append(rows, []string{"ended well", fmt.Sprintf("%.2f/s", requests), fmt.Sprintf("%.0f output tokens/s", tokens)})
	for _, m := range o.generator.Models {
		objective := report.None
		if m.SLO.Objective > 0 {
			objective = fmt.Sprintf("%.2f %%", 100*m.SLO.Objective)
		}
		within := fmt.Sprintf("first token in %v, %v for each after it", m.SLO.TTFT, m.SLO.TPOT)
		if !m.SLO.Tokens() {
			within = fmt.Sprintf("whole reply in %v", m.SLO.Latency)
		}
		rows = append(rows, []string{m.Name + " promises", objective, within})
	}
	if r.Woke > 0 {
		rows = append(rows, []string{"waited for a wake", report.Share(r.Woke, r.Requests), fmt.Sprintf("%d, judged by the longest hold", r.Woke)})
	}
	return rows
}

func timeTable(r load.Report) report.Table {
	t := report.Table{Head: []string{"", "mean", "p50", "p95", "p99", "largest"}}
	for _, row := range []struct {
		name string
		of   load.Quantiles
	}{
		{"time to first token", r.TTFT}, {"time per output token", r.TPOT}, {"whole reply", r.E2E}, {"sent late by", r.Lag},
	} {
		t.Rows = append(t.Rows, []string{row.name, report.Latency(row.of.Mean), report.Latency(row.of.P50), report.Latency(row.of.P95), report.Latency(row.of.P99), report.Latency(row.of.Max)})
	}
	return t
}

func strips(r load.Report) report.Strips {
	rate := report.Strip{Label: "requests/s"}
	good := report.Strip{Label: "% within the SLO"}
	for _, b := range r.Buckets {
		rate.Values = append(rate.Values, float64(b.Arrived)/r.Width.Seconds())
		share := math.NaN()
		if b.Judged > 0 {
			share = 100 * float64(b.Good) / float64(b.Judged)
		}
		good.Values = append(good.Values, share)
	}
	return report.Strips{Rows: []report.Strip{rate, good}, Span: time.Duration(len(r.Buckets)) * r.Width, Width: 60}
}

func verified(r load.Report) string {
	switch ok := r.Outcomes[scale.OK]; r.Verified {
	case ok:
		return "Every token of every ok reply was checked."
	case 0:
		return "Replies were checked as event streams; their tokens are not an emulated engine's and could not be."
	default:
		return fmt.Sprintf("Every token of %d of %d ok replies was checked, of the others the event stream only.", r.Verified, ok)
	}
}

// sticky writes until an error, which it keeps.
type sticky struct {
	w   io.Writer
	err error
}

func (s *sticky) printf(format string, args ...any) {
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.w, format, args...)
	}
}

func (s *sticky) write(from io.WriterTo) {
	if s.err == nil {
		_, s.err = from.WriteTo(s.w)
	}
}
