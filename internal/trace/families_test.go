package trace_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/trace"
)

const day = 24 * time.Hour

func TestFamiliesAreFunctionsOfTheirSeed(t *testing.T) {
	for _, f := range trace.Families() {
		t.Run(f.Name, func(t *testing.T) {
			draw := func(seed uint64) []scale.Request {
				source, err := f.Open(3*time.Hour, trace.Draw{Seed: seed, CV: 1.5, Model: "m"})
				if err != nil {
					t.Fatal(err)
				}
				requests, err := collect(trace.All(&trace.Clip{Source: source, For: 5 * time.Minute}))
				if err != nil {
					t.Fatal(err)
				}
				return requests
			}
			first := draw(7)
			if len(first) == 0 || !slices.Equal(first, draw(7)) {
				t.Errorf("one seed gave two series, or none: %d requests", len(first))
			}
			if slices.Equal(first, draw(8)) {
				t.Error("two seeds gave one series")
			}
			for _, r := range first {
				if !strings.HasPrefix(r.Model, "m") || r.PromptTokens < 1 || r.OutputTokens < 1 {
					t.Fatalf("%+v", r)
				}
			}
		})
	}
}

// generator is any of the generated families.
type generator interface {
	Source(d trace.Draw) (trace.Source, error)
}

// Whatever the shape, the mean over the span is the one asked for, but for the
// noise of the arrivals.
func TestGeneratedSeriesHaveTheirMean(t *testing.T) {
	const rps = 0.1
	span := 5 * day
	for what, g := range map[string]generator{
		"flat":        trace.Flat{Span: span, MeanRPS: rps},
		"enterprise":  trace.Enterprise{Span: span, MeanRPS: rps, Ratio: 30, Weekend: 0.3},
		"steps":       trace.Steps{Span: span, MeanRPS: rps, Ratio: 12, Dwell: time.Hour},
		"flash crowd": trace.FlashCrowd{Span: span, MeanRPS: rps, Ratio: 3, Peak: 20, Every: day, Rise: time.Minute, Hold: time.Hour, Fall: time.Hour},
		"fleet":       trace.Fleet{Span: span, MeanRPS: rps, Models: 20, Zipf: 1.1, ActiveShare: 0.25, Diurnal: true},
	} {
		source, err := g.Source(trace.Draw{Seed: 3, CV: 1})
		n, want := float64(len(all(t, source, err))), rps*span.Seconds()
		if math.Abs(n-want) > 5*math.Sqrt(want) {
			t.Errorf("%s: %.0f requests, want about %.0f", what, n, want)
		}
	}
}

func TestGeneratedGapsHaveTheirCV(t *testing.T) {
	for _, cv := range []float64{0.5, 1, 2} {
		source, err := trace.Flat{Span: 10 * time.Hour, MeanRPS: 2}.Source(trace.Draw{Seed: 2, CV: cv})
		if got := cvOf(all(t, source, err)); math.Abs(got-cv) > 0.05*cv {
			t.Errorf("gaps have a CV of %.3f, want %v", got, cv)
		}
	}
}

func TestEnterpriseHasDaysAndWeekends(t *testing.T) {
	source, err := trace.Enterprise{Span: 7 * day, MeanRPS: 0.3, Ratio: 30, Weekend: 0.3}.Source(trace.Draw{Seed: 1, CV: 1})
	hours := perBin(all(t, source, err), time.Hour)
	night, afternoon, weekend := 0, 0, 0
	for d := range 5 {
		night += sum(hours[24*d+1 : 24*d+3])
		afternoon += sum(hours[24*d+13 : 24*d+15])
	}
	for d := 5; d < 7; d++ {
		weekend += sum(hours[24*d+13 : 24*d+15])
	}
	if ratio := float64(afternoon) / float64(night); ratio < 22 || ratio > 36 {
		t.Errorf("afternoon to night is %.1f, want about 28", ratio) // 30 less what the two hours' width takes
	}
	if share := float64(weekend) / 2 / (float64(afternoon) / 5); share < 0.25 || share > 0.4 {
		t.Errorf("a weekend's afternoon is %.2f of a weekday's, want about (1 + 0.3 × 29)/30", share)
	}
}

// peakToMean is that of counts.
func peakToMean(counts []int) float64 {
	return float64(slices.Max(counts)) * float64(len(counts)) / float64(sum(counts))
}

func TestStepsJumpAndStay(t *testing.T) {
	source, err := trace.Steps{Span: 7 * day, MeanRPS: 0.3, Ratio: 12, Dwell: time.Hour}.Source(trace.Draw{Seed: 1, CV: 1})
	windows := perBin(all(t, source, err), 10*time.Minute)
	jumps, same := 0, 0
	for i := 1; i < len(windows); i++ {
		switch change := float64(windows[i]) / float64(windows[i-1]); {
		case change > 2.5 || change < 0.4:
			jumps++
		case change > 0.85 && change < 1.18:
			same++
		}
	}
	if p := peakToMean(windows); p < 2 || p > 6 || jumps < 20 || same < len(windows)/2 {
		t.Errorf("peak to mean %.1f, %d jumps and %d windows as before of %d", p, jumps, same, len(windows))
	}
}

func TestFlashCrowdsStandOut(t *testing.T) {
	source, err := trace.FlashCrowd{
		Span: 10 * day, MeanRPS: 0.3, Ratio: 2, Peak: 20, Every: day, Rise: 10 * time.Minute, Hold: 20 * time.Minute, Fall: 20 * time.Minute,
	}.Source(trace.Draw{Seed: 1, CV: 1})
	counts := perBin(all(t, source, err), 10*time.Minute)
	if p := peakToMean(counts); p < 8 || p > 25 {
		t.Errorf("peak to mean %.1f", p)
	}
	sorted := slices.Sorted(slices.Values(counts))
	median, crowded := sorted[len(sorted)/2], 0
	for i := 1; i < len(counts); i++ {
		if counts[i] > 6*median && counts[i-1] <= 6*median {
			crowded++
		}
	}
	if crowded < 4 || crowded > 20 {
		t.Errorf("%d crowds in ten days, want about one a day", crowded)
	}
}

func TestFleetIsMostlyIdle(t *testing.T) {
	fleet := trace.Fleet{Span: 7 * day, MeanRPS: 0.5, Models: 80, Zipf: 1.1, ActiveShare: 0.25, Diurnal: true}
	source, err := fleet.Source(trace.Draw{Seed: 1})
	minutes, err := trace.ReadMinutes(mustSource(t, source, err))
	if err != nil {
		t.Fatal(err)
	}
	names := fleet.Names("")
	if len(names) != 80 || names[0] != "model-01" || names[79] != "model-80" {
		t.Errorf("names %q", names)
	}
	total, first, active := 0, 0, 0.0
	for _, m := range minutes.Models {
		if !slices.Contains(names, m.Model) {
			t.Errorf("%s is not among the names", m.Model)
		}
		n, busy := 0, 0
		for _, b := range m.Bins {
			n += b.Requests
			if b.Requests > 0 {
				busy++
			}
		}
		total += n
		if m.Model <= "model-10" {
			first += n
			active += float64(busy) / float64(len(m.Bins)) / 10
		}
	}
	// The first ten are asked every minute while they are in use, nearly.
	if share := float64(first) / float64(total); share < 0.55 || share > 0.85 {
		t.Errorf("the first ten models have %.2f of the requests", share)
	}
	if active < 0.18 || active > 0.3 {
		t.Errorf("the first ten models are in use for %.2f of the time, want a little less than 0.25", active)
	}
}

func mustSource(t *testing.T, source trace.Source, err error) trace.Source {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func TestAPIHasOneLargeClientAndBursts(t *testing.T) {
	source, err := trace.API{Span: 4 * day, MeanRPS: 0.5, Clients: 40}.Source(trace.Draw{Seed: 1})
	requests := all(t, source, err)
	byTenant := map[string][]scale.Request{}
	for _, r := range requests {
		byTenant[r.Tenant] = append(byTenant[r.Tenant], r)
	}
	largest := 0
	for _, list := range byTenant {
		largest = max(largest, len(list))
	}
	if share := float64(largest) / float64(len(requests)); share < 0.2 || share > 0.5 || len(byTenant) != 40 {
		t.Errorf("the largest of %d clients has %.2f of the traffic", len(byTenant), share)
	}
	if cv := cvOf(requests); cv < 1.2 {
		t.Errorf("gaps over all have a CV of %.2f, as even as Poisson's", cv)
	}
}

func TestGeneratorsRefuseWhatCannotBe(t *testing.T) {
	nan := math.NaN()
	hour := time.Hour
	for what, tc := range map[string]struct {
		generator generator
		want      string
	}{
		"no span":               {trace.Flat{MeanRPS: 1}, "a span of 0s is not between"},
		"a span of a century":   {trace.Flat{Span: 100 * 365 * day, MeanRPS: 1}, "a span of 876000h0m0s is not between"},
		"no mean":               {trace.Flat{Span: hour}, "a mean of 0 requests a second"},
		"a mean of NaN":         {trace.Flat{Span: hour, MeanRPS: nan}, "a mean of NaN"},
		"a ratio below 1":       {trace.Enterprise{Span: hour, MeanRPS: 1, Ratio: 0.5}, "a ratio of 0.5"},
		"a weekend above 1":     {trace.Enterprise{Span: hour, MeanRPS: 1, Ratio: 2, Weekend: 1.5}, "a weekend of 1.5"},
		"steps without a ratio": {trace.Steps{Span: hour, MeanRPS: 1, Dwell: hour}, "a ratio of 0"},
		"steps of no time":      {trace.Steps{Span: hour, MeanRPS: 1, Ratio: 2}, "a dwell of 0s"},
		"a crowd of none":       {trace.FlashCrowd{Span: hour, MeanRPS: 1, Ratio: 1, Every: hour}, "a peak of 0"},
		"a crowd's ratio":       {trace.FlashCrowd{Span: hour, MeanRPS: 1, Ratio: nan, Peak: 2, Every: hour}, "a ratio of NaN"},
		"crowds all the time":   {trace.FlashCrowd{Span: hour, MeanRPS: 1, Ratio: 1, Peak: 2}, "crowds every 0s"},
		"no models":             {trace.Fleet{Span: hour, MeanRPS: 1, ActiveShare: 1}, "0 models"},
		"an exponent of NaN":    {trace.Fleet{Span: hour, MeanRPS: 1, Models: 1, Zipf: nan, ActiveShare: 1}, "a Zipf exponent of NaN"},
		"never in use":          {trace.Fleet{Span: hour, MeanRPS: 1, Models: 1}, "an active share of 0"},
		"too short to be used":  {trace.Fleet{Span: time.Minute, MeanRPS: 1, Models: 1, ActiveShare: 0.0001}, "the span is too short"},
		"too long for so many":  {trace.Fleet{Span: 3000 * day, MeanRPS: 1, Models: 10_000, ActiveShare: 1}, "too long for 10000 models"},
		"no clients":            {trace.API{Span: hour, MeanRPS: 1}, "0 clients"},
	} {
		if _, err := tc.generator.Source(trace.Draw{Seed: 1}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got error %v, want one with %q", what, err, tc.want)
		}
	}
	if _, err := (trace.Flat{Span: hour, MeanRPS: 1}).Source(trace.Draw{CV: 100}); err == nil {
		t.Error("a CV of 100: no error")
	}
}

// Any parameters that are accepted give a sorted series within its span.
func TestAnyGeneratedSeriesIsSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		span := time.Duration(rapid.IntRange(1, 3*3600).Draw(t, "seconds")) * time.Second
		source, err := trace.FlashCrowd{
			Span: span, MeanRPS: rapid.Float64Range(0.001, 1).Draw(t, "rps"),
			Ratio: rapid.Float64Range(1, 50).Draw(t, "ratio"), Peak: rapid.Float64Range(1, 50).Draw(t, "peak"),
			Every: time.Duration(rapid.IntRange(1, 3600).Draw(t, "every")) * time.Second,
			Rise:  time.Duration(rapid.IntRange(0, 3600).Draw(t, "rise")) * time.Second,
			Fall:  time.Duration(rapid.IntRange(0, 3600).Draw(t, "fall")) * time.Second,
		}.Source(trace.Draw{Seed: rapid.Uint64().Draw(t, "seed"), CV: rapid.Float64Range(0.1, 10).Draw(t, "cv")})
		if err != nil {
			t.Fatal(err)
		}
		requests, err := collect(trace.All(source))
		if err != nil {
			t.Fatal(err)
		}
		last := trace.Epoch()
		for _, r := range requests {
			if r.At.Before(last) || r.At.Sub(trace.Epoch()) > span {
				t.Fatalf("%s after %s, span %s", r.At, last, span)
			}
			last = r.At
		}
	})
}

func TestFamiliesAreNamedOnce(t *testing.T) {
	var names []string
	for _, f := range trace.Families() {
		names = append(names, f.Name)
		if f.What == "" {
			t.Errorf("%s says nothing of itself", f.Name)
		}
	}
	want := []string{"api", "enterprise", "enterprise-peaky", "flash-crowd", "flat", "head-of-line", "sparse-fleet", "steps"}
	if d := cmp.Diff(want, slices.Sorted(slices.Values(names))); d != "" {
		t.Error(d)
	}
}
