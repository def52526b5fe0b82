// Package lease has several gateways share one fleet. The Lessor stands where the
// routes are decided: it divides them among its own gateway and those of other
// processes, and adds up what all of them measured. A Lessee stands in each other
// process: it asks for its share every second, and sooner when requests wait or
// its share fell.
//
// What a gateway may use ends a Term after it asked, whatever happened to the
// one that it asked: an expired lease is worth zero, and requests are held until
// there is another. What is in flight then goes on to its end. A gateway that
// ends gives its lease back; what a killed one had is divided anew when its lease
// is over. Package admission has the arithmetic, and why no limit is exceeded.
//
//	GET  /v1/settings   Settings: what a gateway needs to know to begin
//	POST /v1/lease      Report, answered with a Lease
//
// Both take the token as Authorization: Bearer, where there is one.
package lease

import (
	"encoding/json"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const (
	// Term is for how long a lease is good, from when its gateway asked for it:
	// as long as three renewals are late or lost.
	Term = 3 * time.Second
	// margin is how much longer the Lessor reckons with it: clocks run at
	// different pace.
	margin = 250 * time.Millisecond
	// renewEvery is how often a gateway renews, and retryAfter how soon it tries
	// again when that failed. Between two renewals there is soonest at least.
	renewEvery = time.Second
	retryAfter = 300 * time.Millisecond
	soonest    = 50 * time.Millisecond
	// askTimeout is how long it waits for an answer.
	askTimeout = time.Second
	// wakeEvery bounds how often one model asks for a decision before its time.
	wakeEvery = 200 * time.Millisecond
	// sweepEvery is how often the Lessor looks for leases that are over.
	sweepEvery = 250 * time.Millisecond

	maxReport   = 4 << 20
	maxAnswer   = 16 << 20
	maxGateways = 64
	maxName     = 64
)

// Gateway is the data plane of this process. All methods are safe for concurrent
// use and return at once.
type Gateway interface {
	// Route replaces what the data plane knows of a model's Replicas. When it has
	// returned, nothing is sent beyond what it says.
	Route(model string, routes []scale.Route)
	// Traffic returns what was measured since it was last called.
	Traffic(model string, now time.Time) scale.Traffic
	// Standing returns what the gateway has of a model's requests now.
	Standing(model string) scale.Standing
}

// Settings are what a gateway needs to know to begin.
type Settings struct {
	Version      string // of all below; a Report with another is refused
	Models       []scale.Model
	Tenants      []scale.Tenant
	MaxHeld      int
	MaxHeldBytes int
	MaxBody      int64
	DrainTimeout time.Duration
}

// Report is what a gateway says when it renews its lease.
type Report struct {
	Gateway string // unique to one life of one process
	Version string // of its Settings
	Turn    uint64
	Adopted uint64    // turn of the Lease that it goes by; 0 for none
	Now     time.Time // by its clock
	Leaving bool      // it has ended, and has nothing any more
	Models  []ModelReport
}

// ModelReport is what it says of one model.
type ModelReport struct {
	Model    string
	Standing scale.Standing
	Traffic  scale.Traffic
}

// Lease is a gateway's share of every model.
type Lease struct {
	Turn   uint64
	Term   time.Duration // from when the gateway asked
	Models []ModelLease
}

// ModelLease is the share of one model.
type ModelLease struct {
	Model  string
	Routes []scale.Route
}

// failure is the body of an answer that is none.
type failure struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func failed(code, message string) []byte {
	var f failure
	f.Error.Code, f.Error.Message = code, message
	body, _ := json.Marshal(f) // two strings
	return body
}

// The codes of failures.
const (
	codeChanged = "settings_changed"
	codeLate    = "renewal_late"
)
