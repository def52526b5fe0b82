package trace

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// law is a distribution of the gaps between arrivals.
type law uint8

const (
	gammaLaw law = iota + 1
	weibullLaw
)

// The shapes that gaps may have. Beyond them a float64 overflows, or a gap is
// as good as constant.
const (
	minShape = 0.01
	maxShape = 1_000_000
)

// gaps draws gaps of one law and shape, and of scale 1.
type gaps struct {
	law     law
	shape   float64
	inverse float64 // 1/shape
	boosted bool    // drawn from the shape + 1, and then made smaller
	d, c    float64 // Marsaglia and Tsang's
}

func newGaps(l law, shape float64) gaps {
	g := gaps{law: l, shape: shape, inverse: 1 / shape, boosted: shape < 0.5}
	g.d = shape - 1.0/3
	if g.boosted {
		g.d++
	}
	g.c = 1 / math.Sqrt(9*g.d)
	return g
}

// gapsOfCV returns Gamma gaps with a coefficient of variation; 0 stands for
// the 1 of a Poisson process.
func gapsOfCV(cv float64) (gaps, error) {
	if cv == 0 {
		cv = 1
	}
	shape := 1 / (cv * cv)
	if !(shape >= minShape && shape <= maxShape) {
		return gaps{}, fmt.Errorf("a coefficient of variation of %v is outside 0.001 to 10", cv)
	}
	return newGaps(gammaLaw, shape), nil
}

// mean is what draw comes to on average; only Gamma gaps are asked for it.
func (g *gaps) mean() float64 { return g.shape }

func (g *gaps) draw(random *rand.Rand) float64 {
	if g.law == weibullLaw {
		return math.Exp(math.Log(random.ExpFloat64()) * g.inverse)
	}
	v := g.marsagliaTsang(random)
	if g.boosted {
		v *= math.Exp(math.Log(1-random.Float64()) * g.inverse)
	}
	return v
}

// marsagliaTsang draws from Gamma(d + 1/3, 1). Source: Marsaglia and Tsang, A
// simple method for generating gamma variables, ACM TOMS 26 (2000). They ask
// for a shape of at least 1; but with y = cx the logarithm of the acceptance
// has the derivative −3d·y³/(1 + y), so it is at most 0 for any d > 0, and it
// is only their squeeze that needs more. This one holds for every d: for
// |y| ≤ 0.7 that logarithm is at least −3d·0.603·y⁴.
func (g *gaps) marsagliaTsang(random *rand.Rand) float64 {
	for {
		x := random.NormFloat64()
		y := g.c * x
		v := 1 + y
		if v <= 0 {
			continue
		}
		v = v * v * v
		u := 1 - random.Float64()
		if math.Abs(y) <= 0.7 && u <= 1-3*0.603*g.d*y*y*y*y {
			return g.d * v
		}
		if math.Log(u) < x*x/2+g.d*(1-v+math.Log(v)) {
			return g.d * v
		}
	}
}

// held is how many gaps a bin's places keep in memory. A bin of more is drawn
// twice, once for the sum.
const held = 4096

// places puts the arrivals of one bin after another: n arrivals at the ends of
// the first n of n + 1 gaps that fill the bin. So the count is exact, and
// burstiness is the gaps'.
type places struct {
	gaps   gaps
	source *rand.PCG
	random *rand.Rand

	start time.Duration
	unit  float64 // nanoseconds per unit of gap
	done  float64 // of the gaps' sum
	left  int     // arrivals

	buffer []float64  // gaps not yet used, backwards; empty where they are drawn again
	replay *rand.PCG  // the source as it was before the sum was drawn
	again  *rand.Rand // draws from replay
}

func newPlaces(g gaps, seed, stream uint64) *places {
	source, replay := rand.NewPCG(seed, stream), rand.NewPCG(0, 0)
	return &places{gaps: g, source: source, random: rand.New(source), replay: replay, again: rand.New(replay)}
}

// begin fills a bin.
func (p *places) begin(start, length time.Duration, n int) {
	p.start, p.left, p.done, p.buffer = start, n, 0, p.buffer[:0]
	if n == 0 {
		return
	}
	*p.replay = *p.source
	sum := 0.0
	for range n + 1 {
		g := p.gaps.draw(p.random)
		sum += g
		if n < held {
			p.buffer = append(p.buffer, g)
		}
	}
	// Of very small shapes every gap may come out as zero: then the last one,
	// after the arrivals, is the whole bin.
	p.unit = 0
	if sum > 0 {
		p.unit = float64(length) / sum
	}
}

// next returns the next arrival, and false after the bin's last one.
func (p *places) next() (time.Duration, bool) {
	if p.left == 0 {
		return 0, false
	}
	p.left--
	if last := len(p.buffer) - 1; last >= 0 {
		p.done += p.buffer[last]
		p.buffer = p.buffer[:last]
	} else {
		p.done += p.gaps.draw(p.again)
	}
	return p.start + time.Duration(p.done*p.unit), true
}
