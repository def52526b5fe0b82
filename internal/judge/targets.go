package judge

import (
	"math"
	"slices"
	"strings"

	"github.com/penstock/penstock/internal/report"
)

// results finds figures by the names of workload and policy.
type results struct{ workloads []report.Workload }

func (r results) policy(workload, policy string) (report.Policy, bool) {
	for _, w := range r.workloads {
		if w.Name != workload {
			continue
		}
		i := slices.IndexFunc(w.Policies, func(p report.Policy) bool { return p.Name == policy })
		if i >= 0 {
			return w.Policies[i], true
		}
	}
	return report.Policy{}, false
}

// targets holds the product against what it aims at: the table of the
// benchmark's design. A figure whose workloads did not run is left out.
func targets(workloads []report.Workload) []report.Target {
	r := results{workloads}
	var out []report.Target
	out = append(out, r.ratios()...)
	out = append(out, r.steps()...)
	out = append(out, r.hours()...)
	out = append(out, r.violations()...)
	out = append(out, r.spot()...)
	out = append(out, r.faults()...)
	return append(out, r.effort()...)
}

func most(name string, target, value float64, unit string) report.Target {
	return report.Target{Name: name, Target: report.Number(target), Value: report.Number(value), Unit: unit, Met: value <= target}
}

func least(name string, target, value float64, unit string) report.Target {
	return report.Target{Name: name, Target: report.Number(target), Value: report.Number(value), Unit: unit, Met: value >= target, AtLeast: true}
}

// ratios: cost over the clairvoyant fleet, at the objective.
func (r results) ratios() []report.Target {
	var out []report.Target
	var names, missed []string
	sum, worst := 0.0, 0.0
	for _, name := range []string{"W1", "W3", "W5", "W8"} {
		p, ok := r.policy(name, report.Penstock)
		if !ok {
			continue
		}
		names = append(names, name)
		if !p.ObjectiveMet {
			missed = append(missed, name)
		}
		sum += math.Log(float64(p.Ratio))
		worst = max(worst, float64(p.Ratio))
		if name == "W1" {
			out = append(out, judged(most("ratio, W1", 1.05, float64(p.Ratio), ""), p))
		}
	}
	if len(names) == 0 {
		return nil
	}
	mean := most("ratio, geometric mean of "+strings.Join(names, ", "), 1.06, math.Exp(sum/float64(len(names))), "")
	peak := most("ratio, the largest of "+strings.Join(names, ", "), 1.20, worst, "")
	if len(missed) > 0 {
		note := "objective missed on " + strings.Join(missed, ", ")
		mean.Met, mean.Note, peak.Met, peak.Note = false, note, false, note
	}
	return append([]report.Target{mean, peak}, out...)
}

// judged fails a target whose policy missed the workload's objective.
func judged(t report.Target, p report.Policy) report.Target {
	if !p.ObjectiveMet {
		t.Met, t.Note = false, "objective missed"
	}
	return t
}

func (r results) steps() []report.Target {
	p, ok := r.policy("W6a", report.Penstock)
	if !ok {
		return nil
	}
	out := []report.Target{judged(most("ratio, W6a", 2.2, float64(p.Ratio), ""), p)}
	if static, ok := r.policy("W6a", staticP99); ok {
		out = append(out, judged(most("cost on W6a over static p99", 1, float64(p.Cost/static.Cost), ""), p))
	}
	return out
}

// hours: GPU-hours beside the autoscalers that ship and beside static peaks.
func (r results) hours() []report.Target {
	var out []report.Target
	for _, rival := range []string{"hpa-concurrency", "hpa-cpu", "hpa-gpu", "keda", "knative-kpa"} {
		var own, theirs float64
		worse := []string{}
		for _, w := range r.workloads {
			p, ok := r.policy(w.Name, report.Penstock)
			o, ran := r.policy(w.Name, rival)
			if !ok || !ran || p.GPUHours.Total <= 0 || o.GPUHours.Total <= 0 {
				continue
			}
			own += math.Log(float64(p.GPUHours.Total))
			theirs += math.Log(float64(o.GPUHours.Total))
			if p.Attainment < o.Attainment {
				worse = append(worse, w.Name)
			}
		}
		if theirs == 0 {
			continue
		}
		t := least("GPU-hours saved beside "+rival+", geometric mean", 25, 100*(1-math.Exp((own-theirs)/r.both(rival))), "%")
		if len(worse) > 0 {
			t.Met, t.Note = false, "less attainment on "+strings.Join(worse, ", ")
		}
		out = append(out, t)
	}
	for _, want := range []struct {
		workload string
		percent  float64
	}{{"W1", 40}, {"W11", 60}} {
		p, ok := r.policy(want.workload, report.Penstock)
		o, ran := r.policy(want.workload, staticPeak)
		if ok && ran {
			out = append(out, judged(least("GPU-hours saved beside static peak, "+want.workload, want.percent, 100*float64(1-p.GPUHours.Total/o.GPUHours.Total), "%"), p))
		}
	}
	return out
}

// both counts the workloads on which Penstock and a rival ran.
func (r results) both(rival string) float64 {
	n := 0.0
	for _, w := range r.workloads {
		_, ok := r.policy(w.Name, report.Penstock)
		if _, ran := r.policy(w.Name, rival); ok && ran {
			n++
		}
	}
	return n
}

// violations: requests that missed the SLO, beside HPA at no more cost.
func (r results) violations() []report.Target {
	var out []report.Target
	for _, name := range []string{"W6a", "W6b", "W8"} {
		p, ok := r.policy(name, report.Penstock)
		o, ran := r.policy(name, "hpa-concurrency")
		if !ok || !ran {
			continue
		}
		t := least("violations of hpa-concurrency over Penstock's, "+name, 10, float64((1-o.Attainment)/max(1e-9, 1-p.Attainment)), "×")
		if p.Cost > o.Cost {
			t.Met, t.Note = false, "at more cost"
		}
		out = append(out, t)
	}
	return out
}

func (r results) spot() []report.Target {
	p, ok := r.policy("W10", report.Penstock)
	o, ran := r.policy("W10", onDemandOnly)
	if !ok || !ran {
		return nil
	}
	return []report.Target{judged(least("spot, W10: cheaper than on-demand alone", 45, 100*float64(1-p.Cost/o.Cost), "%"), p)}
}

func (r results) faults() []report.Target {
	p, ok := r.policy("W12", report.Penstock)
	w1, ran := r.policy("W1", report.Penstock)
	if !ok {
		return nil
	}
	out := []report.Target{most("scale-downs while signals were absent, stale or lying, W12", 0, float64(p.DownsInFaults), "")}
	if ran {
		out = append(out, most("attainment lost to faults, W12 beside W1", 0.5, 100*float64(w1.Attainment-p.Attainment), "points"))
	}
	return out
}

// effort: what deciding and simulating take.
func (r results) effort() []report.Target {
	var mean, p99, bytes, speed float64
	for _, w := range r.workloads {
		for _, p := range w.Policies {
			if p.Name == report.Penstock {
				mean, p99, bytes = max(mean, float64(p.Decision.Mean)), max(p99, float64(p.Decision.P99)), max(bytes, float64(p.MemoryBytes))
			}
			if w.Name == "W1" && !p.Own() {
				speed = max(speed, float64(p.RequestsPerS))
			}
		}
	}
	if mean == 0 {
		return nil
	}
	out := []report.Target{
		most("decision, mean, the worst workload", 20, mean, "µs"),
		most("decision, p99, the worst workload", 100, p99, "µs"),
		most("memory of a model, the largest", 64, bytes/1024, "KiB"),
	}
	if speed > 0 {
		out = append(out, least("simulated on one core, W1, the quickest policy", 1, speed/1e6, "M requests/s"))
	}
	return out
}
