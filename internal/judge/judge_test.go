package judge

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

// short are built-in workloads cut to an hour or two.
func short(t *testing.T, days float64, names ...string) []Question {
	t.Helper()
	var all []Question
	for _, name := range names {
		w, ok := config.GeneratedWorkloads().Workload(name)
		if !ok {
			t.Fatalf("no workload %s", name)
		}
		q, err := Ask(Shorten(w, days))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, q)
	}
	return all
}

func run(t *testing.T, trial Trial) Verdict {
	t.Helper()
	v, err := trial.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range v.Failures {
		t.Errorf("%s under %s, seed %d: %s", f.Workload, f.Policy, f.Seed, f.Error)
	}
	return v
}

// The bound from work alone is for everybody, whatever they do.
func TestNoPolicyIsBelowItsBound(t *testing.T) {
	v := run(t, Trial{Questions: short(t, 0.02, "enterprise-day", "heterogeneous", "spot"), Seeds: 1})
	cells := 0
	for _, w := range v.Workloads {
		for _, p := range w.Policies {
			for _, s := range p.Seeds {
				cells++
				if !(s.RatioSame >= 1) {
					t.Errorf("%s under %s, seed %d: $%.3f is %.3f of the bound at its own attainment of %.4f",
						w.Name, p.Name, s.Seed, float64(s.Cost), float64(s.RatioSame), float64(s.Attainment))
				}
			}
			if n := sum(p.Outcomes); n != sumRequests(p.Seeds) {
				t.Errorf("%s under %s: %d outcomes of %d requests", w.Name, p.Name, n, sumRequests(p.Seeds))
			}
		}
	}
	if want := 3 * len(Policies()); cells < want-10 {
		t.Errorf("only %d runs", cells)
	}
}

func sum(outcomes report.Tally) int {
	n := 0
	for _, m := range outcomes {
		n += m
	}
	return n
}

func sumRequests(seeds []report.Seed) int {
	n := 0
	for _, s := range seeds {
		n += s.Requests
	}
	return n
}

func TestATrialGivesTheSameResultTwice(t *testing.T) {
	trial := Trial{
		Questions: short(t, 0.02, "faults"), Seeds: 2, Series: true,
		Policies: []string{"penstock", "hpa-concurrency", "knative-kpa-tuned", "ray-serve", "static-peak"},
	}
	a, b := run(t, trial), run(t, trial)
	timeless := cmp.Options{
		cmpopts.IgnoreFields(report.Scaling{}, "Wall"), cmpopts.IgnoreFields(report.Policy{}, "Wall", "RequestsPerS", "Decision"),
		cmpopts.IgnoreFields(report.Seed{}, "Wall"), cmpopts.IgnoreFields(report.Scaling{}, "Targets"),
		cmp.Comparer(func(a, b report.Number) bool { return a == b || !a.Known() && !b.Known() }),
	}
	if d := cmp.Diff(a, b, timeless); d != "" {
		t.Error(d)
	}
	if len(a.Series) != 1 || len(a.Series[0].Policies) != 5 || len(a.Series[0].Decisions) == 0 {
		t.Errorf("series of %d workloads, %d policies", len(a.Series), len(a.Series[0].Policies))
	}
	if _, err := json.Marshal(a.Scaling); err != nil {
		t.Error(err)
	}
}

func TestSeedsDifferInTruthAndArrivals(t *testing.T) {
	v := run(t, Trial{Questions: short(t, 0.01, "enterprise-day"), Seeds: 3, Policies: []string{"penstock"}})
	w := v.Workloads[0]
	for i, truth := range w.Truths {
		f := float64(truth.Factors["8b-a100"])
		if f < 0.7 || f > 1.3 || i > 0 && f == float64(w.Truths[i-1].Factors["8b-a100"]) {
			t.Errorf("seed %d: serving takes %.3f times as long as told", truth.Seed, f)
		}
	}
	if s := w.Policies[0].Seeds; len(s) != 3 || s[0].Cost == s[1].Cost {
		t.Errorf("seeds alike: %+v", s)
	}
}

func TestUnknownNamesSuggestTheNearest(t *testing.T) {
	_, err := Trial{Policies: []string{"hpa-concurency"}}.Run(context.Background())
	if !errors.As(err, new(UnknownError)) || !strings.Contains(err.Error(), "did you mean hpa-concurrency?") {
		t.Errorf("got %v", err)
	}
}

func TestATrialEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	trial := Trial{Questions: short(t, 1, "enterprise-day"), Seeds: 1}
	trial.Progress = func(p Progress) {
		if p.Done > 0 {
			cancel()
		}
	}
	begun := time.Now()
	if _, err := trial.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("it went on for %v", took)
	}
}

func TestAPanicFailsItsRunAlone(t *testing.T) {
	q := short(t, 0.02, "enterprise-day")[0]
	opened := 0
	open := q.Open
	q.Open = func(seed uint64) (sim.Source, error) {
		if opened++; opened == 3 { // after the survey and the bound
			panic("the file is haunted")
		}
		return open(seed)
	}
	v, err := Trial{Questions: []Question{q}, Policies: []string{"static-peak", "hpa-concurrency"}, Workers: 1}.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Failures) != 1 || !strings.Contains(v.Failures[0].Error, "haunted") || len(v.Workloads[0].Policies) != 1 {
		t.Errorf("failures %+v, %d policies", v.Failures, len(v.Workloads[0].Policies))
	}
}

func TestPoolsThatServeMoreAreLarger(t *testing.T) {
	c := curve{sizes: []int{1, 2, 4}, rates: []float64{2, 5, 12}}
	for _, tc := range []struct {
		rate float64
		want int
	}{{0, 0}, {0.1, 1}, {2, 1}, {2.1, 2}, {5, 2}, {5.1, 3}, {8.5, 3}, {8.6, 4}, {12, 4}, {24, 8}, {25, 9}} {
		if got := c.replicas(tc.rate); got != tc.want {
			t.Errorf("%v requests/s: %d replicas, want %d", tc.rate, got, tc.want)
		}
	}
	if got := c.of(3); math.Abs(got-8.5/3) > 1e-9 {
		t.Errorf("each of three serves %v", got)
	}
	if got := c.perReplica(); got != 3 {
		t.Errorf("at most %v", got)
	}
}

// A pool's curve is held against plain simulation: at its rate the objective
// holds, and well above it it does not.
func TestAMeasuredPoolKeepsTheObjectiveAndNoMore(t *testing.T) {
	w, _ := config.GeneratedWorkloads().Workload("enterprise-day")
	m := mix{}
	draws := trace.Conversation()
	source, err := trace.Renewal(trace.Draw{Seed: 3, Tokens: draws}, 1, mixSample)
	if err != nil {
		t.Fatal(err)
	}
	for r := range source {
		m.sample = append(m.sample, tokens{r.PromptTokens, r.OutputTokens})
	}
	m.settle()
	p := pool{profile: w.Variants[0].Profile, slo: w.SLO, cv: 1.1, mix: &m, seed: 1}
	c, err := p.measure(context.Background(), 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d replicas serve %.2f requests/s", c.sizes, c.rates)
	if err := p.settle(context.Background()); err != nil {
		t.Fatal(err)
	}
	for i, n := range c.sizes {
		at, err := p.attainment(context.Background(), n, c.rates[i])
		if err != nil {
			t.Fatal(err)
		}
		above, err := p.attainment(context.Background(), n, 1.15*c.rates[i])
		if err != nil {
			t.Fatal(err)
		}
		if at < p.objective-0.002 || above >= p.objective {
			t.Errorf("%d replicas: %.4f at the rate, %.4f at 15 %% more, objective %.3f", n, at, above, p.objective)
		}
	}
	if !slices.IsSorted(c.rates) {
		t.Errorf("rates fall: %v", c.rates)
	}
}

func TestASurveyCountsMinutesAndTellsMixesApart(t *testing.T) {
	var requests []scale.Request
	add := func(at time.Duration, model string, prompt int) {
		requests = append(requests, scale.Request{ID: scale.RequestID(len(requests) + 1), At: trace.Epoch().Add(at), Model: model, PromptTokens: prompt, OutputTokens: 10})
	}
	for i := range 120 {
		add(time.Duration(i)*time.Second, "a", 100)
	}
	add(7*time.Hour, "b", 5000)
	add(13*time.Hour, "", 101)
	s, err := read(t.Context(), sim.List(requests), []string{"a", "b"}, []int{0, 0}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if s.rate(0, 0) != 1 || s.rate(0, 1) != 1 || s.rate(0, 2) != 0 || s.rate(1, 7*60) != 1.0/60 || s.rate(0, 13*60) != 1.0/60 {
		t.Errorf("rates %v", s.rates)
	}
	if a := s.asked[0]; len(a.mixes) != 2 || !slices.Equal(a.mixOf, []int{0, 1, 0}) || s.busiest() != 0 || s.minutes() != 13*60+1 {
		t.Errorf("%d mixes, of the spans %v", len(a.mixes), a.mixOf)
	}
	add(14*time.Hour, "c", 1)
	if _, err := read(t.Context(), sim.List(requests), []string{"a", "b"}, []int{0, 0}, 1); err == nil || !strings.Contains(err.Error(), `"c"`) {
		t.Errorf("a model that nothing serves: %v", err)
	}
	if _, err := read(t.Context(), sim.List(nil), []string{"a"}, []int{0}, 1); err == nil {
		t.Error("a series without a request is surveyed")
	}
}
