// Package bound says what nobody can be cheaper than. Two kinds of bound stand
// here. The clairvoyant fleets (Clairvoyant, Budget, Relaxed) know how much
// every step needs and still pay for boots: they are exact, or relaxed from
// below, for a demand given as replicas per step. The bound from work (Work,
// Least) takes no model of demand at all: the requests that were served cost
// at least what any replica spends on them, however they are batched.
//
// Time is cut into steps of one length. A boot is paid for from its order on,
// so with the future known a boot costs its duration and delays nothing.
package bound

import "time"

// Fleet is a number of replicas over time.
type Fleet struct {
	Counts []int         // replicas that serve, per step
	Boots  int           // replicas started after the beginning
	Time   time.Duration // paid replica-time: Counts, and the boots
}

// fleet counts what a schedule costs. The replicas of the first step, however
// many, stand there at the beginning; each one more than in the step before is
// a boot.
func fleet(counts []int, step, boot time.Duration) Fleet {
	f := Fleet{Counts: counts}
	on := 0
	for t, n := range counts {
		on += n
		if t > 0 {
			f.Boots += max(0, n-counts[t-1])
		}
	}
	f.Time = time.Duration(on)*step + time.Duration(f.Boots)*boot
	return f
}
