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
	Quota       []Quota
	Restarts    []time.Duration // of the Governor
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

// next returns when a quota begins or ends or a restart is due, after now.
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
	return least
}
