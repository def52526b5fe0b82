package scale

import "time"

// ReplicaID names a Replica; it is never used twice.
type ReplicaID string

// Phase is where a Replica is in its life. It only ever moves forward.
type Phase int

// The phases.
const (
	Starting Phase = iota + 1 // ordered; loading; serves nothing yet, and is paid for
	Ready                     // may be sent requests
	Draining                  // gets no new request; finishes those it has
	Gone                      // stopped, crashed or reclaimed
)

var phaseNames = []string{"starting", "ready", "draining", "gone"}

func (p Phase) String() string { return enumName(phaseNames, p) }

// MarshalText encodes the phase by name.
func (p Phase) MarshalText() ([]byte, error) { return enumText(phaseNames, p) }

// UnmarshalText decodes a phase by name.
func (p *Phase) UnmarshalText(text []byte) error { return enumParse(phaseNames, text, p) }

// Replica is one running copy of a Model under one Variant.
type Replica struct {
	ID      ReplicaID
	Target  ScaleTarget
	Phase   Phase
	Zone    string
	Created time.Time // ordered at; billing begins
	Since   time.Time // when Phase began
	Address string    // host:port of its HTTP server; "" while not known
	Load    Load      // what is known of its work
}

// Serving says whether the Replica counts toward its target: it serves or
// soon will.
func (r Replica) Serving() bool { return r.Phase == Starting || r.Phase == Ready }

// Interruption says that a Replica will be taken away, and by when.
type Interruption struct {
	Replica  ReplicaID
	Noticed  time.Time
	Deadline time.Time
	Source   string // who said so, e.g. "notice file"
}
