package autoscaler

import (
	"fmt"
	"math"
	"slices"
	"time"

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

// suspect takes away what reads zero but vanished.
func (t *tick) suspect() {
	var gone bool
	if t.memory.Presence, gone = t.memory.Presence.vanished(t.state.Demand, t.snapshot.Now); !gone {
		return
	}
	if t.doubt == "" {
		t.doubt = "requests in flight read 0 and none of them had ended"
	}
	t.state.Demand = scale.Demand{LastArrival: t.state.Demand.LastArrival}
}

const (
	// manyVanish is how many requests must be gone at once, and vanishedFor for
	// how long such a silence is not believed.
	manyVanish  = 5
	vanishedFor = 10 * time.Minute
)

// Presence is what was last known to be there.
type Presence struct {
	At       time.Time
	InFlight float64
	Ended    float64   // requests, good and bad
	Vanished time.Time // when all of it was gone at once; zero while it was not
}

// vanished follows what is there, and says whether it vanished: a gateway that
// reads nothing at all, where requests were being served a moment ago that never
// ended, has lost sight of them. Clients that all go away look the same, so that
// it is believed after a while.
func (p Presence) vanished(d scale.Demand, now time.Time) (Presence, bool) {
	nothing := d.Arrivals.Known() && d.Arrivals.Value == 0 && d.InFlight.Known() && d.InFlight.Value == 0 && d.Held.Value == 0
	ended := d.Good.Value + d.Bad.Value
	if !d.InFlight.Known() || !d.Good.Known() || !d.Bad.Known() {
		return p, false
	}
	if !nothing || ended != p.Ended && !p.Vanished.IsZero() {
		return Presence{At: now, InFlight: d.InFlight.Value, Ended: ended}, false
	}
	since := now.Sub(p.At)
	if p.Vanished.IsZero() && p.InFlight >= manyVanish && ended-p.Ended < p.InFlight/2 && since >= 0 && since <= staleLeast {
		p.Vanished = now
	}
	p.At, p.InFlight, p.Ended = now, 0, ended
	since = now.Sub(p.Vanished)
	return p, !p.Vanished.IsZero() && since >= 0 && since < vanishedFor
}
