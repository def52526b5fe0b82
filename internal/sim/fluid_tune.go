package sim

import (
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/rival"
)

// Tuning is the best knob in hindsight.
type Tuning struct {
	Knob float64 // 0 where the rival has none
	Met  bool    // Late is within the objective
	Outflow
}

// Tune returns the cheapest knob of the rival's grid whose late share is within
// the model's objective; where none is, that with the smallest late share. All
// knobs are run side by side, and always on goes the one that would be the
// cheapest (then, the least late) if from here on it paid for no more than
// serving what arrives: one that has reached the end and is still that is the
// answer (A*; Hart, Nilsson and Raphael 1968).
func (f Fluid) Tune(r rival.Rival) Tuning {
	grid := r.Grid
	if len(grid) == 0 {
		grid = []float64{0}
	}
	left := f.ideal()
	var open, failed []*fluidRun
	for _, knob := range grid {
		s := f.Setting
		s.Knob = knob
		run := newFluidRun(f, r.New(s))
		run.knob = knob
		open = append(open, run)
	}
	stride := max(f.Bin, f.span()/100)
	budget := (1 - f.Setting.Model.SLO.Objective + 1e-9) * open[0].total // rounding is not lateness
	end := f.span()
	for len(open) > 0 {
		i := leastOf(open, func(s *fluidRun) float64 { return s.cost + s.cheapest*left(s.now, budget-s.late) })
		switch run := open[i]; {
		case run.late > budget:
			open, failed = slices.Delete(open, i, i+1), append(failed, run)
		case run.now == end:
			return Tuning{Knob: run.knob, Met: true, Outflow: run.outflow()}
		default:
			run.advance(run.now + stride)
		}
	}
	for {
		run := failed[leastOf(failed, func(s *fluidRun) float64 { return s.late })]
		if run.now == end {
			return Tuning{Knob: run.knob, Outflow: run.outflow()}
		}
		run.advance(run.now + stride)
	}
}

// leastOf returns the index of the first run for which a figure is least.
func leastOf(runs []*fluidRun, figure func(*fluidRun) float64) int {
	best, least := 0, math.Inf(1)
	for i, s := range runs {
		if x := figure(s); x < least {
			best, least = i, x
		}
	}
	return best
}

// ideal returns a function that says how many replica-seconds are needed at
// the least from an instant on if so many requests may be late: what arrives in
// whole bins, and not so near the end that it may still wait then.
func (f Fluid) ideal() func(now time.Duration, late float64) float64 {
	needs := make([]float64, len(f.Bins)+1)
	most := 0.0
	waits := f.Patience + f.Setting.Model.SLO.MaxHold
	for i := len(f.Bins) - 1; i >= 0; i-- {
		// What waits into the next bin is served at that one's pace.
		carries := max(f.carries(i), f.carries(min(i+1, len(f.Bins)-1)))
		most = max(most, carries)
		if time.Duration(i+1)*f.Bin+waits <= f.span() {
			needs[i] = needs[i+1] + f.Bins[i].Requests/carries
		}
	}
	return func(now time.Duration, late float64) float64 {
		return max(0, needs[(now+f.Bin-1)/f.Bin]-max(0, late)/most)
	}
}
