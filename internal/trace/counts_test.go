package trace_test

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/trace"
)

// all reads a source to its end and checks what every source promises.
func all(t *testing.T, source trace.Source, err error) []scale.Request {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	requests, err := collect(trace.All(source))
	if err != nil {
		t.Fatal(err)
	}
	last := trace.Epoch()
	for i, r := range requests {
		if r.ID != scale.RequestID(i+1) || r.At.Before(last) || r.PromptTokens < 0 || r.OutputTokens < 0 {
			t.Fatalf("request %d is %+v, after %s", i+1, r, last)
		}
		last = r.At
	}
	if _, err := source.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("after the end: %v", err)
	}
	if err := trace.Close(source); err != nil {
		t.Fatal(err)
	}
	return requests
}

// perBin counts arrivals in bins of a length.
func perBin(requests []scale.Request, length time.Duration) []int {
	var counts []int
	for _, r := range requests {
		at := int(r.At.Sub(trace.Epoch()) / length)
		for len(counts) <= at {
			counts = append(counts, 0)
		}
		counts[at]++
	}
	return counts
}

// cvOf is the coefficient of variation of gaps.
func cvOf(requests []scale.Request) float64 {
	var sum, squares float64
	for i := 1; i < len(requests); i++ {
		gap := requests[i].At.Sub(requests[i-1].At).Seconds()
		sum, squares = sum+gap, squares+gap*gap
	}
	n := float64(len(requests) - 1)
	return math.Sqrt(squares/n-sum*sum/n/n) / (sum / n)
}

func TestCountsAreExactBinByBin(t *testing.T) {
	source, err := trace.Counts{Draw: trace.Draw{Seed: 1, CV: 1.1, Model: "chat"}}.Open(filepath.Join("testdata", "counts.csv"))
	requests := all(t, source, err)
	if d := cmp.Diff([]int{120, 126, 131, 0, 140, 133, 129, 128, 135}, perBin(requests, time.Minute)); d != "" {
		t.Error(d)
	}
	if requests[0].Model != "chat" || requests[0].PromptTokens != 0 {
		t.Errorf("without tokens: %+v", requests[0])
	}
}

func TestCounts(t *testing.T) {
	minutes := "t_s,requests,b\n0,3,1\n60,5,1\n120,7,9\n240,2,1\n"
	for what, tc := range map[string]struct {
		counts trace.Counts
		text   string
		want   []int
	}{
		"a gap of whole bins has no arrivals":      {trace.Counts{}, minutes, []int{3, 5, 7, 0, 2}},
		"another column":                           {trace.Counts{Column: "b"}, minutes, []int{1, 1, 9, 0, 1}},
		"the only column, whatever its name":       {trace.Counts{}, "n,t_s\n4,0\n2,60\n", []int{4, 2}},
		"fractions are carried":                    {trace.Counts{Scale: 0.5}, minutes, []int{1, 3, 3, 0, 1}},
		"a part begins at zero":                    {trace.Counts{Part: trace.Part{From: time.Minute, For: 2 * time.Minute}}, minutes, []int{5, 7}},
		"days":                                     {trace.Counts{Part: trace.Days(1, 1)}, "t_s,n\n0,1\n43200,2\n86400,3\n129600,4\n172800,5\n", []int{3, 4}},
		"compressed, with a mark and line ends":    {trace.Counts{}, zipped(t, "\ufefft_s,requests\r\n0,1\r\n60,2\r\n"), []int{1, 2}},
		"a file that begins later, and half hours": {trace.Counts{}, "t_s,n\n60.0,1\n90,1\n", []int{0, 2}},
	} {
		t.Run(what, func(t *testing.T) {
			source, err := tc.counts.Read("x.csv", strings.NewReader(tc.text))
			got := perBin(all(t, source, err), time.Minute)
			if what == "days" { // the arrival is somewhere in its half day
				got = []int{sum(got[:720]), sum(got[720:])}
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func sum(counts []int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

func TestPartOfABinHasItsPart(t *testing.T) {
	source, err := trace.Counts{Part: trace.Part{From: 30 * time.Second, For: time.Minute}}.
		Read("x.csv", strings.NewReader("t_s,n\n0,4000\n60,4000\n"))
	requests := all(t, source, err)
	if n := len(requests); n < 3800 || n > 4200 {
		t.Errorf("%d requests in half of two bins of 4000", n)
	}
	if last := requests[len(requests)-1].At.Sub(trace.Epoch()); last >= time.Minute {
		t.Errorf("the last one at %s", last)
	}
}

// Within a bin the gaps have the CV that was asked for.
func TestCountsHaveTheirCV(t *testing.T) {
	for _, cv := range []float64{0.2, 0.5, 1, 1.1, 2, 4} {
		source, err := trace.Counts{Draw: trace.Draw{Seed: 5, CV: cv}}.Read("x.csv", strings.NewReader("t_s,n\n0,25000\n3600,25000\n"))
		if got := cvOf(all(t, source, err)); math.Abs(got-cv) > 0.05*cv {
			t.Errorf("gaps have a CV of %.3f, want %v", got, cv)
		}
	}
}

func TestDrawnIsAFunctionOfItsSeed(t *testing.T) {
	draw := func(seed uint64) []scale.Request {
		source, err := trace.Counts{Draw: trace.Draw{Seed: seed, CV: 1.1, Tokens: trace.Conversation()}}.Open(filepath.Join("testdata", "counts.csv"))
		return all(t, source, err)
	}
	if !slices.Equal(draw(7), draw(7)) {
		t.Error("one seed gave two series")
	}
	if slices.Equal(draw(7), draw(8)) {
		t.Error("two seeds gave one series")
	}
}

func TestCountsSayWhereAFaultIs(t *testing.T) {
	head := "t_s,requests,lo,hi\n0,1,1,1\n60,1,1,1\n"
	for what, tc := range map[string]struct {
		counts     trace.Counts
		text, want string
	}{
		"empty file":             {trace.Counts{}, "", "read trace x.csv:1: the file is empty"},
		"nothing but a header":   {trace.Counts{}, "t_s,requests\n", "x.csv:2: there is no row after the header"},
		"one row":                {trace.Counts{}, "t_s,requests\n0,1\n", "x.csv:2: one row alone does not tell how long its bin is"},
		"a column mistyped":      {trace.Counts{Column: "request"}, head, "x.csv:1: column request is missing; found t_s,requests,lo,hi; the nearest is requests"},
		"no column named":        {trace.Counts{}, "t_s,a,b\n", "x.csv:1: column requests is missing; found t_s,a,b"},
		"a file of requests":     {trace.Counts{}, "t_ms,in_tokens,out_tokens\n0,1,1\n", "x.csv:1: column t_s is missing; found t_ms,in_tokens,out_tokens; the nearest is t_ms"},
		"negative time":          {trace.Counts{}, "t_s,n\n-1,1\n0,1\n", "x.csv:2: t_s: -1 is negative"},
		"negative count":         {trace.Counts{}, head + "120,-4,1,1\n", "x.csv:4: requests: -4 is negative"},
		"not sorted":             {trace.Counts{}, head + "0,1,1,1\n", "x.csv:4: t_s: 0 is not after the 60 s of the row before; sort the file by t_s"},
		"one time twice":         {trace.Counts{}, "t_s,n\n0,1\n0,1\n", "x.csv:3: t_s: 0 is not after the 0 s of the row before"},
		"bins of several widths": {trace.Counts{}, head + "150,1,1,1\n", "x.csv:4: t_s: 150 comes 1m30s after the row before, and bins are 1m0s long"},
		"NaN":                    {trace.Counts{}, head + "NaN,1,1,1\n", `x.csv:4: t_s: "NaN" is no number`},
		"infinite":               {trace.Counts{}, head + "120,Inf,1,1\n", `x.csv:4: requests: "Inf" is no number`},
		"text":                   {trace.Counts{}, head + "120,many,1,1\n", `x.csv:4: requests: "many" is no number`},
		"nothing in a field":     {trace.Counts{}, head + "120,,1,1\n", `x.csv:4: requests: "" is no number`},
		"a fraction":             {trace.Counts{}, head + "120,1.5,1,1\n", "x.csv:4: requests: 1.5 is no whole number of requests; read it as a curve"},
		"too many":               {trace.Counts{}, head + "120,1e9,1,1\n", "x.csv:4: requests: 1e9 is above 100000000"},
		"too many once scaled":   {trace.Counts{Scale: 1e6}, "t_s,n\n0,0\n60,0\n120,101\n", "x.csv:4: n: 101 times the scale of 1e+06 is above 100000000 a bin"},
		"far future":             {trace.Counts{}, head + "1e12,1,1,1\n", "x.csv:4: t_s: 1e12 is above 1000000000"},
		"a field too few":        {trace.Counts{}, head + "120,1\n", "x.csv:4: wrong number of fields"},
		"a line without an end":  {trace.Counts{}, head + strings.Repeat("9", 1<<17), "x.csv:4: the line is longer than 65536 bytes"},
		"gzip cut short":         {trace.Counts{}, zipped(t, head+strings.Repeat("\n", 100000))[:50], "the file is cut short"},
		"beyond its end":         {trace.Counts{Part: trace.Days(3, 1)}, head, "the part that begins at 72h0m0s has no bin in it"},
		"a part before zero":     {trace.Counts{Part: trace.Part{From: -1}}, head, "a part from -1ns for 0s is none"},
		"a scale of NaN":         {trace.Counts{Scale: math.NaN()}, head, "a scale of NaN is not between"},
		"a negative scale":       {trace.Counts{Scale: -1}, head, "a scale of -1 is not between"},
		"a CV too large":         {trace.Counts{Draw: trace.Draw{CV: 11}}, head, "a coefficient of variation of 11 is outside 0.001 to 10"},
		"a CV of NaN":            {trace.Counts{Draw: trace.Draw{CV: math.NaN()}}, head, "a coefficient of variation of NaN is outside"},
	} {
		t.Run(what, func(t *testing.T) {
			source, err := tc.counts.Read("x.csv", strings.NewReader(tc.text))
			if err == nil {
				_, err = collect(trace.All(source))
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestSourcesOfFilesThatAreNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.csv")
	_, counts := trace.Counts{}.Open(path)
	_, curve := trace.Curve{}.Open(path)
	_, clients := trace.Clients{}.Open(path)
	_, sample := trace.OpenSample(path)
	_, windows := trace.OpenWindows(path)
	_, _, nodes := trace.Availability(path)
	for what, err := range map[string]error{"counts": counts, "curve": curve, "clients": clients, "sample": sample, "windows": windows, "nodes": nodes} {
		if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "none.csv") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzCounts(f *testing.F) {
	f.Add([]byte("t_s,requests\n0,3\n60,5\n120,7\n240,2\n"), 1.0)
	f.Add([]byte("t_s,requests,lo,hi\n0,3,1,\"2\"\n0.5,5,1,2\n"), 0.3)
	f.Add([]byte("requests,t_s\n1000,0\n2,999999\n"), 4.0)
	f.Fuzz(func(t *testing.T, data []byte, factor float64) {
		if heavy(data) || factor > 10 {
			t.Skip("too much to be drawn in a moment")
		}
		source, err := trace.Counts{Scale: factor}.Read("f", strings.NewReader(string(data)))
		if factor >= 0 {
			fuzzed(t, source, err)
		} else if err == nil {
			t.Errorf("a scale of %v: no error", factor)
		}
	})
}
