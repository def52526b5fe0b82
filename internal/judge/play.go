package judge

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

// outcome is what became of one cell.
type outcome struct {
	cell
	sim.Result
	knob  report.Knob
	wall  time.Duration
	diary *report.Diary // of the product, where it is kept
	downs int           // scale-downs while signals were absent, stale or lying
	tally []tally       // by model, where their objectives are their own
}

// tally counts requests that were judged.
type tally struct{ good, judged int }

// met says whether every model's objective was met; nothing asked is nothing
// missed.
func (o *outcome) met(d *drawn) bool {
	if o.tally == nil {
		at, _ := o.Attainment()
		return at >= d.Models[0].SLO.Objective
	}
	for i, t := range o.tally {
		if float64(t.good) < d.Models[i].SLO.Objective*float64(t.judged) {
			return false
		}
	}
	return true
}

// ended counts what became of each model's requests.
func (o *outcome) ended(d *drawn) func(scale.Request, scale.Served) {
	o.tally = make([]tally, len(d.Models))
	return func(r scale.Request, s scale.Served) {
		i := d.survey.models[r.Model] // one without a name is the first one's
		if s.Outcome == scale.Cancelled {
			return
		}
		o.tally[i].judged++
		if d.Models[i].SLO.Good(s) {
			o.tally[i].good++
		}
	}
}

// play runs one cell and keeps what became of it.
func (c *contest) play(ctx context.Context, at cell) {
	c.clock.tell("%s: %s, seed %d", c.question.Name, at.policy.name, at.seed)
	out, err := c.guarded(ctx, at)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.fails = append(c.fails, report.Failure{Workload: c.question.Name, Policy: at.policy.name, Seed: at.seed, Error: err.Error()})
		return
	}
	c.runs = append(c.runs, out)
}

// guarded turns a policy's panic into a failed run: the others of an hour's
// work are worth keeping.
func (c *contest) guarded(ctx context.Context, at cell) (out outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("simulate: panic: %v\n%s", p, debug.Stack())
		}
	}()
	return c.outcome(ctx, at)
}

func (c *contest) outcome(ctx context.Context, at cell) (outcome, error) {
	d := c.draws[at.seed]
	out := outcome{cell: at}
	source, err := d.Open(at.seed)
	if err != nil {
		return out, fmt.Errorf("open the requests: %w", err)
	}
	defer func() { _ = trace.Close(source) }() // it was read to its end, or that failed
	world := d.world(&counted{Source: source, clock: c.clock})
	if at.policy.name == onDemandOnly {
		world.Services, world.Zones = withoutSpot(d.services), nil
	}
	knob := 0.0
	if at.policy.tuned {
		if knob, err = d.tune(ctx, at.policy); err != nil {
			return out, err
		}
	}
	world.Governor, out.knob = d.governor(at.policy, knob)
	if len(d.classes) > 1 {
		world.Ended = out.ended(d)
	}
	if at.policy.own {
		if c.trial.Series && at.seed == 1 {
			out.diary = &report.Diary{Start: d.begin()}
		}
		world.Watch = out.watch(d)
	}
	began := time.Now()
	out.Result, err = world.Run(ctx)
	out.wall = time.Since(began)
	if err != nil {
		return out, fmt.Errorf("simulate: %w", err)
	}
	return out, nil
}

// world is the Question as a World, but for who governs it.
func (d *drawn) world(source sim.Source) sim.World {
	return sim.World{
		Services: d.services, Offerings: d.Offerings, Fleet: d.Fleet, Zones: d.Zones, Notice: d.Notice, Faults: d.Faults,
		Source: &moved{Source: source, by: d.begin().Sub(trace.Epoch())}, Seed: d.seed, Begin: d.begin(),
	}
}

// moved is a source that begins at another instant.
type moved struct {
	sim.Source
	by time.Duration
}

// Next returns the next request.
func (m *moved) Next() (scale.Request, error) {
	r, err := m.Source.Next()
	r.At = r.At.Add(m.by)
	return r, err
}

// watch notes decisions, and scale-downs at times when the signals cannot be
// trusted.
func (o *outcome) watch(d *drawn) func(scale.Snapshot, scale.Decision) {
	blind := [][]sim.Window{d.Faults.Missing, d.Faults.Stale, d.Faults.Zero}
	return func(_ scale.Snapshot, decision scale.Decision) {
		if o.diary != nil {
			o.diary.Note(decision)
		}
		at := decision.At.Sub(d.begin())
		for _, windows := range blind {
			for _, w := range windows {
				if w.Start <= at && at < w.End {
					o.downs += downs(decision)
				}
			}
		}
	}
}

// downs counts the Changes that lower a target.
func downs(decision scale.Decision) int {
	n := 0
	for _, c := range decision.Changes {
		if c.Acts() && c.To < c.From {
			n++
		}
	}
	return n
}

// withoutSpot is a fleet that may buy on demand only.
func withoutSpot(services []sim.Service) []sim.Service {
	out := make([]sim.Service, len(services))
	for i, s := range services {
		variants := make([]scale.Variant, len(s.Model.Variants))
		for j, v := range s.Model.Variants {
			v.Capacities = []scale.CapacityType{scale.OnDemand}
			variants[j] = v
		}
		s.Model.Variants = variants
		out[i] = s
	}
	return out
}

// counted counts requests as they are read.
type counted struct {
	sim.Source
	clock *clock
	read  int64
}

// tellEvery is how many requests go by between two reports.
const tellEvery = 1 << 16

// Next counts in strides, so that runs side by side do not contend.
func (s *counted) Next() (scale.Request, error) {
	r, err := s.Source.Next()
	if err != nil {
		s.clock.done.Add(s.read % tellEvery)
		return r, err
	}
	if s.read++; s.read%tellEvery == 0 {
		s.clock.done.Add(tellEvery)
		s.clock.tell("")
	}
	return r, nil
}
