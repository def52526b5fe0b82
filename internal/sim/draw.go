package sim

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// purposes tell streams of random numbers apart, so that what one thing draws
// shifts nothing else.
const (
	purposeBoot uint64 = iota + 1
	purposeService
	purposeSample
	purposeFault
)

// stream is a source of random numbers that is set to a place before each use.
type stream struct {
	pcg  *rand.PCG
	rand *rand.Rand
	seed uint64
}

// newStream makes the stream of a purpose.
func newStream(seed, purpose uint64) *stream {
	pcg := rand.NewPCG(0, 0)
	return &stream{pcg: pcg, rand: rand.New(pcg), seed: seed ^ purpose*0x9e3779b97f4a7c15}
}

// at sets the stream to what belongs to two numbers.
func (s *stream) at(a, b uint64) *rand.Rand {
	s.pcg.Seed(s.seed+a*0xbf58476d1ce4e5b9, b)
	return s.rand
}

// lognormal draws a time of the given mean whose logarithm has the sigma.
func lognormal(r *rand.Rand, mean time.Duration, sigma float64) time.Duration {
	if sigma == 0 {
		return mean
	}
	return time.Duration(float64(mean) * math.Exp(sigma*r.NormFloat64()-sigma*sigma/2))
}

// serviceSigma is the sigma of a lognormal of a service time's variation.
func serviceSigma(s scale.ServiceTime) float64 { return math.Sqrt(math.Log(1 + s.CV*s.CV)) }

// ServiceTimes are how long requests are served in Worlds of one seed, where a
// Profile has no tokens.
type ServiceTimes struct{ stream *stream }

// NewServiceTimes returns those of a seed.
func NewServiceTimes(seed uint64) ServiceTimes { return ServiceTimes{newStream(seed, purposeService)} }

// Of returns how long a request of World.Services[service] is served, however
// many are served beside it.
func (s ServiceTimes) Of(service int, id scale.RequestID, truth scale.ServiceTime) time.Duration {
	return s.draw(service, id, truth.Mean, serviceSigma(truth))
}

func (s ServiceTimes) draw(service int, id scale.RequestID, mean time.Duration, sigma float64) time.Duration {
	return max(1, lognormal(s.stream.at(uint64(service), uint64(id)), mean, sigma))
}

// boot draws the n-th boot of a model: how long it takes, and whether it fails
// at its end.
func (r *run) boot(t *target, n int) (took time.Duration, fails bool) {
	random := r.boots.at(uint64(t.service.index), uint64(n))
	fail, which := random.Float64(), random.Float64()
	b := t.truth.Boot
	fails = fail < 1-(1-b.Fails)*(1-r.world.Faults.FailedBoots)
	total := 0.0
	for _, m := range b.Mixture {
		total += m.Share
	}
	for i, m := range b.Mixture {
		if which -= m.Share / total; which < 0 || i == len(b.Mixture)-1 {
			return max(0, lognormal(random, m.Mean, m.Sigma)), fails
		}
	}
	return t.variant.ColdStart, fails
}
