package sim

import (
	"context"
	"iter"
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Fleet is a constant number of equal replicas of one model, Ready from the
// first arrival on. Admission holds as much as comes, and knows how long
// replies will be.
type Fleet struct {
	Profile    scale.Profile
	Replicas   int
	BatchLimit int // B*: requests at one replica at once
	// PrefillTokens is as in scale.Route; 0 for no bound.
	PrefillTokens int
	KVTokens      int       // tokens that admission may fill at one replica; 0 where they do not matter
	SLO           scale.SLO // MaxHold bounds how long a request waits
	Seed          uint64    // of service times, for a Profile without tokens
}

// Totals is what became of all requests together.
type Totals struct {
	Requests int
	Good     int           // met the SLO
	Judged   int           // all but those cancelled
	Busy     time.Duration // replica-time in which engines worked
	Span     time.Duration // first arrival → last end
}

// Attainment is the share of good requests among the judged; false where
// there were none.
func (t Totals) Attainment() (float64, bool) {
	if t.Judged == 0 {
		return 0, false
	}
	return float64(t.Good) / float64(t.Judged), true
}

// Run serves a series, in order of arrival, and gives each request with what
// it experienced to served (which may be nil) when it ends. A request without
// prompt or output counts as one of one token.
func (f Fleet) Run(ctx context.Context, requests iter.Seq2[scale.Request, error], served func(scale.Request, scale.Served)) (Totals, error) {
	source := pull(requests)
	defer source.stop()
	r := f.run(source)
	r.world.Ended = served
	out, err := r.play(ctx)
	if err != nil {
		return Totals{}, err
	}
	return Totals{Requests: out.Requests, Good: out.Good, Judged: out.Judged, Busy: out.Busy, Span: out.Span}, nil
}

// run makes the Fleet a World.
func (f Fleet) run(source Source) *run {
	variant := scale.Variant{Name: "fleet", Capacities: []scale.CapacityType{scale.OnDemand}, Max: f.Replicas, Profile: f.Profile}
	target := scale.ScaleTarget{Variant: variant.Name, Capacity: scale.OnDemand}
	r := newRun(World{
		Services: []Service{{
			Model:  scale.Model{SLO: f.SLO, Variants: []scale.Variant{variant}, Mode: scale.Auto},
			Truths: []Truth{{Profile: f.Profile}}, Start: f.Replicas, Asks: true,
		}},
		Governor: fixed{limit: scale.Allocation{
			Target: target, BatchLimit: f.BatchLimit, PrefillTokens: f.PrefillTokens, KVTokens: f.KVTokens,
		}},
		Source: source, Seed: f.Seed,
	})
	r.holdsAll()
	return r
}

// holdsAll lifts the bounds on what is held.
func (r *run) holdsAll() {
	for _, s := range r.services {
		s.queue = newQueue(s.Model.SLO, math.MaxInt, math.MaxInt)
	}
}
