package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/penstock/penstock/internal/scale"
)

// substance is what of a model's part of a Decision makes it another one. The
// numbers in sentences and the cost move each tick and are not in it.
type substance struct {
	counts string // per target: from, wanted, allowed, drained; why; alerts
	limits []int  // batch limits in the order of the Plan
	acts   bool
}

// only returns the part of d that concerns one model.
func only(d scale.Decision, model string) scale.Decision {
	return scale.Decision{
		At:        d.At,
		Plans:     keep(d.Plans, func(p scale.Plan) bool { return p.Model == model }),
		Forecasts: keep(d.Forecasts, func(f scale.Forecast) bool { return f.Model == model }),
		Changes:   keep(d.Changes, func(c scale.Change) bool { return c.Target.Model == model }),
		Alerts:    keep(d.Alerts, func(a scale.Alert) bool { return a.Model == model }),
	}
}

func keep[T any](all []T, wanted func(T) bool) []T {
	var kept []T
	for _, v := range all {
		if wanted(v) {
			kept = append(kept, v)
		}
	}
	return kept
}

// substanceOf digests the part of a Decision that concerns one model.
func substanceOf(d scale.Decision) substance {
	var s substance
	var b strings.Builder
	for _, p := range d.Plans {
		for _, a := range p.Allocations {
			fmt.Fprintf(&b, "plan %s %d\n", a.Target, a.Replicas)
			s.limits = append(s.limits, a.BatchLimit)
		}
		writeCodes(&b, p.Reasons)
	}
	for _, c := range d.Changes {
		fmt.Fprintf(&b, "change %s %d %d %d %t %q\n", c.Target, c.From, c.Want, c.To, c.DryRun, c.Drain)
		writeCodes(&b, c.Reasons)
		s.acts = s.acts || c.Acts()
	}
	for _, a := range d.Alerts {
		fmt.Fprintf(&b, "alert %d\n", a.Severity)
	}
	s.counts = b.String()
	return s
}

func writeCodes(b *strings.Builder, reasons []scale.Reason) {
	for _, r := range reasons {
		fmt.Fprintf(b, "%d ", int(r.Code))
	}
	b.WriteByte('\n')
}

// differs says whether s is news after old. A batch limit follows the token
// mix tick by tick; it is news when it has moved by an eighth.
func (s substance) differs(old substance) bool {
	if s.acts || s.counts != old.counts {
		return true
	}
	return !slices.EqualFunc(s.limits, old.limits, func(a, b int) bool { return 8*max(a-b, b-a) < max(b, 1) })
}
