package autoscaler

import (
	"fmt"
	"math"
	"slices"

	"github.com/penstock/penstock/internal/scale"
)

// believe returns a Model's state without what can not be true of it: figures
// that are negative, infinite or no numbers. Such a figure is absent; taken in,
// it would stay in what is remembered. The text says what was wrong with the
// traffic, "" for nothing.
func believe(m scale.ModelState) (believed scale.ModelState, doubt string) {
	for _, f := range []struct {
		name  string
		value *scale.Observation
	}{
		{"arrivals", &m.Demand.Arrivals},
		{"prompt tokens", &m.Demand.PromptTokens},
		{"long prompts", &m.Demand.LongPrompt},
		{"output tokens", &m.Demand.OutputTokens},
		{"output limit", &m.Demand.OutputLimit},
		{"requests held", &m.Demand.Held},
		{"tokens held", &m.Demand.HeldTokens},
		{"time held", &m.Demand.HeldFor},
		{"requests in flight", &m.Demand.InFlight},
		{"latest arrival", &m.Demand.LastArrival},
		{"good requests", &m.Demand.Good},
		{"bad requests", &m.Demand.Bad},
	} {
		if !possible(*f.value) {
			if doubt == "" {
				doubt = fmt.Sprintf("%s read %v", f.name, f.value.Value)
			}
			*f.value = scale.Observation{}
		}
	}
	cloned := false
	for i := range m.Replicas {
		load := m.Replicas[i].Load
		if clean := believeLoad(load); clean != load {
			if !cloned {
				m.Replicas, cloned = slices.Clone(m.Replicas), true
			}
			m.Replicas[i].Load = clean
		}
	}
	return m, doubt
}

func believeLoad(l scale.Load) scale.Load {
	for _, o := range []*scale.Observation{&l.InFlight, &l.Running, &l.Waiting, &l.KVCacheUsage, &l.Busy} {
		if !possible(*o) {
			*o = scale.Observation{}
		}
	}
	return l
}

func possible(o scale.Observation) bool {
	return !o.Known() || o.Value >= 0 && !math.IsInf(o.Value, 1)
}
