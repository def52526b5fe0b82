package bound_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/bound"
)

func TestBudgetAgainstAllSchedules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.IntRange(1, 6).Draw(t, "steps")
		p := bound.BudgetProblem{Step: step, Boot: boots(t), Minimum: rapid.IntRange(0, 1).Draw(t, "minimum"), Loss: rapid.Float64Range(0, 0.6).Draw(t, "loss")}
		total := 0.0
		for range steps {
			p.Load = append(p.Load, float64(rapid.IntRange(0, 40).Draw(t, "load"))/10)
			p.Weight = append(p.Weight, float64(rapid.IntRange(0, 5).Draw(t, "weight")))
			total += p.Load[len(p.Load)-1] * p.Weight[len(p.Weight)-1]
		}
		lost := func(counts []int) float64 {
			sum := 0.0
			for i, n := range counts {
				sum += max(0, p.Load[i]-float64(n)) * p.Weight[i]
			}
			return sum
		}
		got := bound.Budget(p)
		best := time.Duration(math.MaxInt64)
		dual := math.Inf(1) // the relaxed value at got's multiplier, over all schedules
		schedules(steps, p.Minimum, 4, func(counts []int) {
			cost := price(counts, p.Boot)
			if lost(counts) <= p.Loss*total {
				best = min(best, cost)
			}
			dual = min(dual, cost.Seconds()+got.Multiplier*(lost(counts)-p.Loss*total))
		})
		if slack := time.Microsecond; got.Time > best+slack || got.Fleet.Time < best {
			t.Fatalf("bound %v, optimum %v, schedule %v", got.Time, best, got.Fleet.Time)
		}
		if math.Abs(got.Time.Seconds()-max(0, dual)) > 1e-6 {
			t.Fatalf("bound %v, but %v s over all schedules at the multiplier %v", got.Time, dual, got.Multiplier)
		}
		if l := lost(got.Fleet.Counts); l > p.Loss*total*(1+1e-9) || math.Abs(got.Loss*total-l) > 1e-9 {
			t.Fatalf("schedule %v leaves %v of %v, allowed %v, said %v", got.Fleet.Counts, l, total, p.Loss, got.Loss)
		}
		// The best multiplier: no other gives a better bound.
		for theta := 0.0; theta < 200; theta += 0.5 {
			other := math.Inf(1)
			schedules(steps, p.Minimum, 4, func(counts []int) {
				other = min(other, price(counts, p.Boot).Seconds()+theta*(lost(counts)-p.Loss*total))
			})
			if other > got.Time.Seconds()+1e-3 {
				t.Fatalf("multiplier %v gives %v s, %v gave %v", theta, other, got.Multiplier, got.Time)
			}
			if steps > 3 {
				theta += 20
			}
		}
	})
}

func TestBudgetLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := bound.BudgetProblem{Step: step, Boot: boots(t), Minimum: rapid.IntRange(0, 3).Draw(t, "minimum"), Loss: rapid.Float64Range(0, 0.2).Draw(t, "loss")}
		var need []int
		for _, load := range rapid.SliceOfN(rapid.Map(rapid.IntRange(0, 2000), func(n int) float64 { return float64(n) / 100 }), 1, 40).Draw(t, "load") {
			p.Load = append(p.Load, load)
			need = append(need, int(math.Ceil(load)))
		}
		got := bound.Budget(p)
		whole := bound.Clairvoyant(need, step, p.Boot, p.Minimum)
		if got.Time > whole.Time+time.Microsecond {
			t.Fatalf("with a loss of %v: %v, with none %v", p.Loss, got.Time, whole.Time)
		}
		none := p
		none.Loss = 0
		if b := bound.Budget(none); math.Abs((b.Time-whole.Time).Seconds()) > 1e-3*whole.Time.Seconds() || b.Fleet.Time != whole.Time || b.Loss != 0 {
			t.Fatalf("no loss: bound %v, schedule %v leaves %v; exact %v", b.Time, b.Fleet.Time, b.Loss, whole.Time)
		}
		more := p
		more.Loss += 0.1
		if b := bound.Budget(more); b.Time > got.Time+time.Millisecond {
			t.Fatalf("a larger loss costs %v, was %v", b.Time, got.Time)
		}
		more = p
		more.Minimum++
		if b := bound.Budget(more); b.Time < got.Time-time.Millisecond {
			t.Fatalf("a larger minimum costs %v, was %v", b.Time, got.Time)
		}
		// Weights are relative.
		more = p
		more.Weight = slices.Repeat([]float64{7}, len(p.Load))
		if b := bound.Budget(more); math.Abs((b.Time - got.Time).Seconds()) > 1e-3 {
			t.Fatalf("all weights 7: %v, was %v", b.Time, got.Time)
		}
	})
}

func TestWhatWeighsNothingIsLeft(t *testing.T) {
	p := bound.BudgetProblem{Load: []float64{1, 3, 1}, Weight: []float64{1, 0, 1}, Step: time.Minute, Boot: time.Minute}
	got := bound.Budget(p)
	if want := []int{1, 1, 1}; !slices.Equal(got.Fleet.Counts, want) || got.Loss != 0 {
		t.Errorf("%v, want %v: %+v", got.Fleet.Counts, want, got)
	}
	p.Loss = 1
	if got := bound.Budget(p); got.Time != 0 || got.Fleet.Time != 0 || got.Loss != 1 {
		t.Errorf("all may be left: %+v", got)
	}
	if got := bound.Budget(bound.BudgetProblem{}); got.Time != 0 || got.Fleet.Counts != nil {
		t.Errorf("no step at all: %+v", got)
	}
}

func BenchmarkBudgetOfAWeek(b *testing.B) {
	p := bound.BudgetProblem{Load: week(20), Step: time.Minute, Boot: time.Minute, Minimum: 1, Loss: 0.01}
	for b.Loop() {
		got := bound.Budget(p)
		b.ReportMetric(got.Fleet.Time.Seconds()/got.Time.Seconds()-1, "gap")
	}
}

// week is a week of minutes around a mean, with a day's swing and noise.
func week(mean float64) []float64 {
	load := make([]float64, 7*24*60)
	state := uint64(1)
	for t := range load {
		state = state*6364136223846793005 + 1442695040888963407
		noise := float64(state>>40)/(1<<24) - 0.5
		load[t] = mean * (1 + 0.6*math.Sin(2*math.Pi*float64(t)/1440)) * (1 + 0.4*noise)
	}
	return load
}
