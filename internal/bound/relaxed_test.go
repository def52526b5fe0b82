package bound_test

import (
	"math"
	"testing"
	"time"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize/convex/lp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/bound"
)

// simplex solves the relaxation by gonum, its rows scaled by the work of a
// step, as Need scales them. Every column is a variable ≥ 0; a surplus or slack
// makes each row an equation.
//
// It is false where gonum gives up on a singular basis.
func simplex(p bound.RelaxedProblem) (float64, bool) {
	steps, kinds := len(p.Kinds[0].Need), len(p.Kinds)
	cells := steps * kinds
	var rows [][]float64
	var right, cost []float64
	count := func(s, k int) int { return s*kinds + k }
	start := func(s, k int) int { return cells + (s-1)*kinds + k }
	cost = append(cost, make([]float64, 2*cells-kinds)...)
	add := func(limit float64, sign float64, put func(row []float64)) {
		row := make([]float64, len(cost)+1)
		put(row)
		row[len(cost)] = sign // −1: at least; 1: at most
		cost = append(cost, 0)
		for i := range rows {
			rows[i] = append(rows[i], 0)
		}
		rows, right = append(rows, row), append(right, limit)
	}
	for s := range steps {
		work := false
		for k, kind := range p.Kinds {
			cost[count(s, k)] = kind.PricePerHour * p.Step.Hours()
			if s > 0 {
				cost[start(s, k)] = kind.PricePerHour * kind.Boot.Hours()
			}
			work = work || kind.Need[s] > 0
			limit := 1000.0 // never reached; gonum wants no empty column
			if kind.Available != nil {
				limit = float64(kind.Available[s])
			}
			add(limit, 1, func(row []float64) { row[count(s, k)] = 1 })
			if s > 0 {
				add(0, -1, func(row []float64) {
					row[start(s, k)], row[count(s, k)], row[count(s-1, k)] = 1, -1, 1
				})
			}
		}
		if work {
			add(1, -1, func(row []float64) {
				for k, kind := range p.Kinds {
					if kind.Need[s] > 0 {
						row[count(s, k)] = 1 / kind.Need[s]
					}
				}
			})
		}
		if p.Minimum > 0 {
			add(float64(p.Minimum), -1, func(row []float64) {
				for k := range kinds {
					row[count(s, k)] = 1
				}
			})
		}
	}
	flat := mat.NewDense(len(rows), len(cost), nil)
	for i, row := range rows {
		flat.SetRow(i, row)
	}
	best, _, err := lp.Simplex(cost, flat, right, 1e-10, nil)
	return best, err == nil
}

// kinds draws a problem in which the last kind can always be had.
func kinds(t *rapid.T, steps int) bound.RelaxedProblem {
	p := bound.RelaxedProblem{Step: time.Minute, Minimum: rapid.IntRange(0, 2).Draw(t, "minimum")}
	work := rapid.SliceOfN(rapid.IntRange(0, 50), steps, steps).Draw(t, "work")
	for k := range rapid.IntRange(1, 4).Draw(t, "kinds") {
		kind := bound.Kind{
			PricePerHour: float64(rapid.IntRange(1, 100).Draw(t, "price")) / 10,
			Boot:         time.Duration(rapid.IntRange(0, 300).Draw(t, "boot")) * time.Second,
		}
		each := float64(rapid.IntRange(1, 40).Draw(t, "each")) / 4
		for _, w := range work {
			kind.Need = append(kind.Need, float64(w)/each)
		}
		if k > 0 && rapid.Bool().Draw(t, "limited") {
			kind.Available = rapid.SliceOfN(rapid.IntRange(0, 5), steps, steps).Draw(t, "available")
		}
		p.Kinds = append(p.Kinds, kind)
	}
	return p
}

func TestRelaxedAgainstSimplex(t *testing.T) {
	worst, all, given := 0.0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := kinds(t, rapid.IntRange(1, 6).Draw(t, "steps"))
		all++
		want, ok := simplex(p)
		if !ok {
			given++
			return
		}
		got := bound.Relaxed(p)
		if got.Cost > want*(1+1e-7)+1e-9 || got.Relaxed < want*(1-1e-7)-1e-9 {
			t.Fatalf("between $%v and $%v, by simplex $%v", got.Cost, got.Relaxed, want)
		}
		if got.Unserved != 0 {
			t.Fatalf("%v unserved", got.Unserved)
		}
		if want > 0 {
			worst = max(worst, 1-got.Cost/want)
		}
		if got.Cost < want*(1-1e-4)-1e-9 {
			t.Fatalf("$%v is %.2g below $%v by simplex", got.Cost, 1-got.Cost/want, want)
		}
	})
	t.Logf("at most %.2g below the optimum; gonum gave up on %d of %d", worst, given, all)
	if given > all/5 {
		t.Errorf("gonum gave up on %d of %d", given, all)
	}
}

func BenchmarkRelaxedWeek(b *testing.B) {
	p := weekOfKinds()
	for b.Loop() {
		got := bound.Relaxed(p)
		b.ReportMetric(got.Relaxed/got.Cost-1, "gap")
	}
}

// weekOfKinds is W11 and W10 in one: three variants and spot in two zones.
func weekOfKinds() bound.RelaxedProblem {
	work := week(60)
	p := bound.RelaxedProblem{Step: time.Minute, Minimum: 1}
	for k, kind := range []struct{ price, each float64 }{{0.75, 1}, {2, 4}, {3.5, 8}, {0.6, 4}} {
		made := bound.Kind{PricePerHour: kind.price, Boot: time.Minute}
		for t, w := range work {
			made.Need = append(made.Need, w/kind.each)
			if k == 3 {
				made.Available = append(made.Available, int(5+5*math.Sin(float64(t/97))))
			}
		}
		p.Kinds = append(p.Kinds, made)
	}
	return p
}

// Whole counts cost no less than the relaxation says.
func TestNoWholeFleetIsBelowRelaxed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := bound.RelaxedProblem{Step: time.Minute, Minimum: rapid.IntRange(0, 2).Draw(t, "minimum")}
		const steps, most = 3, 3
		for range 2 {
			p.Kinds = append(p.Kinds, bound.Kind{
				PricePerHour: float64(rapid.IntRange(1, 9).Draw(t, "price")), Boot: time.Duration(rapid.IntRange(0, 200).Draw(t, "boot")) * time.Second,
				Need:      rapid.SliceOfN(rapid.Float64Range(0.1, most), steps, steps).Draw(t, "need"),
				Available: rapid.SliceOfN(rapid.IntRange(0, most), steps, steps).Draw(t, "available"),
			})
		}
		p.Kinds[0].Available = nil
		best := math.Inf(1)
		schedules(2*steps, 0, most, func(n []int) {
			cost := 0.0
			for s := range steps {
				served, replicas := 0.0, 0
				for k, kind := range p.Kinds {
					here := n[k*steps+s]
					if kind.Available != nil && here > kind.Available[s] {
						return
					}
					served += float64(here) / kind.Need[s]
					replicas += here
					cost += float64(here) * p.Step.Hours() * kind.PricePerHour
					if s > 0 {
						cost += float64(max(0, here-n[k*steps+s-1])) * kind.Boot.Hours() * kind.PricePerHour
					}
				}
				if served < 1 || replicas < p.Minimum {
					return
				}
			}
			best = min(best, cost)
		})
		if got := bound.Relaxed(p); got.Cost > best*(1+1e-9) || got.Relaxed < got.Cost {
			t.Fatalf("$%v, relaxed $%v, the best of all fleets $%v", got.Cost, got.Relaxed, best)
		}
	})
}

// With one kind and whole needs the relaxation has a whole solution.
func TestRelaxedIsClairvoyantForOneKind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		need := rapid.SliceOfN(rapid.IntRange(0, 20), 1, 200).Draw(t, "need")
		boot, minimum := boots(t), rapid.IntRange(0, 3).Draw(t, "minimum")
		kind := bound.Kind{PricePerHour: 3, Boot: boot}
		for _, n := range need {
			kind.Need = append(kind.Need, float64(n))
		}
		want := 3 * bound.Clairvoyant(need, step, boot, minimum).Time.Hours()
		got := bound.Relaxed(bound.RelaxedProblem{Kinds: []bound.Kind{kind}, Step: step, Minimum: minimum})
		if got.Cost > want*(1+1e-9) || got.Cost < want*(1-1e-4) {
			t.Fatalf("$%v, the clairvoyant fleet costs $%v", got.Cost, want)
		}
	})
}

func TestRelaxedLaws(t *testing.T) {
	tight := 0.0
	rapid.Check(t, func(t *rapid.T) {
		p := kinds(t, rapid.IntRange(1, 30).Draw(t, "steps"))
		got := bound.Relaxed(p)
		if got.Relaxed > 0 {
			tight = max(tight, 1-got.Cost/got.Relaxed)
		}
		// The first kind can always be had, and twice of it as dear, too.
		dear := p.Kinds[0]
		dear.PricePerHour *= 2
		more := p
		more.Kinds = append([]bound.Kind{dear}, p.Kinds...)
		same := func(what string, other bound.RelaxedBound) {
			if math.Abs(other.Cost-got.Cost) > 1e-3*got.Cost+1e-12 {
				t.Fatalf("%s: $%v, was $%v", what, other.Cost, got.Cost)
			}
		}
		same("a kind that is cheaper elsewhere", bound.Relaxed(more))
		turned := p
		turned.Kinds = append(append([]bound.Kind(nil), p.Kinds[1:]...), p.Kinds[0])
		same("in another order", bound.Relaxed(turned))

		dearer := func(what string, change func(*bound.RelaxedProblem)) {
			other := p
			other.Kinds = append([]bound.Kind(nil), p.Kinds...)
			change(&other)
			if b := bound.Relaxed(other); b.Cost < got.Cost*(1-1e-3)-1e-12 {
				t.Fatalf("%s: $%v, was $%v", what, b.Cost, got.Cost)
			}
		}
		last := len(p.Kinds) - 1
		dearer("boots are longer", func(o *bound.RelaxedProblem) { o.Kinds[last].Boot += time.Minute })
		dearer("the minimum is larger", func(o *bound.RelaxedProblem) { o.Minimum++ })
		dearer("the last kind costs more", func(o *bound.RelaxedProblem) { o.Kinds[last].PricePerHour += 0.1 })
		if last > 0 {
			dearer("the last kind cannot be had", func(o *bound.RelaxedProblem) { o.Kinds = o.Kinds[:last] })
		}
	})
	t.Logf("at most %.2g between bound and relaxation", tight)
	if tight > 1e-3 {
		t.Errorf("%.2g between bound and relaxation", tight)
	}
}

func TestRelaxedLeavesOutWhatNothingCanServe(t *testing.T) {
	inf := math.Inf(1)
	p := bound.RelaxedProblem{Step: time.Hour, Minimum: 3, Kinds: []bound.Kind{
		{PricePerHour: 2, Need: []float64{4, 4, 4}, Available: []int{4, 1, 0}},
		{PricePerHour: 1, Need: []float64{inf, inf, inf}, Available: []int{0, 1, 0}},
	}}
	// 4 of the first, 1 of each, none.
	got := bound.Relaxed(p)
	if math.Abs(got.Unserved-1.75) > 1e-9 || math.Abs(got.Cost-11) > 1e-4 || got.Relaxed < got.Cost {
		t.Errorf("%+v, want $11 and 1.75 steps unserved", got)
	}
	if got := bound.Relaxed(bound.RelaxedProblem{}); got != (bound.RelaxedBound{}) {
		t.Errorf("no kind at all: %+v", got)
	}
	if got := bound.Relaxed(bound.RelaxedProblem{Step: time.Hour, Kinds: []bound.Kind{{PricePerHour: 1, Need: []float64{0, 0}}}}); got.Cost != 0 || got.Unserved != 0 {
		t.Errorf("no work at all: %+v", got)
	}
}

// A day of minutes with spot capacity that comes and goes is solved tightly.
func TestRelaxedOfADay(t *testing.T) {
	p := weekOfKinds()
	for k := range p.Kinds {
		kind := &p.Kinds[k]
		kind.Need = kind.Need[:24*60]
		if kind.Available != nil {
			kind.Available = kind.Available[:24*60]
		}
	}
	got := bound.Relaxed(p)
	if got.Cost < got.Relaxed*(1-1e-5) || got.Cost > got.Relaxed {
		t.Errorf("between $%v and $%v", got.Cost, got.Relaxed)
	}
}
