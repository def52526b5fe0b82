package adversary

import (
	"fmt"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/sim"
)

// Kind is a kind of fault.
type Kind int

// The kinds: of what is measured, of the world, of the loop, of clients.
const (
	Missing      Kind = iota + 1 // nothing is measured
	Stale                        // what was measured last is told again, with its times
	Zero                         // rates and loads read 0, with fresh times
	NaN                          // what is measured of traffic reads NaN
	Negative                     // or below 0
	CounterReset                 // the counters of good and bad requests begin anew
	Spike                        // rates read a hundredfold
	ClockAhead                   // the loop's clock is an hour ahead
	ClockBack                    // or an hour behind
	Dark                         // the world can not be observed at all
	PriceJump                    // on-demand costs another price

	BootFails
	BootSlow      // ten times as long
	ReadyThenDies // soon after it was Ready
	SlowReplica   // serves at a fraction of its pace
	Wedged        // accepts, and says nothing for a while
	Crash         // replicas die, requests in them
	Reclaim       // a zone of spot capacity loses nodes
	ZoneGone      // or all of them
	NoNotice      // what a zone loses is gone at once
	Quota         // nothing more may be started

	WriteLost    // what was decided is not done
	WriteLate    // it is done some ticks later
	WriteTwice   // it is done, and again a tick later
	JournalFails // what was decided is not written down
	Restart      // the loop's process dies and comes back
	RestartOlder // with the Memory of some ticks before

	Cancels // a share of all clients go away at once
	Retries // who was refused or expired tries again, and again
	Burst   // fifty times as many requests
)

var kindNames = []string{
	"missing", "stale", "zero", "nan", "negative", "counter-reset", "spike", "clock-ahead", "clock-back", "dark", "price-jump",
	"boot-fails", "boot-slow", "ready-then-dies", "slow-replica", "wedged", "crash", "reclaim", "zone-gone", "no-notice", "quota",
	"write-lost", "write-late", "write-twice", "journal-fails", "restart", "restart-older",
	"cancels", "retries", "burst",
}

func (k Kind) String() string {
	if k < 1 || int(k) > len(kindNames) {
		return fmt.Sprintf("unknown(%d)", int(k))
	}
	return kindNames[k-1]
}

// Kinds returns every kind, in order.
func Kinds() []Kind {
	out := make([]Kind, len(kindNames))
	for i := range out {
		out[i] = Kind(i + 1)
	}
	return out
}

func kindOf(name string) (Kind, bool) {
	i := slices.Index(kindNames, name)
	return Kind(i + 1), i >= 0
}

// Fault is something that goes wrong in a window of time.
type Fault struct {
	Name string // kind and number, such as crash.2
	Kind Kind
	sim.Window
	Share float64 // 0..1: of what is hit, or how much of it
}

func (f Fault) String() string {
	return fmt.Sprintf("%s from %v to %v (%.0f %%)", f.Name, f.Start.Round(time.Millisecond), f.End.Round(time.Millisecond), 100*f.Share)
}

// covers says whether the fault is on.
func (f Fault) covers(at time.Duration) bool { return f.Start <= at && at < f.End }

// faultsFrom and faultsUntil say in which part of a Case faults are: the rest
// is for what must hold once they have stopped.
const (
	faultsFrom  = 0.05
	faultsUntil = 0.6
)

// faults draws how likely faults are here, then the faults. Each kind has a
// stream of its own.
func (c *Case) faults() []Fault {
	likely := pick(newDice(c.Seed, purposeFault, 0), 0, 0.05, 0.1, 0.1, 0.2, 0.4)
	var out []Fault
	for _, kind := range Kinds() {
		d := newDice(c.Seed, purposeFault, uint64(kind))
		if !d.chance(likely) {
			continue
		}
		var some []Fault
		for range d.between(1, 3) {
			some = append(some, c.fault(d, kind))
		}
		slices.SortFunc(some, compareFaults)
		for i := range some {
			some[i].Name = fmt.Sprintf("%s.%d", kind, i+1)
		}
		out = append(out, some...)
	}
	return out
}

func (c *Case) fault(d dice, kind Kind) Fault {
	from, until := float64(c.Span)*faultsFrom, float64(c.Span)*faultsUntil
	start := time.Duration(from + d.Float64()*(until-from))
	length := d.duration(2*c.Tick, max(3*c.Tick, time.Duration(until)/4))
	if kind == Burst {
		length = d.duration(time.Second, 20*time.Second)
	}
	start = start.Round(time.Millisecond)
	end := min(start+length, time.Duration(until)+time.Millisecond)
	return Fault{Kind: kind, Window: sim.Window{Start: start, End: max(end, start+time.Millisecond)}, Share: pick(d, 0.3, 0.6, 1)}
}

// on returns the fault of a kind that covers an instant.
func (c *Case) on(at time.Duration, kinds ...Kind) (Fault, bool) {
	for _, f := range c.Faults {
		if slices.Contains(kinds, f.Kind) && f.covers(at) {
			return f, true
		}
	}
	return Fault{}, false
}

// lately says whether a fault of these kinds is on, or was within a span.
func (c *Case) lately(at, within time.Duration, kinds ...Kind) bool {
	return slices.ContainsFunc(c.Faults, func(f Fault) bool {
		return slices.Contains(kinds, f.Kind) && f.Start <= at && at < f.End+within
	})
}

// has says whether the Case has a fault of a kind.
func (c *Case) has(kinds ...Kind) bool {
	return slices.ContainsFunc(c.Faults, func(f Fault) bool { return slices.Contains(kinds, f.Kind) })
}

// calm is when the last fault has ended.
func (c *Case) calm() time.Duration {
	end := time.Duration(0)
	for _, f := range c.Faults {
		end = max(end, f.End)
	}
	return end
}

// disturbances makes the faults that the world itself plays.
func (c *Case) disturbances() sim.Faults {
	var out sim.Faults
	for _, f := range c.Faults {
		strike := sim.Strike{At: f.Start, Share: f.Share}
		boots := sim.Boots{Window: f.Window, Share: f.Share}
		switch f.Kind {
		case Missing:
			out.Missing = append(out.Missing, f.Window)
		case Stale:
			out.Stale = append(out.Stale, f.Window)
		case Zero:
			out.Zero = append(out.Zero, f.Window)
		case BootFails:
			boots.Fail = true
			out.Boots = append(out.Boots, boots)
		case BootSlow:
			boots.Slow = 10
			out.Boots = append(out.Boots, boots)
		case ReadyThenDies:
			boots.Life = max(c.Tick/2, time.Second)
			out.Boots = append(out.Boots, boots)
		case SlowReplica:
			boots.Pace = 4
			out.Boots = append(out.Boots, boots)
		case Wedged:
			out.Stalls = append(out.Stalls, sim.Stall{Window: f.Window, Share: f.Share})
		case Crash:
			out.Crashes = append(out.Crashes, strike)
		case Cancels:
			out.Cancels = append(out.Cancels, strike)
		case Quota:
			out.Quota = append(out.Quota, sim.Quota{Window: f.Window, Share: f.Share})
		case Restart, RestartOlder:
			out.Restarts = append(out.Restarts, f.Start)
		case NaN, Negative, CounterReset, Spike, ClockAhead, ClockBack, Dark, PriceJump, Reclaim, ZoneGone, NoNotice,
			WriteLost, WriteLate, WriteTwice, JournalFails, Retries, Burst:
			// of what is measured, zones, the loop and clients, elsewhere
		}
	}
	return out
}

// zones are the nodes of spot capacity over time.
func (c *Case) zones() []sim.Zone {
	out := make([]sim.Zone, 0, len(c.Nodes))
	for i, nodes := range c.Nodes {
		z := sim.Zone{Name: zoneName(i), Nodes: []sim.Step{{Count: nodes}}}
		z.Nodes = append(z.Nodes, c.losses(i, nodes)...)
		out = append(out, z)
	}
	return out
}

// losses are the changes of one zone: down at the start of a fault and back at
// its end. Faults that overlap an earlier one are passed over.
func (c *Case) losses(zone, nodes int) []sim.Step {
	var out []sim.Step
	last := time.Duration(0)
	faults := slices.Clone(c.Faults)
	slices.SortStableFunc(faults, func(a, b Fault) int { return int(a.Start - b.Start) })
	for _, f := range faults {
		left := -1
		switch {
		case f.Start <= last:
		case f.Kind == Reclaim:
			left = int(float64(nodes) * (1 - f.Share))
		case f.Kind == ZoneGone && zone == 0:
			left = 0
		}
		if left >= 0 {
			out = append(out, sim.Step{At: f.Start, Count: left}, sim.Step{At: f.End, Count: nodes})
			last = f.End
		}
	}
	return out
}
