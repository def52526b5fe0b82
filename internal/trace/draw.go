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

// Tokens is where drawn requests have their lengths from. An implementation
// is not changed by Draw, so that many sources may share it.
type Tokens interface {
	// Draw returns the lengths of a request that arrives at a time of the
	// file: shifted by Part.From where only a part of that is read.
	Draw(at time.Duration, random *rand.Rand) (prompt, output int)
}

// Draw says how requests are drawn around a rate.
type Draw struct {
	Seed   uint64  // the same one gives the same requests
	CV     float64 // coefficient of variation of the gaps, 0.001 to 10; 0 stands for 1, Poisson
	Tokens Tokens  // nil: requests without tokens
	Model  string  // of every request
}

// Part is the part of a file that is read; what comes out begins at the Epoch.
// The zero Part is the whole file.
type Part struct {
	From time.Duration
	For  time.Duration // 0: to the end
}

// Days returns the Part that begins on a day, counted from 0, and is so many
// days long, 0 for all that follow.
func Days(from, days float64) Part {
	day := float64(24 * time.Hour)
	return Part{From: time.Duration(from * day), For: time.Duration(days * day)}
}

func (p Part) check() error {
	if p.From < 0 || p.For < 0 {
		return fmt.Errorf("a part from %s for %s is none: neither may be negative", p.From, p.For)
	}
	return nil
}

// end is the time of the file at which the part ends.
func (p Part) end() time.Duration {
	if p.For == 0 || p.From > math.MaxInt64-p.For {
		return math.MaxInt64
	}
	return p.From + p.For
}

// The streams of a seed, so that lengths do not depend on how arrivals were
// drawn, nor one client on another.
const (
	streamArrivals = iota + 1
	streamTokens
	streamShape
	streamRescale
	streamReservoir
	streamTraits
	streams
)

// maxCount bounds the arrivals of one bin.
const maxCount = 100_000_000

// carry turns expected counts into whole ones that add up to the same sum.
type carry float64

func (c *carry) whole(expected float64) int {
	const slack = 1e-6 // 3.01 × 600 is a hair below 1806
	*c += carry(expected)
	n := math.Floor(float64(*c) + slack)
	*c -= carry(n)
	return int(n)
}

// pen writes requests.
type pen struct {
	tokens  Tokens
	random  *rand.Rand
	model   string
	tenant  string
	from    time.Duration // time of the file that is the Epoch
	written scale.RequestID
}

func newPen(d Draw, from time.Duration) pen {
	return pen{tokens: d.Tokens, random: rand.New(rand.NewPCG(d.Seed, streamTokens)), model: d.Model, from: from}
}

func (p *pen) write(at time.Duration) scale.Request {
	p.written++
	r := scale.Request{ID: p.written, At: Epoch().Add(at - p.from), Model: p.model, Tenant: p.tenant}
	if p.tokens != nil {
		r.PromptTokens, r.OutputTokens = p.tokens.Draw(at, p.random)
	}
	return r
}

// bin is a stretch of time with its number of arrivals.
type bin struct {
	start, length time.Duration
	n             int
}

// binner yields bins in order of time, then io.EOF.
type binner interface {
	next() (bin, error)
	Close() error
}

// Drawn draws requests into the bins of a file.
type Drawn struct {
	bins   binner
	part   Part
	places *places
	pen    pen
	inside bool // a bin of the part was met
	err    error
}

func newDrawn(bins binner, part Part, d Draw) (*Drawn, error) {
	if err := part.check(); err != nil {
		return nil, err
	}
	g, err := gapsOfCV(d.CV)
	if err != nil {
		return nil, err
	}
	return &Drawn{bins: bins, part: part, places: newPlaces(g, d.Seed, streamArrivals), pen: newPen(d, part.From)}, nil
}

// Close closes the file.
func (d *Drawn) Close() error { return d.bins.Close() }

// Next returns the next request, or io.EOF after the last. An error is final.
func (d *Drawn) Next() (scale.Request, error) {
	for d.err == nil {
		at, ok := d.places.next()
		if !ok {
			d.err = d.begin()
			continue
		}
		if at >= d.part.end() {
			d.err = io.EOF
		} else if at >= d.part.From {
			return d.pen.write(at), nil
		}
	}
	return scale.Request{}, d.err
}

// begin goes on to the next bin that is within the part.
func (d *Drawn) begin() error {
	for {
		b, err := d.bins.next()
		switch {
		case errors.Is(err, io.EOF) && !d.inside:
			return fmt.Errorf("read trace: the part that begins at %s has no bin in it", d.part.From)
		case err != nil:
			return err
		case b.start >= d.part.end():
			return io.EOF
		case b.start+b.length > d.part.From:
			d.inside = true
			if b.n > 0 {
				d.places.begin(b.start, b.length, b.n)
				return nil
			}
		}
	}
}
