package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/report"
)

// sameNumber takes one unknown figure for another.
var sameNumber = cmp.Comparer(func(a, b report.Number) bool { return a == b || !a.Known() && !b.Known() })

// golden compares with a file of testdata, or with UPDATE=1 writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (UPDATE=1 rewrites it):\n%s", path, d)
	}
}

// fataler is a test, drawn or not.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

func written(t fataler, write func(io.Writer) error) string {
	t.Helper()
	var b strings.Builder
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestScalingAsJSONIsOneLine(t *testing.T) {
	got := written(t, func(w io.Writer) error { return report.WriteScalingJSON(w, small()) })
	if strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "\n") {
		t.Errorf("not one line: %q", got)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(got), "", "  "); err != nil {
		t.Fatal(err)
	}
	golden(t, "scaling.json", b.String())
	var back report.Scaling
	if err := json.Unmarshal([]byte(got), &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(small(), back, sameNumber); d != "" {
		t.Error(d)
	}
}

func TestScalingAsTable(t *testing.T) {
	golden(t, "scaling.txt", written(t, func(w io.Writer) error { return report.WriteScaling(w, small()) }))
}

func TestNamesCannotSpoilTheTable(t *testing.T) {
	s := small()
	s.Title = "模型\x1b[31m red"
	s.Workloads[0].Name = strings.Repeat("モデル", 40)
	s.Workloads[0].Policies[0].Name = "キュー\n長さで伸ばす自動スケーラーの長い名前"
	s.Failures[0].Error = strings.Repeat("long ", 50)
	got := written(t, func(w io.Writer) error { return report.WriteScaling(w, s) })
	golden(t, "scaling-names.txt", got)
	for r := range strings.SplitSeq(got, "\n") {
		if strings.ContainsFunc(r, unicode.IsControl) {
			t.Errorf("a control character in %q", r)
		}
	}
}

func TestRankedPutsTheCheapestThatMeetsTheObjectiveFirst(t *testing.T) {
	policies := []report.Policy{
		{Name: "unknown", Cost: report.Unknown(), ObjectiveMet: true},
		{Name: "dear", Cost: 5, ObjectiveMet: true},
		{Name: "free", Cost: 0},
		{Name: "cheap", Cost: 2, ObjectiveMet: true},
		{Name: "penstock-reactive", Cost: 1, ObjectiveMet: true},
		{Name: "broken", Cost: report.Number(math.Inf(1))},
	}
	var got []string
	for _, p := range report.Ranked(policies) {
		got = append(got, p.Name)
	}
	if d := cmp.Diff([]string{"penstock-reactive", "cheap", "dear", "unknown", "free", "broken"}, got); d != "" {
		t.Error(d)
	}
	if best, ok := report.BestRival(policies); !ok || best.Name != "cheap" {
		t.Errorf("best rival %q, %v: want the cheapest that is not Penstock's own", best.Name, ok)
	}
	if best, ok := report.BestRival(policies[2:3]); ok {
		t.Errorf("%q misses the objective and is the best rival", best.Name)
	}
}

// spoil gives every figure of the value under v, and every text, one drawn.
func spoil(t *rapid.T, v reflect.Value) {
	number := rapid.OneOf(
		rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), -1, math.MaxFloat64, math.SmallestNonzeroFloat64, 1e15, 0.99, 1}),
		rapid.Float64(),
	)
	text := rapid.SampledFrom([]string{"", "W1", `</script><img src=x onerror="alert(1)">`, "<!--", "\u2028\x00\xff", "'\"`${}", "penstock"})
	switch v.Kind() { //nolint:exhaustive // a result holds these
	case reflect.Pointer:
		spoil(t, v.Elem())
	case reflect.Float64:
		v.SetFloat(number.Draw(t, "figure"))
	case reflect.String:
		v.SetString(text.Draw(t, "text"))
	case reflect.Int:
		v.SetInt(rapid.Int64Range(-1, 1e12).Draw(t, "count"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "flag"))
	case reflect.Struct:
		for _, field := range v.Fields() {
			spoil(t, field)
		}
	case reflect.Slice:
		for i := range v.Len() {
			spoil(t, v.Index(i))
		}
	default: // a map's keys are outcomes and variants
	}
}

func TestNoFigureSpoilsTheJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := small()
		spoil(t, reflect.ValueOf(&s))
		got := written(t, func(w io.Writer) error { return report.WriteScalingJSON(w, s) })
		var back report.Scaling
		if err := json.Unmarshal([]byte(got), &back); err != nil {
			t.Fatalf("%v in %s", err, got)
		}
		if n := strings.Count(got, "\n"); n != 1 {
			t.Fatalf("%d lines", n)
		}
	})
}

func TestNoFigureSpoilsTheTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := small()
		spoil(t, reflect.ValueOf(&s))
		for line := range strings.SplitSeq(written(t, func(w io.Writer) error { return report.WriteScaling(w, s) }), "\n") {
			if n := utf8.RuneCountInString(line); n > report.Columns {
				t.Fatalf("%d columns: %q", n, line)
			}
		}
	})
}

func TestScalingWriteErrorsAreReturned(t *testing.T) {
	for what, write := range map[string]func(io.Writer) error{
		"table": func(w io.Writer) error { return report.WriteScaling(w, small()) },
		"JSON":  func(w io.Writer) error { return report.WriteScalingJSON(w, small()) },
		"HTML":  func(w io.Writer) error { return report.WriteHTML(w, small(), nil) },
	} {
		if err := write(full{}); !errors.Is(err, errFull) {
			t.Errorf("%s: error %v", what, err)
		}
	}
}
