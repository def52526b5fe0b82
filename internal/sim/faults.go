package sim

import "time"

// Window is [Start, End) since the beginning of the World.
type Window struct {
	Start, End time.Duration
}

func (w Window) covers(now time.Duration) bool { return w.Start <= now && now < w.End }

// Faults are what goes wrong beside the Truths. Signals are those that a
// Governor is told; admission and engines are not touched by faults in them.
type Faults struct {
	// Missing: Demand and Loads are absent. What is counted meanwhile shows in
	// the first Snapshot after.
	Missing []Window
	// Stale: the values and times of the last good Snapshot.
	Stale []Window
	// Zero: a lying exporter. Rates, what is held or in flight and Loads read 0,
	// with fresh times; what is counted meanwhile is lost.
	Zero        []Window
	FailedBoots float64 // 0..1, share of boots that fail beside those of Boot.Fails
	Boots       []Boots
	Crashes     []Strike // replicas end without notice
	Cancels     []Strike // clients go away
	Stalls      []Stall
	Quota       []Quota
	Restarts    []time.Duration // of the Governor
}

// Boots is what is wrong with a share of the replicas ordered in a Window.
type Boots struct {
	Window
	Share float64       // 0..1
	Fail  bool          // their boots fail, at their end
	Slow  float64       // multiplies how long their boots take; 0 for 1
	Pace  float64       // multiplies how long everything takes them once they are Ready; 0 for 1
	Life  time.Duration // after which they end once they are Ready; 0 for as long as others
}

// Strike is an instant that a share of all does not survive.
type Strike struct {
	At    time.Duration
	Share float64 // 0..1
}

// Stall keeps a share of the replicas that are Ready or Draining when it begins
// from saying anything: what comes meanwhile comes at its end.
type Stall struct {
	Window
	Share float64 // 0..1
}

// Quota leaves room for a share of what runs when it begins: Offerings become
// Limited to so many accelerators, and starts beyond them are refused. What
// runs already is not ended.
type Quota struct {
	Window
	Share float64 // 0..1
}

// sight is how a Governor sees signals at an instant.
type sight int

const (
	truthful sight = iota + 1
	missing
	stale
	lying
)

// sight returns what is wrong with signals now; of several, the one that shows least.
func (f *Faults) sight(now time.Duration) sight {
	for _, fault := range []struct {
		windows []Window
		sight   sight
	}{{f.Missing, missing}, {f.Stale, stale}, {f.Zero, lying}} {
		for _, w := range fault.windows {
			if w.covers(now) {
				return fault.sight
			}
		}
	}
	return truthful
}

// next returns when anything begins, ends or is due that has its own instant, after now.
func (f *Faults) next(now time.Duration) time.Duration {
	least := never
	look := func(at time.Duration) {
		if at > now {
			least = min(least, at)
		}
	}
	for _, q := range f.Quota {
		look(q.Start)
		look(q.End)
	}
	for _, at := range f.Restarts {
		look(at)
	}
	for _, strikes := range [][]Strike{f.Crashes, f.Cancels} {
		for _, s := range strikes {
			look(s.At)
		}
	}
	for _, s := range f.Stalls {
		look(s.Start)
	}
	return least
}
