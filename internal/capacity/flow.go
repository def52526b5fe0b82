package capacity

import (
	"math"
	"time"
)

const (
	// flowOver is how long what was at the replicas is remembered, flowGap the
	// longest time that one Observation may stand for, flowLeast how many requests
	// must have ended before it tells anything, and mostSlower what it may tell.
	flowOver   = 10 * time.Minute
	flowGap    = 10 * time.Second
	flowLeast  = 50.0
	mostSlower = 2.0
	// mostRequests is more than there can be; more is a broken figure.
	mostRequests = 1e9
)

// Flow is what was at the replicas of a Variant in the last minutes.
type Flow struct {
	At    time.Time
	Area  float64 // request-seconds
	Time  float64 // replica-seconds
	Ended float64 // requests
}

// Observe adds that so many requests are at so many replicas, draining ones
// included, and that so many ended since the last time.
func (f Flow) Observe(at time.Time, requests float64, replicas, ended int) Flow {
	since := at.Sub(f.At)
	f.At = at
	if since <= 0 || since > flowGap || !(requests >= 0 && requests <= mostRequests) {
		return f
	}
	keep := math.Exp(-float64(since) / float64(flowOver))
	f.Area = f.Area*keep + requests*since.Seconds()
	f.Time = f.Time*keep + float64(replicas)*since.Seconds()
	f.Ended = f.Ended*keep + float64(ended)
	return f
}

// Slower is how much longer requests really take on average than is predicted,
// by Little's law (1961): what is at the replicas over what ends there. Medians,
// which teach the Server, do not tell the mean of a long tail.
func (s *Server) Slower(f Flow) float64 {
	if f.Ended < flowLeast || f.Time <= 0 {
		return 1
	}
	predicted := s.Predict(math.Max(1, f.Area/f.Time), median).Service
	return math.Min(math.Max(f.Area/f.Ended/predicted, 1/mostSlower), mostSlower)
}
