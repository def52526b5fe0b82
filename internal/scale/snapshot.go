package scale

import "time"

// Snapshot is everything that one tick may know. What is not here cannot
// influence a Decision.
type Snapshot struct {
	Now           time.Time
	Models        []ModelState // sorted by model name
	Offerings     []Offering   // sorted
	Fleet         FleetPolicy
	Interruptions []Interruption
	// Tick is how often Snapshots are taken; it tells stale from fresh.
	Tick time.Duration
}

// ModelState is one Model as it stands.
type ModelState struct {
	Model    Model
	Demand   Demand
	Signals  []Figure  // what its business signals read, by name; one that was never read may be left out
	Replicas []Replica // all but Gone, sorted by ID
	// ColdStarts are boots that ended since the previous Snapshot.
	ColdStarts []ColdStart
	// Failures counts boots that failed in a row, newest last; the world's
	// back-off runs on it, and sizing must not answer it with more orders.
	Failures int
	// LastFailure says why the newest of them failed, and where its log is.
	LastFailure string
}

// Signal returns what a business signal of the Model read; an Observation that
// was never made where it was never read.
func (m ModelState) Signal(name string) Observation {
	for _, f := range m.Signals {
		if f.Name == name {
			return f.Observation
		}
	}
	return Observation{}
}

// ColdStart is one finished boot.
type ColdStart struct {
	Target ScaleTarget
	Took   time.Duration
}

// Interrupted returns the Interruption of a Replica, if it has one.
func (s Snapshot) Interrupted(id ReplicaID) (Interruption, bool) {
	for _, i := range s.Interruptions {
		if i.Replica == id {
			return i, true
		}
	}
	return Interruption{}, false
}
