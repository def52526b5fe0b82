package scale

import "time"

// Lifetime is the paid life of one Replica, as far as it is known.
type Lifetime struct {
	Replica      ReplicaID
	Target       ScaleTarget
	PricePerHour float64   // US dollars for the whole Replica
	Created      time.Time // billing begins
	Ready        time.Time // zero if it never was
	Drained      time.Time // when draining began; zero if it has not
	Ended        time.Time // zero while it lives
	Busy         time.Duration
}

// Usage is what a paid second was spent on.
type Usage int

// The usages.
const (
	Serving Usage = iota + 1 // at least one request at the replica
	IdleTime
	Loading
	DrainingTime
)

var usageNames = []string{"serving", "idle", "loading", "draining"}

func (u Usage) String() string { return enumName(usageNames, u) }

// MarshalText encodes the usage by name.
func (u Usage) MarshalText() ([]byte, error) { return enumText(usageNames, u) }

// UnmarshalText decodes a usage by name.
func (u *Usage) UnmarshalText(text []byte) error { return enumParse(usageNames, text, u) }

// Charge is money spent on one usage of one target.
type Charge struct {
	Target       ScaleTarget
	BusinessUnit string
	Usage        Usage
	Time         time.Duration // replica-time
	Dollars      float64
}
