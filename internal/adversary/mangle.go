package adversary

import (
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// mangle returns what the loop is told of a Snapshot: the world as it is, but
// for what is wrong with measurements, clocks and prices now.
func (c *Case) mangle(s scale.Snapshot) scale.Snapshot {
	at := s.Now.Sub(c.Begin)
	for i := range s.Models {
		c.mangleTraffic(at, &s.Models[i])
	}
	if f, on := c.on(at, PriceJump); on {
		s.Offerings = slices.Clone(s.Offerings)
		for i := range s.Offerings {
			if s.Offerings[i].Capacity == scale.OnDemand {
				s.Offerings[i].PricePerHour *= 0.2 + 4*f.Share
			}
		}
	}
	if c.has(ClockAhead, ClockBack) {
		c.jump(&s)
	}
	return s
}

func (c *Case) mangleTraffic(at time.Duration, m *scale.ModelState) {
	d := &m.Demand
	if _, on := c.on(at, Spike); on {
		d.Arrivals.Value *= 100
	}
	if f, ok := c.since(at, CounterReset); ok && d.Good.Known() {
		d.Good.Value, d.Bad.Value = d.Good.Value*(1-f.Share), d.Bad.Value*(1-f.Share)
	}
	if f, on := c.on(at, NaN); on {
		spoil(d, m.Replicas, f, math.NaN())
	}
	if f, on := c.on(at, Negative); on {
		spoil(d, m.Replicas, f, -1)
	}
}

// since returns the newest fault of a kind that has begun.
func (c *Case) since(at time.Duration, kind Kind) (Fault, bool) {
	for _, f := range slices.Backward(c.Faults) {
		if f.Kind == kind && f.Start <= at {
			return f, true
		}
	}
	return Fault{}, false
}

// spoil makes measurements read a value that can not be: all of them, or one by
// one, by the fault's share.
func spoil(d *scale.Demand, replicas []scale.Replica, f Fault, value float64) {
	all := []*scale.Observation{
		&d.Arrivals, &d.InFlight, &d.Held, &d.HeldFor, &d.PromptTokens, &d.LongPrompt, &d.OutputTokens, &d.OutputLimit, &d.LastArrival, &d.HeldTokens, &d.Good, &d.Bad,
	}
	if f.Share < 1 {
		i := int(f.Start/time.Millisecond) % len(all)
		all = all[i : i+1]
	} else {
		for i := range replicas {
			l := &replicas[i].Load
			all = append(all, &l.InFlight, &l.Running, &l.Waiting, &l.KVCacheUsage, &l.Busy)
		}
	}
	for _, o := range all {
		if o.Known() {
			o.Value = value
		}
	}
}

// clockOff is how far a clock jumps.
const clockOff = time.Hour

// clock is what the loop's clock shows at an instant.
func (c *Case) clock(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	at := t.Sub(c.Begin)
	if _, on := c.on(at, ClockAhead); on {
		t = t.Add(clockOff)
	}
	if _, on := c.on(at, ClockBack); on {
		t = t.Add(-clockOff)
	}
	return t
}

// jump dates everything by the loop's clock, as it was when it happened.
func (c *Case) jump(s *scale.Snapshot) {
	shift := func(o *scale.Observation) { o.At = c.clock(o.At) }
	for i := range s.Models {
		m := &s.Models[i]
		d := &m.Demand
		for _, o := range []*scale.Observation{
			&d.Arrivals, &d.PromptTokens, &d.LongPrompt, &d.OutputTokens, &d.OutputLimit,
			&d.Held, &d.HeldTokens, &d.HeldFor, &d.InFlight, &d.LastArrival, &d.Good, &d.Bad,
		} {
			shift(o)
		}
		if d.LastArrival.Known() && d.LastArrival.Value > 0 {
			last := time.Unix(0, int64(d.LastArrival.Value*1e9)).UTC()
			d.LastArrival.Value = float64(c.clock(last).UnixNano()) / 1e9
		}
		for j := range m.Replicas {
			r := &m.Replicas[j]
			r.Created, r.Since = c.clock(r.Created), c.clock(r.Since)
			l := &r.Load
			for _, o := range []*scale.Observation{&l.InFlight, &l.Running, &l.Waiting, &l.KVCacheUsage, &l.Busy} {
				shift(o)
			}
			l.Latency.At = c.clock(l.Latency.At)
		}
	}
	for i := range s.Interruptions {
		n := &s.Interruptions[i]
		left := n.Deadline.Sub(n.Noticed)
		n.Noticed = c.clock(n.Noticed)
		n.Deadline = n.Noticed.Add(left)
	}
	s.Now = c.clock(s.Now)
}
