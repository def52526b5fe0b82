package scale

import (
	"slices"
	"time"
)

// Stretch is what demand for one Model was like for a while, and what served
// it. Its figures are sums, and the largest of something, so that stretches that
// follow each other can be added. What was not measured is in no sum, nor in
// what the sum is divided by: its mean is not known, and not 0.
type Stretch struct {
	Model  string
	From   time.Time
	Length time.Duration

	Covered      float64 // seconds of it that were observed
	Arrivals     float64 // requests
	ArrivalsOver float64 // seconds over which Arrivals were counted
	Prompts      float64 // prompt tokens
	Prompted     float64 // requests with these tokens
	Outputs      float64 // output tokens
	OutputOf     float64 // requests with these tokens
	Held         float64 // requests × seconds
	HeldMost     float64 // requests
	InFlight     float64 // requests × seconds
	SeenOver     float64 // seconds over which Held and InFlight were seen
	Good, Bad    float64 // requests that ended
	Starting     float64 // replicas × seconds
	Ready        float64
	Draining     float64
	Batch        float64 // B* × seconds
	BatchOver    float64 // seconds over which there was one
	Replies      float64 // requests whose times follow
	TTFT         float64 // seconds × Replies, at the replica
	TTFTMost     float64 // seconds
	TPOT         float64 // seconds × Replies
	TPOTMost     float64 // seconds
	Service      float64 // seconds × Replies, the whole time at the replica
	Planned      float64 // requests/s, the quantile that was planned for, × seconds
	Wanted       float64 // replicas × seconds
	Cost         float64 // US dollars
}

// Figures returns every figure, in the order of the struct.
func (s *Stretch) Figures() []*float64 {
	return []*float64{
		&s.Covered, &s.Arrivals, &s.ArrivalsOver, &s.Prompts, &s.Prompted, &s.Outputs, &s.OutputOf,
		&s.Held, &s.HeldMost, &s.InFlight, &s.SeenOver, &s.Good, &s.Bad, &s.Starting, &s.Ready, &s.Draining,
		&s.Batch, &s.BatchOver, &s.Replies, &s.TTFT, &s.TTFTMost, &s.TPOT, &s.TPOTMost,
		&s.Service, &s.Planned, &s.Wanted, &s.Cost,
	}
}

// Add adds what a later stretch of the same Model was like.
func (s *Stretch) Add(o Stretch) {
	most := []*float64{&s.HeldMost, &s.TTFTMost, &s.TPOTMost}
	others := o.Figures()
	for i, figure := range s.Figures() {
		if slices.Contains(most, figure) {
			*figure = max(*figure, *others[i])
		} else {
			*figure += *others[i]
		}
	}
}

// Mean divides a sum by what it is over; false where that is nothing, which is
// to say that it is not known.
func Mean(sum, over float64) (float64, bool) {
	if !(over > 0) {
		return 0, false
	}
	return sum / over, true
}

// StretchOf returns what one tick tells of a Model since the one before it.
// before is that one's state, which may be of another time long ago or none: then
// it tells of one tick alone.
func StretchOf(s Snapshot, m ModelState, d Decision, before Earlier) Stretch {
	out := Stretch{Model: m.Model.Name, From: s.Now}
	span := s.Now.Sub(before.At)
	known := !before.At.IsZero() && span > 0 && span <= max(5*s.Tick, 10*time.Second)
	if !known {
		span = s.Tick
	}
	out.Length, out.Covered = span, span.Seconds()
	demand := m.Demand
	fresh := func(o Observation) bool { return o.Fresh(s.Now, span+s.Tick) }
	if a := demand.Arrivals; fresh(a) && demand.ArrivalsOver > 0 && a.At.After(before.At) {
		out.Arrivals, out.ArrivalsOver = a.Value*demand.ArrivalsOver.Seconds(), demand.ArrivalsOver.Seconds()
		if t := demand.PromptTokens; fresh(t) && t.Value > 0 {
			out.Prompts, out.Prompted = t.Value*out.Arrivals, out.Arrivals
		}
		if t := demand.OutputTokens; fresh(t) && t.Value > 0 {
			out.Outputs, out.OutputOf = t.Value*out.Arrivals, out.Arrivals
		}
	}
	if fresh(demand.Held) && fresh(demand.InFlight) {
		out.SeenOver = out.Covered
		out.Held, out.HeldMost, out.InFlight = demand.Held.Value*out.Covered, demand.Held.Value, demand.InFlight.Value*out.Covered
	}
	if known {
		out.Good, out.Bad = grown(before.Good, demand.Good), grown(before.Bad, demand.Bad)
	}
	out.fleet(s, m, before.At)
	out.plan(m.Model.Name, d)
	return out
}

// Earlier is what of the tick before is needed to tell what a tick adds.
type Earlier struct {
	At        time.Time
	Good, Bad Observation
}

// grown is what came to a counter. One that fell began anew.
func grown(before, now Observation) float64 {
	switch {
	case !now.Known() || !before.Known():
		return 0
	case now.Value < before.Value:
		return now.Value
	}
	return now.Value - before.Value
}

// fleet adds the replicas: how many, what they cost and how quick they were.
func (s *Stretch) fleet(snapshot Snapshot, m ModelState, since time.Time) {
	for _, r := range m.Replicas {
		switch r.Phase {
		case Starting:
			s.Starting += s.Covered
		case Ready:
			s.Ready += s.Covered
		case Draining:
			s.Draining += s.Covered
		case Gone:
			continue
		}
		if v, ok := m.Model.Variant(r.Target.Variant); ok {
			s.Cost += snapshot.price(v.Accelerator, r) * s.Covered / 3600
		}
		l := r.Load.Latency
		if n := float64(l.Requests); n > 0 && l.At.After(since) {
			s.Replies += n
			s.TTFT += l.TTFT.Seconds() * n
			s.TPOT += l.TPOT.Seconds() * n
			s.Service += l.Service.Seconds() * n
			s.TTFTMost, s.TPOTMost = max(s.TTFTMost, l.TTFT.Seconds()), max(s.TPOTMost, l.TPOT.Seconds())
		}
	}
}

// price is what a Replica costs an hour: at its own zone's price, else at the
// first that there is.
func (s Snapshot) price(a Accelerator, r Replica) float64 {
	found, price := false, 0.0
	for _, o := range s.Offerings {
		if o.Accelerator != a.Type || o.Capacity != r.Target.Capacity {
			continue
		}
		if o.Zone == r.Zone {
			return o.PricePerHour * float64(a.Count)
		}
		if !found {
			found, price = true, o.PricePerHour*float64(a.Count)
		}
	}
	return price
}

// plan adds what was planned for and wanted, and B* of the target that the Plan
// wants most of.
func (s *Stretch) plan(model string, d Decision) {
	for _, f := range d.Forecasts {
		if f.Model == model {
			s.Planned += f.Upper * s.Covered
		}
	}
	most, limit := 0, 0
	for _, p := range d.Plans {
		if p.Model != model {
			continue
		}
		for _, a := range p.Allocations {
			s.Wanted += float64(a.Replicas) * s.Covered
			if a.BatchLimit > 0 && (limit == 0 || a.Replicas > most) {
				most, limit = a.Replicas, a.BatchLimit
			}
		}
	}
	if limit > 0 {
		s.Batch, s.BatchOver = float64(limit)*s.Covered, s.Covered
	}
}
