package sim

import (
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Result is what became of a World.
type Result struct {
	Requests int
	Outcomes map[scale.Outcome]int // each request in exactly one
	Good     int                   // met the SLO
	Judged   int                   // all but those cancelled
	Span     time.Duration         // Begin → last end

	// WorstTenMinutes is the attainment of the worst ten minutes by arrival, of
	// those that hold at least 1 % of an average window's requests; 1 where
	// nothing was judged. Windows are of whole bins of Minutes, one bin apart,
	// so that they are longer where a bin no longer divides ten minutes.
	WorstTenMinutes float64

	Hours       map[scale.Usage]float64 // accelerator-hours
	Cost        float64                 // US dollars, from order to gone, to the end of the account
	Account     time.Duration           // Begin → end of the account: Span, and Settle
	Targets     []TargetResult          // sorted by target; those that can run, run or not
	Actions     int                     // Changes that moved at least one replica
	Reversals   int                     // of them, against the direction of the one before at the target, within a cold start
	Peak        int                     // Ready replicas at once
	Empty       time.Duration           // Begin → since when no replica is left; 0 where one is at the end
	Busy        time.Duration           // replica-time in which engines worked
	Preemptions int

	DecisionTime DecisionTime // on the machine that ran the World: not reproducible
	MemoryBytes  int          // largest encoded Memory of a model; 0 for a Governor without one

	Bin     time.Duration // length of a Minute: a minute, or that times a power of two
	Minutes []Minute      // at most MaxMinutes
}

// MaxMinutes bounds Result.Minutes: a fortnight of minutes.
const MaxMinutes = 20_160

// DecisionTime is how long Governor.Decide took for each model of a Snapshot.
type DecisionTime struct {
	Mean  time.Duration
	P99   time.Duration // within 10 %
	Ticks int
}

// TargetResult is what one target came to.
type TargetResult struct {
	Target    scale.ScaleTarget
	Hours     map[scale.Usage]float64 // accelerator-hours
	Cost      float64
	Starts    int // ordered
	Failed    int // of those, never Ready
	Reclaimed int // noticed
	Refused   int // starts that found no accelerator free, at every try
}

// Minute is one bin of a Result. Counts of requests are by arrival.
type Minute struct {
	At       time.Duration // its beginning
	Arrivals int
	Good     int
	Judged   int
	Held     int       // at once, at most
	Cost     float64   // US dollars
	Ready    []float32 // mean number of replicas by target, as in Result.Targets
	Serving  []float32 // likewise: Starting and Ready
}

// Attainment is the share of good requests among the judged; false where
// there were none.
func (r Result) Attainment() (float64, bool) {
	if r.Judged == 0 {
		return 0, false
	}
	return float64(r.Good) / float64(r.Judged), true
}

// usages returns the usages that Hours are split into.
func usages() []scale.Usage {
	return []scale.Usage{scale.Serving, scale.IdleTime, scale.Loading, scale.DrainingTime}
}

const usageCount = int(scale.DrainingTime) + 1

// worstOver is the window of WorstTenMinutes, and leastShare how much of an
// average one's requests a window must hold to count.
const (
	worstOver  = 10 * time.Minute
	leastShare = 0.01
)

// worst returns the attainment of the worst window.
func worst(minutes []Minute, bin time.Duration) float64 {
	width := int((worstOver + bin - 1) / bin)
	total := 0
	for _, m := range minutes {
		total += m.Judged
	}
	if total == 0 {
		return 1
	}
	enough := leastShare * float64(total) * float64(width) / float64(max(len(minutes), width))
	least, good, judged := 1.0, 0, 0
	for i, m := range minutes {
		good, judged = good+m.Good, judged+m.Judged
		if i >= width {
			good, judged = good-minutes[i-width].Good, judged-minutes[i-width].Judged
		}
		if whole := i >= width-1 || i == len(minutes)-1; whole && judged > 0 && float64(judged) >= enough {
			least = min(least, float64(good)/float64(judged))
		}
	}
	return least
}
