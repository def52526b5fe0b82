package scale

import "time"

// Observation is one measured value with the time at which it was true. The
// zero Observation was never made: absent is not zero.
type Observation struct {
	Value float64
	At    time.Time
}

// Observe makes an Observation.
func Observe(value float64, at time.Time) Observation { return Observation{Value: value, At: at} }

// Known says whether the Observation was ever made.
func (o Observation) Known() bool { return !o.At.IsZero() }

// Fresh says whether the Observation was made and is no older than maxAge. One
// from the future (a clock that jumped) is not fresh.
func (o Observation) Fresh(now time.Time, maxAge time.Duration) bool {
	age := now.Sub(o.At)
	return o.Known() && age <= maxAge && age >= -maxAge
}

// Demand is what was measured of one Model's traffic, at the gateway or, where
// there is none, from its engines.
type Demand struct {
	Arrivals Observation // requests/s offered since the previous Observation, held and refused ones included, retries counted once
	// ArrivalsOver is the time over which Arrivals were counted; zero when that
	// is not known. A rate over a moment says less than one over a second.
	ArrivalsOver time.Duration
	PromptTokens Observation // tokens, mean of recent requests
	LongPrompt   Observation // tokens, 0.95 quantile of recent requests
	OutputTokens Observation // tokens, mean of recent requests; absent until enough have finished to tell
	OutputLimit  Observation // tokens, mean of the limits that recent requests set; absent where none did
	Held         Observation // requests waiting at the gateway now
	HeldTokens   Observation // prompt tokens of those
	HeldFor      Observation // seconds that the oldest of them has waited
	InFlight     Observation // requests at replicas now
	LastArrival  Observation // Value is Unix seconds of the newest arrival; absent when none was ever seen
	Good         Observation // requests that met the SLO, counted since the gateway began
	Bad          Observation // requests that missed it, likewise; cancelled ones are in neither
}

// Load is what was measured of one Replica.
type Load struct {
	InFlight     Observation // requests that the gateway has there now
	Running      Observation // requests in the engine's batch
	Waiting      Observation // requests in the engine's own queue
	KVCacheUsage Observation // 0..1
	Busy         Observation // 0..1, share of the time since the previous Snapshot in which the accelerator worked
	Latency      Latency
	Engine       Engine
}

// Latency is what the requests that a Replica finished since the previous
// Snapshot experienced there. Medians, so that one odd request cannot move
// them; times at the replica, time held excluded.
type Latency struct {
	At           time.Time // end of the span
	Requests     int       // finished in the span; 0 means that nothing was measured
	Concurrency  float64   // mean number of requests at the replica while they ran
	TTFT         time.Duration
	TPOT         time.Duration
	Service      time.Duration // whole time at the replica
	PromptTokens float64
	OutputTokens float64
	Timed        int // requests whose time per output token was seen
	Slow         int // of them, those whose time per output token is above the SLO's
	Late         int // of them, those whose first token took longer at the replica than the SLO allows
}
