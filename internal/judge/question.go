package judge

import (
	"context"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

// Question is what every policy is asked: models to serve, and who asks for
// them when. It holds for any seed: the seed decides how arrivals fall within
// what the trace says, and how far serving is from what everybody is told.
type Question struct {
	Name, What string
	Models     []scale.Model // sorted by name; what everybody is told
	Offerings  []scale.Offering
	Fleet      scale.FleetPolicy
	Boot       func(scale.Variant) sim.Boot // how starting one really goes
	Zones      []sim.Zone
	Notice     time.Duration
	Faults     sim.Faults
	CV         float64 // of the gaps between arrivals, for pools that are tried alone; 0: as the series has them
	// Truth is how far serving may be from what is told, as a share either way.
	Truth float64
	// Alike says that models with one SLO and the same variants are asked the
	// same kind of requests, so that what holds of one holds of all.
	Alike bool
	// Tick is Penstock's.
	Tick time.Duration
	// Begin is the instant of the Epoch of Open's requests, for schedules; zero
	// for the Epoch itself.
	Begin time.Time
	Open  func(seed uint64) (sim.Source, error)
}

// begin is the instant at which a World of the Question begins.
func (q Question) begin() time.Time {
	if q.Begin.IsZero() {
		return trace.Epoch()
	}
	return q.Begin
}

// drawn is a Question with its seed.
type drawn struct {
	Question
	seed     uint64
	services []sim.Service
	factors  map[string]float64 // by variant: how many times as long as told serving takes
	survey   *survey
	class    []int   // of each model
	classes  []class // of models that are served alike
	needs    [][]int // replicas of its class's best variant in each minute, by model
	bound    bounds
}

// SeriesError is why a series of requests can not be read: the fault of what
// was given, and not of what was done with it.
type SeriesError struct{ Err error }

func (e SeriesError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e SeriesError) Unwrap() error { return e.Err }

// draw fixes a Question's truth for a seed, surveys its series and computes
// what the clairvoyant pays.
func (q Question) draw(ctx context.Context, seed uint64) (*drawn, error) {
	d := &drawn{Question: q, seed: seed, factors: map[string]float64{}}
	names := make([]string, len(q.Models))
	for i, m := range q.Models {
		names[i] = m.Name
		d.services = append(d.services, sim.Service{Model: m, Truths: d.truths(m)})
	}
	d.classify()
	source, err := q.Open(seed)
	if err != nil {
		return nil, SeriesError{err}
	}
	d.survey, err = read(ctx, source, names, d.class, seed)
	if err := errors.Join(err, trace.Close(source)); err != nil {
		return nil, SeriesError{err}
	}
	return d, d.foresee(ctx)
}

// truths draws what serving really takes on every variant of a model. Variants
// of one name are the same machine, whatever the model.
func (d *drawn) truths(m scale.Model) []sim.Truth {
	truths := make([]sim.Truth, len(m.Variants))
	for i, v := range m.Variants {
		h := fnv.New64a()
		_, _ = h.Write([]byte(d.Name + "\x00" + v.Name)) // never fails
		factor := 1 + d.Truth*(2*rand.New(rand.NewPCG(d.seed, h.Sum64())).Float64()-1)
		d.factors[v.Name] = factor
		truths[i] = sim.Truth{Profile: slower(v.Profile, factor), Boot: d.Boot(v)}
	}
	return truths
}

// slower is a profile that takes so many times as long.
func slower(p scale.Profile, factor float64) scale.Profile {
	times := func(d time.Duration) time.Duration { return time.Duration(float64(d) * factor) }
	linear := make([]scale.LinearPoint, len(p.Linear))
	for i, point := range p.Linear {
		linear[i] = scale.LinearPoint{Tokens: point.Tokens, Time: times(point.Time)}
	}
	p.Linear, p.Overhead, p.Bandwidth = linear, times(p.Overhead), p.Bandwidth/factor
	p.Service.Mean = times(p.Service.Mean)
	return p
}
