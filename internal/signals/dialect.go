package signals

import (
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// dialect is how an engine names what a Sample holds. Of several names for one
// thing the first that is present counts: engines rename and hide their
// families, and show both for a while.
type dialect struct {
	engine       string
	running      []string
	waiting      []string
	kvCacheUsage []string
	preemptions  []string
}

// dialects is the dialect list, in the order in which they are tried.
func dialects() []dialect {
	return []dialect{
		vllm(),
	}
}

// families returns every name that the dialect asks for.
func (d dialect) families() map[string]bool {
	wanted := map[string]bool{}
	for _, names := range [][]string{d.running, d.waiting, d.kvCacheUsage, d.preemptions} {
		for _, name := range names {
			wanted[name] = true
		}
	}
	return wanted
}

// sample reads the families as the dialect means them: engines that run side
// by side in one server (data parallelism) add up, but the fullest KV cache is
// the one that matters.
func (d dialect) sample(families map[string][]series, at time.Time) Sample {
	s := Sample{
		Running:      observe(first(families, d.running), at, sum),
		Waiting:      observe(first(families, d.waiting), at, sum),
		KVCacheUsage: observe(first(families, d.kvCacheUsage), at, highest),
		Preemptions:  observe(first(families, d.preemptions), at, sum),
	}
	if s.KVCacheUsage.Value > 1 { // not a share, so not what we take it for
		s.KVCacheUsage = scale.Observation{}
	}
	if s.Running.Known() || s.Waiting.Known() || s.KVCacheUsage.Known() || s.Preemptions.Known() {
		s.Engine = d.engine
	}
	return s
}

// first returns the series of the first name that is present.
func first(families map[string][]series, names []string) []series {
	for _, name := range names {
		if all := families[name]; len(all) > 0 {
			return all
		}
	}
	return nil
}

// observe folds series into one Observation, as old as the oldest of them. A
// value that is negative or no finite number makes the whole unknown: a sum
// without one of its parts would look idler than the server is.
func observe(all []series, at time.Time, fold func(a, b float64) float64) scale.Observation {
	if len(all) == 0 {
		return scale.Observation{}
	}
	value := 0.0
	for _, one := range all {
		if math.IsNaN(one.value) || math.IsInf(one.value, 0) || one.value < 0 {
			return scale.Observation{}
		}
		value = fold(value, one.value)
		if !one.at.IsZero() && one.at.Before(at) {
			at = one.at
		}
	}
	if math.IsInf(value, 0) {
		return scale.Observation{}
	}
	return scale.Observe(value, at)
}

func sum(a, b float64) float64     { return a + b }
func highest(a, b float64) float64 { return max(a, b) }
