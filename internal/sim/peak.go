package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// PeakProblem asks for the smallest constant fleet.
type PeakProblem struct {
	Fleet    Fleet // Replicas is what is sought, and not read
	Requests []scale.Request
	Most     int // the largest fleet to try

	// For the cost: all replicas are paid for all of Span.
	Span         time.Duration
	PricePerHour float64 // US dollars for one replica
}

// Peak is a constant fleet.
type Peak struct {
	Replicas   int
	Attainment float64 // 0..1
	Cost       float64 // US dollars
}

// StaticPeak returns the smallest constant fleet that serves the objective's
// share of the requests within the SLO: what somebody would have to pay for who
// knew the series and could not scale. It simulates fleets of 1, 2, 4 …
// replicas until one suffices, then halves the gap, which takes the share to
// grow with the fleet; where it does not quite, the answer is still a fleet
// that suffices while the next smaller one does not.
func StaticPeak(ctx context.Context, p PeakProblem) (Peak, error) {
	if len(p.Requests) == 0 {
		return Peak{}, nil
	}
	short, enough := 0, 1
	for {
		enough = min(enough, p.Most)
		at, err := p.attainment(ctx, enough)
		if err != nil {
			return Peak{}, err
		}
		if at >= p.Fleet.SLO.Objective {
			break
		}
		if enough == p.Most {
			return Peak{}, fmt.Errorf("find the static peak: %d replicas serve %.2f %% of requests within the SLO, below the objective of %.2f %%",
				enough, 100*at, 100*p.Fleet.SLO.Objective)
		}
		short, enough = enough, 2*enough
	}
	for enough-short > 1 {
		middle := (short + enough) / 2
		at, err := p.attainment(ctx, middle)
		if err != nil {
			return Peak{}, err
		}
		if at >= p.Fleet.SLO.Objective {
			enough = middle
		} else {
			short = middle
		}
	}
	at, err := p.attainment(ctx, enough)
	return Peak{Replicas: enough, Attainment: at, Cost: float64(enough) * p.Span.Hours() * p.PricePerHour}, err
}

func (p PeakProblem) attainment(ctx context.Context, replicas int) (float64, error) {
	fleet := p.Fleet
	fleet.Replicas = replicas
	totals, err := fleet.Run(ctx, func(yield func(scale.Request, error) bool) {
		for _, r := range p.Requests {
			if !yield(r, nil) {
				return
			}
		}
	}, nil)
	at, _ := totals.Attainment()
	return at, err
}
