package bound

import "math"

// Least adds up the smallest of many works, such as the seconds or dollars of
// every request of a workload, online and in bounded memory: whoever served a
// share of the requests has spent at least the sum of the smallest of them.
// The zero Least is empty.
type Least struct {
	n    int
	bins [bins]bin // by size, each bin's works within a 64th of an octave of each other
}

type bin struct {
	n   int
	sum float64
}

// Works from 2^−40 to 2^24 are told apart (a microdollar to half a year in
// seconds); smaller ones stand in the first bin, larger ones in the last.
const (
	lowest   = -40
	octaves  = 64
	fineness = 6 // bits of the mantissa
	bins     = octaves<<fineness + 1
)

// Add takes in a work, which is not negative.
func (l *Least) Add(work float64) {
	b := &l.bins[index(work)]
	b.n++
	b.sum += work
	l.n++
}

// Len returns how many works were added.
func (l *Least) Len() int { return l.n }

// Total returns a lower bound on the sum of the smallest works that make up a
// share of all, 0..1.
func (l *Least) Total(share float64) float64 {
	return l.Smallest(int(math.Floor(share * float64(l.n))))
}

// Smallest returns a lower bound on the sum of the n smallest works. Whole
// bins are exact; of the last, each work is taken for the bin's least.
func (l *Least) Smallest(n int) float64 {
	sum := 0.0
	for i := range l.bins {
		b := &l.bins[i]
		if b.n > n {
			return sum + float64(max(0, n))*floor(i)
		}
		n -= b.n
		sum += b.sum
	}
	return sum
}

// index is the bin of a work: exponent and first bits of the mantissa.
func index(work float64) int {
	i := int(math.Float64bits(max(0, work))>>(52-fineness)) - (1023+lowest)<<fineness
	return min(max(0, i+1), bins-1)
}

// floor is the least work of a bin.
func floor(i int) float64 {
	if i == 0 {
		return 0
	}
	return math.Float64frombits(uint64(i-1+(1023+lowest)<<fineness) << (52 - fineness))
}
