package shadow

import (
	"math"
	"slices"
	"time"
)

// Methods is how many forecasts the fleets choose from.
const Methods = 2

// The kinds of fleets: one for each forecast, floor and head-room.
const (
	floors = 2 // none, and what is exceeded for a hundredth of the day
	rooms  = 11
	fleets = Methods * floors * rooms
	lives  = 2
	// followers are the fleets that follow the choice at a price.
	followers = priceSteps * lives
	// firstRoom is the head-room that is begun with.
	firstRoom = 7
	// highQuantile of the day's demand is the floor.
	highQuantile = 0.99
	// beyondPeak is how much more than was ever seen head-room may be for.
	beyondPeak = 1.5
)

// headRooms is how many errors of the forecast a fleet adds to it.
func headRooms() [rooms]float64 { return [...]float64{-1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 5, 8, 13} }

// halfLives of what is remembered of the fleets.
func halfLives() [lives]time.Duration { return [...]time.Duration{6 * time.Hour, 48 * time.Hour} }

const (
	// sampleShare of a step, and leastSample seconds, is the span below which
	// samples are put together: a poked tick comes after a moment. keepSamples
	// bounds them while nothing runs and no step is taken.
	sampleShare = 1.0 / 5
	leastSample = 0.9
	keepSamples = 64
	// quick and slow are boots up to which fleets act every quickStep and
	// slowStep.
	quick, quickStep = 40 * time.Second, 5 * time.Second
	slow, slowStep   = 300 * time.Second, 15 * time.Second
	// nearly a step is a step: spans are rounded.
	nearly = 0.99
	// priorOver is the time that the prior is worth. Costs and lateness in it are
	// a head-room's, as fleets had them on the first days of several traces.
	priorOver     = 2 * time.Hour
	priorCost     = 1.1
	priorRoomCost = 0.08
	priorLate     = 0.05
	priorRoomLate = 0.8
	priorPaidLate = 0.12
)

// Forecast is what one method expects one boot ahead.
type Forecast struct {
	Rate  float64 // requests/s
	Error float64 // to be expected, relative
}

// State is what is remembered of a Model's virtual fleets. The zero State has
// seen nothing. It is a value: Observe and Advance return the next one.
type State struct {
	Began   time.Time
	At      time.Time     // of the newest step
	Step    time.Duration // between steps; changes with the boot
	Boots   int           // steps that a boot takes
	Samples packed[Sample, *Sample]

	Fleets    fleetList
	Scores    packed[scores, *scores]
	Weights   [lives]float64
	Followers fleetList
	Followed  packed[score, *score]
	Weight    float64
	Picks     [followers]int16 // fleets

	Chosen time.Time
	Choice Choice
	Usual  Usual
	Days   Histogram
	Floor  float64 // requests/s
	Peak   float64 // requests/s
	Bank   float64 // usual work that may yet be late, in steps

	Mirror   fluid // the real fleet
	Mirrored int   // replicas Ready in it
	Expected float64
	Seen     float64 // work that was late: as the Mirror has it, and really
	Spread   float64 // learnt, see Terms
}

// Begun says whether there are fleets yet.
func (s *State) Begun() bool { return len(s.Fleets) > 0 }

// stepOf is how often fleets act, for a boot that takes so long.
func stepOf(boot time.Duration) time.Duration {
	switch {
	case boot < quick:
		return quickStep
	case boot <= slow:
		return slowStep
	}
	return (boot/(ring-4) + slowStep).Truncate(slowStep)
}

// Due says whether a step is due, for a boot that takes so long.
func (s *State) Due(boot time.Duration) bool {
	span := 0.0
	for _, x := range s.Samples {
		span += x.Span
	}
	return span >= stepOf(boot).Seconds()*nearly
}

// Observe adds what happened within a tick.
func (s State) Observe(x Sample) State {
	if x.Span <= 0 {
		return s
	}
	n := len(s.Samples) - 1
	if n < 0 || s.Samples[n].Span >= math.Max(leastSample, sampleShare*s.Step.Seconds()) {
		s.Samples = append(slices.Clip(s.Samples[max(0, n+2-keepSamples):]), x)
		return s
	}
	s.Samples = slices.Clone(s.Samples)
	last := &s.Samples[n]
	last.Rate = (last.Rate*last.Span + x.Rate*x.Span) / (last.Span + x.Span)
	last.Span += x.Span
	last.Ready = x.Ready
	last.Missed += x.Missed
	return s
}

// Advance lets every fleet live through the samples since the newest step, and
// chooses among them, when a step is due. Objective is the share of requests
// that must meet the SLO.
func (s State) Advance(now time.Time, t Terms, f [Methods]Forecast, objective float64) State {
	if !t.Valid() {
		return s
	}
	step := stepOf(t.Boot)
	boots := min(int(math.Ceil(float64(t.Boot)/float64(step))), ring-2)
	if !s.Begun() {
		s = s.begin(now, step, t, f)
	}
	t.Spread = s.Spread
	if t.SlowFull > 0 {
		t.steep = math.Log(t.SlowFull / t.SlowSteady)
	}
	if !s.Due(t.Boot) {
		return s
	}
	span, arrivals, missed := 0.0, 0.0, 0.0
	for _, x := range s.Samples {
		span, arrivals, missed = span+x.Span, arrivals+x.Rate*x.Span, missed+x.Missed
	}
	s = s.fresh()
	if step != s.Step || boots != s.Boots {
		s.Step, s.Boots = step, boots
		for _, all := range []fleetList{s.Fleets, s.Followers} {
			for i := range all {
				all[i].settle(all[i].total())
			}
		}
	}
	work := arrivals / span / t.Rate()
	s.Usual = s.Usual.learn(work, step)
	s.Days = s.Days.learn(arrivals/span, step)
	s.Floor, s.Peak = s.Days.quantile(highQuantile), s.Days.peak()
	s = s.score(span, work, t)
	s = s.bank(work, missed/span/t.Rate(), objective, t)
	for i := range s.Fleets {
		g := &s.Fleets[i]
		g.order(Settle(s.wishOf(i, f, g.backlog(t), t), g.total(), t), boots, t)
	}
	if now.Sub(s.Chosen) >= chooseEvery || s.Chosen.After(now) {
		s = s.choose(objective)
		s.Chosen = now
	}
	for i := range s.Followers {
		g := &s.Followers[i]
		g.order(Settle(s.wishOf(int(s.Picks[i]), f, g.backlog(t), t), g.total(), t), boots, t)
	}
	s.Samples, s.At = nil, now
	return s
}

// fresh is a copy of the State whose fleets may be changed.
func (s State) fresh() State {
	s.Fleets, s.Followers = slices.Clone(s.Fleets), slices.Clone(s.Followers)
	s.Scores, s.Followed = slices.Clone(s.Scores), slices.Clone(s.Followed)
	return s
}

// kind is what sets fleet i apart.
func kind(i int) (method, floor int, room float64) {
	return i / (floors * rooms), i / rooms % floors, headRooms()[i%rooms]
}

// wishOf is what fleet i wishes for with a backlog.
func (s *State) wishOf(i int, f [Methods]Forecast, backlog float64, t Terms) float64 {
	method, floor, room := kind(i)
	rate := math.Max(0, f[method].Rate*(1+room*f[method].Error))
	rate = math.Min(rate, math.Max(f[method].Rate, beyondPeak*s.Peak))
	if floor == 1 {
		rate = math.Max(rate, s.Floor)
	}
	return wish(rate, backlog, t)
}

// Wish is how many replicas, not rounded, the real fleet should have one boot
// from now, with a backlog of requests that wait.
func (s *State) Wish(t Terms, f [Methods]Forecast, backlog float64) float64 {
	a, b := s.wishOf(int(s.Choice.A), f, backlog, t), s.wishOf(int(s.Choice.B), f, backlog, t)
	return (1-s.Choice.Mix)*a + s.Choice.Mix*b
}

// begin makes all fleets as large as the present calls for. Their scores are a
// prior: without it the first minute would choose.
func (s State) begin(now time.Time, step time.Duration, t Terms, f [Methods]Forecast) State {
	s.Began, s.At, s.Step, s.Spread = now, now, step, firstSpread
	s.Fleets, s.Scores = make(fleetList, fleets), make([]scores, fleets)
	s.Followers, s.Followed = make(fleetList, followers), make([]score, followers)
	prior := float64(priorOver) / float64(step)
	first := Settle(wish(f[0].Rate, 0, t), 0, t)
	for i := range s.Fleets {
		_, _, room := kind(i)
		for h := range lives {
			s.Scores[i][h] = score{Cost: (priorCost + priorRoomCost*room) * prior, Late: priorLate * math.Exp(-priorRoomLate*room) * prior}
		}
		s.Fleets[i].settle(first)
	}
	for i := range s.Followers {
		s.Followed[i] = score{Cost: prior, Late: priorPaidLate / prices()[i%priceSteps] * prior}
		s.Followers[i].settle(first)
		s.Picks[i] = firstRoom
	}
	for h := range lives {
		s.Weights[h] = prior
	}
	s.Weight = prior
	s.Choice = Choice{A: firstRoom, B: firstRoom}
	return s
}
