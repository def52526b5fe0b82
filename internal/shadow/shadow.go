// Package shadow sets head-room by replay. Virtual fleets, each with another
// forecast, head-room and floor, run beside the real one on the same arrivals;
// a price of lateness chooses among them, and the error budget chooses the
// price. So nobody has to, and the reason can be told: what each would have
// cost, and what it would have missed.
//
// A fleet is a fluid: requests in the system, served at the rate that the
// capacity model predicts for so many at once. Those that can still meet the
// SLO are served before those that no longer can, as admission does. Its
// replicas take the time to boot that real ones took.
//
// The method is that of the design's policy prototype: choice among fleets by
// what they cost and what they were late for, in shares of usual work, at a
// ladder of prices (level one); the lowest price whose followers kept the
// budget, given what really was late (level two).
package shadow

import (
	"math"
	"time"
)

// Terms are what one replica is at present, as the capacity model has it.
type Terms struct {
	Slots float64 // requests at once: B*
	Alone float64 // seconds that a request takes by itself
	Full  float64 // seconds that it takes beside Slots−1 others
	Slack float64 // seconds that it may wait and still meet the SLO
	Most  int     // replicas allowed
	// Steady is at how many at once a share SlowSteady of requests is too slow for
	// the SLO though none waits; SlowFull are when all slots are taken.
	Steady, SlowSteady, SlowFull float64
	// Spread is the variance of the requests in the system that arrival counts
	// do not show, as a share of their mean: service times differ.
	Spread float64
	Boot   time.Duration // that a start takes

	steep float64 // log(SlowFull / SlowSteady)
}

// Rate is how many requests/s one full replica serves.
func (t Terms) Rate() float64 { return t.Slots / t.Full }

// Valid says whether fleets of such replicas can be simulated.
func (t *Terms) Valid() bool {
	for _, x := range []float64{t.Full, t.Alone, t.Slack} {
		if !(x > 0) || math.IsInf(x, 0) {
			return false
		}
	}
	return t.Slots >= 1 && t.Most > 0
}

// Sample is what happened within a tick.
type Sample struct {
	Span   float64 // seconds
	Rate   float64 // arrivals/s
	Ready  int     // replicas that really were
	Missed float64 // requests that ended and did not meet the SLO
}

// fluid is the work in a fleet: requests that can still meet the SLO, running
// or waiting, and those that wait and no longer can.
type fluid struct {
	Fresh, Late float64
}

const (
	// logistic scales the logistic function to the normal tail (Bowling et al.
	// 2009), and beyond far deviations nothing is there.
	logistic = 1.702
	far      = 6.0
	// idlest bounds how far below Steady the share of slow requests goes on
	// falling.
	idlest = -3.0
)

// pass lets a sample happen to n ready replicas and returns how many requests
// came too late for the SLO.
func (f *fluid) pass(s Sample, n int, t Terms) (late float64) {
	arrivals := s.Rate * s.Span
	slots := float64(n) * t.Slots
	if n == 0 {
		f.Late += f.Fresh + arrivals
		late, f.Fresh = f.Fresh+arrivals, 0
		return late
	}
	running := math.Min(f.Fresh, slots)
	service := t.Alone + (t.Full-t.Alone)*running/slots
	passed := s.Span / service
	// Below the slots each request leaves at its own rate; all of them full, no
	// more than they serve.
	level := s.Rate * service
	left := f.Fresh + arrivals - (level + (f.Fresh-level)*math.Exp(-passed))
	f.Fresh += arrivals - math.Min(left, slots*passed)
	room := slots * (1 + t.Slack/t.Full)
	if over := f.Fresh - room; over > 0 {
		f.Fresh -= over
		f.Late += over
		late = over
	}
	if f.Late > 0 && f.Fresh < slots {
		spare := math.Min(f.Late, slots-f.Fresh)
		f.Late, f.Fresh = f.Late-spare, f.Fresh+spare
	}
	if deviation := math.Sqrt(t.Spread * math.Max(f.Fresh, 1)); f.Fresh <= room {
		if z := (room - f.Fresh) / deviation; z < far {
			late = math.Max(late, arrivals/(1+math.Exp(logistic*z)))
		}
	}
	return late + math.Max(0, arrivals-late)*t.slow(running/float64(n))
}

// drain takes away so many of n replicas; what runs on them is served there.
func (f *fluid) drain(gone, n int, t Terms) {
	if n > 0 {
		f.Fresh -= math.Min(f.Fresh, float64(n)*t.Slots) * float64(gone) / float64(n)
	}
}

// slow is the share of requests that are too slow at a concurrency.
func (t *Terms) slow(concurrency float64) float64 {
	if t.SlowFull <= 0 {
		return 0
	}
	if t.Slots-t.Steady < 1 {
		return t.SlowSteady * math.Min(1, concurrency/t.Slots)
	}
	share := math.Min((concurrency-t.Steady)/(t.Slots-t.Steady), 1)
	return t.SlowSteady * math.Exp(t.steep*math.Max(share, idlest))
}
