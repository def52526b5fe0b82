package forecast

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Unix(1_700_000_000, 0)

func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

// feed observes one rate a second.
func feed(s State, from int, rates ...float64) State {
	for i, r := range rates {
		s = s.Observe(at(float64(from+i)), time.Second, r, 20*time.Second)
	}
	return s
}

func TestNothingSeenForecastsNothing(t *testing.T) {
	if got := (State{}).At(10*time.Second, 0.9); got != (Demand{}) {
		t.Errorf("got %+v, want nothing", got)
	}
}

func TestAStepIsNeverForecastAway(t *testing.T) {
	var s State
	for i := range 60 {
		s = feed(s, i, 2)
	}
	for i := range 4 {
		s = feed(s, 60+i, 50)
	}
	got := s.At(10*time.Second, 0.9)
	if got.Sustained < 49.9 || got.Upper < got.Sustained {
		t.Errorf("after 4 s at 50 req/s: %+v", got)
	}
}

func TestSilenceIsNotZero(t *testing.T) {
	var s State
	for i := range 30 {
		s = feed(s, i, 20)
	}
	before := s.At(10*time.Second, 0.9)
	s = s.Observe(at(10*60), time.Second, 20, 10*time.Second) // ten minutes later, nothing between
	if after := s.At(10*time.Second, 0.9); after.Mean < before.Mean {
		t.Errorf("forecast %+v, and %+v after ten minutes without a measurement", before, after)
	}
}

func TestPokesBetweenSecondsAreMergedNotCountedTwice(t *testing.T) {
	s := feed(State{}, 0, 10, 10)
	s = s.Observe(at(1.1), 0, 100, 20*time.Second) // ten requests in 0.1 s
	s = s.Observe(at(2), 0, 0, 20*time.Second)
	if got, want := s.mean(at(2), time.Second), 10.0; math.Abs(got-want) > 0.01 {
		t.Errorf("mean of the last second is %.2f, want %.2f", got, want)
	}
	again := s.Observe(at(2), 0, 99, 20*time.Second)
	if len(again.Buckets) != len(s.Buckets) || again.mean(at(2), time.Second) != s.mean(at(2), time.Second) {
		t.Error("an observation that was seen before counted again")
	}
}

// TestUpperForecastCoversItsQuantile: on a stationary Poisson stream the share
// of sustained rates at or below the forecast made one horizon before is the
// quantile asked for, within sampling error.
func TestUpperForecastCoversItsQuantile(t *testing.T) {
	const horizon = 10
	for _, rate := range []float64{0.5, 5, 60} {
		r := rand.New(rand.NewPCG(7, uint64(rate)))
		var s State
		var uppers []float64
		covered, checked := 0, 0
		for i := range 20_000 {
			s = s.Observe(at(float64(i)), time.Second, float64(poisson(r, rate)), horizon*time.Second)
			uppers = append(uppers, s.At(10*time.Second, 0.9).Upper)
			if i > 200 {
				checked++
				if s.mean(at(float64(i)), SustainedOver) <= uppers[i-horizon] {
					covered++
				}
			}
		}
		share := float64(covered) / float64(checked)
		t.Logf("rate %.1f: %.3f covered", rate, share)
		if share < 0.85 || share > 0.97 {
			t.Errorf("rate %.1f: %.3f of outcomes are below the 0.9 quantile", rate, share)
		}
	}
}

func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rates := rapid.SliceOfN(rapid.Float64Range(0, 1e6), 1, 300).Draw(t, "rates")
		var s State
		for i, r := range rates {
			s = s.Observe(at(float64(i)*0.7), 0, r, 15*time.Second)
		}
		low, high := s.At(10*time.Second, 0.5), s.At(10*time.Second, 0.95)
		if high.Upper < low.Upper || low.Upper < low.Mean*(1-1e-9) || low.Upper < low.Sustained {
			t.Fatalf("quantiles are not ordered: %+v %+v", low, high)
		}
		if len(s.Buckets) > history || len(s.Errors) > keepErrors || len(s.Checks) > keepChecks {
			t.Fatalf("unbounded: %d buckets, %d errors, %d checks", len(s.Buckets), len(s.Errors), len(s.Checks))
		}
	})
}

func TestObserveLeavesItsReceiverAlone(t *testing.T) {
	s := feed(State{}, 0, 1, 2, 3)
	before := s.At(10*time.Second, 0.9)
	_ = feed(s, 3, 100, 100, 100)
	if s.At(10*time.Second, 0.9) != before {
		t.Error("Observe changed the State it was called on")
	}
}

// After a restart the first rate may be over a moment: it must not weigh as much
// as the time that Penstock was away.
func TestARateOverAMomentWeighsLittle(t *testing.T) {
	s := feed(State{}, 0, 2, 2, 2, 2, 2, 2, 2, 2)
	s = s.Observe(at(60), 10*time.Millisecond, 500, 20*time.Second) // five requests in 10 ms
	if got := s.At(10*time.Second, 0.5); got.Mean > 8 {
		t.Errorf("at once, five requests in 10 ms make a forecast of %.1f req/s", got.Mean)
	}
	s = s.Observe(at(61), time.Second, 2, 20*time.Second)
	if got := s.At(10*time.Second, 0.5); got.Mean > 8 {
		t.Errorf("five requests in 10 ms make a forecast of %.1f req/s", got.Mean)
	}
}

func TestAClockSetBackBeginsAnew(t *testing.T) {
	s := feed(State{}, 3600, 5, 5, 5)
	s = feed(s, 0, 50, 50, 50)
	if got := s.At(10*time.Second, 0.5); got.Mean < 49 {
		t.Errorf("an hour back, the forecast is %.1f req/s, not 50", got.Mean)
	}
}

func TestNonsenseIsNotObserved(t *testing.T) {
	s := feed(State{}, 0, 5)
	for _, v := range []float64{math.NaN(), math.Inf(1), -3} {
		if got := s.Observe(at(1), time.Second, v, time.Second); len(got.Buckets) != 1 {
			t.Errorf("%v was observed", v)
		}
	}
}

func poisson(r *rand.Rand, mean float64) int {
	n, sum := 0, r.ExpFloat64()
	for sum < mean {
		n++
		sum += r.ExpFloat64()
	}
	return n
}
