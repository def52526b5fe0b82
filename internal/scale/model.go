package scale

import (
	"fmt"
	"slices"
	"time"
)

// Model is a served AI model: what it promises (SLO), how it can be served
// (Variants), and how far the autoscaler may go with it.
type Model struct {
	Name     string   // the name that requests carry
	Aliases  []string // other names that the same replicas serve, such as LoRA adapters
	Paths    []string // prefixes of request paths that are this model's, whatever is sent there
	Hosts    []string // hosts, lower-case and without port, that are this model's
	Priority int      // who gets scarce GPUs: higher first
	Owner    Owner
	SLO      SLO
	// Heartbeats has streams that are held long sent comments, so that nobody
	// between takes the connection for dead.
	Heartbeats bool
	Variants   []Variant

	Replicas        Range       // bounds on serving replicas (Starting and Ready) over all variants
	WarmFloor       WarmFloor   // replicas that stay, also when nothing is asked
	ScaleToZero     ScaleToZero // when the model may fall asleep; only meaningful with Replicas.Min 0
	Schedules       []Schedule
	Signals         []BusinessSignal // figures from outside that call for replicas, sorted by name
	Limits          Limits
	ScaleDownWindow time.Duration // stabilisation: a fleet never falls below the largest wish of this window; 0 for that of a cold start
	Mode            Mode
}

// Variant returns the variant of that name.
func (m Model) Variant(name string) (Variant, bool) {
	i := slices.IndexFunc(m.Variants, func(v Variant) bool { return v.Name == name })
	if i < 0 {
		return Variant{}, false
	}
	return m.Variants[i], true
}

// Owner is who pays for a Model's standing costs (floor, idle).
type Owner struct {
	BusinessUnit string
}

// Range bounds a count, both ends included.
type Range struct {
	Min, Max int
}

// SLO is what a Model promises. Either TTFT and TPOT are set (models that
// stream tokens) or Latency is (models without tokens).
type SLO struct {
	TTFT      time.Duration // to the first token, measured at the gateway, time held included
	TPOT      time.Duration // mean time per output token after the first
	Latency   time.Duration // end to end, time held included
	Objective float64       // 0..1, share of good requests over Window
	Window    time.Duration // rolling
	MaxHold   time.Duration // longest time a request may be held; judges requests that waited for a wake from zero
}

// Tokens says whether the SLO is one for models that produce tokens.
func (s SLO) Tokens() bool { return s.Latency == 0 }

// Variant is one way to serve a Model: accelerator, count, parallelism.
type Variant struct {
	Name        string
	Accelerator Accelerator
	Capacities  []CapacityType // capacity types for which a target exists; never empty
	Max         int            // replicas of this variant, all capacity types together
	Profile     Profile        // the prior; what is learned of it lives in the autoscaler's Memory
	ColdStart   time.Duration  // prior for start → Ready
}

// Accelerator is what one Replica occupies.
type Accelerator struct {
	Type  string // as in Offering.Accelerator, e.g. "nvidia-a100-80gb"
	Count int
}

// CapacityType is how capacity is bought.
type CapacityType int

// The capacity types.
const (
	OnDemand CapacityType = iota + 1
	Spot
)

var capacityNames = []string{"on-demand", "spot"}

func (c CapacityType) String() string { return enumName(capacityNames, c) }

// MarshalText encodes the capacity type by name.
func (c CapacityType) MarshalText() ([]byte, error) { return enumText(capacityNames, c) }

// UnmarshalText decodes a capacity type by name.
func (c *CapacityType) UnmarshalText(text []byte) error { return enumParse(capacityNames, text, c) }

// Offering is capacity for sale: an accelerator in a zone, spot or on-demand.
type Offering struct {
	Accelerator  string // type
	Zone         string // "" where there is but one
	Capacity     CapacityType
	PricePerHour float64 // US dollars for one accelerator
	Limited      bool    // whether Slots bounds it
	Slots        int     // accelerators in all, used ones included; only when Limited
	Pool         string  // offerings of one accelerator and Pool share their Slots; "" shares with none
}

// ScaleTarget is what is scaled. It is comparable and so serves as a map key;
// a world maps it to a process group or a Deployment.
type ScaleTarget struct {
	Model    string
	Variant  string
	Capacity CapacityType
}

func (t ScaleTarget) String() string {
	if t.Capacity == Spot {
		return fmt.Sprintf("%s/%s@spot", t.Model, t.Variant)
	}
	return fmt.Sprintf("%s/%s", t.Model, t.Variant)
}

// Compare orders targets by model, variant and capacity type.
func (t ScaleTarget) Compare(o ScaleTarget) int {
	switch {
	case t == o:
		return 0
	case t.Model < o.Model,
		t.Model == o.Model && t.Variant < o.Variant,
		t.Model == o.Model && t.Variant == o.Variant && t.Capacity < o.Capacity:
		return -1
	default:
		return 1
	}
}

// Mode is how far the autoscaler may go with a Model.
type Mode int

// The modes.
const (
	Auto   Mode = iota + 1 // decide and act
	Advise                 // decide, show, do not act
	Paused                 // keep what runs; replace nothing, remove nothing
)

var modeNames = []string{"auto", "advise", "paused"}

func (m Mode) String() string { return enumName(modeNames, m) }

// MarshalText encodes the mode by name.
func (m Mode) MarshalText() ([]byte, error) { return enumText(modeNames, m) }

// UnmarshalText decodes a mode by name.
func (m *Mode) UnmarshalText(text []byte) error { return enumParse(modeNames, text, m) }

// WarmFloor keeps replicas warm whatever the demand.
type WarmFloor struct {
	Replicas int
	Capacity CapacityType
	During   string // name of a Schedule; "" means always
}

// ScaleToZero says when an idle Model falls asleep.
type ScaleToZero struct {
	Disabled bool
	After    time.Duration // without any request
}

// Limits bound how fast and how dear a change may be. Zero means no limit.
type Limits struct {
	UpPerMinute   int
	DownPerMinute int
	CostPerHour   float64 // US dollars, all serving replicas
}

// FleetPolicy limits all models together.
type FleetPolicy struct {
	Limits Limits
}
