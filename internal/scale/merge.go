package scale

import (
	"maps"
	"math"
	"time"
)

// Together returns what several gateways measured of one Model at about the same
// time as one gateway would have: what each counted is added up, and means are
// weighted by arrivals. The first is the one whose spans count: its Arrivals are
// over the time since its previous Traffic, those of the others are rates.
func Together(parts ...Traffic) Traffic {
	if len(parts) == 1 {
		return parts[0]
	}
	out := Traffic{Demand: demandTogether(parts), Loads: map[ReplicaID]Load{}}
	for _, t := range parts {
		for id, l := range t.Loads {
			if known, some := out.Loads[id]; some {
				l = known.beside(l)
			}
			out.Loads[id] = l
		}
		out.Uses = addUses(out.Uses, t.Uses)
	}
	return out
}

func demandTogether(parts []Traffic) Demand {
	d := Demand{ArrivalsOver: parts[0].Demand.ArrivalsOver}
	var weights []float64
	for _, t := range parts {
		o := t.Demand
		weights = append(weights, o.Arrivals.Value)
		for _, sum := range []struct{ to, of *Observation }{
			{&d.Arrivals, &o.Arrivals},
			{&d.Held, &o.Held},
			{&d.HeldTokens, &o.HeldTokens},
			{&d.InFlight, &o.InFlight},
			{&d.Good, &o.Good},
			{&d.Bad, &o.Bad},
		} {
			*sum.to = sum.to.plus(*sum.of)
		}
		d.HeldFor = d.HeldFor.larger(o.HeldFor)
		d.LastArrival = d.LastArrival.larger(o.LastArrival)
	}
	if !parts[0].Demand.Arrivals.Known() { // no time passed since its previous Traffic
		d.Arrivals, d.ArrivalsOver = Observation{}, 0
	}
	mean := func(of func(Demand) Observation) Observation {
		var sum, weight float64
		var at time.Time
		for i, t := range parts {
			if o := of(t.Demand); o.Known() {
				w := max(weights[i], math.SmallestNonzeroFloat32) // where nothing arrives, a plain mean
				sum, weight = sum+w*o.Value, weight+w
				if o.At.After(at) {
					at = o.At
				}
			}
		}
		if weight == 0 {
			return Observation{}
		}
		return Observe(sum/weight, at)
	}
	d.PromptTokens = mean(func(d Demand) Observation { return d.PromptTokens })
	d.LongPrompt = mean(func(d Demand) Observation { return d.LongPrompt })
	d.OutputTokens = mean(func(d Demand) Observation { return d.OutputTokens })
	d.OutputLimit = mean(func(d Demand) Observation { return d.OutputLimit })
	return d
}

// plus adds what was counted at two places; one that was never counted adds
// nothing.
func (o Observation) plus(p Observation) Observation {
	switch {
	case !o.Known():
		return p
	case !p.Known():
		return o
	case p.At.After(o.At):
		o.At = p.At
	}
	o.Value += p.Value
	return o
}

func (o Observation) larger(p Observation) Observation {
	if !o.Known() || p.Known() && p.Value > o.Value {
		return p
	}
	return o
}

// beside is a Replica's Load as two gateways saw it at once.
func (l Load) beside(o Load) Load {
	at, other := l.Latency.Concurrency, o.Latency.Concurrency
	if l.Latency.Requests == 0 { // nothing ended that could tell
		at = l.InFlight.Value
	}
	if o.Latency.Requests == 0 {
		other = o.InFlight.Value
	}
	l.InFlight = l.InFlight.plus(o.InFlight)
	if l.Latency = l.Latency.with(o.Latency); l.Latency.Requests > 0 {
		l.Latency.Concurrency = at + other // a request saw those of the other gateway, too
	}
	return l
}

// with merges what two sets of requests experienced; of medians it is the mean,
// weighted by requests.
func (l Latency) with(o Latency) Latency {
	if l.Requests == 0 || o.Requests == 0 {
		if l.Requests == 0 {
			return o
		}
		return l
	}
	a, b := float64(l.Requests), float64(o.Requests)
	mean := func(x, y float64) float64 { return (a*x + b*y) / (a + b) }
	span := func(x, y time.Duration) time.Duration {
		switch {
		case x == 0: // no reply was streamed
			return y
		case y == 0:
			return x
		default:
			return time.Duration(mean(float64(x), float64(y)))
		}
	}
	out := Latency{
		At: l.At, Requests: l.Requests + o.Requests, Concurrency: mean(l.Concurrency, o.Concurrency),
		TTFT: span(l.TTFT, o.TTFT), TPOT: span(l.TPOT, o.TPOT), Service: span(l.Service, o.Service),
		PromptTokens: mean(l.PromptTokens, o.PromptTokens), OutputTokens: mean(l.OutputTokens, o.OutputTokens),
	}
	if o.At.After(out.At) {
		out.At = o.At
	}
	return out
}

// Then returns what a gateway measured over two spans, the second of which
// followed the first, as if they were one.
func (t Traffic) Then(next Traffic) Traffic {
	out := Traffic{Demand: next.Demand, Loads: maps.Clone(next.Loads), Uses: addUses(maps.Clone(t.Uses), next.Uses)}
	if out.Loads == nil {
		out.Loads = map[ReplicaID]Load{}
	}
	for id, before := range t.Loads {
		l, still := out.Loads[id]
		if !still {
			l.InFlight = Observation{} // it left; what ended there did end
		}
		l.Latency = before.Latency.with(l.Latency)
		if still || l.Latency.Requests > 0 {
			out.Loads[id] = l
		}
	}
	a, b := t.Demand, next.Demand
	switch over := a.ArrivalsOver + b.ArrivalsOver; {
	case !b.Arrivals.Known():
		out.Demand.Arrivals, out.Demand.ArrivalsOver = a.Arrivals, a.ArrivalsOver
	case a.Arrivals.Known() && over > 0:
		n := a.Arrivals.Value*a.ArrivalsOver.Seconds() + b.Arrivals.Value*b.ArrivalsOver.Seconds()
		out.Demand.Arrivals.Value, out.Demand.ArrivalsOver = n/over.Seconds(), over
	}
	return out
}

// Told returns what of the Traffic still holds once it was told: what stands,
// without what was counted since the previous time.
func (t Traffic) Told() Traffic {
	out := Traffic{Demand: t.Demand, Loads: make(map[ReplicaID]Load, len(t.Loads))}
	for id, l := range t.Loads {
		if l.InFlight.Known() {
			out.Loads[id] = Load{InFlight: l.InFlight}
		}
	}
	return out
}

// Shift moves all times by d: what another machine's clock says becomes what
// one's own does.
func (t Traffic) Shift(d time.Duration) Traffic {
	move := func(o *Observation) {
		if o.Known() {
			o.At = o.At.Add(d)
		}
	}
	for _, o := range []*Observation{
		&t.Demand.Arrivals, &t.Demand.PromptTokens, &t.Demand.LongPrompt, &t.Demand.OutputTokens, &t.Demand.OutputLimit,
		&t.Demand.Held, &t.Demand.HeldTokens, &t.Demand.HeldFor, &t.Demand.InFlight, &t.Demand.LastArrival, &t.Demand.Good, &t.Demand.Bad,
	} {
		move(o)
	}
	if t.Demand.LastArrival.Known() {
		t.Demand.LastArrival.Value += d.Seconds()
	}
	t.Loads = maps.Clone(t.Loads)
	for id, l := range t.Loads {
		for _, o := range []*Observation{&l.InFlight, &l.Running, &l.Waiting, &l.KVCacheUsage, &l.Busy} {
			move(o)
		}
		if !l.Latency.At.IsZero() {
			l.Latency.At = l.Latency.At.Add(d)
		}
		t.Loads[id] = l
	}
	return t
}

func addUses(to, more map[string]Use) map[string]Use {
	for name, u := range more {
		if to == nil {
			to = map[string]Use{}
		}
		sum := to[name]
		sum.Requests += u.Requests
		sum.PromptTokens += u.PromptTokens
		sum.OutputTokens += u.OutputTokens
		to[name] = sum
	}
	return to
}
