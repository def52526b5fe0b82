package autoscaler

import (
	"fmt"
	"math"
	"time"

	"github.com/penstock/penstock/internal/forecast"
	"github.com/penstock/penstock/internal/policy"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/shadow"
)

const (
	// termsOver is how long the terms of a replica are a mean over: a wish that
	// follows every estimate of them is rounded up to the largest.
	termsOver = 5 * time.Minute
	// chance is how many standard deviations below a rate what is really there
	// may be.
	chance = 3.0
	// rounding is what is taken off whole replicas before they are written as a
	// rate, so that no error of the way back rounds them up.
	rounding = 0.02
	// leastSlack is the least that a request may wait, in seconds.
	leastSlack = 0.1
	// The fleets are not followed before they have lived for so long, and for so
	// many boots: until then plans are for the upper forecast.
	apprentice = 10 * time.Minute
	boots      = 10
	// firstDay is how long the reasons say that there is little history.
	firstDay = 24 * time.Hour
)

// Replay is what is remembered of a Model's virtual fleets, see package shadow.
type Replay struct {
	Shadow shadow.State
	Terms  shadow.Terms // means over some minutes
	At     time.Time    // of them
	Wanted int          // whole replicas, as of the newest step
}

// replay lets the virtual fleets live through what was measured, and plans for
// what the one wishes for that the error budget chose. Replicas are those of the
// variant that serves cheapest; the planner puts others in their place. It says
// whether there is such a wish yet.
func (t *tick) replay() bool {
	ref := t.reference()
	if ref == nil {
		return false
	}
	now, m, expected := t.snapshot.Now, &t.memory.Replay, t.expected()
	boot := t.boot(ref.variant.Name)
	due := m.Shadow.Due(boot)
	if due || !m.Shadow.Begun() {
		if terms := t.terms(ref, boot); terms.Valid() {
			m.smooth(now, terms)
			m.Shadow = m.Shadow.Advance(now, m.Terms, expected, t.state.Model.SLO.Objective)
		}
	}
	if !t.follows {
		return false
	}
	total := 0.0
	for _, s := range t.sizes {
		total += float64(t.servingOn(s.variant.Name)) * s.limit.PerReplica / ref.limit.PerReplica
	}
	// No forecast argues away what is really there; and more than the whole fleet
	// serves cannot wait for the step.
	reacted := surely(t.memory.Trend.Newest(), forecast.NewestOver)
	there := surely(t.demand.Sustained, forecast.SustainedOver)
	surprise := there > total*m.Terms.Rate()
	if surprise {
		reacted = max(reacted, there)
	}
	for i := range expected {
		expected[i].Rate = max(expected[i].Rate, reacted)
	}
	wish := m.Shadow.Wish(m.Terms, expected, t.state.Demand.Held.Value)
	if surprise || due || m.Wanted == 0 {
		// What cannot be had is wanted all the same: the Plan says what is missing.
		unbounded := m.Terms
		unbounded.Most = math.MaxInt16
		m.Wanted = shadow.Settle(wish, int(math.Round(total)), unbounded)
	}
	t.room, t.backlog, t.forecast.Quantile = 0, 0, 0 // the fleets chose
	if t.nothingAsked() && (m.Wanted <= 1 || t.idle() >= t.state.Model.ScaleToZero.After) {
		t.forecast.Upper = 0
		return true
	}
	units := float64(m.Wanted) - rounding
	if len(t.sizes) > 1 { // then it is the planner who rounds, over all of them
		units = min(units, wish)
	}
	t.forecast.Upper = max(0, units) * ref.limit.PerReplica
	t.forecast.Mean = expected[m.Shadow.Choice.Method()].Rate
	return true
}

// surely is what of a mean rate, measured over a span, is no accident.
func surely(rate float64, over time.Duration) float64 {
	return max(0, rate-chance*math.Sqrt(rate/over.Seconds()))
}

// trusts says whether the virtual fleets have lived for long enough to be
// followed.
func (t *tick) trusts() bool {
	s := &t.memory.Replay.Shadow
	return s.Begun() && t.ready() > 0 && t.signals != policy.Missing && t.snapshot.Now.Sub(s.Began) >= max(apprentice, boots*t.horizon())
}

// nothingAsked says that nothing came in the last seconds and nothing waits.
func (t *tick) nothingAsked() bool {
	return t.state.Demand.Held.Value <= 0 && t.demand.Mean == 0
}

// idle is for how long nothing came; 0 where that is not known.
func (t *tick) idle() time.Duration {
	last := t.state.Demand.LastArrival
	if !last.Known() {
		return 0
	}
	return max(0, t.snapshot.Now.Sub(time.Unix(0, int64(last.Value*float64(time.Second)))))
}

// smooth makes Terms a mean over some minutes.
func (r *Replay) smooth(now time.Time, x shadow.Terms) {
	gain := min(1, float64(now.Sub(r.At))/float64(termsOver))
	if old := r.Terms; old.Slots > 0 && gain >= 0 {
		for _, part := range []struct {
			old float64
			new *float64
		}{{old.Slots, &x.Slots}, {old.Full, &x.Full}, {old.Alone, &x.Alone}, {old.Slack, &x.Slack}, {old.Steady, &x.Steady}} {
			*part.new = part.old + gain*(*part.new-part.old)
		}
	}
	r.Terms, r.At = x, now
}

// expected is the forecasts that the fleets choose from.
func (t *tick) expected() (f [forecast.Methods]shadow.Forecast) {
	for i := range f {
		f[i] = shadow.Forecast{Rate: t.memory.Trend.Forecast[i], Error: t.memory.Trend.Errors[i].Relative()}
	}
	return f
}

// reference is the variant that serves a request cheapest; nil where none may.
func (t *tick) reference() *size {
	var best *size
	least := math.Inf(1)
	for i := range t.sizes {
		s := &t.sizes[i]
		if s.infeasible || s.limit.PerReplica <= 0 {
			continue
		}
		for _, c := range s.variant.Capacities {
			if price, most := t.offer(s.variant, c); most > 0 && (best == nil || price/s.limit.PerReplica < least) {
				best, least = s, price/s.limit.PerReplica
			}
		}
	}
	return best
}

// terms are what one replica of a variant is at present.
func (t *tick) terms(s *size, boot time.Duration) shadow.Terms {
	server, slo := t.server(s.variant), t.state.Model.SLO
	slower := server.Slower(t.memory.variant(s.variant.Name).Flow)
	limit := server.Solve(burst(slo))
	terms := shadow.Terms{
		Slots: float64(limit.Batch), Alone: server.Predict(1, median).Service * slower, Full: limit.At.Service * slower, Boot: boot,
	}
	if slo.Tokens() {
		terms.Steady, terms.SlowSteady, terms.SlowFull = float64(server.Solve(slo).Batch), 1-slo.Objective, 1-burst(slo).Objective
		terms.Slack = max(leastSlack, slo.TTFT.Seconds()-limit.At.TTFT)
	} else {
		terms.Slack = max(leastSlack, slo.Latency.Seconds()-2*limit.At.Service)
	}
	for _, c := range s.variant.Capacities {
		_, most := t.offer(s.variant, c)
		terms.Most += most
	}
	terms.Most = min(terms.Most, s.variant.Max)
	return terms
}

// whyHeadRoom says how the head-room was found.
func (t *tick) whyHeadRoom() scale.Reason {
	s := &t.memory.Replay.Shadow
	text := fmt.Sprintf("%s: fleets run so would have been late for %.2g %% of the work, at %.2f replicas for each that was needed; %.2g %% is aimed at",
		s.Choice, 100*s.Choice.Late, s.Choice.Cost, 100*s.Choice.Aim)
	if seen := t.snapshot.Now.Sub(s.Began); seen < firstDay {
		text = fmt.Sprintf("%s; only %s of history yet", text, seconds(seen))
	}
	return scale.Reason{Code: scale.ReasonHeadRoom, Text: text}
}
