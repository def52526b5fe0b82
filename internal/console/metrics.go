package console

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock/penstock/internal/scale"
)

// collector makes metrics of the newest tick whenever it is scraped.
type collector struct {
	console *Console
}

// fleetMetrics are the metrics of a collector. What is unknown is absent and
// not zero.
type fleetMetrics struct {
	replicas, desired, batch, cost, spent, budget, tick *prometheus.Desc
}

func metrics() fleetMetrics {
	return fleetMetrics{
		replicas: prometheus.NewDesc("penstock_replicas", "Replicas by phase.", []string{"model", "variant", "phase"}, nil),
		desired:  prometheus.NewDesc("penstock_desired_replicas", "Replicas that the plan wants.", []string{"model", "variant"}, nil),
		batch:    prometheus.NewDesc("penstock_batch_limit", "Requests that one replica may be filled to (B*).", []string{"model", "variant"}, nil),
		cost:     prometheus.NewDesc("penstock_cost_dollars_per_hour", "What the living replicas that have a price cost.", []string{"model"}, nil),
		spent:    prometheus.NewDesc("penstock_cost_dollars", "What replicas have cost so far, by what they did; a gauge, since what a replica was found to have done moves between usages.", []string{"model", "usage"}, nil),
		budget:   prometheus.NewDesc("penstock_error_budget_remaining", "Share of the error budget that is left over the SLO's window; below 0 when overdrawn.", []string{"model"}, nil),
		tick:     prometheus.NewDesc("penstock_last_tick_timestamp_seconds", "When the loop last ticked.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (collector) Describe(out chan<- *prometheus.Desc) {
	m := metrics()
	for _, d := range []*prometheus.Desc{m.replicas, m.desired, m.batch, m.cost, m.spent, m.budget, m.tick} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	snapshot, decision, ok := c.console.Fleet.Snapshot()
	if !ok {
		return
	}
	m := metrics()
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	now := time.Now()
	costs := c.console.books(now).byModel()
	decided := perModel(decision)
	gauge(m.tick, float64(snapshot.Now.UnixMilli())/1000)
	for _, state := range snapshot.Models {
		name := state.Model.Name
		for variant, t := range byVariant(targets(state, decided[name])) {
			gauge(m.replicas, float64(t.Replicas.Starting), name, variant, scale.Starting.String())
			gauge(m.replicas, float64(t.Replicas.Ready), name, variant, scale.Ready.String())
			gauge(m.replicas, float64(t.Replicas.Draining), name, variant, scale.Draining.String())
			gauge(m.desired, float64(t.Replicas.Want), name, variant)
			gauge(m.batch, float64(t.BatchLimit), name, variant)
		}
		cost := costs[name].cost()
		gauge(m.cost, cost.PerHour, name)
		for _, s := range cost.Usage {
			gauge(m.spent, s.Dollars, name, s.Usage)
		}
		if left := attainment(state, decided[name]).BudgetLeft; left != nil {
			gauge(m.budget, *left, name)
		}
	}
}

// byVariant adds up the capacity types of each variant.
func byVariant(all []TargetStatus) map[string]TargetStatus {
	sums := map[string]TargetStatus{}
	for _, t := range all {
		sum := sums[t.Variant]
		sum.Replicas = sum.Replicas.plus(t.Replicas)
		sum.BatchLimit = max(sum.BatchLimit, t.BatchLimit)
		sums[t.Variant] = sum
	}
	return sums
}
