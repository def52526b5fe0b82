package bound_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/bound"
)

func TestGapsAreKeptOrBootedOver(t *testing.T) {
	for name, c := range map[string]struct {
		need    []int
		boot    time.Duration
		minimum int
		want    bound.Fleet
	}{
		"nothing needs nothing":                       {[]int{0, 0, 0}, time.Minute, 0, bound.Fleet{Counts: []int{0, 0, 0}}},
		"the minimum stays":                           {[]int{0, 0, 0}, time.Minute, 2, bound.Fleet{Counts: []int{2, 2, 2}, Time: 6 * time.Minute}},
		"a gap as long as a boot is kept":             {[]int{1, 0, 0, 1}, 2 * time.Minute, 0, bound.Fleet{Counts: []int{1, 1, 1, 1}, Time: 4 * time.Minute}},
		"a longer gap is booted over":                 {[]int{1, 0, 0, 1}, time.Minute, 0, bound.Fleet{Counts: []int{1, 0, 0, 1}, Boots: 1, Time: 3 * time.Minute}},
		"a level inside a kept one is decided alone":  {[]int{2, 1, 1, 2}, 90 * time.Second, 0, bound.Fleet{Counts: []int{2, 1, 1, 2}, Boots: 1, Time: 7*time.Minute + 30*time.Second}},
		"who comes late boots, if that is cheaper":    {[]int{0, 0, 3}, time.Minute, 0, bound.Fleet{Counts: []int{0, 0, 3}, Boots: 3, Time: 6 * time.Minute}},
		"who comes late stood there, if that is not":  {[]int{0, 3}, 2 * time.Minute, 0, bound.Fleet{Counts: []int{3, 3}, Time: 6 * time.Minute}},
		"nothing is kept behind the last need":        {[]int{3, 0}, time.Hour, 1, bound.Fleet{Counts: []int{3, 1}, Time: 4 * time.Minute}},
		"a step needs no more than nothing":           {[]int{-1, 1}, 0, 0, bound.Fleet{Counts: []int{0, 1}, Boots: 1, Time: time.Minute}},
		"levels in one gap differ in when they began": {[]int{3, 2, 0, 0, 3}, 150 * time.Second, 0, bound.Fleet{Counts: []int{3, 2, 2, 2, 3}, Boots: 1, Time: 14*time.Minute + 30*time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			got := bound.Clairvoyant(c.need, time.Minute, c.boot, c.minimum)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := bound.Clairvoyant(nil, time.Minute, time.Minute, 3); got.Time != 0 || got.Counts != nil {
		t.Errorf("no step at all: %+v", got)
	}
}

const step = 10 * time.Second

// schedules calls yield with every schedule of so many steps whose counts lie
// within least and most. The slice is overwritten.
func schedules(steps, least, most int, yield func([]int)) {
	counts := make([]int, steps)
	var fill func(int)
	fill = func(i int) {
		if i == steps {
			yield(counts)
			return
		}
		for counts[i] = least; counts[i] <= most; counts[i]++ {
			fill(i + 1)
		}
	}
	fill(0)
}

// price is what a schedule costs, written down anew.
func price(counts []int, boot time.Duration) time.Duration {
	var sum time.Duration
	for t, n := range counts {
		sum += time.Duration(n) * step
		if t > 0 && n > counts[t-1] {
			sum += time.Duration(n-counts[t-1]) * boot
		}
	}
	return sum
}

func boots(t *rapid.T) time.Duration {
	return time.Duration(rapid.IntRange(0, 60).Draw(t, "boot")) * time.Second
}

func TestClairvoyantIsTheBestOfAllSchedules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		need := rapid.SliceOfN(rapid.IntRange(0, 4), 1, 6).Draw(t, "need")
		boot, minimum := boots(t), rapid.IntRange(0, 2).Draw(t, "minimum")
		got := bound.Clairvoyant(need, step, boot, minimum)
		best := time.Duration(math.MaxInt64)
		schedules(len(need), minimum, max(4, minimum), func(counts []int) {
			for i := range need {
				if counts[i] < need[i] {
					return
				}
			}
			best = min(best, price(counts, boot))
		})
		if got.Time != best {
			t.Fatalf("%v, the best is %v: %v", got.Time, best, got.Counts)
		}
		if p := price(got.Counts, boot); p != got.Time {
			t.Fatalf("its schedule %v costs %v, not %v", got.Counts, p, got.Time)
		}
		for i, n := range got.Counts {
			if n < need[i] || n < minimum {
				t.Fatalf("step %d needs %d and has %d", i, need[i], n)
			}
		}
	})
}

// Eight steps are too many for all schedules of four levels, and not for all
// on/off schedules of each level.
func TestClairvoyantIsTheBestOfEachLevel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		need := rapid.SliceOfN(rapid.IntRange(0, 4), 8, 8).Draw(t, "need")
		boot := boots(t)
		var sum time.Duration
		for level := 1; level <= 4; level++ {
			best := time.Duration(math.MaxInt64)
			schedules(len(need), 0, 1, func(on []int) {
				for i := range need {
					if need[i] >= level && on[i] == 0 {
						return
					}
				}
				best = min(best, price(on, boot))
			})
			sum += best
		}
		if got := bound.Clairvoyant(need, step, boot, 0); got.Time != sum {
			t.Fatalf("%v, level by level %v", got.Time, sum)
		}
	})
}

func TestClairvoyantLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		need := rapid.SliceOfN(rapid.IntRange(0, 30), 1, 60).Draw(t, "need")
		boot, minimum := boots(t), rapid.IntRange(0, 5).Draw(t, "minimum")
		at := func(need []int, boot time.Duration, minimum int) time.Duration {
			return bound.Clairvoyant(need, step, boot, minimum).Time
		}
		base := at(need, boot, minimum)
		more := slices.Clone(need)
		more[rapid.IntRange(0, len(need)-1).Draw(t, "where")]++
		for what, dearer := range map[string]time.Duration{
			"a step needs more": at(more, boot, minimum), "boots are longer": at(need, boot+time.Second, minimum),
			"the minimum is larger": at(need, boot, minimum+1),
		} {
			if dearer < base {
				t.Fatalf("%s: %v, was %v", what, dearer, base)
			}
		}
		back := slices.Clone(need)
		slices.Reverse(back)
		// A schedule read backwards rises where it fell.
		got, rev := bound.Clairvoyant(need, step, boot, minimum), bound.Clairvoyant(back, step, boot, minimum)
		ends := time.Duration(got.Counts[len(need)-1]-got.Counts[0]) * boot
		if len(need) > 1 && rev.Time > got.Time-ends {
			t.Fatalf("backwards %v, forwards %v, ends %v", rev.Time, got.Time, ends)
		}
		double := make([]int, len(need))
		for i, n := range need {
			double[i] = 2 * n
		}
		if twice := at(double, boot, 2*minimum); twice != 2*base {
			t.Fatalf("twice the need: %v, was %v", twice, base)
		}
	})
}

func ExampleClairvoyant() {
	need := []int{2, 2, 2, 5, 5, 4, 5, 2}
	f := bound.Clairvoyant(need, time.Minute, 2*time.Minute, 1)
	fmt.Println(f.Counts, f.Boots, f.Time)
	// Output: [2 2 2 5 5 5 5 2] 3 34m0s
}
