package engine

import (
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// pace is Profile.IterationTime in ns, without a search and a division in each
// call.
type pace struct {
	perContext float64   // for each token of KV cache that is read
	few        []float64 // by tokens
	pieces     []piece   // ascending
	start      []int32   // for each bucket of tokens the first piece that may be the one
}

// piece is the line base + slope·tokens, which holds until a number of tokens.
type piece struct {
	until       int
	base, slope float64 // overhead included
}

const (
	fewTokens  = 256 // up to which the time is in a table: batches that only decode
	bucket     = 32  // tokens; points measured are multiples of it, but for the first
	maxBuckets = 1024
)

func newPace(p scale.Profile) pace {
	if len(p.Linear) == 0 {
		return pace{}
	}
	out := pace{pieces: pieces(p)}
	if p.Bandwidth > 0 {
		out.perContext = p.KVBytesPerToken / p.Bandwidth * float64(time.Second)
	}
	at := 0
	for tokens := 1; len(out.start) < maxBuckets; tokens += bucket {
		for tokens > out.pieces[at].until {
			at++
		}
		out.start = append(out.start, int32(at))
		if at == len(out.pieces)-1 {
			break
		}
	}
	few := make([]float64, min(max(p.MaxBatch, 0), fewTokens)+1)
	for tokens := range few {
		few[tokens] = out.linear(tokens)
	}
	out.few = few
	return out
}

// pieces are the lines of Profile.LinearTime.
func pieces(p scale.Profile) []piece {
	overhead := float64(p.Overhead)
	first := p.Linear[0]
	list := []piece{{until: first.Tokens, base: float64(first.Time) + overhead}}
	if len(p.Linear) == 1 {
		list = append(list, piece{base: overhead, slope: float64(first.Time) / float64(first.Tokens)})
	}
	for i, b := range p.Linear[1:] {
		a := p.Linear[i]
		slope := float64(b.Time-a.Time) / float64(b.Tokens-a.Tokens)
		list = append(list, piece{until: b.Tokens, base: float64(a.Time) - slope*float64(a.Tokens) + overhead, slope: slope})
	}
	list[len(list)-1].until = math.MaxInt
	return list
}

// linear returns what an iteration over so many tokens takes, but for the KV
// cache that is read.
func (p *pace) linear(tokens int) float64 {
	if uint(tokens) < uint(len(p.few)) {
		return p.few[tokens]
	}
	at := p.start[min(uint(tokens-1)/bucket, uint(len(p.start)-1))]
	for tokens > p.pieces[at].until {
		at++
	}
	return p.pieces[at].base + p.pieces[at].slope*float64(tokens)
}

// iteration returns what an iteration takes.
func (p *pace) iteration(tokens, context int) time.Duration {
	return max(1, time.Duration(p.linear(tokens)+p.perContext*float64(context)+0.5))
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
