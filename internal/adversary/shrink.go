package adversary

import (
	"context"
	"slices"
	"strings"
	"time"
)

// mostRuns bounds how often a Case is played to make it smaller.
const mostRuns = 150

// shrinking looks for a smaller Case that breaks the same law.
type shrinking struct {
	ctx  context.Context //nolint:containedctx // of the one search
	law  Law
	best Case
	at   Violation
	runs int
	err  error
}

// Shrink returns the smallest Case it finds that breaks the law that a Case
// breaks: without faults, shorter, with fewer models and variants, with less
// traffic.
func Shrink(ctx context.Context, c Case, v Violation) (Case, Violation, error) {
	s := &shrinking{ctx: ctx, law: v.Law, best: c, at: v}
	for {
		before := s.best.Cut
		s.shorten()
		s.calm()
		s.fewer(func(cut *Cut, n int) { cut.Models = n }, len(s.best.Models))
		variants := 0
		for _, m := range s.best.Models {
			variants = max(variants, len(m.Model.Variants))
		}
		s.fewer(func(cut *Cut, n int) { cut.Variants = n }, variants)
		for range 5 {
			if !s.less() {
				break
			}
		}
		if s.err != nil || s.runs >= mostRuns || same(before, s.best.Cut) {
			return s.best, s.at, s.err
		}
	}
}

func same(a, b Cut) bool {
	return a.For == b.For && a.Models == b.Models && a.Variants == b.Variants && a.Rate == b.Rate && slices.Equal(a.Without, b.Without)
}

// try plays the Case with another Cut, and keeps that if it breaks the law.
func (s *shrinking) try(change func(*Cut)) bool {
	if s.err != nil || s.runs >= mostRuns {
		return false
	}
	s.runs++
	cut := s.best.Cut
	cut.Without = slices.Clone(cut.Without)
	change(&cut)
	cut.Without = tidy(cut.Without)
	c, err := Draw(s.best.Seed).Apply(cut)
	if err != nil {
		s.err = err
		return false
	}
	c.tamper = s.best.tamper
	r, err := c.Run(s.ctx)
	if err != nil {
		s.err = err
		return false
	}
	if r.Violation == nil || r.Violation.Law != s.law {
		return false
	}
	s.best, s.at = c, *r.Violation
	return true
}

// tidy sorts names of faults, and leaves out those whose kind is there.
func tidy(names []string) []string {
	out := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		kind, _, numbered := strings.Cut(name, ".")
		return numbered && slices.Contains(names, kind)
	})
	slices.Sort(out)
	return slices.Compact(out)
}

// shorten ends the Case where the law is broken, or halves it.
func (s *shrinking) shorten() {
	if end := (s.at.At + s.best.Tick + time.Second).Truncate(time.Second); end < s.best.Span {
		s.try(func(c *Cut) { c.For = end })
	}
	for range 5 {
		half := (s.best.Span / 2).Truncate(time.Second)
		if half <= 0 || !s.try(func(c *Cut) { c.For = half }) {
			return
		}
	}
}

// calm leaves faults out: all, else each kind, else each.
func (s *shrinking) calm() {
	var kinds, names []string
	for _, f := range s.best.Faults {
		if !slices.Contains(kinds, f.Kind.String()) {
			kinds = append(kinds, f.Kind.String())
		}
	}
	if len(kinds) == 0 || s.try(func(c *Cut) { c.Without = append(c.Without, kinds...) }) {
		return
	}
	for _, kind := range kinds {
		s.try(func(c *Cut) { c.Without = append(c.Without, kind) })
	}
	for _, f := range s.best.Faults {
		names = append(names, f.Name)
	}
	for _, name := range names {
		s.try(func(c *Cut) { c.Without = append(c.Without, name) })
	}
}

// fewer finds the smallest count below n that will do.
func (s *shrinking) fewer(set func(*Cut, int), n int) {
	for i := 1; i < n; i++ {
		if s.try(func(c *Cut) { set(c, i) }) {
			return
		}
	}
}

// leastRate is how little of the traffic is tried.
const leastRate = 1.0 / 64

// less halves the traffic.
func (s *shrinking) less() bool {
	if rate := s.best.Cut.Rate; rate > 0 && rate <= leastRate {
		return false
	}
	return s.try(func(c *Cut) {
		if c.Rate == 0 {
			c.Rate = 1
		}
		c.Rate /= 2
	})
}
