package config

import (
	"fmt"
	"slices"
	"time"
)

// checkFaults turns faults into values. The share of boots that fail goes to
// the cold start.
func (c workloadCheck) checkFaults(w *Workload) WorkloadFaults {
	if c.form.Faults == nil {
		return WorkloadFaults{}
	}
	f, at := *c.form.Faults, c.path("faults")
	w.ColdStart.Fails = c.number(join(at, "failed_boots"), f.FailedBoots, bounded{otherwise: w.ColdStart.Fails, most: 1})
	days := w.Source.Days
	if days == 0 {
		days = w.Source.Generate.Days
	}
	ends := time.Duration(days * 24 * float64(time.Hour))
	spans := func(key string, all []numbers) []FaultSpan {
		var out []FaultSpan
		for i, n := range all {
			out = append(out, c.faultSpan(fmt.Sprintf("%s[%d]", join(at, key), i), n, ends, "[start, duration]"))
		}
		return out
	}
	faults := WorkloadFaults{
		MetricsMissing: spans("metrics_missing", f.MetricsMissing),
		MetricsStale:   spans("metrics_stale", f.MetricsStale),
		MetricsZero:    spans("metrics_zero", f.MetricsZero),
	}
	for i, n := range f.Quota {
		path := fmt.Sprintf("%s[%d]", join(at, "quota"), i)
		q := QuotaFault{FaultSpan: c.faultSpan(path, n, ends, "[start, duration, share]")}
		if len(n) == 3 {
			if q.Share = n[2]; !(n[2] >= 0 && n[2] < 1) && !c.faulted(path) {
				c.fault(path, "leaves a share of %v. Set it to 0 or more and below 1.", n[2])
			}
		}
		faults.Quota = append(faults.Quota, q)
	}
	for i, s := range f.Restarts {
		path := fmt.Sprintf("%s[%d]", join(at, "restarts"), i)
		c.before(path, time.Duration(s), ends)
		faults.Restarts = append(faults.Restarts, time.Duration(s))
	}
	slices.Sort(faults.Restarts)
	return faults
}

// faultSpan reads [start, duration(, share)] in seconds.
func (c workloadCheck) faultSpan(path string, n numbers, ends time.Duration, form string) FaultSpan {
	wanted := 2
	if form != "[start, duration]" {
		wanted = 3
	}
	switch {
	case c.faulted(path):
		return FaultSpan{}
	case len(n) != wanted:
		c.fault(path, "has %d numbers, where %s is wanted, in seconds.", len(n), form)
		return FaultSpan{}
	case n[0] < 0 || n[1] <= 0 || n[0]+n[1] > longestSpan.Seconds():
		c.fault(path, "begins at %v s and lasts %v s. Begin at 0 or later, and let it last.", n[0], n[1])
		return FaultSpan{}
	}
	s := FaultSpan{From: time.Duration(spanOf(n[0])), For: time.Duration(spanOf(n[1]))}
	c.before(path, s.From, ends)
	return s
}

// before refuses a fault that comes after the end of the workload, where that
// is known.
func (c workloadCheck) before(path string, at, ends time.Duration) {
	if ends > 0 && at >= ends && !c.faulted(path) {
		c.fault(path, "begins at %s, and the workload ends at %s: it would never come.", span(at), span(ends))
	}
}
