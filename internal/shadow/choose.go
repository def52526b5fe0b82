package shadow

import (
	"fmt"
	"math"
	"time"
)

const (
	priceSteps = 11
	// aim is the share of what may miss the SLO that is aimed at: what is
	// promised is missed rather less than allowed. It grows from youngAim within
	// young: a first day has nothing to make good for its mistakes.
	aim      = 0.88
	youngAim = 0.45
	young    = 48 * time.Hour
	// chooseEvery is how often fleets are chosen.
	chooseEvery = time.Minute
	// better is by how much another fleet must be cheaper to be chosen.
	better = 0.998
	// followerLife is the half-life of what is remembered of followers.
	followerLife = 6 * 24 * time.Hour
	// The bank is full, and at its deepest debt, with what is allowed in so long.
	// A full one lets bankGain times more of the work be late; leastAim and mostAim
	// bound that.
	bankSpan = 48 * time.Hour
	bankDebt = 6 * 24 * time.Hour
	bankGain = 1.5
	leastAim = 0.3
	mostAim  = 2.5
	// mirrorLife is the half-life of what is remembered of the mirror, and
	// mostWrong bounds how wrong it may be.
	mirrorLife = 6 * time.Hour
	mostWrong  = 5.0
	// The spread begins as that of exponential service, and is learnt over some
	// hours.
	firstSpread = 0.5
	leastSpread = 0.2
	mostSpread  = 8.0
	learnSpread = 8 * time.Hour
)

// prices of work that is late, in replica-seconds of work that is served.
func prices() [priceSteps]float64 {
	return [...]float64{1.5, 2.5, 4, 6, 9, 13, 20, 30, 50, 100, 300}
}

// score is what a fleet cost and was late for, in shares of usual work, with
// older steps weighing less.
type score struct{ Cost, Late float64 }

// scores are those by half-life.
type scores [lives]score

// Choice is which fleets the real one follows: a mixture of two.
type Choice struct {
	A, B  int16
	Mix   float64 // of B
	Price float64
	Cost  float64 // replicas of the followers, for each that was needed
	Late  float64 // share of the work that the followers were late for
	Aim   float64 // of it
}

// Method is which forecast is followed.
func (c Choice) Method() int {
	method, _, _ := kind(int(c.A))
	return method
}

// String names the fleets.
func (c Choice) String() string {
	name := func(i int16) string {
		_, floor, room := kind(int(i))
		if floor == 1 {
			return fmt.Sprintf("head-room of %g errors of the forecast, no less than the day's peak", room)
		}
		return fmt.Sprintf("head-room of %g errors of the forecast", room)
	}
	if c.Mix == 0 || c.A == c.B {
		return name(c.A)
	}
	return fmt.Sprintf("%s and, for %.0f %%, %s", name(c.A), 100*c.Mix, name(c.B))
}

// score lets the samples happen to every fleet.
func (s State) score(span, work float64, t Terms) State {
	usual := s.Usual.work()
	unit := 1 / (span * usual)
	var keep [lives]float64
	for h, life := range halfLives() {
		keep[h] = math.Exp2(-float64(s.Step) / float64(life))
		s.Weights[h] = s.Weights[h]*keep[h] + work/usual
	}
	for i := range s.Fleets {
		bill, late := s.Fleets[i].spend(s.Samples, t)
		for h := range lives {
			c := &s.Scores[i][h]
			c.Cost = c.Cost*keep[h] + bill*unit
			c.Late = c.Late*keep[h] + late/t.Rate()*unit
		}
	}
	kept := math.Exp2(-float64(s.Step) / float64(followerLife))
	s.Weight = s.Weight*kept + work/usual
	for i := range s.Followers {
		bill, late := s.Followers[i].spend(s.Samples, t)
		c := &s.Followed[i]
		c.Cost = c.Cost*kept + bill*unit
		c.Late = c.Late*kept + late/t.Rate()*unit
	}
	return s
}

// allowed is the share of the work that is aimed at being late.
func (s *State) allowed(objective float64) float64 {
	age := math.Min(math.Max(float64(s.At.Sub(s.Began))/float64(young), 0), 1)
	return (youngAim + (aim-youngAim)*age) * (1 - objective)
}

// bank notes what was really late against what is allowed, and learns how much
// more that is than the fluid says.
func (s State) bank(work, late, objective float64, t Terms) State {
	usual := s.Usual.work()
	allowed := s.allowed(objective)
	perStep := allowed / float64(s.Step)
	s.Bank += (allowed*work - late) / usual
	s.Bank = math.Min(math.Max(s.Bank, -perStep*float64(bankDebt)), perStep*float64(bankSpan))

	mirrored := 0.0
	for _, x := range s.Samples {
		ready := x.Ready
		if ready < s.Mirrored {
			s.Mirror.drain(s.Mirrored-ready, s.Mirrored, t)
		}
		s.Mirrored = ready
		mirrored += s.Mirror.pass(x, ready, t)
	}
	keep := math.Exp2(-float64(s.Step) / float64(mirrorLife))
	s.Expected = s.Expected*keep + mirrored/t.Rate()/(s.Step.Seconds()*usual)
	s.Seen = s.Seen*keep + late/usual
	some := s.someLate(objective) / 4
	s.Spread *= math.Exp(float64(s.Step) / float64(learnSpread) * (s.Seen - s.Expected) / (s.Seen + s.Expected + some))
	s.Spread = math.Min(math.Max(s.Spread, leastSpread), mostSpread)
	return s
}

// someLate is as much late work as the prior is worth.
func (s *State) someLate(objective float64) float64 {
	return (1 - objective) * float64(priorOver) / float64(s.Step)
}

// factor is how much more is really late than the fluid has it.
func (s *State) factor(objective float64) float64 {
	prior := s.someLate(objective)
	return math.Min(math.Max((s.Seen+prior)/(s.Expected+prior), 1/mostWrong), mostWrong)
}

// choose finds the best fleet for every price, and the price.
func (s State) choose(objective float64) State {
	factor := s.factor(objective)
	for h := range lives {
		for p, price := range prices() {
			at := &s.Picks[h*priceSteps+p]
			total := func(i int) float64 { return s.Scores[i][h].Cost + price*factor*s.Scores[i][h].Late }
			best, least := int(*at), total(int(*at))*better
			for i := range s.Fleets {
				if c := total(i); c < least {
					best, least = i, c
				}
			}
			*at = int16(best)
		}
	}
	allowed := s.allowed(objective)
	full := allowed * float64(bankSpan) / float64(s.Step)
	target := allowed * math.Min(math.Max(1+bankGain*s.Bank/full, leastAim), mostAim)
	s.Choice.Cost = math.Inf(1)
	for h := range lives {
		if c := s.priced(h, target, factor); c.Cost < s.Choice.Cost {
			s.Choice = c
		}
	}
	return s
}

// priced is the lowest price at which the followers kept the target, between its
// neighbour and itself.
func (s *State) priced(h int, target, factor float64) Choice {
	at := func(p int) (int, score) { i := h*priceSteps + p; return i, s.Followed[i] }
	late := func(p int) float64 { _, c := at(p); return c.Late / s.Weight * factor }
	p := 0
	for p < priceSteps-1 && late(p) > target {
		p++
	}
	i, c := at(p)
	choice := Choice{A: s.Picks[i], B: s.Picks[i], Price: prices()[p], Cost: c.Cost / s.Weight, Late: late(p), Aim: target}
	if p == 0 || late(p) > target {
		return choice
	}
	j, cheaper := at(p - 1)
	choice.A = s.Picks[j]
	choice.Mix = (late(p-1) - target) / (late(p-1) - late(p))
	choice.Cost += (1 - choice.Mix) * (cheaper.Cost - c.Cost) / s.Weight
	choice.Late = target
	return choice
}
