package forecast

import (
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const (
	// grain is the span of the newest rates that are kept.
	grain = 5 * time.Second
	// grains and minutes bound them: ten minutes of grains, an hour of minutes.
	grains          = 120
	minutes         = 60
	grainsPerMinute = int(time.Minute / grain)
	// learnEvery is how many grains apart the regression learns.
	learnEvery = 3
	// NewestOver is what the regression forecasts: a mean over so long.
	NewestOver = learnEvery * grain
	// longestGap is how long measurements may be missing before what the newest
	// rates were says nothing of now.
	longestGap = 10 * time.Minute
	// keepPending bounds the forecasts that wait for what came.
	keepPending = 64
)

// Trend is what is remembered of one Model's demand over minutes, a day and a
// week, to forecast its mean one cold start ahead. It is a value: Observe
// returns the next one. The method and its constants are those of
// policy-prototype: ridge regression, learnt online for the horizon and
// relative to the newest five minutes, so that it knows no scale.
type Trend struct {
	Until    time.Time     // the end of what was observed
	Sum      float64       // requests in the grain under way
	Span     time.Duration // of it that was measured
	Fine     scale.Packed  // rates (requests/s) of grains, oldest first
	Minutes  scale.Packed  // rates of whole minutes, oldest first
	Season   Season
	Learnt   Regression
	Pending  []Pending // oldest first
	Grains   int       // since the beginning
	Errors   [Methods]Error
	Forecast [Methods]float64 // requests/s, for the horizon
}

// Pending is a forecast whose time has not come.
type Pending struct {
	Due      time.Time
	Level    float32
	Features [features]float32
	Forecast [Methods]float32
}

// Method is one way to forecast.
type Method int

// The methods: the regression, and the mean of the last minute.
const (
	Regressed Method = iota
	Smoothed
	Methods
)

// Observe adds the mean rate (requests/s) measured over a span up to at. A span
// of zero, not known, is taken to begin at the previous rate.
// Horizon is how far ahead forecasts are wanted. The second value says whether
// a grain ended, and with it forecasts changed.
func (t Trend) Observe(at time.Time, span time.Duration, rate float64, horizon time.Duration) (Trend, bool) {
	if math.IsNaN(rate) || rate < 0 || rate > maxRate || !at.After(t.Until) && t.Until.Sub(at) < longestGap {
		return t, false
	}
	if t.Until.IsZero() || at.Sub(t.Until) > longestGap || t.Until.After(at) {
		t.Fine, t.Minutes, t.Pending, t.Sum, t.Span = nil, nil, nil, 0, 0
		t.Until = at.Add(-max(span, 0))
	}
	if span <= 0 || span > at.Sub(t.Until) {
		span = at.Sub(t.Until)
	}
	t.Until = at
	t.Sum += rate * span.Seconds()
	t.Span += span
	if t.Span < grain {
		return t, false
	}
	mean := t.Sum / t.Span.Seconds()
	t.Season = t.Season.observe(at, t.Sum, t.Span)
	t.Sum, t.Span = 0, 0
	t.Fine = pushed(t.Fine, float32(mean), grains)
	t.Grains++
	if t.Grains%grainsPerMinute == 0 {
		t.Minutes = pushed(t.Minutes, float32(t.mean(time.Minute)), minutes)
	}
	if t.Grains%learnEvery == 0 {
		t = t.learn(at)
	}
	t = t.foresee(at, horizon)
	return t, true
}

// pushed is the series with one more value, at most so long. It is a copy.
func pushed(p scale.Packed, v float32, most int) scale.Packed {
	from := max(0, len(p)+1-most)
	next := make(scale.Packed, 0, len(p)-from+1)
	return append(append(next, p[from:]...), v)
}

// mean of the newest grains over a span, of those that there are.
func (t *Trend) mean(span time.Duration) float64 { return t.meanBefore(0, span) }

// meanBefore is the mean over a span that ended some time ago.
func (t *Trend) meanBefore(ago, span time.Duration) float64 {
	last := len(t.Fine) - int(ago/grain)
	first := max(0, last-int(span/grain))
	if last <= first {
		if len(t.Fine) == 0 {
			return 0
		}
		return float64(t.Fine[0])
	}
	return average(t.Fine[first:last])
}

func average(p scale.Packed) float64 {
	sum := 0.0
	for _, v := range p {
		sum += float64(v)
	}
	return sum / float64(max(1, len(p)))
}

// meanOfMinutes is the mean of the newest minutes, before there are any of grains.
func (t *Trend) meanOfMinutes(n int) float64 {
	if len(t.Minutes) == 0 {
		return t.mean(longestGap)
	}
	return average(t.Minutes[max(0, len(t.Minutes)-n):])
}

// level is what the regression's features are relative to.
func (t *Trend) level() float64 { return t.mean(5 * time.Minute) }

// features of the present for a forecast, relative to the level.
func (t *Trend) features(at time.Time, horizon time.Duration, level float64) [features]float32 {
	then := at.Add(horizon + NewestOver/2)
	profile, now := t.Season.day(then), t.Season.day(at)
	if profile == 0 || now == 0 {
		profile, now = level, level
	}
	week := t.Season.week(then)
	if week == 0 {
		week = profile
	}
	carried := math.Min(math.Max(profile/now, 1.0/3), 3)
	raw := [features]float64{
		t.mean(NewestOver) / level, t.mean(2*time.Minute) / level, 1, t.meanOfMinutes(15) / level, t.meanOfMinutes(60) / level,
		t.meanBefore(5*time.Minute, 5*time.Minute) / level, profile / level, carried, week / level,
	}
	var out [features]float32
	for i, v := range raw {
		out[i] = float32(math.Min(v, 10))
	}
	return out
}

// learn closes the forecasts that are due.
func (t Trend) learn(at time.Time) Trend {
	due := 0
	for due < len(t.Pending) && !t.Pending[due].Due.After(at) {
		due++
	}
	if due == 0 {
		return t
	}
	actual := t.mean(NewestOver)
	for _, p := range t.Pending[:due] {
		t.Learnt = t.Learnt.learn(p.Features, actual/float64(p.Level))
		for i := range t.Errors {
			t.Errors[i] = t.Errors[i].learn(actual, float64(p.Forecast[i]))
		}
	}
	t.Pending = slices.Clone(t.Pending[due:])
	t.Learnt = t.Learnt.solve(at)
	return t
}

// foresee makes the forecasts and, now and then, remembers them for learning.
func (t Trend) foresee(at time.Time, horizon time.Duration) Trend {
	level := t.level()
	t.Forecast = [Methods]float64{Smoothed: t.mean(time.Minute)}
	if level <= 0 {
		return t
	}
	f := t.features(at, horizon, level)
	t.Forecast[Regressed] = level * math.Min(math.Max(t.Learnt.predict(f), 0.2), 4)
	if t.Grains%learnEvery == 0 && len(t.Pending) < keepPending {
		p := Pending{Due: at.Add(horizon + NewestOver), Level: float32(level), Features: f}
		for i, v := range t.Forecast {
			p.Forecast[i] = float32(v)
		}
		t.Pending = append(slices.Clone(t.Pending), p)
	}
	return t
}

// Error is how far off a method was, relative to what it forecast.
type Error struct {
	Short, Long float64 // running means of about half an hour and half a day
	Seen        int
}

const (
	maxRelative = 3.0
	// earlyError is the least that is assumed until enough was seen.
	earlyError = 0.1
	earlySeen  = 40 // ten minutes
)

func (e Error) learn(actual, forecast float64) Error {
	if forecast <= 0 {
		return e
	}
	off := math.Min(math.Abs(actual-forecast)/forecast, maxRelative)
	e.Seen++
	follow := func(mean float64, over time.Duration) float64 {
		gain := math.Max(float64(NewestOver)/float64(over), 1/float64(e.Seen))
		return mean + gain*(off-mean)
	}
	e.Short, e.Long = follow(e.Short, 30*time.Minute), follow(e.Long, 12*time.Hour)
	return e
}

// Relative is the error to expect of the next forecast, as a share of it.
func (e Error) Relative() float64 {
	expected := math.Max(e.Short, e.Long/2)
	if e.Seen < earlySeen {
		return math.Max(expected, earlyError)
	}
	return expected
}

// Newest is the mean rate of the newest grains, in requests/s.
func (t *Trend) Newest() float64 { return t.mean(NewestOver) }
