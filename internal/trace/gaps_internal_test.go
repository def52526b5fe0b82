package trace

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat/distuv"
)

// Draws, put through the distribution function that gonum computes, are even
// in 0..1: shares below a number are within four standard deviations of it.
func TestGapsAreDistributedAsGonumSays(t *testing.T) {
	for _, shape := range []float64{0.02, 0.25, 0.4444, 0.5, 0.6, 0.8264, 1, 1.5, 4, 100, 10_000} {
		check(t, newGaps(gammaLaw, shape), distuv.Gamma{Alpha: shape, Beta: 1}.CDF)
		check(t, newGaps(weibullLaw, shape), distuv.Weibull{K: shape, Lambda: 1}.CDF)
	}
}

func check(t *testing.T, g gaps, cdf func(float64) float64) {
	t.Helper()
	const n = 20_000
	random := rand.New(rand.NewPCG(7, uint64(g.law)))
	shares := make([]float64, n)
	for i := range shares {
		shares[i] = cdf(g.draw(random))
	}
	slices.Sort(shares)
	for _, p := range []float64{0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999} {
		below, _ := slices.BinarySearch(shares, p)
		if got, sd := float64(below)/n, math.Sqrt(p*(1-p)/n); math.Abs(got-p) > 4*sd {
			t.Errorf("law %d of shape %v: %.5f of draws below the quantile of %v", g.law, g.shape, got, p)
		}
	}
}

// What is too much to be held is drawn twice, and comes out as if it were held.
func TestPlacesFillTheirBin(t *testing.T) {
	for _, n := range []int{1, 2, held - 1, held, 5 * held} {
		for _, shape := range []float64{minShape, 0.8, 3} {
			p := newPlaces(newGaps(gammaLaw, shape), 1, 1)
			p.begin(time.Hour, time.Minute, n)
			last, count := time.Hour, 0
			for at, ok := p.next(); ok; at, ok = p.next() {
				if at < last || at > time.Hour+time.Minute {
					t.Fatalf("%d of shape %v: arrival at %s after %s", n, shape, at, last)
				}
				last, count = at, count+1
			}
			if count != n || cap(p.buffer) > 2*held {
				t.Errorf("%d arrivals, %d gaps in memory, want %d arrivals", count, cap(p.buffer), n)
			}
		}
	}
}

func TestPlacesDoNotDependOnWhatIsHeld(t *testing.T) {
	drawn := newPlaces(newGaps(weibullLaw, 0.7), 1, 1)
	drawn.begin(0, time.Minute, held)
	sum := 0.0
	random := rand.New(rand.NewPCG(1, 1))
	all := make([]float64, held+1)
	for i := range all {
		all[i] = drawn.gaps.draw(random)
		sum += all[i]
	}
	done := 0.0
	for i := range held {
		done += all[i]
		at, ok := drawn.next()
		if want := time.Duration(done / sum * float64(time.Minute)); !ok || (at-want).Abs() > 1 {
			t.Fatalf("arrival %d at %s, want %s", i, at, want)
		}
	}
}

func TestAgendaSorts(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	var a agenda
	for who := range 200 {
		a.add(time.Duration(random.IntN(50)), who)
	}
	last := appointment{at: -1}
	for steps := 0; len(a) > 0; steps++ {
		first := a[0]
		if first.before(last) {
			t.Fatalf("%v after %v", first, last)
		}
		last = first
		if steps < 300 && first.at < 1000 {
			a.move(first.at + time.Duration(random.IntN(9)))
		} else {
			a.drop()
		}
	}
}
