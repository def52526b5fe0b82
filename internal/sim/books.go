package sim

import (
	"math"
	"math/bits"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// books are the accounts of a World. Their size does not grow with its length.
type books struct {
	requests int
	outcomes [int(scale.Corrupted) + 1]int
	good     int
	judged   int

	length time.Duration // of a bin
	bins   []bin
	levels []float32 // two for each bin and target: replica-seconds Ready, and serving
	stride int       // of levels for one bin

	ready   int // replicas, over all targets
	peak    int
	held    int // requests, over all models
	emptyAt time.Duration
	busy    time.Duration
	preempt int
	actions int
	turns   int
	timing  timing
	memory  int // bytes, largest seen
}

// bin is a Minute in the making.
type bin struct {
	arrivals, good, judged, held int32
	cost                         float64
}

func newBooks(targets int) books { return books{length: time.Minute, stride: 2 * targets} }

// bin returns the index of the bin of an instant, which exists from now on.
func (b *books) bin(at time.Duration) int {
	i := int(at / b.length)
	if i < len(b.bins) {
		return i
	}
	for i >= MaxMinutes {
		b.double()
		i = int(at / b.length)
	}
	for len(b.bins) <= i {
		b.bins = append(b.bins, bin{})
		for range b.stride {
			b.levels = append(b.levels, 0)
		}
	}
	return i
}

// at returns the bin of an instant, until the next is asked for.
func (b *books) at(at time.Duration) *bin {
	i := b.bin(at)
	return &b.bins[i]
}

// double makes one bin of each two.
func (b *books) double() {
	n := (len(b.bins) + 1) / 2
	for i := range n {
		sum := b.bins[2*i]
		copy(b.levels[i*b.stride:(i+1)*b.stride], b.levels[2*i*b.stride:])
		if 2*i+1 < len(b.bins) {
			o := b.bins[2*i+1]
			sum.arrivals, sum.good, sum.judged = sum.arrivals+o.arrivals, sum.good+o.good, sum.judged+o.judged
			sum.held, sum.cost = max(sum.held, o.held), sum.cost+o.cost
			for j := range b.stride {
				b.levels[i*b.stride+j] += b.levels[(2*i+1)*b.stride+j]
			}
		}
		b.bins[i] = sum
	}
	b.bins, b.levels = b.bins[:n], b.levels[:n*b.stride]
	b.length *= 2
}

// ended counts a request by its arrival, in the bin that is returned.
func (b *books) ended(arrived time.Duration, outcome scale.Outcome) *bin {
	b.outcomes[outcome]++
	bin := &b.bins[arrived/b.length]
	if outcome != scale.Cancelled {
		b.judged++
		bin.judged++
	}
	return bin
}

// spread adds what a target's replicas came to since it was last called.
func (b *books) spread(t *target, now time.Duration) {
	ready, serving := float64(t.ready), float64(t.ready+t.starting)
	for from := t.since; from < now; {
		i := b.bin(from)
		until := min(now, time.Duration(i+1)*b.length)
		seconds := (until - from).Seconds()
		b.bins[i].cost += t.rate * seconds / 3600
		b.levels[i*b.stride+2*t.index] += float32(ready * seconds)
		b.levels[i*b.stride+2*t.index+1] += float32(serving * seconds)
		from = until
	}
	t.since = now
}

// minutes returns the bins up to the end of the account.
func (b *books) minutes(end time.Duration) []Minute {
	out := make([]Minute, len(b.bins))
	targets := b.stride / 2
	levels := make([]float32, b.stride*len(b.bins))
	for i, x := range b.bins {
		at := time.Duration(i) * b.length
		seconds := float32(max(time.Millisecond, min(b.length, end-at)).Seconds())
		row := levels[i*b.stride : (i+1)*b.stride : (i+1)*b.stride]
		for j := range targets {
			row[j] = b.levels[i*b.stride+2*j] / seconds
			row[targets+j] = b.levels[i*b.stride+2*j+1] / seconds
		}
		out[i] = Minute{
			At: at, Arrivals: int(x.arrivals), Good: int(x.good), Judged: int(x.judged), Held: int(x.held), Cost: x.cost,
			Ready: row[:targets:targets], Serving: row[targets:],
		}
	}
	return out
}

// timing is a histogram of durations in eighths of an octave.
type timing struct {
	counts [64 * 8]int32
	n      int
	sum    time.Duration
}

func (t *timing) add(d time.Duration) {
	d = max(1, d)
	t.n++
	t.sum += d
	octave := bits.Len64(uint64(d)) - 1
	eighth := int(8 * (float64(d)/float64(uint64(1)<<octave) - 1))
	t.counts[8*octave+eighth]++
}

// result returns the mean and the 0.99 quantile: the middle of its bucket.
func (t *timing) result() DecisionTime {
	if t.n == 0 {
		return DecisionTime{}
	}
	out := DecisionTime{Mean: t.sum / time.Duration(t.n), Ticks: t.n}
	left := int(math.Ceil(0.99 * float64(t.n)))
	for i, n := range t.counts {
		if left -= int(n); left <= 0 {
			out.P99 = time.Duration(math.Exp2(float64(i/8)) * (1 + (float64(i%8)+0.5)/8))
			break
		}
	}
	return out
}
