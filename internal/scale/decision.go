package scale

import "time"

// Forecast is the demand expected of one Model at a horizon, in work units.
// Requests/s come as a mean and as the quantile that planning is to serve.
type Forecast struct {
	Model    string
	Horizon  time.Duration
	Mean     float64 // requests/s
	Quantile float64 // 0..1, which quantile Upper is
	Upper    float64 // requests/s at that quantile; never below what was last seen sustained
	// Tokens per request, from the current mix.
	PromptTokens float64
	LongPrompt   float64
	OutputTokens float64
}

// Allocation is the wanted count of one target.
type Allocation struct {
	Target     ScaleTarget
	Replicas   int
	Infeasible bool // not even one request at a time holds the SLO there
	BatchLimit int  // B*: requests at one replica; 0 when not even one fits
	// PrefillTokens is how many prompt tokens may wait for prefill at one replica
	// before admission sends it nothing more; 0 where tokens do not matter.
	PrefillTokens int
	KVTokens      int     // tokens of KV cache that admission may fill at one replica; 0 where tokens do not matter
	PerReplica    float64 // requests/s that one replica serves at B*
	CostPerHour   float64 // US dollars for Replicas
}

// Plan is the wanted count for every target of one Model, zero included:
// absence never means "keep".
type Plan struct {
	Model       string
	Allocations []Allocation // sorted by target
	Required    float64      // requests at replicas at once, by Little's law at B*, head-room and backlog included
	CostPerHour float64
	Reasons     []Reason // why this much
}

// Decision is what one tick decided for all models.
type Decision struct {
	At        time.Time
	Plans     []Plan     // sorted by model
	Forecasts []Forecast // sorted by model
	Changes   []Change   // sorted by target; one for every target that has or wants replicas
	Budgets   []Budget   // sorted by model
	Alerts    []Alert
}

// Change is what may happen to one target now.
type Change struct {
	Target  ScaleTarget
	From    int // serving replicas (Starting and Ready) in the Snapshot
	Want    int // what the Plan asked for
	To      int // what is allowed now; the world starts To−(From−len(Drain)) replicas, if positive
	DryRun  bool
	Drain   []ReplicaID // replicas to drain, idle first; the world must not pick others
	Reasons []Reason    // why made, and why withheld
}

// Start returns how many replicas the world is to start for the Change.
func (c Change) Start() int { return max(0, c.To-(c.From-len(c.Drain))) }

// Acts says whether the Change asks the world to do anything.
func (c Change) Acts() bool { return !c.DryRun && (c.Start() > 0 || len(c.Drain) > 0) }

// Reason is why: a stable code and a sentence for people, with both sides of
// every comparison in it.
type Reason struct {
	Code ReasonCode
	Text string
}

// ReasonCode is a stable name for a kind of Reason.
type ReasonCode int

// The reason codes, in the order of docs/reference/reasons.md.
const (
	ReasonDemand          ReasonCode = iota + 1 // sized from forecast work
	ReasonHeadRoom                              // how the head-room over it was found
	ReasonBacklog                               // sized to drain what waits
	ReasonWakeFromZero                          // requests wait and nothing runs
	ReasonScaleToZero                           // idle for long enough
	ReasonIdle                                  // idle, but not for long enough yet
	ReasonMin                                   // raised to the minimum
	ReasonMax                                   // cut to the maximum
	ReasonWarmFloor                             // kept warm
	ReasonSchedule                              // a schedule's minimum
	ReasonSignal                                // a business signal calls for as many
	ReasonUpRate                                // replicas per minute up, this model
	ReasonDownRate                              // replicas per minute down, this model
	ReasonFleetUpRate                           // replicas per minute up, all models
	ReasonFleetDownRate                         // replicas per minute down, all models
	ReasonStabilisation                         // scale-down window
	ReasonCostCap                               // cost per hour, this model
	ReasonFleetCostCap                          // cost per hour, all models
	ReasonMissingSignals                        // absent data: no scale-down
	ReasonStaleSignals                          // old data: no scale-down
	ReasonOverload                              // an overloaded replica vetoes scale-down
	ReasonInterruption                          // a replica will be taken: replace it
	ReasonPaused                                // mode: paused
	ReasonAdvise                                // mode: advise, decided but not done
	ReasonNoSlot                                // no accelerator is free
	ReasonTakingSlot                            // an idle model of lower priority gives up its accelerator
	ReasonGivingSlot                            // this idle model gives it
	ReasonMakeBeforeBreak                       // the old variant waits for the new one to be Ready
	ReasonCheaper                               // another variant serves the same for less
	ReasonInfeasible                            // no variant meets the SLO even alone
	ReasonShortage                              // all that may run is too little
	ReasonOverdue                               // a Starting replica is late and does not count
	ReasonBootFailures                          // boots fail: no more are ordered until one succeeds
	ReasonSteady                                // nothing to change
)

var reasonNames = []string{
	"demand", "head-room", "backlog", "wake-from-zero", "scale-to-zero", "idle", "min", "max", "warm-floor", "schedule", "signal",
	"up-rate", "down-rate", "fleet-up-rate", "fleet-down-rate", "scale-down-window", "cost-cap", "fleet-cost-cap",
	"missing-signals", "stale-signals", "overload", "interruption", "paused", "advise", "no-free-slot",
	"taking-slot", "giving-slot", "make-before-break", "cheaper-variant", "infeasible", "shortage", "overdue",
	"boot-failures", "steady",
}

func (c ReasonCode) String() string { return enumName(reasonNames, c) }

// MarshalText encodes the code by name.
func (c ReasonCode) MarshalText() ([]byte, error) { return enumText(reasonNames, c) }

// UnmarshalText decodes a code by name.
func (c *ReasonCode) UnmarshalText(text []byte) error { return enumParse(reasonNames, text, c) }

// ReasonCodes returns every code, for docs and tests.
func ReasonCodes() []ReasonCode {
	codes := make([]ReasonCode, len(reasonNames))
	for i := range codes {
		codes[i] = ReasonCode(i + 1)
	}
	return codes
}

// Budget is how a Model stands against its SLO over the SLO's window.
type Budget struct {
	Model     string
	Good      float64 // requests
	Bad       float64
	Remaining float64 // share of the error budget left: 1 untouched, below 0 overdrawn
}

// Attainment is the share of good requests; false when there were none.
func (b Budget) Attainment() (float64, bool) {
	if b.Good+b.Bad == 0 {
		return 0, false
	}
	return b.Good / (b.Good + b.Bad), true
}

// Alert says that a Model spends its error budget too fast.
type Alert struct {
	Model    string
	Severity Severity
	BurnRate float64       // multiples of the rate that would just use up the budget
	Over     time.Duration // the longer window that it was measured over
	Text     string
}

// Severity is how soon an Alert wants a person.
type Severity int

// The severities.
const (
	Ticket Severity = iota + 1
	Page
)

var severityNames = []string{"ticket", "page"}

func (s Severity) String() string { return enumName(severityNames, s) }

// MarshalText encodes the severity by name.
func (s Severity) MarshalText() ([]byte, error) { return enumText(severityNames, s) }

// UnmarshalText decodes a severity by name.
func (s *Severity) UnmarshalText(text []byte) error { return enumParse(severityNames, text, s) }

// Record is one journalled tick: enough to explain it and to decide it again.
type Record struct {
	At       time.Time
	Snapshot Snapshot
	Memory   []byte // the autoscaler's Memory before the tick, as it encodes itself
	Decision Decision
	Again    Again // of a past one that was asked for alone
}

// Again is what making a past Decision again came to.
type Again struct {
	Verdict Verdict // zero: it was not tried
	Text    string  // in words
}

// Verdict says whether a past Decision comes out the same.
type Verdict int

// The verdicts.
const (
	DecidedTheSame   Verdict = iota + 1 // to the last byte
	DecidedOtherwise                    // the rules were others then
	NotDecidedAgain                     // something that it was made from is lost
)

var verdictNames = []string{"same", "otherwise", "not-possible"}

func (v Verdict) String() string { return enumName(verdictNames, v) }
