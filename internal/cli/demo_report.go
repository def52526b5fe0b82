package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/capacity"
	"github.com/penstock/penstock/internal/ledger"
	"github.com/penstock/penstock/internal/load"
	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
)

// demoReport is what the demo ends with.
type demoReport struct {
	load      load.Report
	killed    int
	woke      bool
	atZero    bool
	peak      int
	cost      float64 // US dollars
	static    sim.Peak
	span      time.Duration
	samples   []sample
	decisions []entry
	began     time.Time
	objective float64
}

// report adds up the show, and works out what a fleet that cannot scale would
// have cost.
func (s *show) report(ctx context.Context) (demoReport, error) {
	r := demoReport{
		load: s.load, killed: s.killed, atZero: s.atZero, span: s.span,
		began: s.board.began, objective: s.model.SLO.Objective,
	}
	_, r.samples, _ = s.board.look()
	for _, x := range r.samples {
		r.peak = max(r.peak, x.ready)
	}
	entries := s.diary.all()
	r.woke = slices.ContainsFunc(entries, func(e entry) bool { return e.has(scale.ReasonWakeFromZero) && e.change.Start() > 0 })
	r.decisions = telling(entries)
	now := time.Now()
	total, _ := ledger.Total(ledger.Bill(ledger.Account{
		Lifetimes: s.machine.lives.all(), Owners: owners(s.machine.config.Models), Span: ledger.Span{Until: now}, Now: now,
	}), func(scale.Charge) bool { return true })
	r.cost = total.Dollars()
	var err error
	r.static, err = s.staticPeak(ctx)
	return r, err
}

// staticPeak simulates the smallest constant fleet for the same series, paid
// from the first arrival to the last reply. It may fill its replicas to
// whatever batch limit serves it best.
func (s *show) staticPeak(ctx context.Context) (sim.Peak, error) {
	variant := s.model.Variants[0]
	limit := (&capacity.Server{Profile: variant.Profile, Mix: mixOf(s.series)}).Solve(s.model.SLO)
	var best sim.Peak
	var failed error
	for _, share := range []float64{0.6, 0.8, 1, 1.25, 1.6, 2} {
		peak, err := sim.StaticPeak(ctx, sim.PeakProblem{
			Fleet: sim.Fleet{
				Profile: variant.Profile, BatchLimit: max(1, int(share*float64(limit.Batch))), KVTokens: limit.KVTokens, PrefillTokens: limit.Prefill, SLO: s.model.SLO,
			},
			Requests: s.series, Most: 64, Span: s.span, PricePerHour: s.machine.config.Offerings[0].PricePerHour,
		})
		switch {
		case err != nil:
			failed = err
		case best.Replicas == 0 || peak.Replicas < best.Replicas:
			best = peak
		}
	}
	if best.Replicas == 0 {
		return best, failed
	}
	return best, nil
}

// mixOf is what the requests of a series are made of.
func mixOf(series []scale.Request) capacity.Mix {
	var mix capacity.Mix
	prompts := make([]int, 0, len(series))
	for _, r := range series {
		mix.Prompt += float64(r.PromptTokens) / float64(len(series))
		mix.Output += float64(r.OutputTokens) / float64(len(series))
		prompts = append(prompts, r.PromptTokens)
	}
	slices.Sort(prompts)
	mix.LongPrompt = float64(prompts[len(prompts)*95/100])
	return mix
}

// telling picks the three decisions that tell the story best: the wake, the
// largest step up, and the answer to a loss.
func telling(entries []entry) []entry {
	var out []entry
	pick := func(better func(a, b entry) bool, wanted func(entry) bool) {
		best := -1
		for i, e := range entries {
			if wanted(e) && !slices.ContainsFunc(out, func(o entry) bool { return o.at.Equal(e.at) }) && (best < 0 || better(e, entries[best])) {
				best = i
			}
		}
		if best >= 0 {
			out = append(out, entries[best])
		}
	}
	first := func(entry, entry) bool { return false }
	pick(first, func(e entry) bool { return e.has(scale.ReasonWakeFromZero) })
	pick(func(a, b entry) bool { return a.change.Start() > b.change.Start() }, func(e entry) bool { return e.change.Start() > 0 && e.change.From > 0 })
	pick(first, func(e entry) bool { return e.has(scale.ReasonInterruption) })
	pick(first, func(e entry) bool { return e.has(scale.ReasonScaleToZero) })
	if len(out) > 3 {
		out = out[:3]
	}
	slices.SortFunc(out, func(a, b entry) int { return a.at.Compare(b.at) })
	return out
}

// MarshalJSON writes the report for scripts.
func (r demoReport) MarshalJSON() ([]byte, error) {
	attainment, _ := r.load.Attainment()
	return json.Marshal(struct {
		Requests       int            `json:"requests"`
		Outcomes       load.Outcomes  `json:"outcomes"`
		KilledStreams  int            `json:"killed_streams"`
		Woke           bool           `json:"woke_from_zero"`
		Returned       bool           `json:"returned_to_zero"`
		Peak           int            `json:"peak_replicas"`
		Attainment     float64        `json:"attainment"`
		Cost           float64        `json:"cost"`
		CostStaticPeak float64        `json:"cost_static_peak"`
		StaticPeak     int            `json:"static_peak_replicas"`
		TTFT           load.Quantiles `json:"ttft"`
		TPOT           load.Quantiles `json:"tpot"`
		KeptUp         bool           `json:"kept_up"`
		Duration       float64        `json:"duration_s"`
	}{
		r.load.Requests, r.load.Outcomes, r.killed, r.woke, r.atZero, r.peak, attainment,
		r.cost, r.static.Cost, r.static.Replicas, r.load.TTFT, r.load.TPOT, r.load.KeptUp(), r.span.Seconds(),
	})
}

// write prints the report for people.
func (r demoReport) write(w io.Writer) error {
	saved := "–"
	if r.static.Cost > 0 {
		saved = fmt.Sprintf("%.0f %% less", 100*(1-r.cost/r.static.Cost))
	}
	rows := [][]string{
		{"requests", fmt.Sprint(r.load.Requests), "every reply read to its end and checked token by token"},
	}
	for _, o := range scale.Outcomes() {
		if n := r.load.Outcomes[o]; n > 0 || o == scale.Lost || o == scale.Corrupted {
			rows = append(rows, []string{"  " + o.String(), fmt.Sprint(n), r.remark(o)})
		}
	}
	rows = append(rows,
		[]string{"within the SLO", report.Share(r.load.Good, r.load.Judged), r.promise()},
		[]string{"first token", report.Latency(r.load.TTFT.P50), "p99 " + report.Latency(r.load.TTFT.P99)},
		[]string{"per token", report.Latency(r.load.TPOT.P50), "p99 " + report.Latency(r.load.TPOT.P99)},
		[]string{"cost", report.Dollars(r.cost), fmt.Sprintf("%s than %s for %d replicas throughout, the fewest that keep %.0f %%",
			saved, report.Dollars(r.static.Cost), r.static.Replicas, 100*r.objective)},
	)
	fmt.Fprintln(w)
	if _, err := (report.Table{Rows: rows}).WriteTo(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if _, err := r.strips().WriteTo(w); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nThree decisions, in Penstock's words:")
	for _, e := range r.decisions {
		fmt.Fprintf(w, "  %s  %s\n", mark(e.at.Sub(r.began)), e.sentence())
	}
	if !r.load.KeptUp() {
		fmt.Fprintf(w, "\nThis machine could not keep up with the load (p99 of lateness %s): read the figures with care.\n", report.Latency(r.load.Lag.P99))
	}
	return nil
}

// promise says how the demo stands against its objective.
func (r demoReport) promise() string {
	if at, _ := r.load.Attainment(); at < r.objective {
		return fmt.Sprintf("objective %.0f %%, missed: demand grew tenfold in 20 s, a replica loads for 8 s, and one was killed", 100*r.objective)
	}
	return fmt.Sprintf("objective %.0f %%", 100*r.objective)
}

func (r demoReport) remark(o scale.Outcome) string {
	switch o {
	case scale.Interrupted:
		return fmt.Sprintf("streams of the killed replica: %d; each client saw an error event", r.killed)
	case scale.Lost:
		return "no answer, or cut short without an error: must be 0"
	case scale.Corrupted:
		return "another's, missing or repeated tokens: must be 0"
	case scale.OK, scale.Refused, scale.Expired, scale.Failed, scale.Cancelled:
	}
	return ""
}

func (r demoReport) strips() report.Strips {
	demand, ready, starting := report.Strip{Label: "requests/s"}, report.Strip{Label: "ready"}, report.Strip{Label: "loading"}
	for _, s := range r.samples {
		demand.Values = append(demand.Values, s.demand)
		ready.Values = append(ready.Values, float64(s.ready))
		starting.Values = append(starting.Values, float64(s.starting))
	}
	var span time.Duration
	if n := len(r.samples); n > 0 {
		span = r.samples[n-1].at
	}
	return report.Strips{Rows: []report.Strip{demand, ready, starting}, Span: span, Width: 60}
}

// mark prints an instant of the story.
func mark(at time.Duration) string {
	at = max(0, at.Truncate(time.Second))
	return fmt.Sprintf("%d:%02d", int(at.Minutes()), int(at.Seconds())%60)
}
