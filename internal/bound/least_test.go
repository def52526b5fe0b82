package bound_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/bound"
)

func TestLeastIsBelowAndNearTheSumOfTheSmallest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		works := rapid.SliceOfN(rapid.Map(rapid.Float64Range(-20, 15), math.Exp2), 0, 200).Draw(t, "works")
		if rapid.Bool().Draw(t, "zero") {
			works = append(works, 0, 0)
		}
		var l bound.Least
		for _, w := range works {
			l.Add(w)
		}
		slices.Sort(works)
		n := rapid.IntRange(0, len(works)).Draw(t, "n")
		sum := 0.0
		for _, w := range works[:n] {
			sum += w
		}
		if got := l.Smallest(n); got > sum*(1+1e-12) || got < sum*(1-1.0/64) {
			t.Fatalf("the %d smallest of %d: %v, exactly %v", n, len(works), got, sum)
		}
		if l.Len() != len(works) || l.Total(1) != l.Smallest(len(works)) || l.Total(0) != 0 || l.Smallest(-1) != 0 {
			t.Fatalf("%d works, all of them %v and %v, none %v", l.Len(), l.Total(1), l.Smallest(len(works)), l.Total(0))
		}
	})
}

func TestLeastOfWorksThatItCannotTellApart(t *testing.T) {
	var l bound.Least
	for _, w := range []float64{1e-300, 2e-300, math.Exp2(30), math.Exp2(31)} {
		l.Add(w)
	}
	if got := l.Smallest(1); got != 0 {
		t.Errorf("the smallest: %v, want 0", got)
	}
	if got := l.Smallest(3); got > math.Exp2(30) || got < math.Exp2(23.9) {
		t.Errorf("the three smallest: %v, want from 2^23.9 to 2^30", got)
	}
	if got := l.Total(1); math.Abs(got-3*math.Exp2(30)) > 1 {
		t.Errorf("all: %v, want 3·2^30", got)
	}
}

func TestLeastAllocatesNothing(t *testing.T) {
	l := new(bound.Least)
	if n := testing.AllocsPerRun(100, func() { l.Add(1.5) }); n != 0 {
		t.Errorf("%v allocations for a work", n)
	}
}
