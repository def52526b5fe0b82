package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
)

// apply makes a Decision true; see World.Apply. Faults of one target do not
// keep others from being scaled.
func (f *fleet) apply(ctx context.Context, d scale.Decision) error {
	for _, plan := range d.Plans {
		for _, allocation := range plan.Allocations {
			f.limits[allocation.Target] = allocation
		}
	}
	acting := slices.DeleteFunc(slices.Clone(d.Changes), func(c scale.Change) bool { return !c.Acts() })
	for _, c := range acting {
		for _, id := range c.Drain {
			if m := f.members[id]; m != nil && m.Serving() {
				f.drain(ctx, m, order{until: f.drainUntil(m.Target)}, "scale-down")
			}
		}
	}
	// Who matters more takes the slots first.
	slices.SortStableFunc(acting, func(a, b scale.Change) int {
		return cmp.Compare(f.models[b.Target.Model].Priority, f.models[a.Target.Model].Priority)
	})
	var faults error
	for _, c := range acting {
		faults = errors.Join(faults, f.grow(ctx, c))
	}
	for _, m := range f.world.Models {
		f.route(m.Name)
	}
	return faults
}

// drainUntil is until when a Replica that is drained now may finish requests.
func (f *fleet) drainUntil(t scale.ScaleTarget) time.Time {
	longest := f.world.Runs[config.RunKey{Model: t.Model, Variant: t.Variant}].DrainTimeout
	if longest == 0 {
		return time.Time{}
	}
	return time.Now().Add(longest)
}

// grow starts what a Change asks for and is not there yet, as far as slots and
// the back-off allow. Counting what is there makes it idempotent.
func (f *fleet) grow(ctx context.Context, c scale.Change) error {
	serving := 0
	for _, m := range f.members {
		if m.Target == c.Target && m.Serving() {
			serving++
		}
	}
	for range min(c.Start(), c.To-serving) {
		if f.stopping {
			return fmt.Errorf("start %s: %w", c.Target, errStopping)
		}
		started, err := f.start(ctx, c.Target)
		if err != nil {
			return err
		}
		if !started {
			break
		}
	}
	return nil
}

// start starts one Replica. It does not where no slot is free or the back-off
// has not passed; the next tick will ask again.
func (f *fleet) start(ctx context.Context, t scale.ScaleTarget) (bool, error) {
	run, variant, err := f.runOf(t)
	if err != nil {
		return false, err
	}
	now := time.Now()
	if wait := f.backoff(t).notBefore.Sub(now); wait > 0 {
		f.withhold(ctx, t, "boots fail")
		return false, nil
	}
	id := f.newID(t)
	gpus, free := f.slots.take(id, variant.Accelerator)
	if !free {
		f.withhold(ctx, t, "no slot is free")
		return false, nil
	}
	delete(f.withheld, t)
	m := &member{
		Replica: scale.Replica{ID: id, Target: t, Phase: scale.Starting, Created: now, Since: now},
		life:    scale.Lifetime{Replica: id, Target: t, PricePerHour: f.price(t, variant), Created: now},
		orders:  make(chan order, 1),
	}
	f.members[id] = m
	f.world.book.put(m.life)
	r := &replica{
		id: id, target: t, run: run,
		values:    config.Values{Penstock: executable(), Replica: string(id), Model: t.Model, GPUs: gpus},
		ports:     &f.ports,
		paths:     f.paths,
		collector: f.collector,
		transport: f.transport,
		gateway:   f.world.Gateway,
		logger:    f.world.Logger,
		orders:    m.orders,
		events:    f.events,
	}
	f.lives.Go(func() { r.live(ctx) })
	return true, nil
}

// withhold logs, once per reason, that no more Replicas of a target are started.
func (f *fleet) withhold(ctx context.Context, t scale.ScaleTarget, why string) {
	if f.withheld[t] != why {
		f.withheld[t] = why
		f.world.Logger.WarnContext(ctx, "start withheld", "target", t.String(), "reason", why)
	}
}

// price returns what a Replica of a target costs per hour.
func (f *fleet) price(t scale.ScaleTarget, v scale.Variant) float64 {
	for _, o := range f.world.Offerings {
		if o.Accelerator == v.Accelerator.Type && o.Capacity == t.Capacity {
			return o.PricePerHour * float64(v.Accelerator.Count)
		}
	}
	return 0
}

// executable is a path of this program that any process can start, for as long
// as this one runs: its file, or, where that was removed or replaced, what the
// kernel keeps of it.
func executable() string {
	kept := fmt.Sprintf("/proc/%d/exe", os.Getpid())
	path, err := os.Executable()
	if err != nil {
		return kept
	}
	file, errFile := os.Stat(path)
	ours, errOurs := os.Stat(kept)
	if errFile != nil || errOurs != nil || !os.SameFile(file, ours) {
		return kept
	}
	return path
}
