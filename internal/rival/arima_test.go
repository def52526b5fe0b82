package rival

import (
	"math"
	"math/rand/v2"
	"testing"
)

func arimaOf(values ...float64) *arima {
	a := &arima{}
	for _, x := range values {
		a.add(x)
		a.next() // as the planner does at every interval
	}
	return a
}

func TestARIMABeforeItIsFitted(t *testing.T) {
	for name, c := range map[string]struct {
		values []float64
		want   float64
	}{
		"nothing seen":                         {want: 0},
		"fewer than five points: the last one": {values: []float64{3, 9, 7, 8}, want: 8},
		"leading zeros do not count":           {values: []float64{0, 0, 0, 3, 9, 7, 8}, want: 8},
		"no number is zero":                    {values: []float64{3, math.NaN()}, want: 0},
		"a constant series":                    {values: []float64{5, 5, 5, 5, 5, 5, 5}, want: 5},
	} {
		if got := arimaOf(c.values...).next(); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestARIMAFollowsATrend(t *testing.T) {
	var values []float64
	for i := range 40 {
		values = append(values, 100+10*float64(i))
	}
	if got := arimaOf(values...).next(); math.Abs(got-500) > 5 {
		t.Errorf("%v after 100, 110 … 490, want 500", got)
	}
}

// TestARIMARecoversAnAutoregression: the forecasts of an AR(1) with φ = 0.8 have
// little more than the error of its own noise, where the last value has √(2/(1+φ))
// times as much and the mean 1/√(1−φ²).
func TestARIMARecoversAnAutoregression(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2))
	a, x := &arima{}, 0.0
	squares, naive, n := 0.0, 0.0, 0
	for i := range 400 {
		last := x
		x = 0.8*x + draw.NormFloat64()
		if i > 100 {
			miss := 100 + x - a.next()
			squares, naive, n = squares+miss*miss, naive+(x-last)*(x-last), n+1
		}
		a.add(100 + x)
	}
	rms, last := math.Sqrt(squares/float64(n)), math.Sqrt(naive/float64(n))
	if rms > 1.1 || rms > last {
		t.Errorf("error %.3f for noise of 1, and %.3f by the last value", rms, last)
	}
}

func TestARIMAUsesADayAndNightBetterThanItsMean(t *testing.T) {
	draw := rand.New(rand.NewPCG(3, 4))
	a := &arima{}
	squares, variance, n := 0.0, 0.0, 0
	for i := range 480 {
		x := 1000 + 500*math.Sin(2*math.Pi*float64(i)/240) + 20*draw.NormFloat64()
		if i > 100 {
			miss := x - a.next()
			squares, variance, n = squares+miss*miss, variance+(x-1000)*(x-1000), n+1
		}
		a.add(x)
	}
	if rms := math.Sqrt(squares / float64(n)); rms > 35 {
		t.Errorf("error %.1f for noise of 20 on a daily wave of 500", rms)
	}
}

// TestARIMAOfANarrowBandFarFromZero: mean prompts of an interval, of which each
// new one changes the spread of the few seen.
func TestARIMAOfANarrowBandFarFromZero(t *testing.T) {
	a := &arima{}
	for i, x := range []float64{1092, 1069, 1093, 1083, 1155, 1243, 1189, 1162, 1044, 1243, 1080, 1208, 1153, 1129} {
		a.add(x)
		if got := a.next(); got < 1000 || got > 1300 {
			t.Errorf("%v after %d means between 1044 and 1243", got, i+1)
		}
	}
}

func TestKPSSTellsAWalkFromALevel(t *testing.T) {
	draw := rand.New(rand.NewPCG(5, 6))
	level, walk, x := make([]float64, 300), make([]float64, 300), 0.0
	for i := range level {
		level[i] = draw.NormFloat64()
		x += draw.NormFloat64()
		walk[i] = x
	}
	if l, w := kpss(level), kpss(walk); l > 0.463 || w < 0.463 {
		t.Errorf("statistic %.3f for noise around a level and %.3f for a walk; 0.463 lies between", l, w)
	}
}

func TestPartialAutocorrelationsGiveStationaryModels(t *testing.T) {
	for _, a := range []float64{-9, -1, -0.3, 0, 0.3, 1, 9} {
		for _, b := range []float64{-9, -1, 0, 1, 9} {
			c := stationary([]float64{a, b})
			// The triangle of an AR(2).
			if c[0]+c[1] > 1 || c[1]-c[0] > 1 || math.Abs(c[1]) > 1 {
				t.Errorf("tanh of %v and %v give coefficients %v outside the triangle", a, b, c)
			}
		}
	}
}
