package report_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/scale"
)

const dataScript = `<script type="application/json" class="data">`

// cutData takes the first script of data out of the page.
func cutData(page string) (before, data, after string, found bool) {
	before, rest, found := strings.Cut(page, dataScript)
	data, after, _ = strings.Cut(rest, "</script>")
	return before, data, after, found
}

// lane is as the page's script reads it.
type lane struct {
	Per     int
	Quantum float64
	Text    string
}

// pageData is what the page's script reads.
type pageData struct {
	Bin, Step float64
	Bins      int
	Demand    lane
	Need      lane
	Policies  []struct {
		Name                          string
		Shown                         bool
		Ready, Attainment, Held, Cost lane
	}
	Told struct {
		At, Target, From, To []int
		Reasons              [][]int
		Targets              []string
		Sentences            [][2]string
		Untold               int
	}
}

// unpack is the inverse of the report's packing, as the page has it.
func (l lane) unpack(t fataler) []float64 {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	text, last := l.Text, 0
	next := func() int {
		n := 0
		for shift := 0; ; shift += 5 {
			if text == "" {
				t.Fatal("cut short")
			}
			d := strings.IndexByte(alphabet, text[0])
			text = text[1:]
			n |= (d & 31) << shift
			if d < 32 {
				return n
			}
		}
	}
	var out []float64
	for text != "" {
		z, again := next(), 1
		if z == 0 {
			again += next()
		}
		last += z>>1 ^ -(z & 1)
		for range again {
			if last == 0 {
				out = append(out, math.NaN())
			} else {
				out = append(out, float64(last-1)*l.Quantum)
			}
		}
	}
	return out
}

// pages writes the result and returns the page and what its charts show.
func pages(t fataler, s report.Scaling, series ...report.Series) (string, []pageData) {
	text := written(t, func(w io.Writer) error { return report.WriteHTML(w, s, series) })
	var all []pageData
	for rest := text; ; {
		_, data, after, found := cutData(rest)
		if !found {
			return text, all
		}
		var d pageData
		if err := json.Unmarshal([]byte(data), &d); err != nil {
			t.Fatal(err)
		}
		if d.Bins == 0 {
			t.Fatal("charts without data")
		}
		all, rest = append(all, d), after
	}
}

func TestPageShowsWhatWasMeasured(t *testing.T) {
	s, series := sample(2, 3, 600)
	page, data := pages(t, s, series...)
	if len(data) != 2 {
		t.Fatalf("%d workloads with charts", len(data))
	}
	for i, d := range data {
		for _, p := range d.Policies {
			at := slices.IndexFunc(series[i].Policies, func(s report.PolicySeries) bool { return s.Name == p.Name })
			want := series[i].Policies[at]
			if d := cmp.Diff(want.Ready, p.Ready.unpack(t)); d != "" {
				t.Error(d)
			}
			if got := p.Cost.unpack(t); math.Abs(got[599]-sum(want.Cost)) > p.Cost.Quantum {
				t.Errorf("%s cost %v, want %v", p.Name, got[599], sum(want.Cost))
			}
			for j, got := range p.Attainment.unpack(t) {
				if math.Abs(got-want.Good[j]/want.Judged[j]) > 1e-4 {
					t.Fatalf("%s attained %v in bin %d, want %v of %v", p.Name, got, j, want.Good[j], want.Judged[j])
				}
			}
		}
		if p := d.Policies[0]; p.Name != report.Penstock || !p.Shown || !d.Policies[1].Shown || d.Policies[2].Shown {
			t.Errorf("shown at first are not Penstock and the best rival: %+v", d.Policies)
		}
		if len(d.Told.At) != len(series[i].Decisions) {
			t.Errorf("%d of %d decisions told", len(d.Told.At), len(series[i].Decisions))
		}
		sentence := d.Told.Sentences[d.Told.Reasons[3][0]]
		if want := series[i].Decisions[3].Reasons[0]; sentence != [2]string{want.Code.String(), want.Text} {
			t.Errorf("reason %q, want %v", sentence, want)
		}
	}
	for _, want := range []string{
		`<html lang="en">`, "Scaling benchmark", "Penstock met the objective: ", "Targets: 3 of 5 met", "1.0604", "line 14: unexpected EOF",
		"Permission is hereby granted", "Serving really took, beside what every policy was told: seed 1: 8b-a100 1.14 times",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, word := range []string{"http://", "https://"} {
		for _, before := range []string{`src="`, `href="`, "url(", "import "} {
			if strings.Contains(page, before+word) {
				t.Errorf("the page loads something: %s%s", before, word)
			}
		}
	}
}

func TestPageNamesTheLibraryThatItHolds(t *testing.T) {
	page, _ := pages(t, small())
	held := regexp.MustCompile(`uPlot \(v([0-9.]+)\)`).FindStringSubmatch(page)
	if held == nil || !strings.Contains(page, "Charts: uPlot "+held[1]+",") {
		t.Errorf("the page holds uPlot %v and names another", held)
	}
}

func TestPageWithoutSeriesHasTablesAndNoCharts(t *testing.T) {
	page, data := pages(t, small(), report.Series{Workload: "W99", Bin: time.Minute, Demand: []float64{1}}, report.Series{Workload: "W1", Bin: time.Minute})
	if len(data) != 0 || strings.Contains(page, `class="charts"`) {
		t.Error("charts of nothing")
	}
	if !strings.Contains(page, "No policy ran to its end.") || !strings.Contains(page, "hpa-concurrency-with-a-name-that-is-too-long") {
		t.Error("tables are missing")
	}
}

func TestSimulationIsNoBenchmark(t *testing.T) {
	s := small()
	s.Title, s.Command, s.Targets, s.Failures, s.Workloads = "Simulation of chat.csv.gz", "penstock simulate", nil, nil, s.Workloads[:1]
	page, _ := pages(t, s)
	for _, said := range []string{page, written(t, func(w io.Writer) error { return report.WriteScaling(w, s) })} {
		if strings.Contains(strings.ToLower(said), "benchmark") {
			t.Error("a simulation is called a benchmark")
		}
	}
	if strings.Contains(page, "At a glance") {
		t.Error("one workload needs no table of workloads")
	}
}

func TestLongSeriesAreFoldedAndKeepTheirExtremes(t *testing.T) {
	const minutes = 10_080
	ready, ones, held := make([]float64, minutes), make([]float64, minutes), make([]float64, minutes)
	for i := range ready {
		ready[i], ones[i] = 4, 1
	}
	ready[5000], ready[5002], held[7001] = 1, 31, 17 // within one bin
	good := slices.Clone(ones)
	good[5000] = 0
	s := report.Scaling{Workloads: []report.Workload{{Name: "W1", Policies: []report.Policy{{Name: report.Penstock}}}}}
	_, data := pages(t, s, report.Series{
		Workload: "W1", Bin: time.Minute, Demand: ready,
		Policies: []report.PolicySeries{{Name: report.Penstock, Ready: ready, Good: good, Judged: ones, Held: held, Cost: ones}, {Name: "not in the table"}},
	})
	d := data[0]
	if d.Bins != 1680 || d.Bin != 360 || d.Step != 60 || len(d.Policies) != 1 || d.Need.Text != "" {
		t.Fatalf("%d bins of %v s, %d policies", d.Bins, d.Bin, len(d.Policies))
	}
	p := d.Policies[0]
	want := slices.Repeat([]float64{4}, 2*d.Bins)
	want[2*(5000/6)], want[2*(5000/6)+1] = 1, 31 // in the order in which they came
	if d := cmp.Diff(want, p.Ready.unpack(t)); d != "" {
		t.Error(d)
	}
	if got := p.Attainment.unpack(t)[5000/6]; math.Abs(got-5.0/6) > 1e-4 {
		t.Errorf("attainment %v, want 5 of 6", got)
	}
	if got := p.Held.unpack(t); got[7001/6] != 17 || slices.Max(got) != 17 || got[0] != 0 {
		t.Errorf("held %v", got)
	}
	if got := p.Cost.unpack(t); len(got) != d.Bins || math.Abs(got[1679]-minutes) > 1 || math.Abs(got[839]-minutes/2) > 1 {
		t.Errorf("cost so far ends at %v", got[1679])
	}
}

func TestWhatIsNotKnownIsAGap(t *testing.T) {
	nan := math.NaN()
	s := report.Scaling{Workloads: []report.Workload{{Name: "W1", Objective: report.Unknown(), Policies: []report.Policy{{Name: "a"}}}}}
	_, data := pages(t, s, report.Series{Workload: "W1", Bin: 5 * time.Second, Demand: []float64{0.25, nan, math.Inf(1), 0, -1}, Policies: []report.PolicySeries{
		{Name: "a", Ready: []float64{2}, Good: []float64{0, 1}, Judged: []float64{0, 2, 3}},
	}})
	d := data[0]
	if d := cmp.Diff([]float64{0.25, nan, nan, 0, nan}, d.Demand.unpack(t), sameFloat); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]float64{2, nan, nan, nan, nan}, d.Policies[0].Ready.unpack(t), sameFloat); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]float64{nan, 0.5, 0, nan, nan}, d.Policies[0].Attainment.unpack(t), sameFloat); d != "" {
		t.Error(d)
	}
	if d.Step != 5 {
		t.Errorf("the cursor moves by %v s where bins are of 5", d.Step)
	}
}

var sameFloat = cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 || math.IsNaN(a) && math.IsNaN(b) })

func TestValuesSurviveBeingPacked(t *testing.T) {
	s := report.Scaling{Workloads: []report.Workload{{Name: "W1"}}}
	rapid.Check(t, func(t *rapid.T) {
		demand := rapid.SliceOfN(rapid.OneOf(rapid.Float64Range(0, 1e6), rapid.Map(rapid.IntRange(0, 3), func(n int) float64 { return float64(n) })), 1, 60).Draw(t, "demand")
		_, data := pages(t, s, report.Series{Workload: "W1", Bin: time.Minute, Demand: demand})
		got := data[0].Demand.unpack(t)
		if len(got) != len(demand) {
			t.Fatalf("%d values of %d", len(got), len(demand))
		}
		for i, v := range got {
			if math.Abs(v-demand[i]) > max(slices.Max(demand)/1000, 1e-9) {
				t.Fatalf("%v became %v", demand[i], v)
			}
		}
	})
}

const hostile = `</script><img src=x onerror="document.title='pwned'">`

func TestNamesCannotSpoilThePage(t *testing.T) {
	s, series := sample(1, 3, 600)
	s.Title, s.Command, s.Failures[0].Error, s.Targets[0].Name = hostile, hostile, hostile, hostile
	s.Workloads[0].Name, s.Workloads[0].What, series[0].Workload = hostile, hostile, hostile
	s.Workloads[0].Policies[1].Name, series[0].Policies[1].Name = hostile, hostile
	s.Workloads[0].Truths[0].Factors = map[string]report.Number{hostile: 1}
	series[0].Decisions[0].Reasons[0].Text, series[0].Decisions[0].Target.Model = hostile, hostile
	page, data := pages(t, s, series...)
	if strings.Contains(page, "<img") || len(data) != 1 || strings.Count(page, "</script>") != 3 {
		t.Error("a name left its place")
	}
	if data[0].Policies[1].Name != hostile && data[0].Policies[2].Name != hostile {
		t.Error("the charts lost the name")
	}
}

func TestNoFigureSpoilsThePage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := small()
		series := report.Series{
			Bin: time.Minute, Demand: make([]float64, 5), Need: make([]float64, 3), Decisions: []report.Told{{Reasons: []scale.Reason{{Code: scale.ReasonDemand}}}},
			Policies: []report.PolicySeries{{Ready: make([]float64, 5), Good: make([]float64, 5), Judged: make([]float64, 6), Held: make([]float64, 2), Cost: make([]float64, 5)}},
		}
		spoil(t, reflect.ValueOf(&s))
		spoil(t, reflect.ValueOf(&series))
		s.Workloads[0].Name = series.Workload
		if len(s.Workloads[0].Policies) > 0 {
			s.Workloads[0].Policies[0].Name = series.Policies[0].Name
		}
		page, data := pages(t, s, series)
		for _, d := range data {
			for _, p := range d.Policies {
				for _, l := range []lane{p.Ready, p.Attainment, p.Held, p.Cost} {
					l.unpack(t)
				}
			}
		}
		body := page[strings.Index(page, "<body>"):strings.LastIndex(page, "<footer>")]
		for found := true; found; {
			var before, after string
			before, _, after, found = cutData(body)
			body = before + after
		}
		for _, bad := range []string{"NaN", "Inf", "ZgotmplZ"} {
			if strings.Contains(body, bad) {
				t.Fatalf("the page says %s: %s", bad, body)
			}
		}
	})
}

func TestWholeBenchmarkFitsIntoTenMegabytes(t *testing.T) {
	s, series := sample(1, 28, 10_080)
	for i := range 10 {
		w, one := s.Workloads[0], series[0]
		w.Name = fmt.Sprintf("again %d", i)
		one.Workload, one.Decisions = w.Name, slices.Clone(one.Decisions)
		s.Workloads, series = append(s.Workloads, w), append(series, one)
	}
	for i := range series { // as many as can be, and no two alike
		long := strings.Repeat("a long reason ", 8)
		for j := range report.MostTold + 500 {
			series[i].Decisions = append(series[i].Decisions, report.Told{
				At: time.Duration(j) * time.Minute, From: j % 7, To: j % 5, Reasons: []scale.Reason{{Code: scale.ReasonDemand, Text: long + time.Duration(j).String()}},
			})
		}
	}
	page, data := pages(t, s, series...)
	t.Logf("%.1f MB", float64(len(page))/1e6)
	if len(page) > 10e6 {
		t.Errorf("%d bytes", len(page))
	}
	for i, d := range data {
		if n := len(d.Told.At); n < 500 || n > report.MostTold || n+d.Told.Untold != len(series[i].Decisions)+series[i].Untold {
			t.Errorf("%s: %d told and %d not, of %d", series[i].Workload, n, d.Told.Untold, len(series[i].Decisions))
		}
	}
}

func TestVerdictOfAWorkload(t *testing.T) {
	own := report.Policy{Name: report.Penstock, Attainment: 0.995, Cost: 90, Ratio: 1.05, ObjectiveMet: true}
	missed := own
	missed.Attainment, missed.ObjectiveMet = 0.98, false
	keda := report.Policy{Name: "keda", Attainment: 0.991, Cost: 120, Ratio: 1.4, ObjectiveMet: true}
	cheap := report.Policy{Name: "cheap", Attainment: 0.99, Cost: 80, Ratio: report.Unknown(), ObjectiveMet: true}
	poor := report.Policy{Name: "poor", Attainment: 0.5, Cost: 10, Ratio: 0.1}
	met := "Penstock met the objective: 99.50 % good for $90.00, 1.05 times the clairvoyant fleet."
	for want, policies := range map[string][]report.Policy{
		met + " The cheapest rival that met it is keda: $120.00, 1.40 times the clairvoyant fleet. Penstock cost 25.0 % less.": {keda, own, poor},
		met + " The cheapest rival that met it is cheap: $80.00. Penstock cost 12.5 % more.":                                   {keda, cheap, own},
		met + " No rival met it.": {own, poor},
		met:                       {own},
		"Penstock missed the objective: 98.00 % good for $90.00, 1.05 times the clairvoyant fleet. No rival met it.": {missed, poor},
		"The cheapest policy that met the objective is cheap: $80.00.":                                               {keda, cheap},
		"No policy met the objective.": {poor},
		"No policy ran to its end.":    nil,
	} {
		page, _ := pages(t, report.Scaling{Workloads: []report.Workload{{Name: "W1", Objective: 0.99, Policies: policies}}})
		if !strings.Contains(page, `<p class="verdict">`+want+`</p>`) {
			_, after, _ := strings.Cut(page, `<p class="verdict">`)
			said, _, _ := strings.Cut(after, "</p>")
			t.Errorf("%q, want %q", said, want)
		}
	}
}

func TestScatterHasEveryPolicyThatHasAPlace(t *testing.T) {
	s := report.Scaling{Workloads: []report.Workload{{Name: "W1", Objective: 0.99, Policies: []report.Policy{
		{Name: report.Penstock, Attainment: 0.995, Ratio: 1, ObjectiveMet: true},
		{Name: "keda", Attainment: 1, Ratio: 8, ObjectiveMet: true},
		{Name: "poor", Attainment: 0, Ratio: 0.7},
		{Name: "no-bound", Attainment: 0.99, Ratio: report.Unknown(), ObjectiveMet: true},
		{Name: "same-place", Attainment: 0.995, Ratio: 1, ObjectiveMet: true},
	}}}}
	page, _ := pages(t, s)
	drawn := page[strings.Index(page, "<figure"):strings.Index(page, "</figure>")]
	for _, want := range []string{"<title>penstock: 99.50 % good, 1.00 times", "<title>keda: 100.00 %", "<title>poor: 0.00 %", ">penstock</text>", ">same-place</text>", "objective 99.00 %", "1 without a ratio"} {
		if !strings.Contains(drawn, want) {
			t.Errorf("the scatter lacks %q", want)
		}
	}
	if n := strings.Count(drawn, `<g class="point`); n != 4 {
		t.Errorf("%d points of 4", n)
	}
}
