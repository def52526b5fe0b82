package planner

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
)

func target(name string) scale.ScaleTarget {
	return scale.ScaleTarget{Model: "m", Variant: name, Capacity: scale.OnDemand}
}

func TestStories(t *testing.T) {
	l4 := Choice{Target: target("l4"), Alone: 7.2, PricePerHour: 0.75, Max: 16}
	h100 := Choice{Target: target("h100"), Alone: 1.3, PricePerHour: 3.5, Max: 4}
	for name, c := range map[string]struct {
		choices []Choice
		want    []int
	}{
		"one variant is rounded up":                         {[]Choice{l4}, []int{8}},
		"the cheaper variant carries all":                   {[]Choice{l4, with(h100, func(c *Choice) { c.Alone = 1.9 })}, []int{8, 0}},
		"a maximum makes the other fill in":                 {[]Choice{with(l4, func(c *Choice) { c.Max = 3 }), h100}, []int{2, 1}},
		"two that fit beat one that does not":               {[]Choice{with(l4, func(c *Choice) { c.Alone = 10.4 }), h100}, []int{3, 1}},
		"nothing asked for needs nothing":                   {[]Choice{with(l4, func(c *Choice) { c.Alone = 0 }), with(h100, func(c *Choice) { c.Alone = 0 })}, []int{0, 0}},
		"a variant that cannot serve is not used":           {[]Choice{with(l4, func(c *Choice) { c.Alone = math.Inf(1) }), h100}, []int{0, 2}},
		"what runs stays while the saving is below a start": {[]Choice{with(l4, func(c *Choice) { c.StartPerHour = 0.2 }), with(h100, func(c *Choice) { c.Current = 2; c.Alone = 2 })}, []int{0, 2}},
		"too little of everything gives everything":         {[]Choice{with(l4, func(c *Choice) { c.Max = 2 }), with(h100, func(c *Choice) { c.Max = 0 })}, []int{2, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Solve(Problem{Choices: c.choices})
			if diff := cmp.Diff(c.want, got.Replicas); diff != "" {
				t.Errorf("%s\n%+v", diff, got)
			}
			if !got.Optimal {
				t.Error("not proven optimal")
			}
		})
	}
}

func with(c Choice, change func(*Choice)) Choice {
	change(&c)
	return c
}

// TestAgainstBruteForce holds Solve against trying every allocation.
func TestAgainstBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p Problem
		for i := range rapid.IntRange(1, 4).Draw(t, "choices") {
			p.Choices = append(p.Choices, Choice{
				Target:       target(string(rune('a' + i))),
				Alone:        rapid.Float64Range(0.1, 6).Draw(t, "alone"),
				PricePerHour: rapid.Float64Range(0.1, 20).Draw(t, "price"),
				StartPerHour: rapid.Float64Range(0, 5).Draw(t, "start"),
				Current:      rapid.IntRange(0, 5).Draw(t, "current"),
				Max:          rapid.IntRange(0, 6).Draw(t, "max"),
			})
		}
		if len(p.Choices) > 1 && rapid.Bool().Draw(t, "one variant as two capacity types") {
			p.Choices[1].Target.Variant, p.Choices[1].Target.Capacity = p.Choices[0].Target.Variant, scale.Spot
			p.Choices[1].Alone = p.Choices[0].Alone
			p.Choices[0].Together = rapid.IntRange(1, 8).Draw(t, "together")
			p.Choices[1].Together = p.Choices[0].Together
		}
		got := Solve(p)
		best, feasible := brute(p)
		cost := 0.0
		for i, n := range got.Replicas {
			if n < 0 || n > p.Choices[i].Max {
				t.Fatalf("%d replicas of a choice with a maximum of %d", n, p.Choices[i].Max)
			}
			cost += p.Choices[i].cost(n)
		}
		if !within(p, got.Replicas) {
			t.Fatalf("%v, beyond what one variant may have: %+v", got.Replicas, p.Choices)
		}
		if feasible && (got.Carried < 1-1e-6 || math.Abs(cost-best) > 1e-6*math.Max(1, best)) {
			t.Fatalf("cost %.6f carrying %.4f, brute force %.6f: %+v", cost, got.Carried, best, got)
		}
		if !feasible && got.Carried >= 1 {
			t.Fatalf("infeasible, yet carried %.3f", got.Carried)
		}
	})
}

// within says whether no variant has more than it may have together.
func within(p Problem, counts []int) bool {
	sums := map[string]int{}
	for i, c := range p.Choices {
		if sums[c.Target.Variant] += counts[i]; c.Together > 0 && sums[c.Target.Variant] > c.Together {
			return false
		}
	}
	return true
}

func brute(p Problem) (best float64, feasible bool) {
	best = math.Inf(1)
	counts := make([]int, len(p.Choices))
	for {
		carried, cost := 0.0, 0.0
		for i, n := range counts {
			carried += float64(n) / p.Choices[i].Alone
			cost += p.Choices[i].cost(n)
		}
		if carried >= 1-slack && within(p, counts) {
			best, feasible = min(best, cost), true
		}
		i := 0
		for ; i < len(counts); i++ {
			if counts[i]++; counts[i] <= p.Choices[i].Max {
				break
			}
			counts[i] = 0
		}
		if i == len(counts) {
			return best, feasible
		}
	}
}

// TestADoubledPriceNeverRaisesACount is one of the laws of the house.
func TestADoubledPriceNeverRaisesACount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Problem{Choices: []Choice{
			{Target: target("a"), Alone: rapid.Float64Range(0.1, 20).Draw(t, "a"), PricePerHour: rapid.Float64Range(0.1, 9).Draw(t, "pa"), Max: 30},
			{Target: target("b"), Alone: rapid.Float64Range(0.1, 20).Draw(t, "b"), PricePerHour: rapid.Float64Range(0.1, 9).Draw(t, "pb"), Max: 30},
		}}
		before := Solve(p)
		p.Choices[0].PricePerHour *= 2
		if after := Solve(p); after.Replicas[0] > before.Replicas[0] {
			t.Fatalf("%d replicas, and %d at twice the price", before.Replicas[0], after.Replicas[0])
		}
	})
}

func BenchmarkSolveTwoVariants(b *testing.B) {
	p := Problem{Choices: []Choice{
		{Target: target("l4"), Alone: 37.2, PricePerHour: 0.75, Max: 64},
		{Target: target("h100"), Alone: 6.3, PricePerHour: 3.5, Max: 16},
	}}
	for b.Loop() {
		Solve(p)
	}
}
