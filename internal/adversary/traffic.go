package adversary

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/trace"
)

// Traffic is what is asked of one model.
type Traffic struct {
	Family  string
	MeanRPS float64
	CV      float64 // of the gaps
	Lengths float64 // multiplies a conversation's prompts and replies; 0 for requests without tokens
	Long    bool    // one prompt in two hundred is very long
	Seed    uint64

	ratio float64
	dwell time.Duration
}

// steadyFamily is the traffic whose rate does not change.
const steadyFamily = "flat"

func (c *Case) traffic(d dice, number uint64) Traffic {
	t := Traffic{
		Family: pick(d, steadyFamily, steadyFamily, "steps", "flash-crowd", "enterprise", "api"),
		CV:     pick(d, 0.5, 1, 1, 2, 4), Seed: c.Seed ^ number<<56,
		ratio: d.spread(2, 30), dwell: d.duration(20*c.Tick, 150*c.Tick),
	}
	// So many requests in a Case are enough to fill any fleet now and then.
	requests := d.spread(5, 6000)
	t.MeanRPS = min(8, requests/c.Span.Seconds())
	t.Lengths = d.spread(0.2, 1.5)
	t.Long = d.chance(0.1)
	return t
}

// source draws the requests.
func (t Traffic) source(model string, span time.Duration) (trace.Source, error) {
	d := trace.Draw{Seed: t.Seed, CV: t.CV, Model: model}
	if t.Lengths > 0 {
		d.Tokens = scaled{trace.Conversation(), t.Lengths}
		if t.Long {
			d.Tokens = trace.Outliers{Tokens: d.Tokens, Share: 0.005, PromptTokens: 30_000}
		}
	}
	switch t.Family {
	case "steps":
		return trace.Steps{Span: span, MeanRPS: t.MeanRPS, Ratio: t.ratio, Dwell: max(10*time.Second, t.dwell)}.Source(d)
	case "flash-crowd":
		return trace.FlashCrowd{
			Span: span, MeanRPS: t.MeanRPS, Ratio: 2, Peak: t.ratio, Every: 2 * t.dwell, Rise: t.dwell / 8, Hold: t.dwell / 4, Fall: t.dwell / 8,
		}.Source(d)
	case "enterprise":
		return trace.Enterprise{Span: span, MeanRPS: t.MeanRPS, Ratio: t.ratio, Weekend: 0.5}.Source(d)
	case "api":
		return trace.API{Span: span, MeanRPS: t.MeanRPS, Clients: 8}.Source(d)
	default:
		return trace.Flat{Span: span, MeanRPS: t.MeanRPS}.Source(d)
	}
}

// scaled are lengths, longer or shorter.
type scaled struct {
	of     trace.Tokens
	factor float64
}

func (s scaled) Draw(at time.Duration, random *rand.Rand) (prompt, output int) {
	prompt, output = s.of.Draw(at, random)
	return max(1, int(float64(prompt)*s.factor)), max(1, int(float64(output)*s.factor))
}

// arrivals is the Source of a Case: all models' traffic up to its end, bursts,
// and those who try again. It numbers what it gives.
type arrivals struct {
	c      *Case
	base   trace.Source
	ahead  scale.Request
	err    error // of base, once ahead is used up
	more   pending
	burst  dice
	retry  dice
	last   time.Time
	given  scale.RequestID // so many
	placed scale.RequestID // into more
	tries  map[scale.RequestID]int
	reach  func(string)
	loaded bool
}

// pending are requests by arrival, then in the order in which they came.
type pending []scale.Request

func (p pending) Len() int { return len(p) }
func (p pending) Less(i, j int) bool {
	return p[i].At.Before(p[j].At) || p[i].At.Equal(p[j].At) && p[i].ID < p[j].ID
}
func (p pending) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *pending) Push(x any)   { *p = append(*p, x.(scale.Request)) }
func (p *pending) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

// source makes the Source of a Case. Its traffic is that of the whole Case, cut
// off where a Cut says so.
func (c *Case) source(reach func(string)) (*arrivals, error) {
	sources := make([]trace.Source, 0, len(c.Models))
	for _, m := range c.Models {
		s, err := m.Traffic.source(m.Model.Name, c.whole)
		if err != nil {
			return nil, fmt.Errorf("draw the traffic of %s: %w", m.Model.Name, err)
		}
		sources = append(sources, s)
	}
	a := &arrivals{
		c: c, base: trace.Merge(sources...), reach: reach, tries: map[scale.RequestID]int{},
		burst: newDice(c.Seed, purposeBurst, 0), retry: newDice(c.Seed, purposeRetry, 0),
	}
	// The world lives to its end, whatever is asked.
	heap.Push(&a.more, scale.Request{At: c.Begin.Add(c.Span), Model: c.Models[0].Model.Name, PromptTokens: 1, OutputTokens: 1})
	return a, nil
}

// Next implements sim.Source.
func (a *arrivals) Next() (scale.Request, error) {
	if !a.loaded && a.err == nil {
		if err := a.load(); err != nil {
			return scale.Request{}, err
		}
	}
	var r scale.Request
	switch {
	case len(a.more) > 0 && (!a.loaded || a.more[0].At.Before(a.ahead.At)):
		r = heap.Pop(&a.more).(scale.Request)
	case a.loaded:
		r, a.loaded = a.ahead, false
	default:
		return scale.Request{}, io.EOF
	}
	if r.At.Before(a.last) {
		r.At = a.last
	}
	a.last = r.At
	a.given++
	if tries := int(r.ID >> tryShift); tries > 0 {
		a.tries[a.given] = tries
	}
	r.ID = a.given
	return r, nil
}

// tryShift is where a waiting request's ID holds how often it was tried before;
// the rest of it is its place in the order.
const tryShift = 56

// load takes the next request of the traffic, and what a burst adds to it.
func (a *arrivals) load() error {
	r, err := a.base.Next()
	at := r.At.Sub(trace.Epoch())
	if errors.Is(err, io.EOF) || err == nil && at >= a.c.Span {
		a.err = io.EOF
		return nil
	}
	if err != nil {
		return err
	}
	r.At = a.c.Begin.Add(at)
	a.ahead, a.loaded = r, true
	if f, on := a.c.on(at, Burst); on {
		a.reach(f.Kind.String())
		for range int(burstFactor * f.Share) {
			extra := r
			extra.At = r.At.Add(time.Duration(a.burst.Float64() * float64(time.Second)))
			a.put(extra, 0)
		}
	}
	return nil
}

// burstFactor is how many requests a burst makes of one.
const burstFactor = 50

func (a *arrivals) put(r scale.Request, tries int) {
	a.placed++
	r.ID = a.placed | scale.RequestID(tries)<<tryShift
	heap.Push(&a.more, r)
}

// mostTries is how often a client of a retry storm asks in all.
const mostTries = 4

// ended has a client whose request came to nothing try again.
func (a *arrivals) ended(r scale.Request, s scale.Served) {
	tries := a.tries[r.ID]
	delete(a.tries, r.ID)
	switch s.Outcome {
	case scale.Refused, scale.Expired, scale.Failed, scale.Interrupted:
	case scale.OK, scale.Cancelled, scale.Lost, scale.Corrupted:
		return
	}
	at := r.At.Add(max(s.Held, s.Total))
	f, on := a.c.on(at.Sub(a.c.Begin), Retries)
	if !on || tries+1 >= mostTries || !a.retry.chance(f.Share) {
		return
	}
	a.reach(f.Kind.String())
	r.At = at.Add(time.Duration(a.retry.Float64() * float64(2*time.Second)))
	r.Deadline = time.Time{}
	a.put(r, tries+1)
}
