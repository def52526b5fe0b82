package adversary

import (
	"fmt"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Words describes a Case for people.
func (c Case) Words() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v from %s, a tick every %v", c.Span.Round(time.Second), c.Begin.Format("2006-01-02 15:04 MST"), c.Tick)
	if c.Disk {
		b.WriteString(", journal on a disk")
	}
	fmt.Fprintf(&b, "%s\n", limitWords("; the fleet", c.Fleet.Limits))
	for _, m := range c.Models {
		modelWords(&b, m)
	}
	for _, o := range c.Offerings {
		if o.Limited && c.uses(o) {
			fmt.Fprintf(&b, "  %d %s %v", o.Slots, o.Accelerator, o.Capacity)
			if o.Pool != "" {
				fmt.Fprintf(&b, ", one pool")
			}
			b.WriteString("\n")
		}
	}
	if len(c.Nodes) > 0 {
		fmt.Fprintf(&b, "  spot nodes by zone: %v\n", c.Nodes)
	}
	for _, f := range c.Faults {
		fmt.Fprintf(&b, "  fault %v\n", f)
	}
	return b.String()
}

func (c Case) uses(o scale.Offering) bool {
	for _, m := range c.Models {
		for _, v := range m.Model.Variants {
			if v.Accelerator.Type == o.Accelerator {
				return true
			}
		}
	}
	return false
}

func modelWords(b *strings.Builder, m Model) {
	fmt.Fprintf(b, "  %s: %v, %d to %d replicas, begins with %d; %s traffic, %.3g requests/s",
		m.Model.Name, m.Model.Mode, m.Model.Replicas.Min, m.Model.Replicas.Max, m.Start, m.Traffic.Family, m.Traffic.MeanRPS)
	if m.Model.Priority != 0 {
		fmt.Fprintf(b, ", priority %d", m.Model.Priority)
	}
	if f := m.Model.WarmFloor; f.Replicas > 0 {
		fmt.Fprintf(b, ", warm floor %d %v", f.Replicas, f.Capacity)
		if f.During != "" {
			fmt.Fprintf(b, " during %s", f.During)
		}
	}
	if w := m.Model.ScaleDownWindow; w > 0 {
		fmt.Fprintf(b, ", window %v", w)
	}
	for _, s := range m.Model.Schedules {
		fmt.Fprintf(b, ", at least %d for %v in a schedule", s.Min, s.Duration.Round(time.Second))
	}
	fmt.Fprintf(b, "%s\n", limitWords("", m.Model.Limits))
	for i, v := range m.Model.Variants {
		fmt.Fprintf(b, "    %s on %d %s as %v, at most %d, boots in %v (really %v)\n",
			v.Name, v.Accelerator.Count, v.Accelerator.Type, v.Capacities, v.Max, v.ColdStart, m.Truths[i].Boot.Mixture[0].Mean.Round(time.Millisecond))
	}
}

func limitWords(who string, l scale.Limits) string {
	var parts []string
	if l.UpPerMinute > 0 {
		parts = append(parts, fmt.Sprintf("%d starts a minute", l.UpPerMinute))
	}
	if l.DownPerMinute > 0 {
		parts = append(parts, fmt.Sprintf("%d drains a minute", l.DownPerMinute))
	}
	if l.CostPerHour > 0 {
		parts = append(parts, fmt.Sprintf("$%.2f an hour", l.CostPerHour))
	}
	if len(parts) == 0 {
		return ""
	}
	return who + " at most " + strings.Join(parts, ", ")
}
