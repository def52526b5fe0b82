package config

import (
	"fmt"
	"slices"

	"github.com/penstock/penstock/api/v1alpha1"
	"github.com/penstock/penstock/internal/scale"
)

// checkReplicas turns the bounds of a model into values, within those of its
// variants and of the declared GPUs.
func (m modelObject) checkReplicas(model scale.Model, server Server) scale.Range {
	bounds := scale.Range{Min: int(m.Spec.Replicas.Min), Max: int(m.Spec.Replicas.Max)}
	if bounds.Min < 0 {
		m.fault("spec.replicas.min", "is %d. Set it to 0 or more.", bounds.Min)
	}
	variants := 0
	for _, v := range model.Variants {
		variants += v.Max
	}
	switch {
	case bounds.Max == 0 && !m.has("spec.replicas.max"):
		bounds.Max = variants
	case bounds.Max < 1:
		m.fault("spec.replicas.max", "is %d. Set it to 1 or more.", bounds.Max)
	case bounds.Max < bounds.Min:
		m.fault("spec.replicas.max", "is %d, below min %d. Set max to %d or more.", bounds.Max, bounds.Min, bounds.Min)
	}
	for i, s := range model.Schedules {
		if s.Min > bounds.Max {
			m.fault(fmt.Sprintf("spec.schedules[%d].min", i), "is %d, above the %d replicas that the model may have (spec.replicas.max).", s.Min, bounds.Max)
		}
	}
	if holds := holds(model.Variants, server.GPUs); bounds.Min > holds {
		m.fault("spec.replicas.min", "is %d, but the variants' replicas.max and the declared GPUs hold %d.", bounds.Min, holds)
	}
	return bounds
}

// holds returns how many replicas of the variants can run at once at best.
func holds(variants []scale.Variant, gpus GPUs) int {
	most, smallest := map[string]int{}, map[string]int{}
	for _, v := range variants {
		kind := v.Accelerator.Type
		most[kind] += v.Max
		if before, found := smallest[kind]; !found || v.Accelerator.Count < before {
			smallest[kind] = v.Accelerator.Count
		}
	}
	total := 0
	for kind, n := range most {
		if !gpus.Auto() {
			n = min(n, gpus.Count(kind)/smallest[kind])
		}
		total += n
	}
	return total
}

// checkWarmFloor turns the warm floor into a value.
func (m modelObject) checkWarmFloor(model scale.Model) scale.WarmFloor {
	if m.Spec.WarmFloor == nil {
		return scale.WarmFloor{}
	}
	written := *m.Spec.WarmFloor
	floor := scale.WarmFloor{
		Replicas: orDefault(int(written.Replicas), 1),
		Capacity: oneOf(m.object, "spec.warmFloor.capacity", written.Capacity, capacityTypes(), "onDemand"),
		During:   written.During,
	}
	if written.Replicas < 1 && m.has("spec.warmFloor.replicas") {
		m.fault("spec.warmFloor.replicas", "is %d. Set it to 1 or more, or leave warmFloor out.", written.Replicas)
	}
	if floor.Replicas > model.Replicas.Max {
		m.fault("spec.warmFloor.replicas", "is %d, above the %d replicas that the model may have (spec.replicas.max).", floor.Replicas, model.Replicas.Max)
	}
	if !slices.ContainsFunc(model.Variants, func(v scale.Variant) bool { return slices.Contains(v.Capacities, floor.Capacity) }) {
		m.fault("spec.warmFloor", "wants %s capacity, and no variant has it. Set warmFloor.capacity to what a variant has.", floor.Capacity)
	}
	if floor.During != "" && !slices.ContainsFunc(model.Schedules, func(s scale.Schedule) bool { return s.Name == floor.During }) {
		known := make([]string, len(model.Schedules))
		for i, s := range model.Schedules {
			known[i] = s.Name
		}
		m.fault("spec.warmFloor.during", "is %q, which is no schedule of this model. %s", floor.During, didYouMean(floor.During, known))
	}
	return floor
}

// checkScaleToZero turns the rule of falling asleep into a value.
func (m modelObject) checkScaleToZero() scale.ScaleToZero {
	written := m.Spec.ScaleToZero
	if written.Disabled && m.has("spec.scaleToZero.after") {
		m.fault("spec.scaleToZero.after", "has no effect beside disabled: true. Leave one of them out.")
	}
	return scale.ScaleToZero{
		Disabled: written.Disabled,
		After:    m.positive("spec.scaleToZero.after", written.After, defaultScaleToZero),
	}
}

// checkWakes refuses a hold that ends before a cold start does, where the model
// may sleep: the first request would always expire.
func (m modelObject) checkWakes(model scale.Model) {
	awake := model.Replicas.Min > 0 || model.ScaleToZero.Disabled || model.WarmFloor.Replicas > 0 && model.WarmFloor.During == ""
	if awake {
		return
	}
	for _, v := range model.Variants {
		if v.ColdStart >= model.SLO.MaxHold {
			m.fault("spec.slo.maxHold", "is %s, but variant %s takes %s to start: a request that wakes it from zero would expire. Raise maxHold, or set spec.replicas.min to 1 or more.",
				text(v1alpha1.Duration(model.SLO.MaxHold)), v.Name, text(v1alpha1.Duration(v.ColdStart)))
		}
	}
}

// checkCostCap refuses a cap below the price of one replica.
func (f *file) checkCostCap(m modelObject, model scale.Model) {
	cheapest := 0.0
	for _, v := range model.Variants {
		cost := f.prices[v.Accelerator.Type].of(v.Capacities[0]) * float64(v.Accelerator.Count)
		if cheapest == 0 || cost < cheapest {
			cheapest = cost
		}
	}
	if limit := model.Limits.CostPerHour; limit > 0 && limit < cheapest {
		m.fault("spec.limits.costPerHour", "is $%.2f, less than one replica costs ($%.2f): none could ever start.", limit, cheapest)
	}
}
