package signals

import (
	"github.com/penstock/penstock/internal/scale"
)

// Engine is a dialect that is understood, for people and docs.
type Engine struct {
	Name  string // as in Sample.Engine
	Title string
	Scope Scope
	Reads []Reads // one for each signal that it has, in the order of the signals
}

// Reads says where an engine's signal is found: the first of the sources that is
// there.
type Reads struct {
	Signal  scale.Signal
	Sources []string
}

// Engines returns every dialect, in the order in which they are tried.
func Engines() []Engine {
	var all []Engine
	for _, d := range dialects() {
		e := Engine{Name: d.engine, Title: d.title, Scope: d.scope}
		for _, signal := range scale.Signals() {
			for _, m := range d.measures {
				if m.signal != signal {
					continue
				}
				r := Reads{Signal: signal}
				for _, s := range m.sources {
					r.Sources = append(r.Sources, s.String())
				}
				e.Reads = append(e.Reads, r)
			}
		}
		all = append(all, e)
	}
	return all
}

// String is the source as an expression.
func (s source) String() string {
	text := s.name + selector(s.where)
	switch {
	case s.plus != "":
		text += " + " + s.plus
	case s.by != "":
		text += " ÷ " + s.by + selector(s.byWhere)
	}
	switch s.unit {
	case milliseconds:
		text += " (ms)"
	case microseconds:
		text += " (µs)"
	case percent:
		text += " (%)"
	case mebibytes:
		text += " (MiB)"
	}
	return text
}

func selector(where []match) string {
	if len(where) == 0 {
		return ""
	}
	text := "{"
	for i, m := range where {
		if i > 0 {
			text += ","
		}
		text += m.name + "="
		if m.not {
			text = text[:len(text)-1] + "!="
		}
		text += `"` + m.value + `"`
	}
	return text + "}"
}
