package sim

import (
	"math"
	"time"
)

const (
	firstDelay   = time.Second
	longestDelay = 2 * time.Minute
)

// backoff spaces the starts of one target out while boots fail, as the local
// world does: 1 s after the first that failed, doubling up to 2 min; one that
// succeeds ends it. Boots ordered together that fail together count as one.
type backoff struct {
	fails     int
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
	b.notBefore = now + time.Duration(min(float64(firstDelay)*math.Pow(2, float64(b.fails-1)), float64(longestDelay)))
}
