package shadow

import (
	"math"
	"time"
)

const (
	// usualDay and usualLately are what usual work is a mean over: a day, but no
	// more than some times what it was of late, so that a load that fell is not
	// measured by what it was.
	usualDay    = 24 * time.Hour
	usualLately = 3 * time.Hour
	usualMost   = 4.0
	leastUsual  = 1e-6
)

// Usual is how much work is usual, in replicas. What fleets cost and were late
// for is counted in shares of it: else a busy day would outvote the days after
// it.
type Usual struct {
	Day, Hours float64
	Steps      int
}

func (u Usual) learn(work float64, step time.Duration) Usual {
	u.Steps++
	follow := func(mean float64, over time.Duration) float64 {
		return mean + math.Max(float64(step)/float64(over), 1/float64(u.Steps))*(work-mean)
	}
	u.Day, u.Hours = follow(u.Day, usualDay), follow(u.Hours, usualLately)
	return u
}

func (u Usual) work() float64 { return math.Max(math.Min(u.Day, usualMost*u.Hours), leastUsual) }
