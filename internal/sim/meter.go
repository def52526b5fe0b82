package sim

import (
	"cmp"
	"math/rand/v2"
	"time"

	"github.com/penstock/penstock/internal/admission"
	"github.com/penstock/penstock/internal/scale"
)

// As the gateway measures (internal/gateway/measure.go), over the same counts.
const (
	recent  = 200 // requests over which token counts are averaged
	samples = 256 // kept of a replica's requests in one span
	enough  = 10  // replies that must have ended before their length is told
)

// meter is what a gateway would have measured of one model.
type meter struct {
	asks     bool          // as Service.Asks
	since    time.Duration // previous Traffic
	arrivals int
	newest   time.Duration // latest arrival; −1 before the first
	prompts  ring
	long     float64 // 0.95 quantile of prompts; −1 while it is not up to date
	limits   ring    // that clients set
	asked    ring    // limits of requests that ended well
	came     ring    // and how long their replies were
	outputs  lengths
	expected int // what outputs says, when last taken
	good     int
	bad      int
}

// lengths estimates how long replies are, as the gateway's does.
type lengths struct {
	tokens, ends float64
	ended, total int
}

// take brings the estimate up to date, given the tokens that ever came.
func (l *lengths) take(total int) {
	l.tokens += float64(total - l.total)
	l.ends += float64(l.ended)
	l.total, l.ended = total, 0
	if l.ends > recent {
		l.tokens, l.ends = l.tokens*recent/l.ends, recent
	}
}

func (l *lengths) mean() (float64, bool) {
	if l.ends < enough || l.tokens <= 0 {
		return 0, false
	}
	return l.tokens / l.ends, true
}

// ring keeps the newest values and their sum.
type ring struct {
	values [recent]int
	n, at  int
	sum    int
}

func (r *ring) put(v int) {
	r.sum += v - r.values[r.at]
	r.values[r.at] = v
	r.n = min(r.n+1, recent)
	if r.at++; r.at == recent {
		r.at = 0
	}
}

func (r *ring) mean() float64 { return float64(r.sum) / float64(max(1, r.n)) }

// arrived takes in a request and returns how many tokens admission expects of
// its reply, going by those before.
func (m *meter) arrived(f *flight) int {
	m.arrivals++
	m.newest = f.arrived
	m.prompts.put(f.request.PromptTokens)
	m.long = -1
	if !m.asks {
		return m.expected
	}
	limit := f.request.OutputTokens
	m.limits.put(limit)
	if m.asked.sum > 0 {
		return int(float64(limit) * min(1, float64(m.came.sum)/float64(m.asked.sum)))
	}
	return limit
}

// finished takes in a request that ended well.
func (m *meter) finished(f *flight) {
	m.outputs.ended++
	if m.asks {
		m.asked.put(f.request.OutputTokens)
		m.came.put(f.request.OutputTokens)
	}
}

// demand returns what was measured and starts a new span.
func (m *meter) demand(r *run, q *admission.Queue, tokens int) scale.Demand {
	at := r.clock
	held, heldTokens, oldest := q.Held()
	d := scale.Demand{
		Held: scale.Observe(float64(held), at), HeldTokens: scale.Observe(float64(heldTokens), at), HeldFor: scale.Observe(0, at),
		InFlight: scale.Observe(float64(q.InFlight()), at), Good: scale.Observe(float64(m.good), at), Bad: scale.Observe(float64(m.bad), at),
	}
	if !oldest.IsZero() {
		d.HeldFor.Value = max(0, at.Sub(oldest).Seconds())
	}
	if span := r.now - m.since; span > 0 {
		d.Arrivals, d.ArrivalsOver = scale.Observe(float64(m.arrivals)/span.Seconds(), at), span
		m.arrivals, m.since = 0, r.now
	}
	if m.prompts.n > 0 {
		if m.long < 0 {
			var room [recent]int
			copy(room[:], m.prompts.values[:m.prompts.n])
			m.long = float64(quantile(room[:m.prompts.n], 0.95))
		}
		d.PromptTokens, d.LongPrompt = scale.Observe(m.prompts.mean(), at), scale.Observe(m.long, at)
		d.LastArrival = scale.Observe(float64(r.instant(m.newest).UnixNano())/1e9, at)
	}
	if m.limits.n > 0 {
		d.OutputLimit = scale.Observe(m.limits.mean(), at)
	}
	m.outputs.take(tokens)
	if expected, known := m.outputs.mean(); known {
		d.OutputTokens = scale.Observe(expected, at)
		m.expected = int(expected)
	}
	return d
}

// latency gathers what the requests that a replica finished in one span
// experienced there. Medians come from a reservoir (Vitter's algorithm R).
type latency struct {
	requests                     int
	concurrency, prompts, output float64 // sums
	timed, slow, late            int
	kept                         []experience
}

// experience is one request's, at the replica.
type experience struct {
	ttft, tpot, service time.Duration
}

// add takes in a request that ended well.
func (l *latency) add(f *flight, concurrency float64, e experience, random *rand.Rand) {
	l.requests++
	if slo := &f.service.Model.SLO; e.tpot > 0 && slo.TPOT > 0 {
		l.timed++
		if e.tpot > slo.TPOT {
			l.slow++
		}
		if e.ttft > slo.TTFT {
			l.late++
		}
	}
	l.concurrency += concurrency
	l.prompts += float64(f.request.PromptTokens)
	l.output += float64(f.request.OutputTokens)
	if len(l.kept) < samples {
		l.kept = append(l.kept, e)
	} else if i := random.IntN(l.requests); i < samples {
		l.kept[i] = e
	}
}

// take returns what was gathered and starts anew.
func (l *latency) take(at time.Time) scale.Latency {
	if l.requests == 0 {
		return scale.Latency{}
	}
	n := float64(l.requests)
	out := scale.Latency{
		At: at, Requests: l.requests, Concurrency: l.concurrency / n,
		PromptTokens: l.prompts / n, OutputTokens: l.output / n, Timed: l.timed, Slow: l.slow, Late: l.late,
	}
	var room [samples]time.Duration
	median := func(of func(*experience) time.Duration) time.Duration {
		for i := range l.kept {
			room[i] = of(&l.kept[i])
		}
		return quantile(room[:len(l.kept)], 0.5)
	}
	out.TTFT = median(func(e *experience) time.Duration { return e.ttft })
	out.TPOT = median(func(e *experience) time.Duration { return e.tpot })
	out.Service = median(func(e *experience) time.Duration { return e.service })
	*l = latency{kept: l.kept[:0]}
	return out
}

// quantile returns the value that would stand at index q·(n−1), rounded, if d
// were sorted (Hoare's selection). It reorders d, which is not empty.
func quantile[T cmp.Ordered](d []T, q float64) T {
	k := int(q*float64(len(d)-1) + 0.5)
	low, high := 0, len(d)-1
	for low < high {
		pivot := d[(low+high)/2]
		i, j := low, high
		for i <= j {
			for d[i] < pivot {
				i++
			}
			for pivot < d[j] {
				j--
			}
			if i <= j {
				d[i], d[j] = d[j], d[i]
				i++
				j--
			}
		}
		switch {
		case k <= j:
			high = j
		case k >= i:
			low = i
		default:
			return d[k]
		}
	}
	return d[k]
}
