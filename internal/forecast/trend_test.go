package forecast

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"
)

// trendOf observes a rate every five seconds over a time.
func trendOf(t Trend, from time.Time, over, horizon time.Duration, rate func(time.Time) float64) (Trend, time.Time) {
	for now := from; now.Before(from.Add(over)); {
		now = now.Add(grain)
		t, _ = t.Observe(now, grain, rate(now), horizon)
		if !now.Before(from.Add(over)) {
			return t, now
		}
	}
	return t, from
}

// daily is a curve over the day, and noise.
func daily(noise float64) func(time.Time) float64 {
	r := rand.New(rand.NewPCG(3, 4))
	return func(now time.Time) float64 {
		return 50 * (1 + 0.8*math.Sin(2*math.Pi*float64(now.Unix()%86400)/86400)) * math.Exp(noise*r.NormFloat64())
	}
}

// TestTheRegressionLearnsTheDay: after some days it is nearer to what comes in
// ten minutes than the last minute is.
func TestTheRegressionLearnsTheDay(t *testing.T) {
	const horizon = 10 * time.Minute
	rate, clean := daily(0.05), daily(0)
	trend, now := trendOf(Trend{}, start, 3*24*time.Hour, horizon, rate)
	var regressed, smoothed float64
	for range 24 * 12 {
		trend, now = trendOf(trend, now, 5*time.Minute, horizon, rate)
		then := clean(now.Add(horizon))
		regressed += math.Abs(trend.Forecast[Regressed]-then) / then
		smoothed += math.Abs(trend.Forecast[Smoothed]-then) / then
	}
	t.Logf("off by %.3f, the last minute by %.3f", regressed/288, smoothed/288)
	if regressed > 0.5*smoothed {
		t.Errorf("off by %.3f, the last minute by %.3f", regressed/288, smoothed/288)
	}
}

// TestAForecastKnowsItsError: what Errors says is what forecasts were off by.
func TestAForecastKnowsItsError(t *testing.T) {
	const horizon = time.Minute
	trend, _ := trendOf(Trend{}, start, 12*time.Hour, horizon, daily(0.3))
	for m, e := range trend.Errors {
		// a mean of three lognormal factors against a forecast that hardly moves
		if e.Relative() < 0.08 || e.Relative() > 0.25 {
			t.Errorf("method %d says that it is off by %.3f", m, e.Relative())
		}
	}
}

func TestALongGapBeginsAnew(t *testing.T) {
	trend, now := trendOf(Trend{}, start, time.Hour, time.Minute, func(time.Time) float64 { return 80 })
	trend, _ = trendOf(trend, now.Add(time.Hour), time.Minute, time.Minute, func(time.Time) float64 { return 5 })
	for m, f := range trend.Forecast {
		if math.Abs(f-5) > 0.5 {
			t.Errorf("method %d forecasts %.2f, an hour after 80", m, f)
		}
	}
}

func TestATrendOfSpansNotKnown(t *testing.T) {
	var known, not Trend
	for i := range 600 {
		at := start.Add(time.Duration(i+1) * time.Second)
		known, _ = known.Observe(at, time.Second, float64(i%7), time.Minute)
		not, _ = not.Observe(at, 0, float64(i%7), time.Minute)
	}
	if a, b := known.Forecast[Smoothed], not.Forecast[Smoothed]; math.Abs(a-b) > 0.05*a {
		t.Errorf("%.3f, and %.3f where spans are not known", a, b)
	}
}

func TestATrendIsWrittenAndRead(t *testing.T) {
	rate := daily(0.2)
	trend, now := trendOf(Trend{}, start, 30*time.Hour, time.Minute, rate)
	text, err := cbor.Marshal(trend)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", len(text))
	var read Trend
	if err := cbor.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	same := func(time.Time) float64 { return 60 }
	a, _ := trendOf(trend, now, time.Hour, time.Minute, same)
	b, _ := trendOf(read, now, time.Hour, time.Minute, same)
	if a.Forecast != b.Forecast || a.Errors != b.Errors {
		t.Errorf("%v and %v", a.Forecast, b.Forecast)
	}
}

func TestTrendLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var trend Trend
		now := start
		for range rapid.IntRange(1, 400).Draw(t, "observations") {
			now = now.Add(time.Duration(rapid.IntRange(-2000, 20_000).Draw(t, "ms")) * time.Millisecond)
			rate := rapid.SampledFrom([]float64{0, 0.1, 3, 1e6, math.NaN(), math.Inf(1), -1}).Draw(t, "rate")
			span := time.Duration(rapid.IntRange(-1, 9).Draw(t, "span")) * time.Second
			before, _ := cbor.Marshal(trend)
			next, _ := trend.Observe(now, span, rate, time.Duration(rapid.IntRange(1, 300).Draw(t, "horizon"))*time.Second)
			if after, _ := cbor.Marshal(trend); string(after) != string(before) {
				t.Fatal("Observe changed the Trend it was called on")
			}
			trend = next
			for m, f := range trend.Forecast {
				if math.IsNaN(f) || math.IsInf(f, 0) || f < 0 {
					t.Fatalf("method %d forecasts %v", m, f)
				}
			}
			if len(trend.Fine) > grains || len(trend.Minutes) > minutes || len(trend.Pending) > keepPending {
				t.Fatal("unbounded")
			}
		}
	})
}

func TestTheWeekIsKnownFromTheSecondOn(t *testing.T) {
	weekend := func(now time.Time) float64 {
		if d := now.UTC().Weekday(); d == time.Saturday || d == time.Sunday {
			return 10
		}
		return 100
	}
	var s Season
	for now := start; now.Before(start.Add(8 * 24 * time.Hour)); now = now.Add(time.Minute) {
		s = s.observe(now, 60*weekend(now), time.Minute)
	}
	for d := range 7 {
		then := start.Add(8*24*time.Hour + time.Duration(d)*24*time.Hour)
		if got, want := s.week(then), weekend(then); math.Abs(got-want) > 1 {
			t.Errorf("%s: %.1f, want %.1f", then.UTC().Weekday(), got, want)
		}
	}
}

func BenchmarkTrend(b *testing.B) {
	trend, now := trendOf(Trend{}, start, 26*time.Hour, time.Minute, daily(0.2))
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Second)
		trend, _ = trend.Observe(now, time.Second, 50, time.Minute)
	}
}
