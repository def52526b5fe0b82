package local

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/signals"
)

const (
	noticeMargin = 2 * time.Second // before the deadline of a notice, kept for ending in order
	warnEvery    = time.Minute     // between warnings of one kind about one Replica
)

// fleet is all Replicas of this machine and what is accounted for them. Only the
// goroutine that runs own touches it.
type fleet struct {
	world     *World
	paths     paths
	transport http.RoundTripper
	collector *signals.Collector
	name      string // in every ReplicaID, so that none is ever used twice
	born      int    // Replicas so far

	models   map[string]scale.Model
	members  map[scale.ReplicaID]*member
	slots    slots
	ports    ports
	limits   map[scale.ScaleTarget]scale.Allocation // the newest decided
	backoffs map[scale.ScaleTarget]*backoff
	withheld map[scale.ScaleTarget]string // why starts were last withheld, so that it is logged once
	failures map[string]int               // boots that failed in a row, by model
	reasons  map[string]string            // why the newest failed, by model
	boots    map[string][]scale.ColdStart // ended since the last Snapshot, by model

	events   chan event
	lives    sync.WaitGroup
	stopping bool
}

// member is one Replica as the fleet knows it.
type member struct {
	scale.Replica
	life     scale.Lifetime
	notice   scale.Interruption // zero while there was none
	orders   chan order
	order    order // what it was told so far, combined
	measured measured
}

func newFleet(w *World, p paths, transport http.RoundTripper) *fleet {
	tick := cmp.Or(w.Tick, time.Second)
	f := &fleet{
		world: w, paths: p, transport: transport, name: runName(),
		collector: &signals.Collector{Transport: transport, Every: tick, Timeout: max(tick, time.Second)},
		models:    map[string]scale.Model{},
		members:   map[scale.ReplicaID]*member{},
		slots:     newSlots(w.GPUs),
		ports:     ports{promised: map[int]bool{}},
		limits:    map[scale.ScaleTarget]scale.Allocation{},
		backoffs:  map[scale.ScaleTarget]*backoff{},
		withheld:  map[scale.ScaleTarget]string{},
		failures:  map[string]int{},
		reasons:   map[string]string{},
		boots:     map[string][]scale.ColdStart{},
		events:    make(chan event),
	}
	for _, m := range w.Models {
		f.models[m.Name] = m
	}
	return f
}

// runName tells this run of Penstock from all others.
func runName() string {
	const letters, length = "0123456789abcdefghjkmnpqrstvwxyz", 6
	name := make([]byte, length)
	for i := range name {
		name[i] = letters[rand.IntN(len(letters))]
	}
	return string(name)
}

// own serves calls, events and notices until ctx has ended and every Replica is
// gone.
func (f *fleet) own(ctx context.Context, calls <-chan func(context.Context, *fleet), notices <-chan scale.Interruption) {
	stop := ctx.Done()
	ctx = context.WithoutCancel(ctx) // what follows goes on until it is finished
	for !f.stopping || len(f.members) > 0 {
		select {
		case <-stop:
			stop = nil
			f.stopAll(ctx)
		case call := <-calls:
			call(ctx, f)
		case e := <-f.events:
			f.handle(ctx, e)
		case i := <-notices:
			f.noticed(ctx, i)
		}
	}
}

// stopAll orders every Replica to end now.
func (f *fleet) stopAll(ctx context.Context) {
	f.stopping = true
	f.world.Logger.InfoContext(ctx, "replicas stopping", "replicas", len(f.members))
	for _, id := range f.sorted() {
		f.drain(ctx, f.members[id], order{until: time.Now()}, "penstock stops")
	}
}

// sorted lists the Replicas by ID.
func (f *fleet) sorted() []scale.ReplicaID {
	ids := make([]scale.ReplicaID, 0, len(f.members))
	for id := range f.members {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// handle takes in what a Replica told.
func (f *fleet) handle(ctx context.Context, e event) {
	m := f.members[e.replica]
	switch e.kind {
	case placed:
		m.Address = e.address
		f.route(m.Target.Model)
	case ready:
		f.ready(ctx, m, e)
	case sampled:
		f.sampled(ctx, m, e)
	case gone:
		f.gone(ctx, m, e)
	}
}

// ready makes a Replica Ready, unless it was ordered to end meanwhile.
func (f *fleet) ready(ctx context.Context, m *member, e event) {
	if m.Phase != scale.Starting {
		return
	}
	f.enter(m, scale.Ready, e.at)
	took := e.at.Sub(m.Created)
	f.backoff(m.Target).ready()
	f.failures[m.Target.Model] = 0
	f.boots[m.Target.Model] = append(f.boots[m.Target.Model], scale.ColdStart{Target: m.Target, Took: took})
	f.world.Logger.InfoContext(ctx, "replica ready", "replica", m.ID, "target", m.Target.String(), "address", m.Address, "took", took)
	f.world.poke()
}

// enter moves a Replica to a Phase and tells the gateway at once.
func (f *fleet) enter(m *member, phase scale.Phase, at time.Time) {
	m.Phase, m.Since = phase, at
	switch phase {
	case scale.Starting:
	case scale.Ready:
		m.life.Ready = at
	case scale.Draining:
		m.life.Drained = at
	case scale.Gone:
		m.life.Ended = at
		delete(f.members, m.ID)
		f.slots.free(m.ID)
	}
	f.world.book.put(m.life)
	f.route(m.Target.Model)
}

// gone takes a Replica out of the fleet, whose last process is gone.
func (f *fleet) gone(ctx context.Context, m *member, e event) {
	f.enter(m, scale.Gone, e.at)
	log := f.world.Logger.With("replica", m.ID, "target", m.Target.String(), "reason", e.ending.text)
	var wait time.Duration
	switch e.ending.cause {
	case ordered:
		log.InfoContext(ctx, "replica gone")
	case bootFailed, portLost:
		f.failures[m.Target.Model]++
		f.reasons[m.Target.Model] = fmt.Sprintf("%s (log: %s)", e.ending.text, f.paths.log(m.ID))
		wait = f.backoff(m.Target).bootFailed(m.Created, e.at)
		log.ErrorContext(ctx, "replica failed to start", "failures", f.failures[m.Target.Model], "wait", wait, "log", f.paths.log(m.ID))
	case died:
		wait = f.backoff(m.Target).died(e.at.Sub(m.life.Ready), e.at)
		log.ErrorContext(ctx, "replica died", "wait", wait, "log", f.paths.log(m.ID))
	}
	if m.notice.Replica != "" {
		if err := os.Remove(filepath.Join(f.paths.notices(), string(m.ID))); err != nil && !os.IsNotExist(err) {
			log.WarnContext(ctx, "notice not removed", "error", err)
		}
	}
	f.prune(ctx)
	f.world.poke()
}

// prune removes old logs.
func (f *fleet) prune(ctx context.Context) {
	living := make(map[scale.ReplicaID]bool, len(f.members))
	for id := range f.members {
		living[id] = true
	}
	if err := pruneLogs(f.paths, living); err != nil {
		f.world.Logger.WarnContext(ctx, "old logs not removed", "error", err)
	}
}

// noticed drains a Replica that will be taken, at once: the tick that replaces
// it is poked, but not waited for.
func (f *fleet) noticed(ctx context.Context, i scale.Interruption) {
	m := f.members[i.Replica]
	if m == nil {
		f.world.Logger.WarnContext(ctx, "notice for an unknown replica", "replica", i.Replica)
		return
	}
	m.notice = i
	f.world.Logger.WarnContext(ctx, "replica will be taken", "replica", i.Replica, "deadline", i.Deadline, "source", i.Source)
	margin := min(noticeMargin, max(0, time.Until(i.Deadline)/4))
	f.drain(ctx, m, order{until: i.Deadline.Add(-margin), killBy: i.Deadline}, "it will be taken")
	f.world.poke()
}

// drain has a Replica get no new request, finish those it has, and end. One
// that drains already may be ordered to hurry.
func (f *fleet) drain(ctx context.Context, m *member, o order, why string) {
	if m.Phase == scale.Starting || m.Phase == scale.Ready {
		m.order = o
		f.enter(m, scale.Draining, time.Now()) // the gateway first: nothing new may come
		f.world.Logger.InfoContext(ctx, "replica draining", "replica", m.ID, "target", m.Target.String(), "reason", why,
			"in_flight", f.world.Gateway.InFlight(m.Target.Model, m.ID))
	}
	m.order = m.order.sooner(o)
	select { // the newest order holds all that the earlier ones said
	case <-m.orders:
	default:
	}
	m.orders <- m.order
}

// route tells the gateway of a model's Replicas as they are now.
func (f *fleet) route(model string) {
	routes := []scale.Route{}
	for _, id := range f.sorted() {
		m := f.members[id]
		if m.Target.Model != model {
			continue
		}
		limit := f.limits[m.Target]
		routes = append(routes, scale.Route{Replica: m.Replica, BatchLimit: limit.BatchLimit, KVTokens: limit.KVTokens, PrefillTokens: limit.PrefillTokens})
	}
	f.world.Gateway.Route(model, routes)
}

// backoff returns the back-off of a target.
func (f *fleet) backoff(t scale.ScaleTarget) *backoff {
	if f.backoffs[t] == nil {
		f.backoffs[t] = &backoff{}
	}
	return f.backoffs[t]
}

// newID names a Replica after its model and variant.
func (f *fleet) newID(t scale.ScaleTarget) scale.ReplicaID {
	f.born++
	return scale.ReplicaID(fmt.Sprintf("%s-%s-%s-%03d", slug(t.Model), slug(t.Variant), f.name, f.born))
}

// slug makes a name fit for files: the part after the last slash, in lower
// case, with dashes for what is no letter or digit, cut to a length that reads.
func slug(name string) string {
	const longest = 24
	name = strings.ToLower(name[strings.LastIndexByte(name, '/')+1:])
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name)
	return cmp.Or(strings.Trim(name[:min(len(name), longest)], "-"), "replica")
}

// runOf returns how a target is run, and what it runs on.
func (f *fleet) runOf(t scale.ScaleTarget) (config.Run, scale.Variant, error) {
	variant, known := f.models[t.Model].Variant(t.Variant)
	run, runs := f.world.Runs[config.RunKey{Model: t.Model, Variant: t.Variant}]
	if !known || !runs {
		return config.Run{}, scale.Variant{}, fmt.Errorf("start %s: this machine does not know how to run it", t)
	}
	return run, variant, nil
}
