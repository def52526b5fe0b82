// Package sim is the world in virtual time: the admission and the autoscaler of
// the product, driven by a series of requests instead of by HTTP and a clock,
// over engines that take the time which their truth says. Everything happens in
// one loop, event by event. The same World gives the same Result, to the last
// bit, but for the time that decisions took on the machine that ran it.
package sim

import (
	"context"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// World is a fleet, its requests and who governs it.
type World struct {
	Services  []Service // sorted by model name
	Offerings []scale.Offering
	Fleet     scale.FleetPolicy
	Zones     []Zone        // spot capacity over time; none: spot is never reclaimed
	Notice    time.Duration // between a reclaim's notice and its deadline
	Faults    Faults
	Governor  Governor
	Source    Source
	Seed      uint64
	// Begin is the instant 0 of the World, from which Zones, Faults and Result
	// count; zero for the first arrival.
	Begin time.Time
	// Settle is how long the World goes on, and is paid for, after the last
	// request ended.
	Settle time.Duration

	Watch func(scale.Snapshot, scale.Decision) // may be nil: told of every tick
	Ended func(scale.Request, scale.Served)    // may be nil: told of every request that ended
	Sent  func(Sending)                        // may be nil: told of every request that is sent to a replica
	Lived func(scale.Lifetime)                 // may be nil: told of every replica that is gone, and at the end of those that are not
}

// Sending is a request on its way to a replica.
type Sending struct {
	At      time.Time
	Request scale.RequestID // as the Source numbered it
	Replica scale.Replica   // without Load
	Tokens  int             // of prompt and reply, as admission counts them
	Limit   scale.Allocation
}

// Service is one model as it is served here.
type Service struct {
	Model  scale.Model // as the Governor is told
	Truths []Truth     // parallel to Model.Variants: what serving really takes
	Start  int         // replicas Ready at the beginning, of the first target
	// Asks says that clients set a limit on their replies, which is as long as
	// the reply will be. Otherwise they set none, and admission estimates.
	Asks bool
}

// Truth is what serving with one Variant really takes.
type Truth struct {
	Profile scale.Profile
	Boot    Boot
}

// Boot is how long starts take and how often they come to nothing.
type Boot struct {
	Mixture []Mode  // none: always the Variant's ColdStart
	Fails   float64 // 0..1, share of boots that fail, at their end
}

// Mode is one lognormal component of a Boot.
type Mode struct {
	Share float64 // relative to the other modes'
	Mean  time.Duration
	Sigma float64 // of the logarithm; 0 for always the Mean
}

// Source gives requests in order of arrival. OutputTokens are the truth. A
// request without a Model is of the only Service.
type Source interface {
	// Next returns io.EOF after the last.
	Next() (scale.Request, error)
}

// Governor decides the counts. A World calls it from one goroutine. It may keep
// what it is given.
type Governor interface {
	// Every is the interval of ticks.
	Every() time.Duration
	// Decide says what is to change. Allocations of its Plans bound what
	// admission sends to one replica, until the next that names their target.
	Decide(s scale.Snapshot) scale.Decision
	// Restart says that the Governor's process died and came back: only what is
	// journalled survives. A tick follows at once.
	Restart()
}

// Heeder is a Governor that does not wait for its next tick when something
// happened. One that is no Heeder is told at its ticks.
type Heeder interface {
	Poked(p Poke) bool // whether it ticks now
}

// Poke is what happened.
type Poke int

// The pokes.
const (
	PokeWake   Poke = iota + 1 // a request is held and no replica is Ready
	PokeHeld                   // a request is held: all replicas are full
	PokeReady                  // a replica became Ready
	PokeGone                   // a replica is gone
	PokeNotice                 // a replica will be taken
)

// Run plays the World to the end of the last request. It looks at ctx now and
// then. A request that arrives before the one ahead of it, or for a model that
// is not served, is an error.
func (w World) Run(ctx context.Context) (Result, error) {
	if err := w.check(); err != nil {
		return Result{}, err
	}
	return newRun(w).play(ctx)
}
