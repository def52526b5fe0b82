package adversary

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// encoded is a Decision as text, or what is wrong with it.
func encoded(d scale.Decision) string {
	text, err := json.Marshal(d)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// maxHeld is how many requests the data plane holds at most.
const maxHeld = 10_000

// world holds what is, and became since the previous tick, to the laws.
func (w *witness) world(t tick) {
	for _, i := range t.truth.Interruptions {
		w.noticed[i.Replica] = true
		w.reach("reclaimed spot replica")
	}
	blind := w.c.lately(t.at, 0, Missing, Stale, Zero) // the truth itself is not told then
	living := make(map[scale.ReplicaID]bool, len(w.living))
	for i := range t.truth.Models {
		m := &t.truth.Models[i]
		fresh := 0
		for j := range m.Replicas {
			r := &m.Replicas[j]
			living[r.ID] = true
			if !w.living[r.ID] && w.ticks > 1 { // those of the beginning nobody started
				fresh++
			}
			if !w.seen[r.ID] && t.made != nil {
				w.seen[r.ID] = true
				if w.ticks > 1 {
					w.started(m.Model.Name, r.Created.Sub(w.c.Begin))
				}
			}
			w.replica(t, r)
		}
		if fresh > 0 {
			w.maximum(t, m)
		}
		if !blind {
			w.held(t, m)
		}
	}
	w.living = living
	w.upRates(t)
}

// replica holds one replica to the laws.
func (w *witness) replica(t tick, r *scale.Replica) {
	if r.Phase != scale.Draining {
		return
	}
	if !w.named[r.ID] && !w.noticed[r.ID] {
		w.fail(NamedDrains, "%s is draining, and neither a Change nor a notice named it", r.ID)
	}
	if l := w.loads[r.ID]; l != nil && l.requests > 0 {
		w.reach("replica drained with requests")
	}
	if n, taken := t.truth.Interrupted(r.ID); taken && t.truth.Now.After(n.Deadline) {
		w.fail(NoticeLeads, "%s is there after its deadline, %v", r.ID, n.Deadline.Sub(w.c.Begin))
	}
}

// maximum holds a fleet in which something was started to its maximums. A loop
// whose Decisions are done late decides the next before it sees the last, and
// can keep a maximum in each Decision only.
func (w *witness) maximum(t tick, m *scale.ModelState) {
	if w.c.lately(t.at, 2*minute, WriteLate, WriteTwice) {
		return
	}
	serving, variants := 0, map[string]int{}
	for _, r := range m.Replicas {
		if r.Serving() {
			serving++
			variants[r.Target.Variant]++
		}
	}
	if most := m.Model.Replicas.Max; serving > most {
		w.fail(Maximum, "%s has %d replicas after a start, its maximum is %d", m.Model.Name, serving, most)
	} else if serving == most {
		w.reach("at the maximum")
	}
	for _, v := range m.Model.Variants {
		if variants[v.Name] > v.Max {
			w.fail(Maximum, "%s has %d replicas of %s after a start, its maximum is %d", m.Model.Name, variants[v.Name], v.Name, v.Max)
		}
	}
}

// held holds what waits to the laws.
func (w *witness) held(t tick, m *scale.ModelState) {
	d := m.Demand
	if !d.Held.Known() || d.Held.Value == 0 {
		return
	}
	w.reach("held at the end of a tick")
	if oldest := time.Duration(d.HeldFor.Value * float64(time.Second)); oldest > m.Model.SLO.MaxHold+holdSlack {
		w.fail(HeldInTime, "a request for %s is held for %v, longer than %v", m.Model.Name, oldest, m.Model.SLO.MaxHold)
	}
	if d.Held.Value > maxHeld {
		w.fail(HeldInBounds, "%.0f requests for %s are held", d.Held.Value, m.Model.Name)
	}
	for i := range m.Replicas {
		r := &m.Replicas[i]
		limit := w.limits[r.Target]
		if r.Phase != scale.Ready || limit.BatchLimit == 0 {
			continue
		}
		there := load{}
		if l := w.loads[r.ID]; l != nil {
			there = *l
		}
		plain := limit.KVTokens == 0 && limit.PrefillTokens == 0
		if there.requests == 0 || plain && there.requests < limit.BatchLimit {
			w.fail(RoomServes, "%.0f requests for %s wait, the oldest for %v, while %s has %d of %d",
				d.Held.Value, m.Model.Name, time.Duration(d.HeldFor.Value*float64(time.Second)), r.ID, there.requests, limit.BatchLimit)
		}
	}
	_ = t
}

// started notes a start at an instant, of a replica that the loop saw: one that
// came to nothing while nobody looked is no start to a rate.
func (w *witness) started(model string, at time.Duration) {
	w.starts[model] = append(w.starts[model], at)
	w.starts[""] = append(w.starts[""], at)
}

// minute is the span of rates.
const minute = time.Minute

// upRates holds starts to the rates. A loop whose clock jumped, that forgot
// what it did, or whose Decisions are done late can not keep them.
func (w *witness) upRates(t tick) {
	disturbed := w.c.lately(t.at, 2*minute, WriteLate, WriteTwice, RestartOlder, JournalFails)
	check := func(what string, limit int, starts []time.Duration) []time.Duration {
		for i := range starts {
			n := 0
			for _, at := range starts[i:] {
				if at-starts[i] < minute {
					n++
				}
			}
			if limit > 0 && n > limit && !disturbed {
				w.fail(UpRate, "%s: %d starts within a minute from %v, %d are allowed", what, n, starts[i], limit)
			}
		}
		old := 0
		for old < len(starts) && t.at-starts[old] > 2*minute {
			old++
		}
		return starts[old:]
	}
	for i := range w.c.Models {
		m := &w.c.Models[i].Model
		w.starts[m.Name] = check(m.Name, m.Limits.UpPerMinute, w.starts[m.Name])
	}
	w.starts[""] = check("the fleet", w.c.Fleet.Limits.UpPerMinute, w.starts[""])
}

// downRates holds drains to the rates, but for those that are taken anyway.
func (w *witness) downRates(t tick, d scale.Decision) {
	all := 0
	for i := range w.c.Models {
		m := &w.c.Models[i].Model
		n := 0
		for _, change := range changesOf(d, m.Name) {
			if !change.DryRun {
				n += len(slices.DeleteFunc(slices.Clone(change.Drain), func(id scale.ReplicaID) bool {
					_, taken := t.told.Interrupted(id)
					return taken
				}))
			}
		}
		all += n
		w.downRate(t, m.Name, m.Limits.DownPerMinute, n)
	}
	w.downRate(t, "", w.c.Fleet.Limits.DownPerMinute, all)
}

// downRate notes the drains of a model, "" for all, and holds them to its rate.
func (w *witness) downRate(t tick, name string, limit, n int) {
	if n > 0 {
		w.drains[name] = append(w.drains[name], drain{t.at, n})
	}
	sum, kept := 0, w.drains[name][:0]
	for _, x := range w.drains[name] {
		if t.at-x.at < minute {
			sum, kept = sum+x.n, append(kept, x)
		}
	}
	w.drains[name] = kept
	disturbed := w.c.lately(t.at, 2*minute, RestartOlder, JournalFails)
	if limit > 0 && sum > limit && n > 0 && !disturbed {
		w.fail(DownRate, "%s: %d drained within a minute, %d are allowed: %+v", cmp.Or(name, "the fleet"), sum, limit, t.made.Changes)
	}
}

// does takes in what the world is to do now.
func (w *witness) does(t tick) {
	for i := range t.done.Plans {
		for _, a := range t.done.Plans[i].Allocations {
			w.limits[a.Target] = a
		}
	}
	for _, c := range t.done.Changes {
		if c.DryRun {
			continue
		}
		for _, id := range c.Drain {
			w.named[id] = true
		}
	}
	for _, f := range w.c.Faults {
		if f.covers(t.at) {
			w.reach(fmt.Sprintf("fault %v", f.Kind))
		}
	}
}
