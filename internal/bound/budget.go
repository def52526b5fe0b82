package bound

import (
	"math"
	"time"
)

// BudgetProblem asks for the cheapest fleet that may leave some work unserved.
type BudgetProblem struct {
	Load    []float64 // work per step, in replicas: 2.5 keeps two and a half busy
	Weight  []float64 // what a replica's worth of unserved work counts for in a step, such as its requests; nil: 1
	Step    time.Duration
	Boot    time.Duration // paid for each start
	Minimum int           // replicas that stay always
	Loss    float64       // 0..1, share of the weighted work that may go unserved
}

// BudgetBound is its answer.
type BudgetBound struct {
	Time       time.Duration // no schedule within the loss costs less replica-time
	Fleet      Fleet         // a schedule within the loss: Time ≤ optimum ≤ Fleet.Time
	Loss       float64       // 0..1, what Fleet leaves unserved, weighted
	Multiplier float64       // seconds of replica-time that a unit of weighted work is worth at Time
}

// rounds bounds the search for the multiplier; each halves its interval.
const rounds = 60

// Budget returns a lower bound on the replica-time of every schedule that
// leaves at most the given share of the work unserved, and a schedule close to
// it. Work is served in its own step or not at all; one that may wait into the
// next step and still count as served can be below this bound.
//
// Proof: level i serves clip(load−i, 0, 1) of a step when it is on. For a
// multiplier θ ≥ 0, every schedule n within the loss costs at least
// cost(n) + θ·(unserved(n) − allowed), and that sum decomposes over levels as
// in Clairvoyant, each minimised exactly by a DP with the states on and off.
// So each θ gives a bound; the best is found by bisection, since the unserved
// work falls as θ grows.
func Budget(p BudgetProblem) BudgetBound {
	if len(p.Load) == 0 {
		return BudgetBound{}
	}
	s := newSplit(p)
	d := dual{split: s, allowed: p.Loss * s.total, bound: math.Inf(-1), feasible: math.Inf(1)}
	high := d.search()
	best := BudgetBound{Multiplier: d.theta, Fleet: fleet(s.schedule(high), p.Step, p.Boot)}
	best.Time = time.Duration(max(0, d.bound) * float64(time.Second))
	best.Loss = s.unserved(best.Fleet.Counts)
	return best
}

// dual is the search for the multiplier with the best bound.
type dual struct {
	*split
	allowed  float64
	bound    float64 // best so far, replica-seconds
	theta    float64 // with it
	feasible float64 // replica-seconds of the cheapest schedule seen within the loss
}

// search returns a multiplier whose schedule is within the loss.
func (d *dual) search() float64 {
	if d.try(0) {
		return 0
	}
	low, high := 0.0, d.start()
	for !d.try(high) {
		if high > math.Sqrt(math.MaxFloat64) {
			break // what is left is less than a rounding error of any work
		}
		low, high = high, 8*high
	}
	for range rounds {
		if high-low <= 1e-7*high || d.feasible-d.bound <= 1e-6*d.bound {
			break
		}
		if middle := (low + high) / 2; d.try(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

// try takes in the bound that a multiplier gives, and says whether its
// schedule is within the loss.
func (d *dual) try(theta float64) bool {
	paid, lost := d.solve(theta)
	if b := paid + theta*(lost-d.allowed); b > d.bound {
		d.bound, d.theta = b, theta
	}
	if lost > d.allowed {
		return false
	}
	d.feasible = min(d.feasible, paid)
	return true
}

// split is a BudgetProblem cut into levels, in seconds.
type split struct {
	load, weight []float64
	step, boot   float64
	minimum      int
	levels       int
	total        float64 // weighted work
}

func newSplit(p BudgetProblem) *split {
	s := &split{
		load: p.Load, weight: p.Weight, step: p.Step.Seconds(), boot: p.Boot.Seconds(),
		minimum: max(0, p.Minimum),
	}
	if s.weight == nil {
		s.weight = make([]float64, len(p.Load))
		for t := range s.weight {
			s.weight[t] = 1
		}
	}
	s.levels = s.minimum
	for t, load := range p.Load {
		s.total += load * s.weight[t]
		s.levels = max(s.levels, int(math.Ceil(load)))
	}
	return s
}

// start is a multiplier to begin with: unserved work of the mean weight is
// worth the replica-time that it takes.
func (s *split) start() float64 {
	load := 0.0
	for _, l := range s.load {
		load += l
	}
	if s.total <= 0 {
		return 1
	}
	return (s.step + s.boot) * load / s.total
}

// path is one way to a state: what it paid, in seconds, and left unserved.
type path struct{ paid, lost float64 }

func (a path) price(theta float64) float64 { return a.paid + theta*a.lost }

// solve returns the replica-seconds and the unserved work of the levels that
// are cheapest under a multiplier.
func (s *split) solve(theta float64) (paid, lost float64) {
	paid = s.step * float64(len(s.load)*s.minimum)
	for i := s.minimum; i < s.levels; i++ {
		end, _ := s.level(i, theta, nil)
		paid += end.paid
		lost += end.lost
	}
	return paid, lost
}

// level is the two-state DP of level i; it also says whether the level is on in
// the last step. With kept, it notes there for each step whether the level was
// on before, if it is off (0) or on (1).
func (s *split) level(i int, theta float64, kept *[2][]bool) (path, bool) {
	above := float64(i)
	on := path{paid: s.step}
	off := path{lost: s.weight[0] * unit(s.load[0]-above)}
	for t := 1; t < len(s.load); t++ {
		wasOn, wasOff := on, off
		stay, start := wasOn.price(theta), wasOff.price(theta)+s.boot
		if stay > start {
			on = path{wasOff.paid + s.boot, wasOff.lost}
		}
		on.paid += s.step
		stop := wasOn.price(theta) < wasOff.price(theta)
		if stop {
			off = wasOn
		}
		if w := s.load[t] - above; w > 0 {
			off.lost += s.weight[t] * min(w, 1)
		}
		if kept != nil {
			kept[1][t], kept[0][t] = stay <= start, stop
		}
	}
	if on.price(theta) <= off.price(theta) {
		return on, true
	}
	return off, false
}

// unit clips work to what one replica can do.
func unit(work float64) float64 { return min(max(work, 0), 1) }

// schedule returns the replicas per step of the levels that are cheapest
// under a multiplier.
func (s *split) schedule(theta float64) []int {
	counts := make([]int, len(s.load))
	for t := range counts {
		counts[t] = s.minimum
	}
	kept := [2][]bool{make([]bool, len(counts)), make([]bool, len(counts))}
	for i := s.minimum; i < s.levels; i++ {
		_, on := s.level(i, theta, &kept)
		for t := len(counts) - 1; t >= 0; t-- {
			before := kept[0][t]
			if on {
				counts[t]++
				before = kept[1][t]
			}
			on = before
		}
	}
	return counts
}

// unserved returns the share of the weighted work that a schedule leaves.
func (s *split) unserved(counts []int) float64 {
	if s.total <= 0 {
		return 0
	}
	lost := 0.0
	for t, load := range s.load {
		lost += s.weight[t] * max(0, load-float64(counts[t]))
	}
	return lost / s.total
}
