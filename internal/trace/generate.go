package trace

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const (
	// maxSpan bounds what is generated: ten years.
	maxSpan = 3650 * 24 * time.Hour
	// maxBins bounds the walk that finds the mean, at some seconds.
	maxBins = 100_000_000
)

// shape is demand over time, of which only the relation is meant. It is asked
// bin after bin, and may have a state of its own.
type shape interface {
	level(at time.Duration) float64
}

// flowing is a source of a shape: a Gamma renewal process of shape 1/CV² in
// the time in which the rate is even, carried over into real time bin by bin.
// So bursts are as strong at every rate, and counts vary as they do in life.
type flowing struct {
	shape shape
	bin   time.Duration
	span  time.Duration
	rps   float64 // requests/s per unit of level

	gaps   gaps
	random *rand.Rand
	pen    pen

	start time.Duration // of the bin after the current one
	at    float64       // nanoseconds
	end   float64       // of the current bin
	rate  float64       // arrivals per nanosecond in it
}

// stream is a flowing source before its rate is known.
type stream struct {
	seed, number uint64 // number tells the streams of one seed apart
	cv           float64
	weight       float64 // multiplies its level
	bin, span    time.Duration
	shape        func(random *rand.Rand) shape // twice the same for one seed
	draw         Draw
	tenant       string
}

func (s stream) fresh() shape { return s.shape(rand.New(rand.NewPCG(s.seed, s.number<<8|streamShape))) }

// flow makes one source of streams, whose mean rates add up to meanRPS. A
// shape is walked through twice, the first time for its mean.
func flow(meanRPS float64, streams ...stream) (Source, error) {
	span := streams[0].span
	switch {
	case !(meanRPS > 0 && meanRPS <= 1e9):
		return nil, fmt.Errorf("a mean of %v requests a second is not between 0 and 1,000,000,000", meanRPS)
	case span <= 0 || span > maxSpan:
		return nil, fmt.Errorf("a span of %s is not between 0 and %s", span, maxSpan)
	case int64(span/streams[0].bin) > maxBins/int64(len(streams)):
		return nil, fmt.Errorf("a span of %s is too long for %d models or clients", span, len(streams))
	}
	mean := 0.0
	for _, s := range streams {
		shape := s.fresh()
		for at := time.Duration(0); at < s.span; at += s.bin {
			mean += s.weight * shape.level(at) * float64(min(s.bin, s.span-at)) / float64(s.span)
		}
	}
	if mean == 0 {
		return nil, errors.New("the span is too short: no model is active in it")
	}
	sources := make([]Source, len(streams))
	for i, s := range streams {
		g, err := gapsOfCV(s.cv)
		if err != nil {
			return nil, err
		}
		f := &flowing{
			shape: s.fresh(), bin: s.bin, span: s.span, rps: s.weight * meanRPS / mean,
			gaps: g, random: rand.New(rand.NewPCG(s.seed, s.number<<8|streamArrivals)),
			pen: pen{tokens: s.draw.Tokens, model: s.draw.Model, tenant: s.tenant, random: rand.New(rand.NewPCG(s.seed, s.number<<8|streamTokens))},
		}
		if len(streams) == 1 {
			return f, nil
		}
		sources[i] = f
	}
	return Merge(sources...), nil
}

// Next returns the next request, or io.EOF at the end of the span.
func (f *flowing) Next() (scale.Request, error) {
	work := f.gaps.draw(f.random) / f.gaps.mean()
	for {
		left := (f.end - f.at) * f.rate
		if work < left {
			f.at += work / f.rate
			return f.pen.write(time.Duration(f.at)), nil
		}
		work -= left
		if f.start >= f.span {
			f.rate = 0
			return scale.Request{}, io.EOF
		}
		f.rate = f.shape.level(f.start) * f.rps / float64(time.Second)
		f.at = float64(f.start)
		f.start = min(f.start+f.bin, f.span)
		f.end = float64(f.start)
	}
}

// dayCurve is a working day's level at a time from midnight: 1 at two in the
// morning, ratio at two in the afternoon, along a cosine of its logarithm.
func dayCurve(at time.Duration, ratio float64) float64 {
	const peak = 14
	return math.Pow(ratio, (1+math.Cos(2*math.Pi*(at.Hours()-peak)/24))/2)
}

// wander is the slow noise of demand: an autoregression of first order on the
// logarithm, minute by minute, of mean 1.
type wander struct {
	random *rand.Rand
	sigma  float64 // standard deviation of the logarithm
	memory time.Duration
	x      float64
	next   time.Duration
}

func (w *wander) level(at time.Duration) float64 {
	keep := math.Exp(-float64(time.Minute) / float64(w.memory))
	for ; w.next <= at; w.next += time.Minute {
		w.x = keep*w.x + w.sigma*math.Sqrt(1-keep*keep)*w.random.NormFloat64()
	}
	return math.Exp(w.x - w.sigma*w.sigma/2)
}

// episodes are states that last for exponentially distributed times.
type episodes struct {
	random *rand.Rand
	until  time.Duration
}

// over says whether a new episode has begun by now; dwell is the mean length
// of the one that begins.
func (e *episodes) over(at, dwell time.Duration) bool {
	if at < e.until {
		return false
	}
	e.until = at + time.Duration(e.random.ExpFloat64()*float64(dwell))
	return true
}
