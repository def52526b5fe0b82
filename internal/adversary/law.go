package adversary

import (
	"fmt"
	"time"
)

// Law is what must hold in every world. Those named P1 to P11 are Penstock's
// promises; the others are laws of the house.
type Law int

// The laws.
const (
	OneOutcome    Law = iota + 1 // P2: every request ends exactly once, and none is lost
	NoneHarmed                   // P2: only a replica that died interrupts or fails a request
	SkipHolds                    // P6: nor does a clock that is set, nor time in which nobody looked
	BlindHolds                   // P6: missing, stale or impossible data shrinks nothing
	Maximum                      // P8: nothing is started beyond a maximum
	CostPerHour                  // P8: or a cost limit
	UpRate                       // P8: or a rate of starts
	DownRate                     // P8: nothing is drained beyond a rate of drains
	BatchLimit                   // P8: no replica is sent more than its batch limit
	KVLimit                      // P8: or more tokens than its KV cache may hold
	Replays                      // P9: the same Memory and the same Snapshot give the same Decision
	Ledger                       // P9: the bill is the sum of lives times prices
	HeldInTime                   // P10: nothing is held beyond its deadline
	HeldInBounds                 // P10: nor more than may be, and none refused before
	WholeDecision                // a Decision names every target, sorted, with a reason for each change
	CountsAdd                    // From is what serves; whom a Change drains serves there
	SaysWhy                      // what is withheld or kept beyond the Plan says why
	Slots                        // nothing is started without an accelerator for it
	Floors                       // minimum, schedules and warm floor are kept where they may be
	NoticeLeads                  // who will be taken drains, and nothing else is sent there
	NamedDrains                  // who drains was named by a Change or a notice
	RoomServes                   // no request waits while a Ready replica is empty
	Recovers                     // once faults stop, the objective is met again
	Settles                      // in calm no count goes up and down and up
	Finite                       // no figure of a Decision is NaN or infinite
	NoPanic                      // nothing panics
	LoopWorks                    // a tick fails only where a fault makes it
)

var lawNames = []string{
	"P2 one outcome", "P2 none harmed", "P6 skip holds", "P6 blind holds", "P8 maximum", "P8 cost per hour", "P8 up rate", "P8 down rate",
	"P8 batch limit", "P8 KV limit", "P9 replays", "P9 ledger", "P10 held in time", "P10 held in bounds",
	"whole decision", "counts add", "says why", "slots", "floors", "notice leads", "named drains", "room serves",
	"recovers", "settles", "finite", "no panic", "loop works",
}

func (l Law) String() string {
	if l < 1 || int(l) > len(lawNames) {
		return fmt.Sprintf("unknown(%d)", int(l))
	}
	return lawNames[l-1]
}

// MarshalText encodes the law by name.
func (l Law) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Laws returns every law, in order.
func Laws() []Law {
	out := make([]Law, len(lawNames))
	for i := range out {
		out[i] = Law(i + 1)
	}
	return out
}

// Violation is a law that was broken.
type Violation struct {
	Law  Law
	At   time.Duration // since the Case's beginning
	Text string        // what happened
}

func (v Violation) String() string { return fmt.Sprintf("%v at %v: %s", v.Law, v.At, v.Text) }

// branch is what some seed must reach beside reasons and faults.
func branches() []string {
	return []string{
		"woke from zero", "fell asleep", "replica drained with requests", "request expired", "request cancelled",
		"request interrupted", "request tried again", "request failed", "reclaimed spot replica", "boot failed", "boot overdue",
		"journal on disk", "budget overdrawn", "page", "ticket", "moved between variants", "at the maximum", "full replica",
		"blind with replicas", "held at the end of a tick", "calm judged", "settling judged", "time skipped",
	}
}
