package capacity

import (
	"math"

	"github.com/penstock/penstock/internal/scale"
)

const (
	// cells of concurrency, one per octave: 1, 2, 4 … 512.
	cells = 10
	// maxError bounds how far measurements may move a prediction: a factor of
	// four either way. What lies beyond is a broken profile, not a correction.
	maxError = 4.0
	// outlier bounds what one sample may move once a cell knows something, in
	// log units (Huber 1964): a sample three times off counts as 1.35 off.
	outlier = 0.3
	// memoryWeight is the weight at which a cell stops hardening, so that it
	// keeps following an engine that changes: about the last 50 samples.
	memoryWeight = 50.0
	// borrow is the weight with which a cell leans on what all cells say.
	borrow = 4.0
	// priorWeight is how many samples the Profile is worth.
	priorWeight = 2.0
)

// Learned is how the measured times of one Variant relate to its Profile, by
// concurrency. The zero value has learned nothing and predicts the Profile.
type Learned struct {
	Cells [cells]Cell
	All   Cell
	Slow  Tail // of the time per output token
	Late  Tail // of the time to the first one
}

// Tail is how the share of requests that were too slow relates to what was
// predicted.
type Tail struct {
	Shift    float64 // standard deviations that the tail is shorter
	Expected float64 // requests predicted to be too slow, of recent ones
	Seen     float64 // those that were
}

const (
	// tailPrior is how many requests the predicted tail is worth.
	tailPrior = 3.0
	// tailMemory is how many requests of both kinds are remembered.
	tailMemory = 40.0
	// tailStep is by how much one slow request, or one that should have been,
	// moves the tail.
	tailStep  = 0.02
	leastTail = -12.0
	mostTail  = 12.0
)

// LearnTail takes in how many requests at a Ready Replica were slower than the
// SLO's time per output token.
func (s *Server) LearnTail(l scale.Latency, slo scale.SLO) Learned {
	next := s.Learned
	if l.Timed < 1 || !s.Profile.Tokens() || !slo.Tokens() || !(l.Concurrency > 0) {
		return next
	}
	plain := *s
	plain.Learned.Slow, plain.Learned.Late = Tail{}, Tail{}
	mean, one := plain.Predict(math.Max(1, l.Concurrency), tailBegins), plain.Predict(math.Max(1, l.Concurrency), oneSigma)
	next.Slow = next.Slow.learn(l.Timed, l.Slow, slo.TPOT.Seconds()-mean.TPOT, one.TPOTTail-mean.TPOT)
	next.Late = next.Late.learn(l.Timed, l.Late, slo.TTFT.Seconds()-mean.TTFTTail, one.TTFTTail-mean.TTFTTail)
	return next
}

// learn takes in how many of so many requests were beyond a limit that is so far
// above the mean, with a deviation as predicted.
func (t Tail) learn(requests, beyond int, above, deviation float64) Tail {
	share := 0.0
	switch {
	case deviation > 0:
		share = math.Erfc((above/deviation+t.Shift)/math.Sqrt2) / 2
	case above < 0:
		share = 1
	}
	expected, seen := float64(requests)*share, float64(beyond)
	t.Expected, t.Seen = t.Expected+expected, t.Seen+seen
	if sum := t.Expected + t.Seen; sum > tailMemory {
		t.Expected, t.Seen = t.Expected*tailMemory/sum, t.Seen*tailMemory/sum
	}
	pull := math.Log((t.Expected + tailPrior) / (t.Seen + tailPrior))
	t.Shift = math.Max(leastTail, math.Min(mostTail, t.Shift+tailStep*pull*math.Min(expected+seen, 10)))
	return t
}

const (
	// tailBegins is the least quantile of which Predict tells a tail, and
	// oneSigma the one that is one standard deviation above the mean of a normal.
	tailBegins = 0.5001
	oneSigma   = 0.841344746
)

// Cell is a running mean of log(measured / predicted).
type Cell struct {
	TPOT, TTFT float64
	Weight     float64 // samples, bounded
}

// Factors multiply the Profile's predictions.
type Factors struct {
	TPOT, TTFT float64
}

// Learn takes in what requests at one Ready Replica experienced. Samples that
// cannot be right are refused. Callers see to it that nothing measured during
// a cold start comes here.
func (s *Server) Learn(l scale.Latency) Learned {
	next := s.Learned
	if l.Requests < 1 || !(l.Concurrency > 0) || math.IsInf(l.Concurrency, 0) {
		return next
	}
	prior := *s // the engine is busy with the mix of all, not of the few that ended
	prior.Learned = Learned{}
	weight := math.Sqrt(float64(l.Requests))
	want := prior.Predict(l.Concurrency, median)
	measured := sample{weight: weight}
	if s.Profile.Tokens() {
		measured.tpot, measured.hasTPOT = logRatio(l.TPOT.Seconds(), want.TPOT)
		measured.ttft, measured.hasTTFT = logRatio(l.TTFT.Seconds(), want.TTFT)
	} else {
		measured.ttft, measured.hasTTFT = logRatio(l.Service.Seconds(), want.Service)
	}
	i := cellOf(l.Concurrency)
	next.Cells[i] = next.Cells[i].learn(measured)
	next.All = next.All.learn(measured)
	return next
}

type sample struct {
	tpot, ttft       float64
	hasTPOT, hasTTFT bool
	weight           float64
}

func (c Cell) learn(m sample) Cell {
	gain := m.weight / (c.Weight + m.weight + priorWeight)
	if m.hasTPOT {
		c.TPOT = move(c.TPOT, m.tpot, gain, c.Weight)
	}
	if m.hasTTFT {
		c.TTFT = move(c.TTFT, m.ttft, gain, c.Weight)
	}
	if m.hasTPOT || m.hasTTFT {
		c.Weight = math.Min(c.Weight+m.weight, memoryWeight)
	}
	return c
}

// move steps from one log ratio toward another. A cell that knows something
// gives an outlier less say.
func move(from, to, gain, weight float64) float64 {
	step := to - from
	if weight >= borrow {
		step = math.Max(-outlier, math.Min(outlier, step))
	}
	bound := math.Log(maxError)
	return math.Max(-bound, math.Min(bound, from+gain*step))
}

// factors returns the corrections at a concurrency: between two cells, each
// leaning on what all cells say by as little as it knows itself.
func (l *Learned) factors(concurrency float64) Factors {
	x := math.Log2(math.Max(1, concurrency))
	i := min(int(x), cells-1)
	j := min(i+1, cells-1)
	part := math.Min(1, x-float64(i))
	a, b := l.shrunk(i), l.shrunk(j)
	return Factors{
		TPOT: math.Exp(a.TPOT + part*(b.TPOT-a.TPOT)),
		TTFT: math.Exp(a.TTFT + part*(b.TTFT-a.TTFT)),
	}
}

func (l *Learned) shrunk(i int) Cell {
	c := l.Cells[i]
	w := c.Weight + borrow
	return Cell{
		TPOT: (c.Weight*c.TPOT + borrow*l.All.TPOT) / w,
		TTFT: (c.Weight*c.TTFT + borrow*l.All.TTFT) / w,
	}
}

func cellOf(concurrency float64) int {
	return min(int(math.Round(math.Log2(math.Max(1, concurrency)))), cells-1)
}

func logRatio(measured, predicted float64) (float64, bool) {
	if !(measured > 0) || !(predicted > 0) || math.IsInf(measured, 0) {
		return 0, false
	}
	bound := math.Log(maxError)
	return math.Max(-bound, math.Min(bound, math.Log(measured/predicted))), true
}
