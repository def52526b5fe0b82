package scale

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fill sets everything that v holds: times with a reading of the process's own
// clock, and numbers with more digits than are kept.
func fill(v reflect.Value, now time.Time) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(now))
	case v.Type() == reflect.TypeFor[*time.Location]():
		v.Set(reflect.ValueOf(time.UTC))
	case v.Kind() == reflect.Struct:
		for _, field := range v.Fields() {
			fill(field, now)
		}
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), now)
	case v.Kind() == reflect.String:
		v.SetString("text\xff")
	case v.Kind() == reflect.Float64:
		v.SetFloat(1234567.891)
	case v.CanInt():
		v.SetInt(1234567)
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	}
}

// clocks counts the times that hold a reading of the process's own clock.
func clocks(v reflect.Value) int {
	n := 0
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		if t := v.Interface().(time.Time); t != t.Round(0) {
			n++
		}
	case v.Type() == reflect.TypeFor[*time.Location]():
	case v.Kind() == reflect.Struct:
		for _, field := range v.Fields() {
			n += clocks(field)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			n += clocks(v.Index(i))
		}
	}
	return n
}

func TestNoTimeOfAKeptSnapshotHoldsTheProcesssClock(t *testing.T) {
	var s Snapshot
	fill(reflect.ValueOf(&s).Elem(), time.Now())
	before := clocks(reflect.ValueOf(s))
	kept := s.Kept()
	if n := clocks(reflect.ValueOf(kept)); n != 0 || before < 20 {
		t.Errorf("%d of %d times do", n, before)
	}
	if n := clocks(reflect.ValueOf(s)); n != before {
		t.Error("Kept changed its argument")
	}
	if diff := cmp.Diff(kept, kept.Kept(), cmp.Comparer(func(a, b *time.Location) bool { return a == b })); diff != "" {
		t.Errorf("what is kept is changed when it is kept again: %s", diff)
	}
	m := kept.Models[0]
	if m.Demand.Good.Value != 1234567.891 || m.Demand.Arrivals.Value != 1235000 || m.LastFailure != "text�" {
		t.Errorf("good %v, arrivals %v, failure %q", m.Demand.Good.Value, m.Demand.Arrivals.Value, m.LastFailure)
	}
}

func TestMeasurementsAreRounded(t *testing.T) {
	for v, want := range map[float64]float64{
		0: 0, 1: 1, 0.1: 0.1, 12.3456: 12.35, -12.3456: -12.35, 99999: 100000, 0.000123456: 0.0001235, 1e300: 1e300, 123456789: 123500000, 5e-324: 5e-324,
		math.Inf(1): math.Inf(1),
	} {
		if got := rounded(v, demandDigits); got != want {
			t.Errorf("%v is %v, want %v", v, got, want)
		}
	}
	if !math.IsNaN(rounded(math.NaN(), demandDigits)) {
		t.Error("NaN is a number")
	}
	for d, want := range map[time.Duration]time.Duration{
		0: 0, 999: 999, 98767408: 98770000, -98767408: -98770000, time.Hour + 1: time.Hour, math.MaxInt64: math.MaxInt64,
	} {
		if got := roundedTime(d, demandDigits); got != want {
			t.Errorf("%d is %d, want %d", d, got, want)
		}
	}
}
