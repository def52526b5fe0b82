package scale

import "time"

// RequestID names a request within one gateway or one simulation.
type RequestID uint64

// Request is one arrival. The gateway writes it, a trace or the simulator
// reads it.
type Request struct {
	ID           RequestID
	At           time.Time // arrival
	Model        string    // as authorised: the Model's name, not an alias
	Tenant       string    // "" where tenants are not told apart
	Priority     int       // among requests that wait: higher first
	PromptTokens int       // known, or estimated from the body's size
	OutputTokens int       // the client's limit, or an estimate; a trace has the truth
	Bytes        int       // body size, bounded while held
	Deadline     time.Time // latest instant until which it may be held
	// Prefix is a hash of how the prompt begins, of PrefixTokens about. Requests
	// with the same one are served faster where another was before. 0 for unknown
	// or too short to matter.
	Prefix uint64
}

// PrefixTokens is of how many tokens Request.Prefix tells, and so what work is
// saved at least where a replica has them in its KV cache.
const PrefixTokens = 512

// Outcome is how a request ended. Every request has exactly one.
type Outcome int

// The outcomes. Lost and Corrupted must never occur; only the load generator,
// which sees the client's side, can tell them.
const (
	OK          Outcome = iota + 1
	Refused             // 429, 413 or 503, said at once
	Expired             // 504: its hold deadline came
	Interrupted         // its replica died after the first byte; ended with an error event
	Failed              // the upstream's own error, passed through
	Cancelled           // by the client
	Lost                // no answer, a reset without one, or a success cut short without an error
	Corrupted           // bytes of another request, missing or repeated tokens
)

var outcomeNames = []string{"ok", "refused", "expired", "interrupted", "failed", "cancelled", "lost", "corrupted"}

func (o Outcome) String() string { return enumName(outcomeNames, o) }

// MarshalText encodes the outcome by name.
func (o Outcome) MarshalText() ([]byte, error) { return enumText(outcomeNames, o) }

// UnmarshalText decodes an outcome by name.
func (o *Outcome) UnmarshalText(text []byte) error { return enumParse(outcomeNames, text, o) }

// Outcomes returns every outcome, in order.
func Outcomes() []Outcome {
	return []Outcome{OK, Refused, Expired, Interrupted, Failed, Cancelled, Lost, Corrupted}
}

// Served is what one finished request experienced, as measured at the gateway.
type Served struct {
	Outcome      Outcome
	Held         time.Duration // part of TTFT and Total
	Woke         bool          // it waited for a wake from zero, and is judged by MaxHold
	Streamed     bool
	TTFT         time.Duration // arrival → first byte of the reply's body
	Total        time.Duration // arrival → last byte
	OutputTokens int
}

// TPOT returns the mean time per output token after the first, or zero where
// there was at most one.
func (s Served) TPOT() time.Duration {
	if s.OutputTokens < 2 {
		return 0
	}
	return (s.Total - s.TTFT) / time.Duration(s.OutputTokens-1)
}

// Good says whether the request met the SLO. Callers leave cancelled requests
// out. A reply that is not streamed shows no first token; it is good when it
// came within the time that a good stream of as many tokens may take. A
// request that waited for a wake is judged by its time held, then by the time
// that was left to the replica.
func (s SLO) Good(r Served) bool {
	if r.Outcome != OK {
		return false
	}
	ttft, total := r.TTFT, r.Total
	if r.Woke {
		if r.Held > s.MaxHold {
			return false
		}
		ttft, total = ttft-r.Held, total-r.Held
	}
	switch {
	case !s.Tokens():
		return total <= s.Latency
	case !r.Streamed:
		return total <= s.TTFT+s.TPOT*time.Duration(max(0, r.OutputTokens-1))
	default:
		return ttft <= s.TTFT && r.TPOT() <= s.TPOT
	}
}
