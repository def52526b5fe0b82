package signals

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Scope is what one Sample speaks of. Figures of different scopes must not be
// mixed: the mean of a pool is not the work of a replica.
type Scope int

// The scopes.
const (
	OfReplica Scope = iota + 1 // one model server
	OfNode                     // all replicas of a machine, as Ray Serve exports them
	OfPool                     // a router's view of all replicas behind it
	OfDevices                  // the accelerators of a machine, whoever uses them
)

// String is the scope in words.
func (s Scope) String() string {
	switch s {
	case OfReplica:
		return "one replica"
	case OfNode:
		return "all replicas of a node"
	case OfPool:
		return "a pool of replicas"
	case OfDevices:
		return "accelerators"
	}
	return "nothing"
}

// MarshalText encodes the scope in words.
func (s Scope) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// dialects is the dialect list, in the order in which they are tried. Those
// whose names have no prefix come last.
func dialects() []dialect {
	return []dialect{
		vllm(), sglang(), trtllm(), tritonTRTLLM(), triton(), tgi(), llamacpp(), rayServe(), tfServing(), torchServe(),
		endpointPicker(), dcgm(), nim(), kservePython(),
	}
}

// dialect is how an engine names its measurements.
type dialect struct {
	engine string
	title  string // for people
	scope  Scope
	// marks are the names that tell the dialect, any of them; nil for all of its
	// names.
	marks []string
	// identity names the labels that tell apart what one text speaks of.
	identity []string
	measures []measure
}

// measure is where one signal is found. Of several sources the first that is
// present counts: engines rename and hide their families, and show both for a
// while.
type measure struct {
	signal  scale.Signal
	sources []source
}

// form is how a source turns families into a signal.
type form int

const (
	plain    form = iota + 1 // a gauge or a counter, as it is
	quotient                 // one gauge by another
	buckets                  // a histogram, or a summary, by its base name
	mean                     // a counter of time by a counter of events: a timing without buckets
)

// source is one place where a signal may be found.
type source struct {
	form form
	name string // family; the base name for buckets
	by   string // the divisor's family, for quotient and mean
	plus string // a family that is added, for plain
	// where picks series of name, and byWhere of by: their labels must match.
	where, byWhere []match
	unit           float64 // canonical units in one of the family's; 0 means 1
	highest        bool    // of several series the highest counts, not their sum
	blanks         bool    // what stands for nothing in 32 bits does so here
}

// match is a label that a series must have, or must not.
type match struct {
	name, value string
	not         bool
}

// gauge finds a signal under the first of several names.
func gauge(signal scale.Signal, names ...string) measure {
	m := measure{signal: signal}
	for _, name := range names {
		m.sources = append(m.sources, source{form: plain, name: name})
	}
	return m
}

// fullest is gauge where the highest of several series counts.
func fullest(signal scale.Signal, names ...string) measure {
	m := gauge(signal, names...)
	for i := range m.sources {
		m.sources[i].highest = true
	}
	return m
}

// total is gauge for counters, which may or may not end in _total.
func total(signal scale.Signal, names ...string) measure {
	m := measure{signal: signal}
	for _, name := range names {
		m.sources = append(m.sources, source{form: plain, name: name + "_total"}, source{form: plain, name: name})
	}
	return m
}

// timed finds a timing under the first of several base names of histograms or
// summaries, whose unit is given in seconds.
func timed(signal scale.Signal, unit float64, names ...string) measure {
	m := measure{signal: signal}
	for _, name := range names {
		m.sources = append(m.sources, source{form: buckets, name: name, unit: unit})
	}
	return m
}

// Units in canonical ones.
const (
	seconds      = 1.0
	milliseconds = 1e-3
	microseconds = 1e-6
	percent      = 1e-2
	mebibytes    = 1 << 20
)

// families returns every name that the source reads.
func (s source) families() []string {
	switch s.form {
	case plain:
		if s.plus != "" {
			return []string{s.name, s.plus}
		}
		return []string{s.name}
	case quotient, mean:
		return []string{s.name, s.by}
	case buckets:
		return []string{s.name + "_bucket", s.name + "_sum", s.name + "_count", s.name}
	}
	return nil
}

// families returns every name that the dialect reads.
func (d dialect) families() []string {
	var all []string
	for _, m := range d.measures {
		for _, s := range m.sources {
			all = append(all, s.families()...)
		}
	}
	return all
}

// wanted returns every name that any dialect reads or is told by.
func wanted(all []dialect) map[string]bool {
	names := map[string]bool{}
	for _, d := range all {
		for _, name := range slices.Concat(d.families(), d.marks) {
			names[name] = true
		}
	}
	return names
}

// spoken says whether the families are those of the dialect.
func (d dialect) spoken(all map[string]family) bool {
	marks := d.marks
	if marks == nil {
		marks = d.families()
	}
	return slices.ContainsFunc(marks, func(name string) bool {
		_, present := all[name]
		return present
	})
}

// sample reads the families as the dialect means them: engines that run side
// by side in one server (data parallelism) add up, but the fullest KV cache is
// the one that matters.
func (d dialect) sample(all map[string]family, at time.Time) Sample {
	s := Sample{Engine: d.engine, Scope: d.scope, At: at, Values: map[scale.Signal]Reading{}, Timings: map[scale.Signal]Timed{}}
	for _, m := range d.measures {
		found := slices.IndexFunc(m.sources, func(one source) bool { return one.present(all) })
		timing := m.sources[0].form == buckets || m.sources[0].form == mean
		switch {
		case found < 0 && timing:
			s.Timings[m.signal] = Timed{Absent: m.unexposed()}
		case found < 0:
			s.Values[m.signal] = Reading{Absent: m.unexposed()}
		case timing:
			s.Timings[m.signal] = m.sources[found].timed(all, at)
		default:
			s.Values[m.signal] = m.sources[found].value(all, at).sane(m.signal)
		}
	}
	s.sleep()
	return s
}

// sleep hides the zeros of a server that gave its weights away: it is not idle,
// it can not serve.
func (s Sample) sleep() {
	if !s.Asleep() {
		return
	}
	for _, signal := range []scale.Signal{scale.SignalRunning, scale.SignalWaiting, scale.SignalKVCacheUsage} {
		s.Values[signal] = Reading{Absent: "the engine sleeps: its zeros say nothing"}
	}
}

// unexposed is why a signal is absent of which no family is there.
func (m measure) unexposed() string {
	names := make([]string, len(m.sources))
	for i, s := range m.sources {
		names[i] = s.name
	}
	return "not exposed: " + strings.Join(slices.Compact(names), " or ")
}

// present says whether any series of the source is there.
func (s source) present(all map[string]family) bool {
	switch s.form {
	case plain:
		return all[s.name].any(s.where) && (s.plus == "" || all[s.plus].any(s.where))
	case quotient, mean:
		return all[s.name].any(s.where) && all[s.by].any(s.byWhere)
	case buckets:
		return slices.ContainsFunc(s.families(), func(name string) bool { return all[name].any(s.where) })
	}
	return false
}

// any says whether a series, or a fault, is there that may match.
func (f family) any(where []match) bool {
	return f.fault != "" || slices.ContainsFunc(f.series, func(s series) bool { return s.matches(where) })
}

func (s series) matches(where []match) bool {
	for _, m := range where {
		if (s.of(m.name) == m.value) == m.not {
			return false
		}
	}
	return true
}

// pick returns the series that match, or what is wrong with the family.
func (f family) pick(where []match) ([]series, string) {
	if f.fault != "" || len(where) == 0 {
		return f.series, f.fault
	}
	return slices.DeleteFunc(slices.Clone(f.series), func(s series) bool { return !s.matches(where) }), ""
}

// value folds the source's series into one.
func (s source) value(all map[string]family, at time.Time) Reading {
	r := s.folded(all[s.name], s.where, at)
	if s.plus != "" && r.Known() {
		more := s.folded(all[s.plus], s.where, at)
		if !more.Known() {
			return more
		}
		r.Value += more.Value
		r.At = earlier(r.At, more.At)
	}
	if s.form == quotient && r.Known() {
		by := s.folded(all[s.by], s.byWhere, at)
		switch {
		case !by.Known():
			return by
		case by.Value == 0:
			return Reading{Absent: s.by + " is 0"}
		}
		r.Value /= by.Value
		r.At = earlier(r.At, by.At)
	}
	if r.Known() && s.unit != 0 {
		r.Value *= s.unit
	}
	return r
}

// folded folds series into one Observation, as old as the oldest of them. One
// that can not be makes the whole unknown.
func (s source) folded(f family, where []match, at time.Time) Reading {
	all, fault := f.pick(where)
	if fault != "" {
		return Reading{Absent: fault}
	}
	value := 0.0
	for _, one := range all {
		why := one.impossible()
		if s.blanks && one.value >= blank32 && one.value <= blank32End {
			why = fmt.Sprintf("reads %.0f, which stands for nothing", one.value)
		}
		if why != "" {
			return Reading{Absent: why}
		}
		if s.highest {
			value = max(value, one.value)
		} else {
			value += one.value
		}
		at = one.asOf(at)
	}
	if math.IsInf(value, 0) {
		return Reading{Absent: "adds up to no finite number"}
	}
	return Reading{Observation: scale.Observe(value, at)}
}

// Sentinels: what DCGM writes for a value that it does not have, at the top of
// 64 and of 32 bits. Source: NVIDIA DCGM dcgm_structs.h, DCGM_INT64_BLANK and
// DCGM_INT32_BLANK with what follows them.
const (
	blank64    = 9.223372036854775e18
	blank32    = 2147483632
	blank32End = 2147483647
)

// oldest is before any server that has metrics: what is dated before it has a
// clock that is wrong, or a unit that we do not know.
const oldest = 946684800 // Unix seconds of the year 2000

// impossible says why a value can not be what it is said to be; "" where it can.
func (s series) impossible() string {
	switch {
	case math.IsNaN(s.value):
		return "reads NaN"
	case math.IsInf(s.value, 0):
		return fmt.Sprintf("reads %v", s.value)
	case s.value < 0:
		return fmt.Sprintf("reads %v, below zero", s.value)
	case s.value >= blank64:
		return fmt.Sprintf("reads %.0f, which stands for nothing", s.value)
	case !s.at.IsZero() && s.at.Unix() < oldest:
		return fmt.Sprintf("has a timestamp that can not be: %d", s.at.UnixMilli())
	}
	return ""
}

// asOf is when a value was true: when it was read, or earlier where it says so.
// A time to come is not believed.
func (s series) asOf(at time.Time) time.Time {
	if s.at.IsZero() {
		return at
	}
	return earlier(at, s.at)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// sane refuses a share that is none. What rounding made a little more than one
// is one.
func (r Reading) sane(signal scale.Signal) Reading {
	const rounding = 1e-3
	switch {
	case !r.Known() || signal.Unit() != scale.SignalKVCacheUsage.Unit():
	case r.Value > 1+rounding:
		return Reading{Absent: fmt.Sprintf("reads %v, above 1: no share", r.Value)}
	default:
		r.Value = min(r.Value, 1)
	}
	return r
}
