package report_test

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/report"
)

func text(t *testing.T, from io.WriterTo) string {
	t.Helper()
	var b strings.Builder
	n, err := from.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("wrote %d of %d bytes, error %v", n, b.Len(), err)
	}
	return b.String()
}

func TestTable(t *testing.T) {
	got := text(t, report.Table{
		Head: []string{"time", "p50", "p99", "why"},
		Rows: [][]string{
			{"first token", "312 ms", "1204 ms", "held, then served"},
			{"per token", "9.1 ms", report.None, "—"},
			{"saved", "-$3.10", "+2", ""},
			{"short"},
		},
	})
	want := "" +
		"time            p50      p99  why\n" +
		"first token  312 ms  1204 ms  held, then served\n" +
		"per token    9.1 ms        –  —\n" +
		"saved        -$3.10       +2\n" +
		"short\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := text(t, report.Table{Rows: [][]string{{"ok", "12"}, {"refused", "3"}}}); got != "ok       12\nrefused   3\n" {
		t.Errorf("without a head: %q", got)
	}
}

func TestSparkline(t *testing.T) {
	nan := math.NaN()
	for what, tc := range map[string]struct {
		values []float64
		width  int
		want   string
	}{
		"from zero to the largest":   {[]float64{0, 1, 2, 3, 4, 5, 6, 7, 8, 0}, 20, "·▁▂▃▄▅▆▇█·"},
		"a little is not nothing":    {[]float64{0.001, 100}, 20, "▁█"},
		"unknown is blank":           {[]float64{1, nan, 1}, 20, "█ █"},
		"peaks survive being folded": {[]float64{0, 0, 9, 0, 0, 0, 0, 0, nan, nan}, 5, "·█·· "},
		"all zero":                   {[]float64{0, 0}, 20, "··"},
		"nothing":                    {nil, 20, ""},
		"no room":                    {[]float64{1, 2}, 0, ""},
	} {
		t.Run(what, func(t *testing.T) {
			if got := report.Sparkline(tc.values, tc.width); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func TestSparklineHasItsWidth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(rapid.Float64Range(-5, 1e6)).Draw(t, "values")
		width := rapid.IntRange(1, 100).Draw(t, "width")
		got := report.Sparkline(values, width)
		if n := utf8.RuneCountInString(got); n != min(width, len(values)) {
			t.Fatalf("%d blocks for %d values in %d", n, len(values), width)
		}
		most := 0.0
		for _, v := range values {
			most = max(most, v)
		}
		if strings.Contains(got, "█") != (most > 0) {
			t.Fatalf("%q: the largest, %v, should be the full block", got, most)
		}
	})
}

func TestStrips(t *testing.T) {
	got := text(t, report.Strips{
		Rows: []report.Strip{
			{Label: "requests/s", Values: []float64{0, 0, 10, 60.25, 60, 20, 0, 0}},
			{Label: "replicas", Values: []float64{0, 1, 1, 2, 4, 4, 2, 0}},
			{Label: "cost", Values: []float64{math.NaN()}},
		},
		Span: 118 * time.Second, Width: 60,
	})
	want := "" +
		"requests/s  ··▂██▃··  0 to 60.2\n" +
		"replicas    ·▂▂▄██▄·  0 to 4\n" +
		"cost                  –\n" +
		"            0 1 min 58 s\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		report.Share(99999, 100000):               "99.99 %",
		report.Share(7, 7):                        "100.00 %",
		report.Share(29, 100):                     "29.00 %",
		report.Share(0, 0):                        "–",
		report.Dollars(0.0374):                    "$0.037",
		report.Dollars(1234.5):                    "$1234.50",
		report.Latency(9100 * time.Microsecond):   "9.1 ms",
		report.Latency(1204 * time.Millisecond):   "1204 ms",
		report.Latency(20 * time.Second):          "20.0 s",
		report.Duration(59400 * time.Millisecond): "59 s",
		report.Duration(59900 * time.Millisecond): "1 min 00 s",
		report.Duration(90 * time.Minute):         "1 h 30 min",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

type full struct{}

var errFull = errors.New("disk full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriteErrorsAreReturned(t *testing.T) {
	for what, from := range map[string]io.WriterTo{
		"table": report.Table{Rows: [][]string{{"a"}}}, "strips": report.Strips{Rows: []report.Strip{{Label: "a"}}},
	} {
		if _, err := from.WriteTo(full{}); !errors.Is(err, errFull) {
			t.Errorf("%s: error %v", what, err)
		}
	}
}
