package sim

import (
	"math"
	"time"
)

const (
	firstDelay   = time.Second
	longestDelay = 2 * time.Minute
	steadyAfter  = 30 * time.Second // Ready for so long, a replica did not crash for its start's sake
)

// backoff spaces the starts of one target out while boots fail, as the local
// world does: 1 s after the first that failed, doubling up to 2 min; one that
// succeeds ends it. Boots ordered together that fail together count as one. A
// replica that dies soon after it was Ready counts from the second in a row on.
type backoff struct {
	fails     int
	early     int // replicas in a row that died soon
	failedAt  time.Duration
	notBefore time.Duration
}

func (b *backoff) succeeded() { b.fails, b.notBefore = 0, 0 }

// bootFailed notes that a boot failed that was ordered at some time.
func (b *backoff) bootFailed(ordered, now time.Duration) {
	if b.fails > 0 && ordered < b.failedAt {
		return
	}
	b.fails++
	b.failedAt = now
	b.wait(b.fails, now)
}

// died notes that a replica ended by itself after so long a time of being Ready.
func (b *backoff) died(served, now time.Duration) {
	if served >= steadyAfter {
		b.early = 0
		return
	}
	b.early++
	if b.early > 1 {
		b.wait(b.early-1, now)
	}
}

func (b *backoff) wait(n int, now time.Duration) {
	b.notBefore = now + time.Duration(min(float64(firstDelay)*math.Pow(2, float64(n-1)), float64(longestDelay)))
}
