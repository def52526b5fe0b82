package scale

import (
	"math"
	"slices"
	"strings"
	"time"
)

// keptDigits is how many significant digits of a measurement are kept: an error
// of 1 in 2,000 at most, far below what a second's measurement is off by. More
// would be noise that makes up most of a journal.
const keptDigits = 4

// Kept returns the Snapshot as a journal keeps it, which is what a tick is to be
// decided from, so that it is decided again to the same bytes: times are those
// of the wall clock alone, and measurements have four significant digits. Counts
// are exact, and text is UTF-8. Its argument is not changed.
func (s Snapshot) Kept() Snapshot {
	s.Now = s.Now.Round(0)
	s.Models = slices.Clone(s.Models)
	for i := range s.Models {
		m := &s.Models[i]
		m.Demand = m.Demand.kept()
		m.Signals = slices.Clone(m.Signals)
		for j := range m.Signals {
			f := &m.Signals[j]
			f.Name, f.At = strings.ToValidUTF8(f.Name, "�"), f.At.Round(0)
		}
		m.LastFailure = strings.ToValidUTF8(m.LastFailure, "�")
		m.Replicas = slices.Clone(m.Replicas)
		for j := range m.Replicas {
			r := &m.Replicas[j]
			r.Created, r.Since, r.Load = r.Created.Round(0), r.Since.Round(0), r.Load.kept()
		}
	}
	s.Interruptions = slices.Clone(s.Interruptions)
	for i := range s.Interruptions {
		n := &s.Interruptions[i]
		n.Noticed, n.Deadline = n.Noticed.Round(0), n.Deadline.Round(0)
		n.Source = strings.ToValidUTF8(n.Source, "�")
	}
	return s
}

func (d Demand) kept() Demand {
	for _, o := range []*Observation{&d.Held, &d.HeldTokens, &d.InFlight, &d.LastArrival, &d.Good, &d.Bad} {
		o.At = o.At.Round(0)
	}
	for _, o := range []*Observation{&d.Arrivals, &d.PromptTokens, &d.LongPrompt, &d.OutputTokens, &d.OutputLimit, &d.HeldFor} {
		*o = o.kept()
	}
	return d
}

func (l Load) kept() Load {
	for _, o := range []*Observation{&l.InFlight, &l.Running, &l.Waiting} {
		o.At = o.At.Round(0)
	}
	l.KVCacheUsage, l.Busy = l.KVCacheUsage.kept(), l.Busy.kept()
	l.Engine.Name = strings.ToValidUTF8(l.Engine.Name, "�")
	for _, t := range []*Timing{&l.Engine.TTFT, &l.Engine.TPOT, &l.Engine.EndToEnd} {
		*t = Timing{At: t.At.Round(0), Count: t.Count, Mean: rounded(t.Mean), Median: rounded(t.Median), P95: rounded(t.P95)}
	}
	n := &l.Latency
	n.At = n.At.Round(0)
	n.Concurrency, n.PromptTokens, n.OutputTokens = rounded(n.Concurrency), rounded(n.PromptTokens), rounded(n.OutputTokens)
	for _, d := range []*time.Duration{&n.TTFT, &n.TPOT, &n.Service} {
		*d = roundedTime(*d)
	}
	return l
}

func (o Observation) kept() Observation {
	return Observation{Value: rounded(o.Value), At: o.At.Round(0)}
}

// rounded is v to so many digits; what is no finite number stays.
func rounded(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return v
	}
	digits := keptDigits - 1 - int(math.Floor(math.Log10(math.Abs(v))))
	if digits < 0 {
		unit := math.Pow10(-digits)
		return math.Round(v/unit) * unit
	}
	unit := math.Pow10(digits)
	if near := math.Round(v*unit) / unit; !math.IsInf(near, 0) && !math.IsNaN(near) {
		return near
	}
	return v
}

func roundedTime(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for unit*10000 <= max(d, -d) && unit < math.MaxInt64/100000 {
		unit *= 10
	}
	return d.Round(unit)
}
