package shadow

import (
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const (
	buckets       = 200
	perDecade     = 20
	leastRate     = 1e-4 // requests/s, the lower end of the first bucket
	histogramOver = 24 * time.Hour
	// rarely is what one step's count has fallen to when it is forgotten.
	rarely = 0.05
)

// Histogram is how often demand was how large, over about a day.
type Histogram struct {
	Counts scale.Packed
	Sum    float32
}

func (h Histogram) learn(rate float64, step time.Duration) Histogram {
	if len(h.Counts) == 0 {
		h.Counts = make(scale.Packed, buckets)
	} else {
		h.Counts = slices.Clone(h.Counts)
	}
	// Newer steps weigh more, instead of all older ones less.
	keep := float32(math.Exp(-float64(step) / float64(histogramOver)))
	for i := range h.Counts {
		h.Counts[i] *= keep
	}
	i := 0
	if rate > leastRate {
		i = min(int(perDecade*math.Log10(rate/leastRate)), buckets-1)
	}
	h.Counts[i]++
	h.Sum = h.Sum*keep + 1
	return h
}

// quantile is the upper end of the bucket that holds it; 0 where nothing was seen.
func (h *Histogram) quantile(q float64) float64 {
	above := float32(1-q) * h.Sum
	for i := len(h.Counts) - 1; i > 0; i-- {
		if above -= h.Counts[i]; above < 0 {
			return leastRate * math.Pow(10, float64(i+1)/perDecade)
		}
	}
	return 0
}

// peak is the upper end of the highest bucket that was in use of late; 0 where
// nothing was seen.
func (h *Histogram) peak() float64 {
	for i := len(h.Counts) - 1; i > 0; i-- {
		if h.Counts[i] >= rarely {
			return leastRate * math.Pow(10, float64(i+1)/perDecade)
		}
	}
	return 0
}
