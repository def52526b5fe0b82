package judge

import (
	"math"
	"time"
)

// pulseSlots is into how many slots a minute is cut, of five seconds: about as
// long as a request takes.
const pulseSlots = 12

// pulse measures how uneven arrivals are within minutes: the index of
// dispersion of counts, which for a renewal process comes to the square of the
// gaps' coefficient of variation (Cox and Lewis 1966).
type pulse struct {
	minute   int
	slots    [pulseSlots]float64
	variance float64 // sums over the minutes that are over
	mean     float64
}

// beat counts an arrival; arrivals come in order.
func (p *pulse) beat(at time.Duration) {
	if now := int(at / minute); now != p.minute {
		p.close()
		p.minute, p.slots = now, [pulseSlots]float64{}
	}
	p.slots[at%minute*pulseSlots/minute]++
}

// close takes a minute that is over.
func (p *pulse) close() {
	sum, squares := 0.0, 0.0
	for _, n := range p.slots {
		sum += n
		squares += n * n
	}
	mean := sum / pulseSlots
	p.mean += mean
	p.variance += (squares - pulseSlots*mean*mean) / (pulseSlots - 1)
}

// cv is the coefficient of variation of the gaps, within what a Gamma renewal
// is drawn with; that of a Poisson process before a minute was over.
func (p *pulse) cv() float64 {
	if p.mean == 0 {
		return 1
	}
	return min(max(math.Sqrt(p.variance/p.mean), 0.1), 10)
}
