// Package signals reads model servers' own metrics and turns them into
// Observations, one file per engine. What they counted in the past it reads out
// of a Prometheus, and what a business counts out of that or of JSON.
//
// What a server does not say stays unknown: a missing family, a value that is
// no number and a failed scrape all leave an Observation that was never made,
// never a zero, and a reason. A server is not trusted either: body, time,
// series and redirects of a scrape are bounded.
package signals

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// maxBody bounds one exposition: bytes.
const maxBody = 2 << 20

// errTooLarge is what a body above maxBody is refused with.
var errTooLarge = fmt.Errorf("exposition exceeds %d bytes", maxBody)

// Reading is one value of a Sample, or why there is none.
type Reading struct {
	scale.Observation
	Absent string // why there is none; "" where there is one
}

// Sample is what one exposition said, in canonical units. A signal that it does
// not hold has no entry: the engine has no metric for it. Gauges are of now,
// counters and timings since the server began; see Increase and Between.
type Sample struct {
	Engine  string // name of the dialect that was understood; "" when none was
	Scope   Scope
	At      time.Time // when it was read
	Values  map[scale.Signal]Reading
	Timings map[scale.Signal]Timed
}

// Value returns what was observed of a signal; an Observation that was never
// made where it is absent.
func (s Sample) Value(signal scale.Signal) scale.Observation { return s.Values[signal].Observation }

// Asleep says whether the server gave its weights away.
func (s Sample) Asleep() bool {
	asleep := s.Value(scale.SignalAsleep)
	return asleep.Known() && asleep.Value > 0
}

// Since returns what the server measured of its work since an earlier Sample.
func (s Sample) Since(before Sample) scale.Engine {
	between := func(signal scale.Signal) scale.Timing {
		return Between(before.Timings[signal].Distribution, s.Timings[signal].Distribution)
	}
	return scale.Engine{
		Name: s.Engine, Asleep: s.Asleep(),
		TTFT: between(scale.SignalTTFT), TPOT: between(scale.SignalTPOT), EndToEnd: between(scale.SignalEndToEnd),
	}
}

// Increase returns by how much a counter grew from one Observation to a later
// one. A counter that fell was reset with its process, and what it shows since
// is the increase. It is false when either was never made.
func Increase(before, after scale.Observation) (float64, bool) {
	switch {
	case !before.Known() || !after.Known():
		return 0, false
	case after.Value < before.Value:
		return after.Value, true
	default:
		return after.Value - before.Value, true
	}
}

// Exposition is a text that was read: what it says, not yet what it means.
type Exposition struct {
	at       time.Time
	dialects []dialect
	families map[string]family
}

// Part is the share of an Exposition that speaks of one thing: one replica of a
// node, one model of a server, one accelerator or slice of one.
type Part struct {
	Of     string // such as application="chat", replica="a"
	Sample Sample
}

// reader reads expositions. It is safe for concurrent use.
type reader struct {
	dialects []dialect
	wanted   map[string]bool
}

func newReader() reader {
	all := dialects()
	return reader{dialects: all, wanted: wanted(all)}
}

func (r reader) read(text []byte, at time.Time) (Exposition, error) {
	if len(text) > maxBody {
		return Exposition{}, errTooLarge
	}
	families, err := parseFamilies(text, r.wanted)
	if err != nil {
		return Exposition{}, fmt.Errorf("read metrics: %w", err)
	}
	return Exposition{at: at, dialects: r.dialects, families: families}, nil
}

// Read reads an exposition of at most 2 MiB that was true at the instant; a
// series' own earlier timestamp goes before it. A malformed line spoils only the
// signals to whose families it belongs.
func Read(from io.Reader, at time.Time) (Exposition, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxBody+1))
	if err != nil {
		return Exposition{}, fmt.Errorf("read exposition: %w", err)
	}
	return newReader().read(text, at)
}

// Sample returns what the text says in the first dialect that it speaks; an
// empty one where it speaks none.
func (e Exposition) Sample() Sample {
	for _, d := range e.dialects {
		if d.spoken(e.families) {
			return d.sample(e.families, e.at)
		}
	}
	return Sample{At: e.at}
}

// Samples returns what the text says in every dialect that it speaks: an agent
// may well put an engine's and the accelerators' metrics into one.
func (e Exposition) Samples() []Sample {
	var all []Sample
	for _, d := range e.dialects {
		if d.spoken(e.families) {
			all = append(all, d.sample(e.families, e.at))
		}
	}
	return all
}

// Parts returns what the text says in an engine's dialect of each thing that the
// engine's labels tell apart, sorted; series without these labels are in none.
func (e Exposition) Parts(engine string) []Part {
	i := slices.IndexFunc(e.dialects, func(d dialect) bool { return d.engine == engine })
	if i < 0 || len(e.dialects[i].identity) == 0 {
		return nil
	}
	d := e.dialects[i]
	families := map[string]map[string]family{}
	names := d.families()
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		for _, one := range e.families[name].series {
			of := one.identity(d.identity)
			if of == "" {
				continue
			}
			if families[of] == nil {
				families[of] = map[string]family{}
			}
			part := families[of][name]
			part.fault = e.families[name].fault
			part.series = append(part.series, one)
			families[of][name] = part
		}
	}
	parts := make([]Part, 0, len(families))
	for of, all := range families {
		parts = append(parts, Part{Of: of, Sample: d.sample(all, e.at)})
	}
	slices.SortFunc(parts, func(a, b Part) int { return strings.Compare(a.Of, b.Of) })
	return parts
}

// identity is what the labels say of whose series it is; "" for nothing.
func (s series) identity(labels []string) string {
	var parts []string
	for _, name := range labels {
		if value := s.of(name); value != "" {
			parts = append(parts, fmt.Sprintf("%s=%q", name, value))
		}
	}
	return strings.Join(parts, ", ")
}
