// Package forecast says what demand is coming over the time that a cold start
// takes, with a quantile that is calibrated on its own past errors.
//
// The method here is a short mean, which follows a rise that cannot be chance.
// Its errors at the horizon are kept,
// normalised by the spread that a stream of that mean would have, and
// the wanted quantile of them is what the upper forecast adds: split conformal
// prediction (Vovk et al. 2005) over a sliding window, as in adaptive
// conformal inference (Gibbs and Candès 2021) without its gain.
package forecast

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	// bucket is the grain of the demand history.
	bucket = time.Second
	// history bounds the demand history, in buckets.
	history = 120
	// meanOver is the span of the short mean that is the forecast.
	meanOver = 10 * time.Second
	// rising is the span of the two adjacent means whose difference tells a
	// rise; rise is how many standard deviations of it a rise must exceed, and
	// damp the share of it that is expected to go on until the horizon.
	rising = 4 * time.Second
	rise   = 3.0
	damp   = 0.5
	// SustainedOver is the span over which demand counts as really there. The
	// upper forecast is never below it, so that a forecast cannot argue a
	// reaction away.
	SustainedOver = 4 * time.Second
	// keepErrors is how many past errors calibrate the quantile.
	keepErrors = 64
	// priorError stands in for errors not made yet: one standard deviation.
	priorError = 1.0
	// priorWeight is how many such errors the prior is worth.
	priorWeight = 8
	// maxError bounds a kept error. A larger one was a step, which the sustained
	// rate follows by itself; kept, it would widen the band for minutes after.
	maxError = 4.0
	// drift is the relative spread that even large streams have, beside the
	// Poisson one that shrinks with their size.
	drift = 0.1
	// maxRate is more than any gateway sees; a larger rate is a broken counter.
	maxRate = 1e9
	// checksPerHorizon is how many forecasts are opened for checking within
	// one horizon; more would only repeat each other.
	checksPerHorizon = 8
	// keepChecks bounds the open checks when the horizon shrinks and grows.
	keepChecks = 4 * checksPerHorizon
)

// State is what is remembered of one Model's demand. The zero State has seen
// nothing. It is a value: Observe returns the next one.
type State struct {
	Buckets []Bucket  // oldest first
	Checks  []Check   // forecasts whose time has not come, oldest first
	Errors  []float64 // normalised errors, oldest first
}

// Bucket is demand over a span of time.
type Bucket struct {
	End  time.Time
	Span time.Duration
	Rate float64 // requests/s
}

// Check is a forecast that waits to be held against what came.
type Check struct {
	Due  time.Time
	Mean float64 // requests/s, as forecast
}

// Demand is the forecast at the horizon, in requests/s.
type Demand struct {
	Mean      float64
	Upper     float64 // at the quantile asked for
	Sustained float64 // mean of the last seconds
}

// Observe adds the rate (requests/s) that was measured over a span up to at,
// and holds forecasts that have come due against it. A span of zero, not known,
// is taken to begin at the previous rate. A rate that is no newer than the
// last one changes nothing, so that a repeated Observation is counted once; nor
// does one that cannot be true.
func (s State) Observe(at time.Time, span time.Duration, rate float64, horizon time.Duration) State {
	if math.IsNaN(rate) || rate < 0 || rate > maxRate {
		return s
	}
	s.Buckets = slices.Clone(s.Buckets)
	if n := len(s.Buckets); n == 0 {
		span = cmp.Or(span, bucket)
	} else {
		last := s.Buckets[n-1]
		if last.End.Sub(at) > meanOver { // the clock was set back: begin anew
			return State{Errors: s.Errors}.Observe(at, span, rate, horizon)
		}
		if !at.After(last.End) {
			return s
		}
		span = min(cmp.Or(span, at.Sub(last.End)), at.Sub(last.End), meanOver)
		if last.Span+span <= bucket {
			total := last.Span + span
			rate = (last.Rate*last.Span.Seconds() + rate*span.Seconds()) / total.Seconds()
			span = total
			s.Buckets = s.Buckets[:n-1]
		}
	}
	s.Buckets = append(s.Buckets, Bucket{End: at, Span: span, Rate: rate})
	if extra := len(s.Buckets) - history; extra > 0 {
		s.Buckets = slices.Delete(s.Buckets, 0, extra)
	}
	return s.settle(at).open(at, horizon)
}

// settle closes the checks that are due.
func (s State) settle(at time.Time) State {
	due := 0
	for due < len(s.Checks) && !s.Checks[due].Due.After(at) {
		due++
	}
	if due == 0 {
		return s
	}
	actual := s.mean(at, SustainedOver)
	s.Errors = slices.Clone(s.Errors)
	for _, c := range s.Checks[:due] {
		s.Errors = append(s.Errors, max(-maxError, min(maxError, (actual-c.Mean)/spread(c.Mean))))
	}
	if extra := len(s.Errors) - keepErrors; extra > 0 {
		s.Errors = slices.Delete(s.Errors, 0, extra)
	}
	s.Checks = slices.Clone(s.Checks[due:])
	return s
}

// open records the present forecast for checking, a few within each horizon.
func (s State) open(at time.Time, horizon time.Duration) State {
	every := max(horizon/checksPerHorizon, bucket)
	if n := len(s.Checks); n >= keepChecks || n > 0 && s.Checks[n-1].Due.Sub(at.Add(horizon)) > -every {
		return s
	}
	s.Checks = append(slices.Clone(s.Checks), Check{Due: at.Add(horizon), Mean: s.expect(at, horizon)})
	return s
}

// At forecasts the demand at a horizon and at a quantile (0..1), as of the
// newest Observation: time in which nothing was observed is not time in which
// nothing was asked. Before anything was observed it is zero.
func (s State) At(horizon time.Duration, quantile float64) Demand {
	if len(s.Buckets) == 0 {
		return Demand{}
	}
	now := s.Buckets[len(s.Buckets)-1].End
	d := Demand{Mean: s.expect(now, horizon), Sustained: s.mean(now, SustainedOver)}
	d.Upper = max(d.Mean+s.errorAt(quantile)*spread(d.Mean), d.Sustained)
	if d.Mean == 0 && d.Sustained == 0 {
		d.Upper = 0
	}
	return d
}

// expect is the short mean or, while demand rises significantly, the newest
// mean carried on along the damped rise, to twice itself at most.
func (s State) expect(now time.Time, horizon time.Duration) float64 {
	level := s.mean(now, meanOver)
	a, _ := s.over(now, rising)
	b, known := s.over(now.Add(-rising), rising)
	if known < rising/2 {
		return level // what began with a high rate did not rise to it
	}
	chance := math.Sqrt((a + b + 1/rising.Seconds()) / rising.Seconds())
	if a-b < rise*chance {
		return level
	}
	slope := (a - b) / rising.Seconds()
	return max(level, min(a+damp*slope*horizon.Seconds(), 2*a))
}

// errorAt returns the quantile of the kept errors, with the prior mixed in.
func (s State) errorAt(quantile float64) float64 {
	errors := make([]float64, 0, keepErrors+priorWeight)
	errors = append(errors, s.Errors...)
	for range max(0, priorWeight-len(s.Errors)) {
		errors = append(errors, priorError)
	}
	slices.Sort(errors)
	i := int(math.Ceil(quantile*float64(len(errors)+1))) - 1
	return max(0, errors[min(max(i, 0), len(errors)-1)])
}

func (s State) mean(now time.Time, span time.Duration) float64 {
	rate, _ := s.over(now, span)
	return rate
}

// over returns the time-weighted mean rate of the last span before now, and how
// much of the span was measured. What was not is not counted as zero, but for
// what is missing to one second: requests within a moment are no rate yet.
func (s State) over(now time.Time, span time.Duration) (rate float64, measured time.Duration) {
	var weight, sum float64
	for _, b := range slices.Backward(s.Buckets) {
		if b.End.After(now) {
			continue
		}
		if !b.End.After(now.Add(-span)) {
			break
		}
		begin := b.End.Add(-b.Span)
		if cut := now.Add(-span); begin.Before(cut) {
			begin = cut
		}
		w := b.End.Sub(begin).Seconds()
		weight += w
		sum += w * b.Rate
	}
	return sum / max(weight, bucket.Seconds()), time.Duration(weight * float64(time.Second))
}

// spread is the standard deviation of the mean rate over the sustained span:
// that of a Poisson stream, floored at what one request in it amounts to, and
// the drift of its mean.
func spread(mean float64) float64 {
	poisson := (mean + 1/SustainedOver.Seconds()) / SustainedOver.Seconds()
	return math.Sqrt(poisson + drift*mean*drift*mean)
}
