package trace_test

import (
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/trace"
)

func sample(name string) string { return filepath.Join("testdata", name) }

func TestCurveKeepsItsShapeAndItsMean(t *testing.T) {
	source, err := trace.Curve{Column: "tokens_a", MeanRPS: 10}.Open(sample("curve.csv"))
	got := perBin(all(t, source, err), time.Minute)
	levels := []float64{1000, 1100, 1250, 900, 4000, 4100, 4050, 1000, 990}
	total := 0.0
	for _, l := range levels {
		total += l
	}
	for i, l := range levels {
		if want := l / total * 9 * 600; math.Abs(float64(got[i])-want) > 1 {
			t.Errorf("minute %d has %d requests, want %.1f", i, got[i], want)
		}
	}
	if n := sum(got); n != 5400 && n != 5399 {
		t.Errorf("%d requests in nine minutes at 10 a second", n)
	}
}

func TestCurve(t *testing.T) {
	for what, tc := range map[string]struct {
		curve trace.Curve
		text  string
		want  []int
	}{
		"levels that are rates":       {trace.Curve{}, "t_s,rps\n0,0.5\n60,0.25\n120,1\n", []int{30, 15, 60}},
		"the mean is of the part":     {trace.Curve{MeanRPS: 1, Part: trace.Part{From: time.Minute, For: time.Minute}}, "t_s,rps\n0,500\n60,25\n120,100\n", []int{60}},
		"a gap counts as nothing":     {trace.Curve{MeanRPS: 1}, "t_s,rps\n0,1\n60,1\n180,2\n", []int{60, 60, 0, 120}},
		"a part that begins in a bin": {trace.Curve{MeanRPS: 1, Part: trace.Days(0, 1)}, "t_s,rps\n0,1\n60,1\n", []int{60, 60}},
	} {
		t.Run(what, func(t *testing.T) {
			source, err := tc.curve.Read("x.csv", strings.NewReader(tc.text))
			if d := cmp.Diff(tc.want, perBin(all(t, source, err), time.Minute)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCurveSaysWhereAFaultIs(t *testing.T) {
	for what, tc := range map[string]struct {
		curve      trace.Curve
		text, want string
	}{
		"a column mistyped":  {trace.Curve{Column: "C_prd"}, "t_s,A_prod,C_prod\n0,1,1\n", "x.csv:1: column C_prd is missing; found t_s,A_prod,C_prod; the nearest is C_prod"},
		"nothing at all":     {trace.Curve{Column: "n", MeanRPS: 1}, "t_s,n\n0,0\n60,0\n", "read trace x.csv: column n is 0 throughout"},
		"far too much":       {trace.Curve{MeanRPS: 1e9}, "t_s,n\n0,0\n60,1\n", "comes to more than 100000000 requests a bin"},
		"a mean of NaN":      {trace.Curve{MeanRPS: math.NaN()}, "t_s,n\n0,0\n60,1\n", "a mean of NaN requests a second"},
		"a negative mean":    {trace.Curve{MeanRPS: -1}, "t_s,n\n0,0\n60,1\n", "a mean of -1 requests a second"},
		"a level below zero": {trace.Curve{}, "t_s,n\n0,0\n60,-1\n", "x.csv:3: n: -1 is negative"},
		"a fault at its end": {trace.Curve{}, "t_s,n\n0,0\n60,1\n120,1\n120,1\n", "x.csv:5: t_s: 120 is not after the 120 s"},
		"beyond its end":     {trace.Curve{Part: trace.Days(1, 1)}, "t_s,n\n0,0\n60,1\n", "the part that begins at 24h0m0s has no bin in it"},
	} {
		t.Run(what, func(t *testing.T) {
			source, err := tc.curve.Read("x.csv", strings.NewReader(tc.text))
			if err == nil {
				_, err = collect(trace.All(source))
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestClientsHaveTheirRatesWindowByWindow(t *testing.T) {
	source, err := trace.Clients{Seed: 3, Model: "qwen"}.Open(sample("clients.csv"))
	got := map[string][]scale.Request{}
	for _, r := range all(t, source, err) {
		if r.Model != "qwen" {
			t.Fatalf("%+v", r)
		}
		got[r.Tenant] = append(got[r.Tenant], r)
	}
	want := map[string][]int{
		"acme":    {1500, 0, 1806, 0, 300},
		"initech": {60, 90, 0, 2400},
		"hooli":   {0, 600, 600},
	}
	for client, counts := range want {
		if d := cmp.Diff(counts, perBin(got[client], 10*time.Minute)); d != "" {
			t.Errorf("%s: %s", client, d)
		}
	}
	// Gamma of shape 0.25 has a CV of 2, Weibull of shape 0.7 one of 1.46.
	if cv := cvOf(got["acme"][:1500]); math.Abs(cv-2) > 0.2 {
		t.Errorf("a client of shape 0.25 has a CV of %.2f", cv)
	}
}

func TestClientsCarryFractionsEachForItself(t *testing.T) {
	text := "client,t_s,rps,dist,shape\n" + "a,0,1,G,1\na,600,1,G,1\na,1200,1,G,1\nb,0,0.5,W,1\nb,600,0.5,W,1\n"
	source, err := trace.Clients{Scale: 1.0 / 400}.Read("x.csv", strings.NewReader(text)) // 1.5 and 0.75 a window
	got := map[string]int{}
	for _, r := range all(t, source, err) {
		got[r.Tenant]++
	}
	if d := cmp.Diff(map[string]int{"a": 4, "b": 1}, got); d != "" {
		t.Error(d)
	}
}

// One client's arrivals are the same whoever else is in the file.
func TestClientsDoNotDependOnEachOther(t *testing.T) {
	one := "client,t_s,rps,dist,shape\na,0,1,G,0.5\na,600,2,W,0.5\n"
	alone, err := trace.Clients{Seed: 4}.Read("x.csv", strings.NewReader(one))
	want := all(t, alone, err)
	both, err := trace.Clients{Seed: 4}.Read("x.csv", strings.NewReader(one+"b,0,1,G,1\n"))
	var got []scale.Request
	for _, r := range all(t, both, err) {
		if r.Tenant == "a" {
			r.ID = scale.RequestID(len(got) + 1)
			got = append(got, r)
		}
	}
	if !slices.Equal(want, got) {
		t.Error("another client changed this one's arrivals")
	}
}

func TestClientsOfAPart(t *testing.T) {
	source, err := trace.Clients{Part: trace.Part{From: 10 * time.Minute, For: 15 * time.Minute}}.Open(sample("clients.csv"))
	got := perBin(all(t, source, err), 10*time.Minute)
	if got[0] != 690 || got[1] < 600 || got[1] > 2000 || len(got) != 2 {
		t.Errorf("requests %v, want 690 and about half of 4206", got)
	}
}

func TestClientsSayWhereAFaultIs(t *testing.T) {
	head := "client,t_s,rps,dist,shape\na,0,1,G,0.5\n"
	for what, tc := range map[string]struct{ text, want string }{
		"empty file":           {"", "x.csv:1: the file is empty"},
		"nothing but a header": {"client,t_s,rps,dist,shape\n", "x.csv:2: there is no row after the header"},
		"a column missing":     {"client,t_s,rate,dist,shape\n", "x.csv:1: column rps is missing; found client,t_s,rate,dist,shape"},
		"another law":          {head + "a,600,1,P,1\n", `x.csv:3: dist: "P" is no law that is known: G (Gamma) or W (Weibull)`},
		"a shape of zero":      {head + "a,600,1,G,0\n", "x.csv:3: shape: 0 is below 0.01"},
		"a huge shape":         {head + "a,600,1,G,1e7\n", "x.csv:3: shape: 1e7 is above 1000000"},
		"a negative rate":      {head + "a,600,-1,G,1\n", "x.csv:3: rps: -1 is negative"},
		"a huge rate":          {head + "a,600,1e9,G,1\n", "x.csv:3: rps: 1e9 is above"},
		"a rate of NaN":        {head + "a,600,nan,G,1\n", `x.csv:3: rps: "nan" is no number`},
		"between windows":      {head + "a,700,1,G,1\n", "x.csv:3: t_s: 700 is no multiple of 600"},
		"not sorted":           {head + "b,0,1,G,1\na,0,1,G,1\n", "x.csv:4: t_s: 0 is not after the row before of client a"},
		"gzip cut short":       {zipped(t, head)[:30], "the file is cut short"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := trace.Clients{}.Read("x.csv", strings.NewReader(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
	for what, c := range map[string]trace.Clients{"scale": {Scale: math.Inf(1)}, "part": {Part: trace.Part{For: -1}}} {
		if _, err := c.Open(sample("clients.csv")); err == nil {
			t.Errorf("a %s that cannot be: no error", what)
		}
	}
}

func TestSampleDrawsWholeRows(t *testing.T) {
	s, err := trace.ReadSample("x.csv", strings.NewReader("in_tokens,out_tokens\n10,1\n20,2\n30,3\n"))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	seen := map[int]int{}
	for range 3000 {
		in, out := s.Draw(0, random)
		if in != 10*out {
			t.Fatalf("%d and %d tokens are of different rows", in, out)
		}
		seen[out]++
	}
	for row := 1; row <= 3; row++ {
		if math.Abs(float64(seen[row])-1000) > 4*math.Sqrt(1000*2/3.0) {
			t.Errorf("row %d was drawn %d times of 3000", row, seen[row])
		}
	}
	if _, err := trace.OpenSample(sample("requests.csv")); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"in_tokens,out\n1,1\n":              "x.csv:1: column out_tokens is missing; found in_tokens,out; the nearest is",
		"t_ms,out_tokens\n1,1\n":            "x.csv:1: column in_tokens is missing",
		"in_tokens,out_tokens\n":            "x.csv:2: there is no request after the header",
		"in_tokens,out_tokens\n1,1\n1,-1\n": "x.csv:3: out_tokens: -1 is negative",
		"in_tokens,out_tokens\n1.5,1\n":     `x.csv:2: in_tokens: "1.5" is no whole number of tokens`,
	} {
		if _, err := trace.ReadSample("x.csv", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
}

func TestConversationHasThePublishedQuantiles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	var prompts, outputs []int
	for range 100_000 {
		p, o := trace.Conversation().Draw(0, random)
		prompts, outputs = append(prompts, p), append(outputs, o)
	}
	for what, tc := range map[string]struct {
		draws []int
		want  map[float64]float64
		mean  float64
	}{
		"prompt": {prompts, map[float64]float64{0.5: 1020, 0.9: 2734, 0.99: 4142}, 1155},
		"output": {outputs, map[float64]float64{0.5: 129, 0.9: 424, 0.99: 601}, 211},
	} {
		slices.Sort(tc.draws)
		for q, want := range tc.want {
			if got := float64(tc.draws[int(q*100_000)]); math.Abs(got/want-1) > 0.04 {
				t.Errorf("%s: quantile %v is %v, published is %v", what, q, got, want)
			}
		}
		if got := float64(sum(tc.draws)) / 100_000; math.Abs(got/tc.mean-1) > 0.02 {
			t.Errorf("%s: mean %.1f, published is %v", what, got, tc.mean)
		}
		if tc.draws[0] < 1 {
			t.Errorf("%s: %d tokens", what, tc.draws[0])
		}
	}
}

func TestWindowsHaveTheirMeansAndQuantiles(t *testing.T) {
	w, err := trace.OpenWindows(sample("windows.csv"))
	if err != nil {
		t.Fatal(err)
	}
	for hour, want := range map[int]struct{ prompt, output, median float64 }{
		0: {244.69, 75.19, 148}, 5: {244.69, 75.19, 148}, 6: {330.30, 83.10, 200}, 18: {601.85, 101.49, 365}, 999: {601.85, 101.49, 365},
	} {
		random := rand.New(rand.NewPCG(1, 1))
		var prompts, outputs []int
		for range 50_000 {
			p, o := w.Draw(time.Duration(hour)*time.Hour, random)
			prompts, outputs = append(prompts, p), append(outputs, o)
		}
		slices.Sort(prompts)
		p, o, median := float64(sum(prompts))/50_000, float64(sum(outputs))/50_000, float64(prompts[25_000])
		if math.Abs(p/want.prompt-1) > 0.03 || math.Abs(o/want.output-1) > 0.03 || math.Abs(median/want.median-1) > 0.03 {
			t.Errorf("hour %d: means %.1f and %.1f, median prompt %.0f; want %+v", hour, p, o, median, want)
		}
	}
}

func TestWindowsSayWhereAFaultIs(t *testing.T) {
	head := "t_s,field,mean,q0,q50,q100\n"
	in, out := "0,input_tokens,2,1,2,3\n", "0,output_tokens,2,1,2,3\n"
	for what, tc := range map[string]struct{ text, want string }{
		"empty file":               {"", "x.csv:1: the file is empty"},
		"nothing but a header":     {head, "x.csv:2: there is no row after the header"},
		"no quantiles":             {"t_s,field,mean\n", "x.csv:1: quantiles from q0 to q100 are missing"},
		"quantiles from elsewhere": {"t_s,field,mean,q1,q100\n", "x.csv:1: quantiles from q0 to q100 are missing"},
		"quantiles that fall":      {"t_s,field,mean,q0,q50,q20,q100\n", "x.csv:1: column q20 is no quantile after those before"},
		"a quantile of nothing":    {"t_s,field,mean,q0,qmax,q100\n", "x.csv:1: column qmax is no quantile"},
		"a column missing":         {"t_s,field,q0,q100\n", "x.csv:1: column mean is missing"},
		"another field":            {head + "0,reason_tokens,2,1,2,3\n", `x.csv:2: field: "reason_tokens" is neither input_tokens nor output_tokens`},
		"one field twice":          {head + in + in, "x.csv:3: field: input_tokens is there twice in one window"},
		"no output":                {head + in, "x.csv:2: the window at 0 s has no row of output_tokens"},
		"no input":                 {head + out + "9,input_tokens,2,1,2,3\n", "the window at 0 s has no row of input_tokens"},
		"not sorted":               {head + "9,input_tokens,2,1,2,3\n9,output_tokens,2,1,2,3\n" + in + out, "x.csv:4: the window is earlier than the one before"},
		"values that fall":         {head + "0,input_tokens,2,1,5,3\n", "x.csv:2: q100: 3 is below the quantile before, 5"},
		"NaN":                      {head + "0,input_tokens,NaN,1,5,9\n", `x.csv:2: mean: "NaN" is no number`},
		"far too many":             {head + "0,input_tokens,1,1,5,1e8\n", "x.csv:2: q100: 1e8 is above 10000000"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := trace.ReadWindows("x.csv", strings.NewReader(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestOutliers(t *testing.T) {
	o := trace.Outliers{Tokens: trace.Conversation(), Share: 0.1, PromptTokens: 30_000}
	random := rand.New(rand.NewPCG(1, 1))
	long := 0
	for range 10_000 {
		if p, out := o.Draw(0, random); p == 30_000 && out > 0 {
			long++
		}
	}
	if long < 880 || long > 1120 {
		t.Errorf("%d of 10,000 prompts are long, want a tenth", long)
	}
}

func of(requests ...scale.Request) trace.Source {
	return &list{requests}
}

type list struct{ left []scale.Request }

func (l *list) Next() (scale.Request, error) {
	if len(l.left) == 0 {
		return scale.Request{}, io.EOF
	}
	first := l.left[0]
	l.left = l.left[1:]
	return first, nil
}

type broken struct{ err error }

func (b broken) Next() (scale.Request, error) { return scale.Request{}, b.err }

func second(n int, model string) scale.Request {
	return scale.Request{ID: 9, At: at(time.Duration(n) * time.Second), Model: model}
}

func TestMergeSorts(t *testing.T) {
	got := all(t, trace.Merge(of(second(0, "a"), second(4, "a")), of(), of(second(0, "b"), second(1, "b"), second(9, "b"))), nil)
	order := ""
	for _, r := range got {
		order += r.Model
	}
	if order != "abbab" {
		t.Errorf("merged in the order %s", order)
	}
}

func TestClipEndsInTime(t *testing.T) {
	clip := &trace.Clip{Source: of(second(0, ""), second(4, ""), second(5, ""), second(6, "")), For: 5 * time.Second}
	requests, err := collect(trace.All(clip))
	if err != nil || len(requests) != 2 {
		t.Errorf("%d requests, error %v", len(requests), err)
	}
}

func TestRescale(t *testing.T) {
	for _, factor := range []float64{0.1, 1, 2.5, 30} {
		flat, err := trace.Flat{Span: time.Hour, MeanRPS: 2}.Source(trace.Draw{Seed: 1})
		n := float64(len(all(t, flat, err)))
		flat, err = trace.Flat{Span: time.Hour, MeanRPS: 2}.Source(trace.Draw{Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		r, err := trace.Rescale(flat, factor, 1)
		got := float64(len(all(t, r, err)))
		if math.Abs(got-n*factor) > 4*math.Sqrt(n) {
			t.Errorf("%v times %v requests are %v", factor, n, got)
		}
	}
	for _, factor := range []float64{0, -1, 1001, math.NaN(), math.Inf(1)} {
		if _, err := trace.Rescale(of(), factor, 1); err == nil {
			t.Errorf("a factor of %v: no error", factor)
		}
	}
}

func TestShapersPassErrorsOn(t *testing.T) {
	fault := errors.New("torn")
	rescaled, err := trace.Rescale(broken{fault}, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	for what, source := range map[string]trace.Source{
		"merge": trace.Merge(of(second(1, "")), broken{fault}), "clip": &trace.Clip{Source: broken{fault}, For: time.Hour}, "rescale": rescaled,
	} {
		for range 2 {
			if _, err := source.Next(); !errors.Is(err, fault) {
				t.Errorf("%s: error %v, want %v", what, err, fault)
			}
		}
	}
	if _, err := trace.ReadMinutes(broken{fault}); !errors.Is(err, fault) {
		t.Errorf("minutes: %v", err)
	}
}

func TestMinutes(t *testing.T) {
	a, b := second(1, "a"), second(61, "b")
	a.PromptTokens, a.OutputTokens, b.PromptTokens = 10, 1, 7
	a2 := a
	a2.PromptTokens, a2.OutputTokens, a2.At = 20, 2, at(59*time.Second)
	got, err := trace.ReadMinutes(of(a, a2, b))
	want := trace.Minutes{Bin: time.Minute, Span: 61 * time.Second, Models: []trace.ModelMinutes{
		{Model: "a", Bins: []trace.Minute{{Requests: 2, PromptTokens: 15, OutputTokens: 1.5}, {}}},
		{Model: "b", Bins: []trace.Minute{{}, {Requests: 1, PromptTokens: 7}}},
	}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Error(err, d)
	}
	if rps := got.Models[0].Bins[0].RPS(got.Bin); rps != 2.0/60 {
		t.Errorf("%v requests a second", rps)
	}
	if empty, err := trace.ReadMinutes(of()); err != nil || len(empty.Models) != 0 {
		t.Errorf("of nothing: %+v, %v", empty, err)
	}
}

// A series of years has wider bins, and loses nobody.
func TestMinutesAreBounded(t *testing.T) {
	var requests []scale.Request
	for hour := range 24 * 400 {
		r := second(hour*3600+hour%60, "a")
		r.PromptTokens = 3
		requests = append(requests, r)
	}
	got, err := trace.ReadMinutes(of(requests...))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, bin := range got.Models[0].Bins {
		n += bin.Requests
		if bin.Requests > 0 && bin.PromptTokens != 3 {
			t.Fatalf("%+v", bin)
		}
	}
	if n != len(requests) || got.Bin != 32*time.Minute || len(got.Models[0].Bins) > 20_160 {
		t.Errorf("%d of %d requests in %d bins of %s", n, len(requests), len(got.Models[0].Bins), got.Bin)
	}
	for i, bin := range got.Models[0].Bins { // about every 60 minutes one, bins of 32
		if bin.Requests > 1 {
			t.Fatalf("bin %d has %d requests", i, bin.Requests)
		}
	}
}

func TestAvailability(t *testing.T) {
	got, span, err := trace.Availability(sample("nodes.csv"))
	if err != nil {
		t.Fatal(err)
	}
	want := []trace.Change{{}, {480 * time.Second, 1}, {540 * time.Second, 2}}
	if d := cmp.Diff(want, got[:3]); d != "" || len(got) != 10 || span != 2640*time.Second {
		t.Errorf("%d changes in %s: %s", len(got), span, d)
	}
	for text, want := range map[string]string{
		"":                          "x.csv:1: the file is empty",
		"t_s,nodes\n":               "x.csv:2: there is no row after the header",
		"t_s,nodes\n0,5\n":          "x.csv:2: one row at 0 alone does not tell how long the count holds",
		"t_s,node\n0,5\n":           "x.csv:1: column nodes is missing; found t_s,node; the nearest is node",
		"time,nodes\n0,5\n":         "x.csv:1: column t_s is missing",
		"t_s,nodes\n0,5\n0,6\n":     "x.csv:3: t_s: 0 is not after the 0 s of the row before",
		"t_s,nodes\n0,5\n9,6.5\n":   "x.csv:3: nodes: 6.5 is no whole number of nodes",
		"t_s,nodes\n0,5\n9,-1\n":    "x.csv:3: nodes: -1 is negative",
		"t_s,nodes\n0,5\nNaN,1\n":   `x.csv:3: t_s: "NaN" is no number`,
		"t_s,nodes\n0,5\n9,1e300\n": "x.csv:3: nodes: 1e300 is above 1000000",
	} {
		if _, _, err := trace.ReadAvailability("x.csv", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
}

func TestSampleFileOfRequests(t *testing.T) {
	source, err := trace.Open(sample("requests.csv"))
	requests := all(t, source, err)
	if first := requests[0]; len(requests) != 9 || first.Model != "chat" || first.Tenant != "initech" {
		t.Errorf("%d requests, the first is %+v", len(requests), first)
	}
}
