package shadow

import "math"

const (
	// ring bounds the boots that a fleet has under way, in steps.
	ring = 24
	// drain is the time in which a backlog is to be served, in seconds.
	drain = 240.0
	// band is the share of a fleet by which a wish may differ from it before it
	// acts.
	band = 0.06
)

// fleet is a virtual fleet.
type fleet struct {
	Work   fluid
	Ready  int16
	Totals [ring]int16 // replicas at each of the newest steps, newest last
	Wishes [ring]int16
}

type fleetList = packed[fleet, *fleet]

// settle makes a fleet that has had so many replicas for long; boots under way
// are no longer known once the time that they take has changed.
func (f *fleet) settle(total int) {
	for i := range f.Totals {
		f.Totals[i], f.Wishes[i] = int16(total), 0
	}
	f.Ready = int16(total)
}

func (f *fleet) total() int { return int(f.Totals[ring-1]) }

// backlog are the requests that find no slot.
func (f *fleet) backlog(t Terms) float64 {
	return f.Work.Late + math.Max(0, f.Work.Fresh-float64(f.Ready)*t.Slots)
}

// spend lets a step's samples happen and returns its bill in replica-seconds
// and the requests that were late.
func (f *fleet) spend(samples []Sample, t Terms) (bill, late float64) {
	for _, s := range samples {
		late += f.Work.pass(s, int(f.Ready), t)
		bill += s.Span * float64(f.total())
	}
	return bill, late
}

// wish is how many replicas, not rounded, a rate and a backlog call for.
func wish(rate, backlog float64, t Terms) float64 { return (rate + backlog/drain) / t.Rate() }

// Settle rounds a wish to whole replicas: within the dead band, what there is.
// No fleet is larger than it can be remembered.
func Settle(wish float64, total int, t Terms) int {
	most := min(t.Most, math.MaxInt16)
	if math.Abs(wish-float64(total)) <= band*float64(total) && total <= most {
		return max(1, total)
	}
	return int(math.Min(math.Max(1, math.Ceil(wish-1e-9)), float64(most)))
}

// order makes a fleet what it wishes to be: more at once, fewer when none of
// the wishes of one boot's time asked for them. Boots that are under way are
// given up first, so that ready is what was there all that time.
func (f *fleet) order(want, boots int, t Terms) {
	copy(f.Totals[:], f.Totals[1:])
	copy(f.Wishes[:], f.Wishes[1:])
	f.Wishes[ring-1] = int16(want)
	total := 0
	for _, w := range f.Wishes[ring-1-boots:] {
		total = max(total, int(w))
	}
	if before := int(f.Totals[ring-2]); want < before {
		total = min(total, before)
	} else {
		total = want
	}
	f.Totals[ring-1] = int16(total)
	ready := total
	for _, n := range f.Totals[ring-1-boots:] {
		ready = min(ready, int(n))
	}
	if ready < int(f.Ready) {
		f.Work.drain(int(f.Ready)-ready, int(f.Ready), t)
	}
	f.Ready = int16(ready)
}
