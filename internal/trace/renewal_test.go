package trace_test

import (
	"math"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/trace"
)

func TestARenewalKeepsItsRateAndItsBurstiness(t *testing.T) {
	for _, cv := range []float64{0.5, 1, 2} {
		series, err := trace.Renewal(trace.Draw{Seed: 7, CV: cv}, 40, 50_000)
		if err != nil {
			t.Fatal(err)
		}
		var sum, squares float64
		last := trace.Epoch()
		for r, err := range series {
			if err != nil {
				t.Fatal(err)
			}
			gap := r.At.Sub(last).Seconds()
			sum, squares, last = sum+gap, squares+gap*gap, r.At
		}
		mean := sum / 50_000
		if got := math.Sqrt(squares/50_000-mean*mean) / mean; math.Abs(got/cv-1) > 0.03 || math.Abs(mean*40-1) > 0.03 {
			t.Errorf("CV %v at 40 requests/s: got CV %.3f at %.2f", cv, got, 1/mean)
		}
	}
}

func TestARenewalAtAnotherRateIsTheSameOneStretched(t *testing.T) {
	slow, err := trace.Renewal(trace.Draw{Seed: 7, CV: 2}, 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	fast, err := trace.Renewal(trace.Draw{Seed: 7, CV: 2}, 4, 100)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := collect(slow)
	b, _ := collect(fast)
	for i := range a {
		if d := a[i].At.Sub(trace.Epoch()) - 4*b[i].At.Sub(trace.Epoch()); d.Abs() > 10*time.Nanosecond {
			t.Fatalf("request %d comes %v apart", i, d)
		}
	}
	for _, rate := range []float64{0, -1, math.NaN()} {
		if _, err := trace.Renewal(trace.Draw{}, rate, 1); err == nil {
			t.Errorf("a rate of %v is taken", rate)
		}
	}
}
