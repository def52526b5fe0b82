package bound

import (
	"math"
	"slices"
	"time"
)

// Kind is a kind of replica: a variant, bought in one way.
type Kind struct {
	PricePerHour float64       // US dollars
	Boot         time.Duration // paid for each start
	// Need is how many replicas of this kind alone would serve each step, not
	// rounded: work ÷ what a replica does of it. +Inf where it can serve none.
	Need      []float64
	Available []int // replicas that can be had, per step; nil: any number
}

// RelaxedProblem asks for the cheapest fleet of several kinds.
type RelaxedProblem struct {
	Kinds   []Kind // all with as many steps
	Step    time.Duration
	Minimum int // replicas that stay always, of any kind
}

// RelaxedBound is its answer, in US dollars.
type RelaxedBound struct {
	Cost     float64 // no fleet is cheaper
	Relaxed  float64 // a fleet of fractional replicas costs this: the relaxation lies between the two
	Unserved float64 // steps' worth of work for which not enough is available, left out
}

// Relaxed returns a lower bound on what serving every step costs with several
// kinds of replica, whose prices, sizes, boots and availability differ. It
// relaxes counts to fractions and says how close it came to that relaxation.
//
// The relaxation is a linear programme: minimise, over counts n and starts u,
// the sum of price·n and boot·u, with Σ n/Need ≥ 1 and Σ n ≥ Minimum in every
// step, n ≤ Available, and u at least the rise of n since the step before, the
// first fleet being free. Its multipliers come from an interior point method;
// the bound does not trust them. For any multipliers λ, ν ≥ 0 of the two
// coupling rows, the cost is at least Σ λ + Σ Minimum·ν and, for each kind by
// itself, the least cost of a schedule with a price per step lowered by λ/Need
// + ν. That least cost is a sum over levels of the availability, as in
// Clairvoyant, of a DP with the states on and off. (Where every kind can always
// be had and one is the cheapest for every step's work, starts included, the
// relaxation is the clairvoyant fleet of that kind, in fractions.)
func Relaxed(p RelaxedProblem) RelaxedBound {
	l := newProgramme(p)
	if l.steps == 0 {
		return RelaxedBound{}
	}
	var b RelaxedBound
	anything := false
	for t := range l.steps {
		b.Unserved += max(0, l.asked[t]-l.work[t])
		anything = anything || l.work[t] > 0 || l.least[t] > 0
	}
	if anything {
		low, high := l.solve()
		b.Cost, b.Relaxed = min(low, high)*l.unit, high*l.unit
	}
	return b
}

// programme is the linear programme, scaled: replicas of kind k by size[k], so
// that one alone serves every step, and dollars by unit.
type programme struct {
	steps, kinds int
	asked, work  []float64 // per step: 1 where there is work, and as much of it as can be served
	least        []float64 // per step, scaled by nothing: replicas in all
	size         []float64
	unit         float64
	price, start []float64 // per kind, of size replicas: of a step, and of a boot
	serves       []float64 // per step and kind: share of the work that size replicas serve
	room         []float64 // per step and kind: what is available, at most 1, by size
	always       []bool    // per kind: room is 1 in every step
}

func newProgramme(p RelaxedProblem) *programme {
	l := &programme{kinds: len(p.Kinds)}
	if l.kinds == 0 || len(p.Kinds[0].Need) == 0 {
		return l
	}
	l.steps = len(p.Kinds[0].Need)
	cells := l.steps * l.kinds
	l.serves, l.room = make([]float64, cells), make([]float64, cells)
	l.asked, l.work, l.least = make([]float64, l.steps), make([]float64, l.steps), make([]float64, l.steps)
	minimum := float64(max(0, p.Minimum))
	for k, kind := range p.Kinds {
		size := max(1e-9, minimum)
		for _, need := range kind.Need {
			if !math.IsInf(need, 1) {
				size = max(size, need)
			}
		}
		price := kind.PricePerHour * p.Step.Hours() * size
		l.size = append(l.size, size)
		l.price, l.start = append(l.price, price), append(l.start, kind.PricePerHour*kind.Boot.Hours()*size)
		l.unit = max(l.unit, price)
		always := true
		for t, need := range kind.Need {
			i := t*l.kinds + k
			l.room[i] = 1
			if kind.Available != nil {
				l.room[i] = min(1, max(0, float64(kind.Available[t]))/size)
			}
			if need > 0 {
				l.asked[t] = 1
				l.serves[i] = size / need
			}
			always = always && l.room[i] == 1
		}
		l.always = append(l.always, always)
	}
	if l.unit == 0 {
		l.unit = 1
	}
	for k := range l.price {
		l.price[k] /= l.unit
		l.start[k] /= l.unit
	}
	l.limit(minimum)
	return l
}

// limit asks of each step no more than is available.
func (l *programme) limit(minimum float64) {
	for t := range l.steps {
		served, replicas := 0.0, 0.0
		for k := range l.kinds {
			i := t*l.kinds + k
			served += l.serves[i] * l.room[i]
			replicas += l.size[k] * l.room[i]
		}
		l.work[t] = min(l.asked[t], served)
		l.least[t] = min(minimum, replicas)
	}
}

// multipliers are of the rows that couple kinds, per step.
type multipliers struct{ work, least []float64 }

// fitted lowers multipliers so far that no kind which can always be had earns
// anything by them. Near the optimum that is a rounding error in each step,
// and otherwise dual would have to pay it for every replica that there could be.
func (l *programme) fitted(z multipliers) multipliers {
	out := multipliers{make([]float64, l.steps), make([]float64, l.steps)}
	on := slices.Clone(l.start) // what the cheapest way to be on has cost, per kind
	for t := range l.steps {
		keeps := 1.0
		earns := func(k int) float64 { return z.work[t]*l.serves[t*l.kinds+k] + z.least[t]*l.size[k] }
		for k := range l.kinds {
			if t == 0 {
				on[k] = 0
			}
			on[k] = min(on[k], l.start[k]) + l.price[k]
			if l.always[k] && earns(k) > 0 {
				keeps = min(keeps, on[k]/earns(k))
			}
		}
		for k := range l.kinds {
			on[k] = max(0, on[k]-keeps*earns(k))
		}
		out.work[t], out.least[t] = keeps*z.work[t], keeps*z.least[t]
	}
	return out
}

// dual returns the bound that multipliers give.
func (l *programme) dual(z multipliers) float64 {
	sum := 0.0
	for t := range l.steps {
		sum += z.work[t]*l.work[t] + z.least[t]*l.least[t]
	}
	for k := range l.kinds {
		levels := make([]float64, 0, 2)
		for t := range l.steps {
			levels = append(levels, l.room[t*l.kinds+k])
		}
		slices.Sort(levels)
		below := 0.0
		for _, level := range slices.Compact(levels) {
			if level > below {
				sum += (level - below) * l.cheapest(k, level, z)
				below = level
			}
		}
	}
	return sum
}

// cheapest is the cost of the cheapest on/off schedule of a kind that is on
// only while the level is available, at prices lowered by the multipliers.
func (l *programme) cheapest(k int, level float64, z multipliers) float64 {
	on, off := math.Inf(1), 0.0
	for t := range l.steps {
		i := t*l.kinds + k
		start := l.start[k]
		if t == 0 {
			start = 0
		}
		on, off = min(on, off+start), min(on, off)
		if l.room[i] < level {
			on = math.Inf(1)
			continue
		}
		on += l.price[k] - z.work[t]*l.serves[i] - z.least[t]*l.size[k]
	}
	return min(on, off)
}

// repaired returns the cost of a solution made feasible: within what is
// available, and with what is short of the rows added where there is room.
func (l *programme) repaired(n []float64) float64 {
	cost := 0.0
	for t := range l.steps {
		row := n[t*l.kinds : (t+1)*l.kinds]
		work, least := l.work[t], l.least[t]
		for k := range row {
			row[k] = min(max(row[k], 0), l.room[t*l.kinds+k])
			work -= row[k] * l.serves[t*l.kinds+k]
			least -= row[k] * l.size[k]
		}
		for k := range row {
			i := t*l.kinds + k
			more := max(0, least) / l.size[k]
			if l.serves[i] > 0 {
				more = max(more, work/l.serves[i])
			}
			more = min(more, l.room[i]-row[k])
			row[k] += more
			work -= more * l.serves[i]
			least -= more * l.size[k]
			cost += l.price[k] * row[k]
			if t > 0 {
				cost += l.start[k] * max(0, row[k]-n[i-l.kinds])
			}
		}
	}
	return cost
}
