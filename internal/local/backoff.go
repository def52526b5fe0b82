package local

import (
	"math"
	"time"
)

const (
	firstDelay   = time.Second
	longestDelay = 2 * time.Minute
	steadyAfter  = 30 * time.Second // Ready for so long, a Replica did not crash for its start's sake
)

// backoff spaces the starts of one target out while they do not last: 1 s after
// the first boot that failed, doubling up to 2 min. A boot that succeeds ends
// it. A Replica that dies soon after it was Ready counts as well, but from the
// second in a row on: the first may have been taken by somebody.
type backoff struct {
	failed    int       // boots that failed in a row
	early     int       // Replicas in a row that died soon after they were Ready
	failedAt  time.Time // when the newest of those that count failed
	notBefore time.Time
}

// ready notes a successful boot.
func (b *backoff) ready() { b.failed, b.notBefore = 0, time.Time{} }

// bootFailed notes a boot that was ordered at some time and failed, and returns
// how long to wait. Boots ordered together that fail together count as one.
func (b *backoff) bootFailed(ordered, now time.Time) time.Duration {
	if b.failed > 0 && ordered.Before(b.failedAt) {
		return 0
	}
	b.failed++
	b.failedAt = now
	return b.wait(b.failed, now)
}

// died notes that a Replica ended by itself after so long a time of being
// Ready, and returns how long to wait.
func (b *backoff) died(served time.Duration, now time.Time) time.Duration {
	if served >= steadyAfter {
		b.early = 0
		return 0
	}
	b.early++
	return b.wait(b.early-1, now)
}

func (b *backoff) wait(n int, now time.Time) time.Duration {
	if n == 0 {
		return 0
	}
	delay := time.Duration(min(float64(firstDelay)*math.Pow(2, float64(n-1)), float64(longestDelay)))
	b.notBefore = now.Add(delay)
	return delay
}
