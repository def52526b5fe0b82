package sim

import (
	"errors"
	"fmt"
	"time"
)

// check finds what is wrong with a World before it begins.
func (w World) check() error {
	var faults []error
	wrong := func(format string, args ...any) { faults = append(faults, fmt.Errorf("simulate: "+format, args...)) }
	switch {
	case w.Source == nil:
		wrong("there is no source of requests")
	case w.Governor == nil:
		wrong("nobody governs")
	case w.Governor.Every() <= 0:
		wrong("the Governor ticks every %v", w.Governor.Every())
	case len(w.Services) == 0:
		wrong("nothing is served")
	}
	for i, s := range w.Services {
		if i > 0 && s.Model.Name <= w.Services[i-1].Model.Name {
			wrong("models %q and %q are not in order", w.Services[i-1].Model.Name, s.Model.Name)
		}
		if err := s.check(); err != nil {
			wrong("model %q %w", s.Model.Name, err)
		}
	}
	for _, z := range w.Zones {
		if err := z.check(); err != nil {
			wrong("zone %q: %w", z.Name, err)
		}
	}
	return errors.Join(append(faults, w.Faults.check())...)
}

func (s Service) check() error {
	if len(s.Model.Variants) == 0 || len(s.Truths) != len(s.Model.Variants) {
		return fmt.Errorf("has %d variants and %d truths", len(s.Model.Variants), len(s.Truths))
	}
	for i, v := range s.Model.Variants {
		if len(v.Capacities) == 0 {
			return fmt.Errorf("has a variant %q that can be had as nothing", v.Name)
		}
		if err := s.Truths[i].Boot.check(); err != nil {
			return fmt.Errorf("boots variant %q with %w", v.Name, err)
		}
	}
	return nil
}

func (b Boot) check() error {
	total := 0.0
	for _, m := range b.Mixture {
		if !(m.Share >= 0) || m.Mean <= 0 || !(m.Sigma >= 0) {
			return fmt.Errorf("a mode of share %v, mean %v and sigma %v", m.Share, m.Mean, m.Sigma)
		}
		total += m.Share
	}
	if len(b.Mixture) > 0 && !(total > 0) || !(b.Fails >= 0 && b.Fails <= 1) {
		return fmt.Errorf("shares of %v altogether, of which %v fail", total, b.Fails)
	}
	return nil
}

func (z Zone) check() error {
	last := time.Duration(-1)
	for _, s := range z.Nodes {
		if s.At <= last || s.Count < 0 {
			return fmt.Errorf("%d nodes at %v, after %v", s.Count, s.At, last)
		}
		last = s.At
	}
	if z.Repeat > 0 && last >= z.Repeat {
		return fmt.Errorf("it repeats after %v, before its last change at %v", z.Repeat, last)
	}
	return nil
}

func (f Faults) check() error {
	if !(f.FailedBoots >= 0 && f.FailedBoots <= 1) {
		return fmt.Errorf("simulate: a share of %v of failed boots", f.FailedBoots)
	}
	for _, q := range f.Quota {
		if !(q.Share >= 0 && q.Share <= 1) || q.Start < 0 || q.End <= q.Start {
			return fmt.Errorf("simulate: a quota of %v from %v to %v", q.Share, q.Start, q.End)
		}
	}
	for _, windows := range [][]Window{f.Missing, f.Stale, f.Zero} {
		for _, w := range windows {
			if w.End <= w.Start {
				return fmt.Errorf("simulate: a fault from %v to %v", w.Start, w.End)
			}
		}
	}
	return f.checkStrikes()
}

func (f Faults) checkStrikes() error {
	for _, b := range f.Boots {
		if !(b.Share >= 0 && b.Share <= 1) || !(b.Slow >= 0) || !(b.Pace >= 0) || b.Life < 0 || b.End <= b.Start {
			return fmt.Errorf("simulate: boots of %+v", b)
		}
	}
	for _, strikes := range [][]Strike{f.Crashes, f.Cancels} {
		for _, s := range strikes {
			if !(s.Share >= 0 && s.Share <= 1) || s.At < 0 {
				return fmt.Errorf("simulate: a share of %v struck at %v", s.Share, s.At)
			}
		}
	}
	for _, s := range f.Stalls {
		if !(s.Share >= 0 && s.Share <= 1) || s.Start < 0 || s.End <= s.Start {
			return fmt.Errorf("simulate: a stall of %v from %v to %v", s.Share, s.Start, s.End)
		}
	}
	return nil
}
