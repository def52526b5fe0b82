package trace

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

const (
	// maxStreams bounds the models or clients of one generated series, each of
	// which has a state of its own.
	maxStreams = 10_000
	// coarseBin is the resolution of rates where there are many streams.
	coarseBin = time.Minute
	// activeFor is how long a model of a Fleet is in use on average.
	activeFor = time.Hour
)

// zipf is the weight of a rank, from 0.
func zipf(rank int, exponent float64) float64 { return math.Pow(float64(rank+1), -exponent) }

// Fleet is many models of which most are idle: a model is in use for an hour
// and then not, exponentially distributed, so that it is in use for
// ActiveShare of the time; while it is, its rate is in proportion to
// rank^−Zipf. Diurnal multiplies all rates by a day curve of 4 : 1. Alibaba's
// image models are like that: the first ten of 87 have 87 % of the requests,
// the gaps' CV is 12 over all and 1.06 within an hour.
type Fleet struct {
	Span        time.Duration
	MeanRPS     float64 // over all models
	Models      int
	Zipf        float64
	ActiveShare float64 // 0..1
	Diurnal     bool
}

// Names returns the models' names, in order of their share, after the prefix
// that Draw.Model gives; "" stands for model.
func (f Fleet) Names(prefix string) []string {
	if prefix == "" {
		prefix = "model"
	}
	return numbered(prefix, f.Models)
}

// numbered names things by number, of as many digits as the last one has.
func numbered(prefix string, n int) []string {
	digits := len(fmt.Sprint(n))
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%0*d", prefix, digits, i+1)
	}
	return names
}

// Source draws the series; its models have Names.
func (f Fleet) Source(d Draw) (Source, error) {
	switch {
	case f.Models < 1 || f.Models > maxStreams:
		return nil, fmt.Errorf("%d models are not between 1 and %d", f.Models, maxStreams)
	case !(f.Zipf >= 0 && f.Zipf <= 10):
		return nil, fmt.Errorf("a Zipf exponent of %v is not between 0 and 10", f.Zipf)
	case !(f.ActiveShare > 0 && f.ActiveShare <= 1):
		return nil, fmt.Errorf("an active share of %v is not between 0 and 1", f.ActiveShare)
	}
	ratio := 1.0
	if f.Diurnal {
		ratio = 4
	}
	streams := make([]stream, f.Models)
	for i, name := range f.Names(d.Model) {
		own := d
		own.Model = name
		streams[i] = stream{
			seed: d.Seed, number: uint64(i), cv: d.CV, weight: zipf(i, f.Zipf), bin: coarseBin, span: f.Span, draw: own,
			shape: func(random *rand.Rand) shape {
				// It begins as if at the end of an episode of the other kind.
				return &onOff{episodes: episodes{random: random}, share: f.ActiveShare, ratio: ratio, on: random.Float64() >= f.ActiveShare}
			},
		}
	}
	return flow(f.MeanRPS, streams...)
}

// onOff is in use and idle by turns.
type onOff struct {
	episodes     episodes
	share, ratio float64
	on           bool
}

func (o *onOff) level(at time.Duration) float64 {
	dwell := activeFor
	if o.on { // what begins is a pause
		dwell = time.Duration(float64(activeFor) * (1 - o.share) / o.share)
	}
	if o.episodes.over(at, dwell) {
		o.on = !o.on
	}
	if !o.on {
		return 0
	}
	return dayCurve(at%day, o.ratio)
}

// API is the demand on a public API: clients of rates in proportion to
// rank^−1.2, so that the first of forty has a third of the traffic; each is
// multiplied anew, around every three hours, by a lognormal factor of sigma
// 0.8, and has gaps of a CV between 1 and 4. There is no day curve. These are
// the traits of ServeGen's m-large (arXiv 2505.09999): one client with 30 to
// 47 % of the traffic, steps of three to nine times between two windows of ten
// minutes, an autocorrelation at one day of 0.08, a mean CV of clients of 3.5.
type API struct {
	Span    time.Duration
	MeanRPS float64 // over all clients
	Clients int
}

// Source draws the series. Draw.CV is not used, as clients have their own; the
// tenants are client-1 and so on.
func (a API) Source(d Draw) (Source, error) {
	if a.Clients < 1 || a.Clients > maxStreams {
		return nil, fmt.Errorf("%d clients are not between 1 and %d", a.Clients, maxStreams)
	}
	traits := rand.New(rand.NewPCG(d.Seed, streamTraits))
	streams := make([]stream, a.Clients)
	for i, name := range numbered("client", a.Clients) {
		streams[i] = stream{
			seed: d.Seed, number: uint64(i), cv: 1 + 3*traits.Float64(), weight: zipf(i, 1.2), bin: coarseBin, span: a.Span, draw: d, tenant: name,
			shape: func(random *rand.Rand) shape {
				return &steps{dwell: 3 * time.Hour, episodes: episodes{random: random}, height: func() float64 {
					return math.Exp(0.8 * random.NormFloat64())
				}}
			},
		}
	}
	return flow(a.MeanRPS, streams...)
}
