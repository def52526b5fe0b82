package adversary

import (
	"math"
	"math/rand/v2"
	"time"
)

// The purposes of random numbers, each a stream of its own, so that leaving
// something out shifts nothing else.
const (
	purposeWorld uint64 = iota + 1
	purposeModel
	purposeTraffic
	purposeFault
	purposeBurst
	purposeRetry
	purposeMangle
)

// dice are random numbers of one purpose.
type dice struct{ *rand.Rand }

func newDice(seed, purpose, number uint64) dice {
	return dice{rand.New(rand.NewPCG(seed, purpose<<32|number))}
}

func (d dice) chance(p float64) bool { return d.Float64() < p }

// between returns a whole number, both ends included.
func (d dice) between(low, high int) int { return low + d.IntN(high-low+1) }

// spread returns a number whose logarithm is even between those of the ends.
func (d dice) spread(low, high float64) float64 {
	return math.Exp(math.Log(low) + d.Float64()*(math.Log(high)-math.Log(low)))
}

func (d dice) duration(low, high time.Duration) time.Duration {
	return time.Duration(d.spread(float64(low), float64(high))).Round(time.Millisecond)
}

// pick returns one of some; more likely is what is named more often.
func pick[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }
