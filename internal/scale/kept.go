package scale

import (
	"math"
	"slices"
	"strings"
	"time"
)

// So many significant digits of a measurement are kept: of a Model's demand, an
// error of 1 in 2,000 at most, and of what one Replica experienced in a second,
// of 1 in 200. Either is far below what such a measurement is off by. More would
// be noise that makes up most of a journal.
const (
	demandDigits = 4
	loadDigits   = 3
)

// Kept returns the Snapshot as a journal keeps it, which is what a tick is to be
// decided from, so that it is decided again to the same bytes: times are those
// of the wall clock alone, and measurements have three or four
// significant digits. Counts are exact, and text is UTF-8. Its argument is not changed.
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
	if v := d.LastArrival.Value; math.Abs(v) < 1e12 {
		d.LastArrival.Value = math.Round(v*1000) / 1000 // to the millisecond
	}
	for _, o := range []*Observation{&d.Arrivals, &d.PromptTokens, &d.LongPrompt, &d.OutputTokens, &d.OutputLimit, &d.HeldFor} {
		*o = o.kept(demandDigits)
	}
	return d
}

func (l Load) kept() Load {
	for _, o := range []*Observation{&l.InFlight, &l.Running, &l.Waiting} {
		o.At = o.At.Round(0)
	}
	l.KVCacheUsage, l.Busy = l.KVCacheUsage.kept(loadDigits), l.Busy.kept(loadDigits)
	n := &l.Latency
	n.At = n.At.Round(0)
	n.Concurrency, n.PromptTokens, n.OutputTokens = rounded(n.Concurrency, loadDigits), rounded(n.PromptTokens, loadDigits), rounded(n.OutputTokens, loadDigits)
	for _, d := range []*time.Duration{&n.TTFT, &n.TPOT, &n.Service} {
		*d = roundedTime(*d, loadDigits)
	}
	e := &l.Engine
	e.Name = strings.ToValidUTF8(e.Name, "�")
	for _, t := range []*Timing{&e.TTFT, &e.TPOT, &e.EndToEnd} {
		t.At = t.At.Round(0)
		t.Mean, t.Median, t.P95 = rounded(t.Mean, loadDigits), rounded(t.Median, loadDigits), rounded(t.P95, loadDigits)
	}
	return l
}

func (o Observation) kept(digits int) Observation {
	return Observation{Value: rounded(o.Value, digits), At: o.At.Round(0)}
}

// rounded is v to so many digits; what is no finite number stays.
func rounded(v float64, significant int) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return v
	}
	digits := significant - 1 - int(math.Floor(math.Log10(math.Abs(v))))
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

func roundedTime(d time.Duration, significant int) time.Duration {
	unit, most := int64(1), int64(math.Pow10(significant))
	for unit*most <= int64(max(d, -d)) && unit < math.MaxInt64/(10*most) {
		unit *= 10
	}
	return d.Round(time.Duration(unit))
}
