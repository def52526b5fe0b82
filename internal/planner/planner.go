// Package planner chooses the cheapest replicas, over a Model's variants and
// capacity types, that carry a demanded amount of work.
package planner

import (
	"cmp"
	"math"
	"slices"

	"github.com/penstock/penstock/internal/scale"
)

// Choice is one target that may be used.
type Choice struct {
	Target scale.ScaleTarget
	// Alone is how many replicas of this target, not rounded, would carry the
	// whole demand alone. +Inf marks a target that cannot serve it.
	Alone        float64
	PricePerHour float64 // US dollars for one replica
	StartPerHour float64 // US dollars an hour that starting one replica is worth: the switching cost
	Current      int     // replicas serving now
	Max          int
	Together     int // bounds all choices of one variant together; 0 for no such bound
}

// Problem asks for Σ nᵢ/Aloneᵢ ≥ 1 at the least Σ nᵢ·price plus switching cost.
type Problem struct {
	Choices []Choice
}

// Solution is the cheapest allocation found.
type Solution struct {
	Replicas    []int   // by index of Problem.Choices
	CostPerHour float64 // US dollars, switching cost left out
	Carried     float64 // Σ nᵢ/Aloneᵢ; below 1 when the maxima do not suffice
	Optimal     bool    // proven; false when the search was cut short
}

// maxNodes bounds the search. Few variants need a few hundred nodes.
const maxNodes = 20_000

// slack forgives rounding of float64 in the covering constraint.
const slack = 1e-9

// Solve finds the cheapest allocation by branch and bound: targets in order of
// what covering everything with them would cost, each with its largest useful
// count first, pruned by the best later target's cost. Ties fall to the
// allocation found first, so the result is deterministic.
func Solve(p Problem) Solution {
	s := search{problem: p, order: make([]int, 0, len(p.Choices)), best: math.Inf(1), counts: make([]int, len(p.Choices))}
	capacity := 0.0
	for i, c := range p.Choices {
		if c.Alone > 0 && !math.IsInf(c.Alone, 1) && c.Max > 0 {
			s.order = append(s.order, i)
			capacity += float64(c.Max) / c.Alone
		}
	}
	slices.SortStableFunc(s.order, func(a, b int) int {
		return cmp.Compare(p.Choices[a].rate(), p.Choices[b].rate())
	})
	if capacity < 1 {
		return s.everything()
	}
	s.visit(0, 1, 0)
	if s.found == nil { // the maxima suffice by no more than rounding
		return s.everything()
	}
	return s.solution(s.found, s.nodes < maxNodes)
}

// rate is the cost per hour of carrying the whole demand with this choice.
func (c Choice) rate() float64 { return c.Alone * c.PricePerHour }

func (c Choice) cost(n int) float64 {
	return float64(n)*c.PricePerHour + float64(max(0, n-c.Current))*c.StartPerHour
}

type search struct {
	problem Problem
	order   []int // choices that can serve, cheapest first
	counts  []int
	found   []int
	best    float64
	nodes   int
}

// visit branches on the count of choice order[depth]; open is the share of the
// demand that is not carried yet and spent the cost of what is.
func (s *search) visit(depth int, open, spent float64) {
	s.nodes++
	if open <= slack {
		if spent < s.best {
			s.best, s.found = spent, slices.Clone(s.counts)
		}
		return
	}
	if depth == len(s.order) || s.nodes >= maxNodes {
		return
	}
	if bound := spent + open*s.problem.Choices[s.order[depth]].rate(); bound >= s.best {
		return
	}
	i := s.order[depth]
	c := s.problem.Choices[i]
	for n := min(s.room(i), int(math.Ceil(open*c.Alone-slack))); n >= 0; n-- {
		s.counts[i] = n
		s.visit(depth+1, open-float64(n)/c.Alone, spent+c.cost(n))
	}
	s.counts[i] = 0
}

// room returns how many there may be of a choice, with those of its variant
// that are chosen already.
func (s *search) room(i int) int {
	c := &s.problem.Choices[i]
	if c.Together == 0 {
		return c.Max
	}
	left := c.Together
	for j := range s.problem.Choices {
		if o := &s.problem.Choices[j].Target; j != i && o.Model == c.Target.Model && o.Variant == c.Target.Variant {
			left -= s.counts[j]
		}
	}
	return max(0, min(c.Max, left))
}

// everything is the answer when all maxima together do not suffice.
func (s *search) everything() Solution {
	for _, i := range s.order {
		s.counts[i] = s.room(i)
	}
	return s.solution(s.counts, true)
}

func (s *search) solution(counts []int, optimal bool) Solution {
	out := Solution{Replicas: slices.Clone(counts), Optimal: optimal}
	for i, n := range counts {
		c := s.problem.Choices[i]
		out.CostPerHour += float64(n) * c.PricePerHour
		if n > 0 {
			out.Carried += float64(n) / c.Alone
		}
	}
	return out
}
