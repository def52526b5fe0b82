package gateway

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const (
	recent   = 200 // requests over which token counts are averaged
	samples  = 256 // kept of a replica's requests in one span
	paceSpan = time.Minute
)

// replica is what the owner knows of one replica.
type replica struct {
	route    scale.Route
	routed   bool // in the newest Route
	inFlight int
	area     float64 // request-seconds
	since    time.Time
	latency  latency
}

// spend adds the request-seconds since the last change.
func (r *replica) spend(now time.Time) {
	if d := now.Sub(r.since); d > 0 {
		r.area += float64(r.inFlight) * d.Seconds()
		r.since = now
	}
}

// latency gathers what the requests that a replica finished in one span
// experienced there. Medians come from a reservoir (Vitter's algorithm R).
type latency struct {
	requests                     int
	concurrency, prompts, output float64 // sums
	streamed, timed, slow, late  int
	ttft, tpot, service          []time.Duration
}

// add takes in a request that ended well. A reply that was not streamed shows
// neither first token nor pace.
func (l *latency) add(c *call, a *attempt, concurrency float64, slo scale.SLO) {
	l.requests++
	l.concurrency += concurrency
	l.prompts += float64(c.request.PromptTokens)
	l.output += float64(c.served.OutputTokens)
	l.service = sample(l.service, l.requests, c.end.Sub(a.sent))
	if !c.served.Streamed {
		return
	}
	l.streamed++
	l.ttft = sample(l.ttft, l.streamed, c.begin.Sub(a.sent))
	l.tpot = sample(l.tpot, l.streamed, c.served.TPOT())
	if tpot := c.served.TPOT(); tpot > 0 && slo.TPOT > 0 {
		l.timed++
		if tpot > slo.TPOT {
			l.slow++
		}
		if c.begin.Sub(a.sent) > slo.TTFT {
			l.late++
		}
	}
}

// sample keeps each of n values with the same chance.
func sample(kept []time.Duration, n int, d time.Duration) []time.Duration {
	if len(kept) < samples {
		return append(kept, d)
	}
	if i := rand.IntN(n); i < samples {
		kept[i] = d
	}
	return kept
}

// take returns what was gathered and starts anew.
func (l *latency) take(now time.Time) scale.Latency {
	if l.requests == 0 {
		return scale.Latency{}
	}
	n := float64(l.requests)
	out := scale.Latency{
		At: now, Requests: l.requests, Concurrency: l.concurrency / n,
		TTFT: median(l.ttft), TPOT: median(l.tpot), Service: median(l.service),
		PromptTokens: l.prompts / n, OutputTokens: l.output / n, Timed: l.timed, Slow: l.slow, Late: l.late,
	}
	*l = latency{ttft: l.ttft[:0], tpot: l.tpot[:0], service: l.service[:0]}
	return out
}

func median(d []time.Duration) time.Duration { return quantile(d, 0.5) }

// quantile sorts d; of nothing it is zero.
func quantile[T cmp.Ordered](d []T, q float64) T {
	if len(d) == 0 {
		var none T
		return none
	}
	slices.Sort(d)
	return d[int(q*float64(len(d)-1)+0.5)]
}

// stats are what is measured of a model.
type stats struct {
	since       time.Time // previous Traffic
	arrivals    int       // since then
	lastArrival time.Time
	prompts     ring[int]
	outputs     lengths
	limits      ring[int] // set by clients, of requests that arrived
	asked       ring[ask] // of requests with a limit
	ends        ring[time.Time]
	good, bad   float64
	uses        map[string]scale.Use // by tenant, since the previous Traffic
}

// use adds to what a tenant used.
func (s *stats) use(tenant string, more scale.Use) {
	if tenant == "" {
		return
	}
	if s.uses == nil {
		s.uses = map[string]scale.Use{}
	}
	u := s.uses[tenant]
	u.Requests += more.Requests
	u.PromptTokens += more.PromptTokens
	u.OutputTokens += more.OutputTokens
	s.uses[tenant] = u
}

// lengths estimates how long replies are, in tokens, while many have not ended.
// A mean over those that have would begin with the shortest: after a wake the
// first to end are far shorter than the rest, and whoever sized by them would
// take replies for a tenth of what they are. Tokens that came, of all replies,
// over replies that ended in the same time is the maximum-likelihood estimate
// of the mean of an exponential from such censored data (Epstein and Sobel
// 1953), and right on average for any distribution once things are steady.
type lengths struct {
	tokens, ends float64 // of about the last recent replies
	ended        int     // since the previous take
	total        int64   // tokens ever, when last taken
}

// enough is how many replies must have ended before the estimate means much.
const enough = 10

// take brings the estimate up to date, given the tokens that ever came.
func (l *lengths) take(total int64) {
	l.tokens += float64(total - l.total)
	l.ends += float64(l.ended)
	l.total, l.ended = total, 0
	if l.ends > recent {
		l.tokens, l.ends = l.tokens*recent/l.ends, recent
	}
}

// mean returns the estimate; false while too little is known.
func (l *lengths) mean() (float64, bool) {
	if l.ends < enough || l.tokens <= 0 {
		return 0, false
	}
	return l.tokens / l.ends, true
}

// ask is what a client allowed and what came.
type ask struct{ limit, came int }

// ring keeps the newest values.
type ring[T any] struct {
	values []T
	next   int
}

func (r *ring[T]) put(v T) {
	if len(r.values) < recent {
		r.values = append(r.values, v)
		return
	}
	r.values[r.next] = v
	r.next = (r.next + 1) % recent
}

// arrived takes in a request and completes it with how long its reply will be,
// going by those before: clients that set a limit use about the same share of
// it, and those that set none are like the mean.
func (s *stats) arrived(c *call) {
	s.arrivals++
	s.lastArrival = c.request.At
	s.prompts.put(c.request.PromptTokens)
	s.use(c.request.Tenant, scale.Use{Requests: 1, PromptTokens: c.request.PromptTokens})
	c.request.OutputTokens = c.limit
	if c.limit > 0 {
		s.limits.put(c.limit)
	}
	if c.limit == 0 {
		expected, _ := s.outputs.mean()
		c.request.OutputTokens = int(expected)
		return
	}
	limits, came := 0, 0
	for _, a := range s.asked.values {
		limits += a.limit
		came += a.came
	}
	if limits > 0 {
		c.request.OutputTokens = int(float64(c.limit) * min(1, float64(came)/float64(limits)))
	}
}

// finished takes in a request that ended well.
func (s *stats) finished(c *call, now time.Time) {
	s.outputs.ended++
	if c.limit > 0 {
		s.asked.put(ask{limit: c.limit, came: c.served.OutputTokens})
	}
	s.ends.put(now)
	s.use(c.request.Tenant, scale.Use{OutputTokens: c.served.OutputTokens})
}

// pace returns how many requests ended each second of late, 0 for unknown.
func (s *stats) pace(now time.Time) float64 {
	ends := 0
	oldest := now
	for _, at := range s.ends.values {
		if now.Sub(at) > paceSpan {
			continue
		}
		ends++
		if at.Before(oldest) {
			oldest = at
		}
	}
	if span := now.Sub(oldest).Seconds(); ends > 1 && span > 0 {
		return float64(ends) / span
	}
	return 0
}

func mean(values []int) float64 {
	if len(values) == 0 {
		return 0
	}
	sum := 0
	for _, v := range values {
		sum += v
	}
	return float64(sum) / float64(len(values))
}

// traffic returns what was measured and starts a new span.
func (o *owner) traffic(now time.Time) scale.Traffic {
	s := &o.stats
	held, tokens, oldest := o.queue.Held()
	d := scale.Demand{
		Held:       scale.Observe(float64(held), now),
		HeldTokens: scale.Observe(float64(tokens), now),
		HeldFor:    scale.Observe(0, now),
		InFlight:   scale.Observe(float64(o.queue.InFlight()), now),
		Good:       scale.Observe(s.good, now),
		Bad:        scale.Observe(s.bad, now),
	}
	if !oldest.IsZero() {
		d.HeldFor.Value = max(0, now.Sub(oldest).Seconds())
	}
	if span := now.Sub(s.since); span > 0 {
		d.Arrivals, d.ArrivalsOver = scale.Observe(float64(s.arrivals)/span.Seconds(), now), span
		s.arrivals, s.since = 0, now
	}
	if len(s.prompts.values) > 0 {
		d.PromptTokens = scale.Observe(mean(s.prompts.values), now)
		d.LongPrompt = scale.Observe(float64(quantile(slices.Clone(s.prompts.values), 0.95)), now)
		d.LastArrival = scale.Observe(float64(s.lastArrival.UnixNano())/1e9, now)
	}
	if len(s.limits.values) > 0 {
		d.OutputLimit = scale.Observe(mean(s.limits.values), now)
	}
	s.outputs.take(o.tokens.Load())
	if expected, known := s.outputs.mean(); known {
		d.OutputTokens = scale.Observe(expected, now)
	}
	t := scale.Traffic{Demand: d, Loads: make(map[scale.ReplicaID]scale.Load, len(o.replicas)), Uses: s.uses}
	s.uses = nil
	for id, r := range o.replicas {
		t.Loads[id] = scale.Load{
			InFlight: scale.Observe(float64(r.inFlight), now),
			Latency:  r.latency.take(now),
		}
	}
	return t
}
