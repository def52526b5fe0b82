// Package slo keeps error budgets: how many requests were good and bad, how
// fast a Model burns the budget that its objective leaves, and when that is
// worth an Alert.
//
// Alerts follow the multi-window, multi-burn-rate scheme of the Google SRE
// Workbook, chapter 5: a long window so that a blip does not alert, and a
// short one so that the alert ends soon after the burning does.
package slo

import (
	"fmt"
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const (
	fine       = time.Minute // grain of the recent counts
	fineSpan   = 6 * time.Hour
	coarse     = time.Hour // grain of the counts over the whole window
	coarseSpan = 31 * 24 * time.Hour
)

// State is what is remembered of one Model's requests. The zero State has seen
// none. It is a value: Observe returns the next one.
type State struct {
	Fine   Counts
	Coarse Counts
	Good   float64 // the counters when last read
	Bad    float64
}

// Counts are the requests of spans of one grain. The newest, which still
// grows, stands apart, so that the others are copied once in a span and not
// once a tick.
type Counts struct {
	Closed []Count // oldest first; spans without requests are left out
	Open   Count
}

// Count is the requests of one span.
type Count struct {
	Start     time.Time
	Good, Bad float64
}

// Observe takes in the gateway's counters, which only grow unless the gateway
// restarted; then what they show is the growth.
func (s State) Observe(now time.Time, good, bad float64) State {
	if math.IsNaN(good) || math.IsNaN(bad) || good < 0 || bad < 0 {
		return s
	}
	moreGood, moreBad := good-s.Good, bad-s.Bad
	if moreGood < 0 || moreBad < 0 {
		moreGood, moreBad = good, bad
	}
	s.Good, s.Bad = good, bad
	if moreGood == 0 && moreBad == 0 {
		return s
	}
	s.Fine = s.Fine.add(Count{now.Truncate(fine), moreGood, moreBad}, now.Add(-fineSpan))
	s.Coarse = s.Coarse.add(Count{now.Truncate(coarse), moreGood, moreBad}, now.Add(-coarseSpan))
	return s
}

// add adds a count to the newest span, or opens one, and forgets what is older
// than the cut. It copies what it changes, so that an earlier State stays.
func (cs Counts) add(c Count, cut time.Time) Counts {
	if cs.Open.Good+cs.Open.Bad > 0 {
		if !c.Start.After(cs.Open.Start) {
			cs.Open.Good += c.Good
			cs.Open.Bad += c.Bad
			return cs
		}
		old := 0
		for old < len(cs.Closed) && cs.Closed[old].Start.Before(cut) {
			old++
		}
		closed := make([]Count, 0, len(cs.Closed)-old+1)
		cs.Closed = append(append(closed, cs.Closed[old:]...), cs.Open)
	}
	cs.Open = c
	return cs
}

// Sum returns the requests of the last span, at the grain kept for it.
func (s State) Sum(now time.Time, span time.Duration) (good, bad float64) {
	counts := s.Fine
	if span > fineSpan {
		counts = s.Coarse
	}
	cut := now.Add(-span)
	if counts.Open.Start.After(cut) {
		good, bad = counts.Open.Good, counts.Open.Bad
	}
	for i := len(counts.Closed) - 1; i >= 0 && counts.Closed[i].Start.After(cut); i-- {
		good += counts.Closed[i].Good
		bad += counts.Closed[i].Bad
	}
	return good, bad
}

// Budget returns how the Model stands over its SLO's window. An objective of
// all requests allows no bad one: the first uses the budget up.
func (s State) Budget(now time.Time, model string, slo scale.SLO) scale.Budget {
	b := scale.Budget{Model: model, Remaining: 1}
	b.Good, b.Bad = s.Sum(now, slo.Window)
	if b.Bad > 0 {
		b.Remaining = 0
		if allowed := (1 - slo.Objective) * (b.Good + b.Bad); allowed > 0 {
			b.Remaining = 1 - b.Bad/allowed
		}
	}
	return b
}

// Burn returns how many times faster than sustainable the budget burned over
// the last span; 1 uses it up exactly at the window's end.
func (s State) Burn(now time.Time, objective float64, span time.Duration) float64 {
	good, bad := s.Sum(now, span)
	if good+bad == 0 || objective >= 1 {
		return 0
	}
	return bad / (good + bad) / (1 - objective)
}

// window is one row of the Workbook's table.
type window struct {
	long, short time.Duration
	burn        float64
	severity    scale.Severity
}

func windows() []window {
	return []window{
		{time.Hour, 5 * time.Minute, 14.4, scale.Page},
		{6 * time.Hour, 30 * time.Minute, 6, scale.Page},
		{3 * 24 * time.Hour, 6 * time.Hour, 1, scale.Ticket},
	}
}

// minRequests is how many requests a window needs before its burn rate means
// anything: below it, one bad request alone would page.
const minRequests = 20

// Alerts returns the most severe alert that stands for the Model, if any.
func (s State) Alerts(now time.Time, model string, slo scale.SLO) []scale.Alert {
	for _, w := range windows() {
		good, bad := s.Sum(now, w.long)
		long, short := s.Burn(now, slo.Objective, w.long), s.Burn(now, slo.Objective, w.short)
		if good+bad < minRequests || long < w.burn || short < w.burn {
			continue
		}
		return []scale.Alert{{
			Model: model, Severity: w.severity, BurnRate: long, Over: w.long,
			Text: fmt.Sprintf("%s burns its error budget %.1f× too fast over %v: %.0f of %.0f requests missed an objective of %.4g %%",
				model, long, w.long, bad, good+bad, 100*slo.Objective),
		}}
	}
	return nil
}
