package adversary

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
)

// Ticks of a Case, beside those that are poked. They are what a Case costs; what
// it simulates is that times the tick's length.
const (
	leastTicks = 180
	mostTicks  = 500
)

// beginning is an hour of an ordinary day, or of one on which clocks change
// somewhere.
func beginning(d dice) time.Time {
	days := []time.Time{
		time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC),  // a Monday
		time.Date(2026, 3, 7, 0, 0, 0, 0, time.UTC),  // New York springs the day after
		time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC), // Berlin springs the day after
		time.Date(2026, 4, 4, 0, 0, 0, 0, time.UTC),  // Lord Howe falls back by half an hour
		time.Date(2026, 10, 24, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC),
	}
	return pick(d, days...).Add(time.Duration(d.between(0, 47*60)) * time.Minute)
}

// accelerators are the types that variants use.
func accelerators() []string { return []string{"a100", "h100", "l4"} }

// offer draws prices, slots and zones.
func (c *Case) offer(d dice) {
	zones := pick(d, 0, 0, 1, 2, 3)
	for range zones {
		c.Nodes = append(c.Nodes, d.between(1, 6))
	}
	pooled := d.chance(0.12)
	for _, name := range accelerators() {
		price := d.spread(0.5, 8)
		demand := scale.Offering{Accelerator: name, Capacity: scale.OnDemand, PricePerHour: price}
		if d.chance(0.45) {
			demand.Limited, demand.Slots = true, d.between(1, 8)
		}
		spot := demand
		spot.Capacity, spot.PricePerHour = scale.Spot, price*(0.2+0.6*d.Float64())
		spot.Limited = spot.Limited && d.chance(0.5)
		if pooled && demand.Limited {
			spot.Limited, spot.Pool, demand.Pool = true, "machine", "machine"
		}
		c.Offerings = append(c.Offerings, demand)
		for i := range max(1, zones) {
			s := spot
			if zones > 0 {
				s.Zone, s.PricePerHour = zoneName(i), spot.PricePerHour*(1+0.2*float64(i))
			}
			c.Offerings = append(c.Offerings, s)
		}
	}
}

func zoneName(i int) string { return string(rune('a' + i)) }

// model draws a model from a stream of its own.
func (c *Case) model(i int) Model {
	d := newDice(c.Seed, purposeModel, uint64(i))
	tokens, profile := d.chance(0.75), serviceProfile
	if tokens {
		profile = tokenProfile
	}
	m := Model{Service: sim.Service{Asks: d.chance(0.4), Model: scale.Model{
		Name: fmt.Sprintf("m%d", i+1), Priority: pick(d, 0, 0, 1, 2), Owner: scale.Owner{BusinessUnit: pick(d, "", "search", "shop")},
		Mode: pick(d, slices.Concat(slices.Repeat([]scale.Mode{scale.Auto}, 14), []scale.Mode{scale.Advise, scale.Paused})...),
	}}}
	for j := range pick(d, 1, 1, 1, 2, 2, 3) {
		v, truth := variant(d, j, profile)
		m.Model.Variants, m.Truths = append(m.Model.Variants, v), append(m.Truths, truth)
	}
	m.Model.SLO = slo(d, m.Model.Variants)
	bounds(d, &m.Model)
	m.Model.ScaleToZero = scale.ScaleToZero{Disabled: d.chance(0.15), After: d.duration(20*time.Second, 10*time.Minute)}
	m.Model.ScaleDownWindow = pick(d, 0, 30*time.Second, time.Minute, 2*time.Minute, 5*time.Minute)
	m.Model.Limits = c.limits(d, m.Model.Variants)
	c.schedule(d, &m.Model)
	m.Traffic = c.traffic(newDice(c.Seed, purposeTraffic, uint64(i)), uint64(i))
	if !tokens {
		m.Traffic.Lengths, m.Traffic.Long = 0, false
	}
	return m
}

// variant draws a way to serve, and what it really takes.
func variant(d dice, number int, profile func(dice) scale.Profile) (scale.Variant, sim.Truth) {
	accelerator := pick(d, accelerators()...)
	v := scale.Variant{
		Name: fmt.Sprintf("v%d", number+1), Accelerator: scale.Accelerator{Type: accelerator, Count: pick(d, 1, 1, 1, 2, 4)},
		Capacities: pick(d, []scale.CapacityType{scale.OnDemand}, []scale.CapacityType{scale.OnDemand}, []scale.CapacityType{scale.OnDemand, scale.Spot}, []scale.CapacityType{scale.Spot}),
		ColdStart:  d.duration(5*time.Second, 3*time.Minute),
	}
	v.Profile = profile(d)
	truth := sim.Truth{Profile: paced(v.Profile, 0.75+0.5*d.Float64()), Boot: sim.Boot{
		Mixture: []sim.Mode{{Share: 1, Mean: time.Duration(float64(v.ColdStart) * d.spread(0.6, 1.5)), Sigma: pick(d, 0, 0.2, 0.5)}},
		Fails:   pick(d, 0, 0, 0, 0.03, 0.2),
	}}
	return v, truth
}

// serviceProfile draws an engine without tokens.
func serviceProfile(d dice) scale.Profile {
	return scale.Profile{Name: "service", Service: scale.ServiceTime{
		Mean: d.duration(50*time.Millisecond, 20*time.Second), CV: pick(d, 0, 0.3, 1), Concurrency: pick(d, 1, 1, 2, 4, 8),
	}}
}

// tokenProfile draws an engine between a small and a large one, with more or
// less memory to spare.
func tokenProfile(d dice) scale.Profile {
	ms := func(tokens int, t float64) scale.LinearPoint {
		return scale.LinearPoint{Tokens: tokens, Time: time.Duration(t * float64(time.Millisecond))}
	}
	p := scale.Profile{
		Name:     "tokens",
		Linear:   []scale.LinearPoint{ms(1, 9.6), ms(64, 11.1), ms(256, 19.4), ms(1024, 74.7), ms(4096, 271.8)},
		Overhead: 3 * time.Millisecond, Bandwidth: 1.7e12, KVBytesPerToken: 131072,
		WeightBytes: 16.1e9, MemoryBytes: 80e9, MemoryUtilisation: 0.9, PrefillChunk: pick(d, 512, 2048), MaxBatch: pick(d, 8, 64, 256),
	}
	p.MemoryBytes = (p.WeightBytes + p.KVBytesPerToken*d.spread(20_000, 400_000)) / p.MemoryUtilisation
	return paced(p, d.spread(0.5, 4))
}

// paced is a Profile by which everything takes so many times as long.
func paced(p scale.Profile, pace float64) scale.Profile {
	times := func(t time.Duration) time.Duration { return time.Duration(float64(t) * pace) }
	p.Linear = slices.Clone(p.Linear)
	for i := range p.Linear {
		p.Linear[i].Time = times(p.Linear[i].Time)
	}
	p.Overhead, p.Bandwidth, p.Service.Mean = times(p.Overhead), p.Bandwidth/pace, times(p.Service.Mean)
	return p
}

// slo draws what is promised: mostly what the slowest variant can keep with
// some requests at once, now and then what none can.
func slo(d dice, variants []scale.Variant) scale.SLO {
	var pace, service, boot time.Duration
	for _, v := range variants {
		boot = max(boot, v.ColdStart)
		if v.Profile.Tokens() {
			pace = max(pace, v.Profile.Overhead+v.Profile.Linear[0].Time)
		} else {
			service = max(service, v.Profile.Service.Mean)
		}
	}
	slack := d.spread(1.5, 8)
	if d.chance(0.05) {
		slack = 0.3
	}
	s := scale.SLO{Objective: pick(d, 0.9, 0.95, 0.99), Window: pick(d, time.Hour, 24*time.Hour, 28*24*time.Hour)}
	s.MaxHold = max(d.duration(10*time.Second, 5*time.Minute), boot*3/2)
	if service > 0 {
		s.Latency = time.Duration(float64(service) * slack * 2)
	} else {
		s.TPOT = time.Duration(float64(pace) * slack)
		s.TTFT = d.duration(500*time.Millisecond, 5*time.Second)
	}
	return s
}

// bounds draws how many replicas there may be.
func bounds(d dice, m *scale.Model) {
	m.Replicas.Min = pick(d, 0, 0, 0, 1, 1, 2)
	m.Replicas.Max = max(1, m.Replicas.Min) + d.between(0, 9)
	for i := range m.Variants {
		m.Variants[i].Max = m.Replicas.Max
		if d.chance(0.25) {
			m.Variants[i].Max = d.between(1, m.Replicas.Max)
		}
	}
	if d.chance(0.25) {
		capacities := m.Variants[0].Capacities
		m.WarmFloor = scale.WarmFloor{Replicas: d.between(1, min(2, m.Replicas.Max)), Capacity: capacities[0]}
	}
}

// limits draws rates and budgets around what one replica costs.
func (c *Case) limits(d dice, variants []scale.Variant) scale.Limits {
	var l scale.Limits
	if d.chance(0.3) {
		l.UpPerMinute = d.between(1, 6)
	}
	if d.chance(0.3) {
		l.DownPerMinute = d.between(1, 4)
	}
	if d.chance(0.2) {
		l.CostPerHour = c.price(variants[0]) * (0.5 + 6*d.Float64())
	}
	return l
}

func (c *Case) price(v scale.Variant) float64 {
	for _, o := range c.Offerings {
		if o.Accelerator == v.Accelerator.Type && o.Capacity == v.Capacities[0] {
			return o.PricePerHour * float64(v.Accelerator.Count)
		}
	}
	return 0
}

// limit draws the limits of all models together.
func (c *Case) limit(d dice) {
	if d.chance(0.7) {
		return
	}
	l := &c.Fleet.Limits
	*l = c.limits(d, c.Models[0].Model.Variants)
	l.UpPerMinute, l.DownPerMinute, l.CostPerHour = 2*l.UpPerMinute, 2*l.DownPerMinute, 2*l.CostPerHour
	if d.chance(0.3) {
		l.UpPerMinute, l.DownPerMinute = 1, 1
	}
}

// schedule draws windows of a least count, somewhere near the Case's hours.
func (c *Case) schedule(d dice, m *scale.Model) {
	if !d.chance(0.3) {
		return
	}
	location, err := time.LoadLocation(pick(d, "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"))
	if err != nil {
		location = time.UTC
	}
	start := c.Begin.Add(time.Duration(d.Float64() * 0.8 * float64(c.Span))).In(location)
	all := ^uint64(0)
	m.Schedules = []scale.Schedule{{
		Name: "hours", Min: d.between(0, 3), Location: location, Duration: d.duration(time.Minute, c.Span/2+time.Minute),
		Start: scale.CronFields{
			Minute: 1 << start.Minute(), Hour: 1 << start.Hour(), DayOfMonth: all, Month: all, DayOfWeek: all, AnyDayOfMonth: true, AnyDayOfWeek: true,
		},
	}}
	if m.WarmFloor.Replicas > 0 && d.chance(0.5) {
		m.WarmFloor.During = "hours"
	}
}

// start lets models begin with replicas where there is room for them for sure.
func (c *Case) start() {
	used := map[string]int{}
	for i := range c.Models {
		m := &c.Models[i]
		d := newDice(c.Seed, purposeModel, uint64(100+i))
		v := m.Model.Variants[0]
		if v.Capacities[0] != scale.OnDemand || d.chance(0.5) {
			continue
		}
		n := d.between(0, min(3, m.Model.Replicas.Max, v.Max))
		offered := c.Offerings[slices.IndexFunc(c.Offerings, func(o scale.Offering) bool {
			return o.Accelerator == v.Accelerator.Type && o.Capacity == scale.OnDemand
		})]
		if offered.Limited {
			n = min(n, (offered.Slots-used[v.Accelerator.Type])/v.Accelerator.Count)
		}
		m.Start = max(0, n)
		used[v.Accelerator.Type] += m.Start * v.Accelerator.Count
	}
}

// compareFaults orders faults by name.
func compareFaults(a, b Fault) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Start, b.Start))
}
