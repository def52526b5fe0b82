package toll

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// warm lets every way open its connections and learn, unmeasured.
func (f *field) warm(ctx context.Context, _ *Result) error {
	f.say("warming up")
	for _, t := range f.tracks {
		for _, b := range bodies() {
			if _, err := ask[timings](ctx, f.client, order{Do: doFlood, Target: t.target, Body: b.Body, Conns: f.Plan.Conns, For: f.Plan.Slice / 4}); err != nil {
				return fmt.Errorf("warm up %s: %w", t.name, err)
			}
		}
	}
	return nil
}

// slice is one way's turn.
type slice struct {
	timings
	cpu time.Duration
}

// turn gives the client an order for one way and takes the CPU time of its
// process.
func (f *field) turn(ctx context.Context, t track, o order) (slice, error) {
	o.Target = t.target
	before, err := t.cpu()
	if err != nil {
		return slice{}, err
	}
	got, err := ask[timings](ctx, f.client, o)
	if err != nil {
		return slice{}, fmt.Errorf("load %s: %w", t.name, err)
	}
	after, err := t.cpu()
	return slice{timings: got, cpu: after - before}, err
}

// cpu is zero for no process.
func (t track) cpu() (time.Duration, error) {
	if t.child == nil {
		return 0, nil
	}
	return t.child.cpu()
}

// turns gives every way its turns, each round beginning with another way, and
// returns the slices by way and round.
func (f *field) turns(ctx context.Context, what string, rounds int, o order) ([][]slice, error) {
	slices := make([][]slice, len(f.tracks))
	for r := range rounds {
		f.say("%s: round %d of %d", what, r+1, rounds)
		for i := range f.tracks {
			i = (i + r) % len(f.tracks)
			s, err := f.turn(ctx, f.tracks[i], o)
			if err != nil {
				return nil, err
			}
			slices[i] = append(slices[i], s)
		}
	}
	return slices, nil
}

// fixed measures what is added at a rate that leaves the machine half idle.
func (f *field) fixed(ctx context.Context, result *Result) error {
	for _, b := range bodies() {
		rounds := f.Plan.Rounds
		if b.Rate < 500 {
			rounds = (rounds + 1) / 2
		}
		turns, err := f.turns(ctx, fmt.Sprintf("%d KB at %d/s", b.Body>>10, b.Rate), rounds, order{Do: doRate, Body: b.Body, Rate: b.Rate, For: f.Plan.Slice})
		if err != nil {
			return err
		}
		b.Ways = f.added(turns)
		result.Fixed = append(result.Fixed, b)
	}
	return nil
}

// added holds every way against Direct and the blind copy. What is added at the
// median is the median over rounds of the difference within each, so that a
// noisy round counts once; at the 0.99 quantile a round has too few requests,
// and all are taken together.
func (f *field) added(turns [][]slice) []Way {
	ways := make([]Way, len(turns))
	direct, tcp := f.place(Direct), f.place(TCP)
	p99 := func(way int) time.Duration {
		var all []time.Duration
		for _, s := range turns[way] {
			all = append(all, s.Delays...)
		}
		return quantile(all, 0.99)
	}
	over := func(way, base int) time.Duration {
		var rounds []time.Duration
		for r := range turns[way] {
			rounds = append(rounds, quantile(turns[way][r].Delays, 0.5)-quantile(turns[base][r].Delays, 0.5))
		}
		return quantile(rounds, 0.5)
	}
	for i := range turns {
		w := Way{Name: f.tracks[i].name}
		var medians []time.Duration
		var cpu time.Duration
		for _, s := range turns[i] {
			w.Samples += len(s.Delays)
			w.fail(s.timings)
			cpu += s.cpu
			medians = append(medians, quantile(s.Delays, 0.5))
		}
		w.P50, w.P99 = micros(quantile(medians, 0.5)), micros(p99(i))
		w.AddedP50, w.AddedP99 = micros(over(i, direct)), micros(p99(i)-p99(direct))
		w.OverHopP50, w.OverHopP99 = micros(over(i, tcp)), micros(p99(i)-p99(tcp))
		w.CPU = micros(cpu) / float64(max(1, w.Samples))
		ways[i] = w
	}
	return ways
}

func (f *field) place(name string) int {
	return slices.IndexFunc(f.tracks, func(t track) bool { return t.name == name })
}

// saturate measures what a way costs when it is given all that it can do.
func (f *field) saturate(ctx context.Context, result *Result) error {
	if f.CPUProfile != "" {
		if _, err := ask[struct{}](ctx, f.gateway(), order{Do: doProfile, File: f.CPUProfile}); err != nil {
			return err
		}
	}
	turns, err := f.turns(ctx, "saturation", f.Plan.Rounds, order{Do: doFlood, Body: bodies()[0].Body, Conns: f.Plan.Conns, For: f.Plan.Slice})
	if err != nil {
		return err
	}
	if f.CPUProfile != "" {
		if _, err := ask[struct{}](ctx, f.gateway(), order{Do: doProfile}); err != nil {
			return err
		}
	}
	for i, t := range f.tracks {
		w := Saturated{Name: t.name}
		var rates, costs []float64
		for _, s := range turns[i] {
			w.fail(s.timings)
			rates = append(rates, float64(s.Requests)/s.Took.Seconds())
			costs = append(costs, micros(s.cpu)/float64(max(1, s.Requests)))
		}
		w.PerSecond, w.CPU = quantile(rates, 0.5), quantile(costs, 0.5)
		result.Saturated = append(result.Saturated, w)
	}
	return nil
}

// stream measures how much later each event of a stream comes.
func (f *field) stream(ctx context.Context, result *Result) error {
	rounds := (f.Plan.Rounds + 3) / 4
	turns, err := f.turns(ctx, fmt.Sprintf("%d streams", f.Plan.Streams), rounds, order{
		Do: doStream, Conns: f.Plan.Streams, Rate: f.Plan.EventRate, For: 2 * f.Plan.Slice,
	})
	if err != nil {
		return err
	}
	result.Streams = f.added(turns)
	return nil
}

// quantile sorts values; of nothing it is zero.
func quantile[T time.Duration | float64](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[int(q*float64(len(values)-1)+0.5)]
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
