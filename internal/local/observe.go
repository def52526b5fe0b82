package local

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/signals"
)

// measured is what is known of a Replica's work.
type measured struct {
	load   scale.Load     // Running, Waiting, KVCacheUsage and Engine only: the engine's
	sample signals.Sample // the newest
	warned time.Time      // when preemptions were last warned about
	// looked is when Busy was last added to, and inFlight whether requests were
	// there then.
	looked   time.Time
	inFlight bool
}

// observe makes a Snapshot.
func (f *fleet) observe(now time.Time, traffic map[string]scale.Traffic) scale.Snapshot {
	s := scale.Snapshot{Now: now, Tick: f.world.Tick, Fleet: f.world.Fleet, Offerings: f.offerings()}
	states := make(map[string]*scale.ModelState, len(f.world.Models))
	models := slices.SortedFunc(slices.Values(f.world.Models), func(a, b scale.Model) int { return cmp.Compare(a.Name, b.Name) })
	s.Models = make([]scale.ModelState, len(models))
	for i, m := range models {
		s.Models[i] = scale.ModelState{
			Model: m, Demand: traffic[m.Name].Demand, ColdStarts: f.boots[m.Name], Failures: f.failures[m.Name], LastFailure: f.reasons[m.Name],
		}
		if f.world.Figures != nil {
			s.Models[i].Signals = f.world.Figures.Latest(m.Name)
		}
		states[m.Name] = &s.Models[i]
	}
	clear(f.boots)
	for _, id := range f.sorted() {
		m := f.members[id]
		m.merge(traffic[m.Target.Model].Loads[id], now)
		f.world.book.put(m.life)
		states[m.Target.Model].Replicas = append(states[m.Target.Model].Replicas, m.Replica)
		if m.notice.Replica != "" {
			s.Interruptions = append(s.Interruptions, m.notice)
		}
	}
	return s
}

// merge puts together what the gateway and the engine measured.
func (m *member) merge(gateway scale.Load, now time.Time) {
	engine := m.measured.load
	m.Load = gateway
	m.Load.Running, m.Load.Waiting, m.Load.KVCacheUsage, m.Load.Engine = engine.Running, engine.Waiting, engine.KVCacheUsage, engine.Engine
	m.life.Busy += m.measured.busy(gateway, now)
}

// busy returns how much of the time since it was last called requests were at
// the Replica; see World.Lifetimes.
func (m *measured) busy(load scale.Load, now time.Time) time.Duration {
	span, before := now.Sub(m.looked), m.inFlight
	first := m.looked.IsZero()
	m.looked, m.inFlight = now, load.InFlight.Known() && load.InFlight.Value > 0
	switch {
	case first || span <= 0:
		return 0
	case before && m.inFlight:
		return span
	case before || m.inFlight:
		return span / 2
	default:
		return min(span, load.Latency.Service*time.Duration(load.Latency.Requests))
	}
}

// offerings returns what can be had here: as many accelerators as there are,
// which spot and on-demand share.
func (f *fleet) offerings() []scale.Offering {
	all := slices.Clone(f.world.Offerings)
	for i := range all {
		all[i].Limited, all[i].Slots, all[i].Pool = true, f.slots.total(all[i].Accelerator), "this machine"
	}
	slices.SortStableFunc(all, func(a, b scale.Offering) int {
		return cmp.Or(cmp.Compare(a.Accelerator, b.Accelerator), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Capacity, b.Capacity))
	})
	return all
}

// sampled takes in what an engine said of itself. What speaks of more than the
// Replica is not taken for its load.
func (f *fleet) sampled(ctx context.Context, m *member, e event) {
	known, s := &m.measured, e.sample
	before := known.sample
	known.sample = s
	log := f.world.Logger.With("replica", m.ID)
	path, _, _ := strings.Cut(e.path, "?") // a query may hold a token
	switch {
	case s.Engine == before.Engine && !before.At.IsZero():
	case s.Engine == "":
		log.WarnContext(ctx, "engine metrics not understood", "path", path)
	case s.Scope != signals.OfReplica && s.Scope != signals.OfNode:
		log.WarnContext(ctx, "metrics are of no replica", "engine", s.Engine, "path", path)
	default:
		log.InfoContext(ctx, "engine metrics understood", "engine", s.Engine)
	}
	if s.Scope != signals.OfReplica && s.Scope != signals.OfNode {
		known.load = scale.Load{}
		return
	}
	engine := s.Since(before)
	for _, timing := range []struct{ now, before *scale.Timing }{
		{&engine.TTFT, &known.load.Engine.TTFT}, {&engine.TPOT, &known.load.Engine.TPOT}, {&engine.EndToEnd, &known.load.Engine.EndToEnd},
	} {
		if !timing.now.Known() { // nothing ended since: the newest that is known says when it was
			*timing.now = *timing.before
		}
	}
	known.load = scale.Load{
		Running: s.Value(scale.SignalRunning), Waiting: s.Value(scale.SignalWaiting), KVCacheUsage: s.Value(scale.SignalKVCacheUsage), Engine: engine,
	}
	preempted, ok := signals.Increase(before.Value(scale.SignalPreemptions), s.Value(scale.SignalPreemptions))
	if ok && preempted > 0 && e.at.Sub(known.warned) >= warnEvery {
		known.warned = e.at
		log.WarnContext(ctx, "engine preempts requests", "preemptions", preempted)
	}
}
