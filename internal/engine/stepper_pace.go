package engine

import (
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// pace is Profile.IterationTime in ns, without a search and a division in each
// call.
type pace struct {
	perContext float64 // for each token of KV cache that is read
	pieces     []piece // ascending
	start      []int32 // by tokens/bucket, the first piece that may be the one
}

// piece is the line base + slope·tokens, which holds until a number of tokens.
type piece struct {
	until       int
	base, slope float64 // overhead included
}

const (
	bucket     = 32
	maxBuckets = 1024 // beyond, a few more pieces are looked at
)

func newPace(p scale.Profile) pace {
	var out pace
	if len(p.Linear) == 0 {
		return out
	}
	if p.Bandwidth > 0 {
		out.perContext = p.KVBytesPerToken / p.Bandwidth * float64(time.Second)
	}
	overhead := float64(p.Overhead)
	first, last := p.Linear[0], p.Linear[len(p.Linear)-1]
	out.pieces = append(out.pieces, piece{until: first.Tokens, base: float64(first.Time) + overhead})
	if len(p.Linear) == 1 {
		out.pieces = append(out.pieces, piece{base: overhead, slope: float64(first.Time) / float64(first.Tokens)})
	}
	for i, b := range p.Linear[1:] {
		a := p.Linear[i]
		slope := float64(b.Time-a.Time) / float64(b.Tokens-a.Tokens)
		out.pieces = append(out.pieces, piece{
			until: b.Tokens, base: float64(a.Time) - slope*float64(a.Tokens) + overhead, slope: slope,
		})
	}
	out.pieces[len(out.pieces)-1].until = math.MaxInt
	at := 0
	for tokens := 0; tokens <= last.Tokens && len(out.start) < maxBuckets; tokens += bucket {
		for tokens > out.pieces[at].until {
			at++
		}
		out.start = append(out.start, int32(at))
	}
	return out
}

// linear returns what an iteration over so many tokens takes, but for the KV
// cache that is read.
func (p *pace) linear(tokens int) float64 {
	at := p.start[min(tokens/bucket, len(p.start)-1)]
	for tokens > p.pieces[at].until {
		at++
	}
	return p.pieces[at].base + p.pieces[at].slope*float64(tokens)
}

// under returns the iteration of a run, from 1, that is under way at now: the
// first that ends at now or later.
func (g *segment) under(now time.Duration) int {
	x := float64(now - g.begin)
	b := g.first - g.growth/2
	n := int(2*x/(b+math.Sqrt(b*b+2*g.growth*x))) + 1
	n = min(max(n, 1), g.count)
	for n > 1 && g.ends(n-1) >= now { // the root is not exact, and instants are rounded
		n--
	}
	for n < g.count && g.ends(n) < now {
		n++
	}
	return n
}
