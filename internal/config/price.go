package config

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/penstock/penstock/api/v1alpha1"
	"github.com/penstock/penstock/internal/scale"
)

// price is what one accelerator costs, in US dollars per hour. Zero where it
// is not for sale.
type price struct {
	onDemand, spot float64
}

func (p price) of(capacity scale.CapacityType) float64 {
	if capacity == scale.Spot {
		return p.spot
	}
	return p.onDemand
}

// checkPrices lays the price lists over the catalogue.
func (f *file) checkPrices() {
	for _, a := range f.catalogue.Accelerators {
		f.prices[a.Type] = price{onDemand: a.OnDemand, spot: a.Spot}
	}
	listed := map[string]bool{}
	for _, l := range f.lists {
		l.checkName(l.Name)
		if len(l.Spec.Prices) == 0 && l.has("spec.prices") {
			l.fault("spec.prices", "is empty.")
		}
		for i, p := range l.Spec.Prices {
			at := fmt.Sprintf("spec.prices[%d]", i)
			if listed[p.Accelerator] {
				l.fault(join(at, "accelerator"), "gives %s a second price.", p.Accelerator)
			}
			l.checkPrice(p, at)
			listed[p.Accelerator] = true
			f.prices[p.Accelerator] = price{onDemand: p.OnDemand, spot: p.Spot}
		}
	}
}

// checkPrice refuses prices of nothing, and those that are no price.
func (o *object) checkPrice(p v1alpha1.Price, at string) {
	if p.Accelerator == "" && o.has(join(at, "accelerator")) {
		o.fault(join(at, "accelerator"), "is empty.")
	}
	if p.OnDemand <= 0 && o.has(join(at, "onDemand")) {
		o.fault(join(at, "onDemand"), "is %v. Set it above 0: what an hour costs, also of a machine of your own.", p.OnDemand)
	}
	if p.Spot <= 0 && o.has(join(at, "spot")) {
		o.fault(join(at, "spot"), "is %v. Set it above 0, or leave it out where there is no spot.", p.Spot)
	}
}

// offerings returns what is for sale of the accelerators that variants use.
func (f *file) offerings(c Config) []scale.Offering {
	var kinds []string
	for _, model := range c.Models {
		for _, v := range model.Variants {
			kinds = append(kinds, v.Accelerator.Type)
		}
	}
	slices.Sort(kinds)
	var all []scale.Offering
	for _, kind := range slices.Compact(kinds) {
		for _, capacity := range []scale.CapacityType{scale.OnDemand, scale.Spot} {
			if f.prices[kind].of(capacity) <= 0 {
				continue
			}
			all = append(all, scale.Offering{
				Accelerator: kind, Capacity: capacity, PricePerHour: f.prices[kind].of(capacity),
				Limited: !c.Server.GPUs.Auto(), Slots: c.Server.GPUs.Count(kind),
			})
		}
	}
	return all
}

// sorted returns the words in order.
func sorted[T cmp.Ordered](words []T) []T {
	slices.Sort(words)
	return words
}
