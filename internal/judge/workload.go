package judge

import (
	"fmt"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
)

const (
	// truth is how far serving may be from what everybody is told.
	truth = 0.30
	// unlimited is a count that nothing comes to.
	unlimited = 100_000
	// As a model has them that says nothing else.
	idleAfter = 15 * time.Minute
	usualTick = time.Second
)

// Ask makes a Question of a workload as a workloads.yaml has it.
func Ask(w config.Workload) (Question, error) {
	models := []string{w.Name}
	if w.Source.Kind == config.FromShape && w.Source.Generate.Models > 1 {
		models = modelNames(w.Source.Generate)
	}
	q := Question{
		Name: w.Name, What: w.What, CV: cv(w), Truth: truth, Tick: usualTick,
		Notice: w.Notice, Faults: faults(w.Faults), Zones: zones(w.Spot),
		Boot: func(scale.Variant) sim.Boot { return boot(w.ColdStart) }, Alike: true,
		Open: func(seed uint64) (sim.Source, error) { return open(w, seed) },
	}
	for _, name := range models {
		q.Models = append(q.Models, model(w, name))
	}
	for _, v := range w.Variants {
		for _, c := range w.Capacity {
			o := scale.Offering{Accelerator: v.Accelerator.Type, Capacity: c, PricePerHour: v.OnDemand / float64(v.Accelerator.Count)}
			if c == scale.Spot {
				o.PricePerHour = v.Spot / float64(v.Accelerator.Count)
			}
			if w.GPUs > 0 {
				o.Limited, o.Slots, o.Pool = true, w.GPUs, "gpus"
			}
			q.Offerings = append(q.Offerings, o)
		}
	}
	if len(q.Offerings) == 0 {
		return Question{}, fmt.Errorf("workload %s: nothing is for sale to serve it", w.Name)
	}
	return q, nil
}

// model is one of a workload's models, as everybody is told of it.
func model(w config.Workload, name string) scale.Model {
	m := scale.Model{
		Name: name, SLO: w.SLO, Mode: scale.Auto,
		Replicas: scale.Range{Min: w.Min, Max: unlimited}, ScaleToZero: scale.ScaleToZero{After: idleAfter},
	}
	for _, v := range w.Variants {
		m.Variants = append(m.Variants, scale.Variant{
			Name: v.Name, Accelerator: v.Accelerator, Capacities: slices.Clone(w.Capacity), Max: unlimited,
			Profile: v.Profile, ColdStart: w.ColdStart.Mean(),
		})
	}
	return m
}

// cv is how uneven the arrivals at one model are, where they are drawn so; 0
// where the series itself says it.
func cv(w config.Workload) float64 {
	switch w.Source.Kind {
	case config.FromCounts, config.FromCurve:
		return w.Source.CV
	case config.FromShape:
		if w.Source.Generate.Shape != "api" {
			return w.Source.CV
		}
	case config.FromRequests, config.FromClients:
	}
	return 0
}

func boot(c config.ColdStart) sim.Boot {
	b := sim.Boot{Fails: c.Fails}
	for _, m := range c.Mixture {
		b.Mixture = append(b.Mixture, sim.Mode{Share: m.Share, Mean: m.Mean, Sigma: m.Sigma})
	}
	return b
}

func zones(spot []config.SpotZone) []sim.Zone {
	var all []sim.Zone
	for _, z := range spot {
		one := sim.Zone{Name: z.Name, Repeat: z.Period}
		for _, c := range z.Changes {
			one.Nodes = append(one.Nodes, sim.Step{At: c.At, Count: c.Nodes})
		}
		all = append(all, one)
	}
	return all
}

func faults(f config.WorkloadFaults) sim.Faults {
	windows := func(spans []config.FaultSpan) []sim.Window {
		var all []sim.Window
		for _, s := range spans {
			all = append(all, sim.Window{Start: s.From, End: s.From + s.For})
		}
		return all
	}
	out := sim.Faults{
		Missing: windows(f.MetricsMissing), Stale: windows(f.MetricsStale), Zero: windows(f.MetricsZero),
		Restarts: f.Restarts,
	}
	for _, q := range f.Quota {
		out.Quota = append(out.Quota, sim.Quota{Window: sim.Window{Start: q.From, End: q.From + q.For}, Share: q.Share})
	}
	return out
}

// Shorten keeps the first days of a workload.
func Shorten(w config.Workload, days float64) config.Workload {
	if w.Source.Kind == config.FromShape {
		w.Source.Generate.Days = min(w.Source.Generate.Days, days)
	} else if w.Source.Days == 0 || w.Source.Days > days {
		w.Source.Days = days
	}
	return w
}
