package load

import (
	"encoding/json"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/penstock/penstock/internal/scale"
)

// MaxLag is the 0.99 quantile of scheduling lag above which the machine could
// not keep up with the load it was to make, and times are not to be trusted.
const MaxLag = 50 * time.Millisecond

// Outcomes counts requests by outcome; index it by scale.Outcome.
type Outcomes [scale.Corrupted + 1]int

// Sum is the number of requests.
func (o Outcomes) Sum() int {
	sum := 0
	for _, n := range o {
		sum += n
	}
	return sum
}

// MarshalJSON writes all outcomes by name, in their order, zeros too.
func (o Outcomes) MarshalJSON() ([]byte, error) {
	text := []byte{'{'}
	for i, outcome := range scale.Outcomes() {
		if i > 0 {
			text = append(text, ',')
		}
		pair, err := json.Marshal(outcome.String())
		if err != nil {
			return nil, err
		}
		count, err := json.Marshal(o[outcome])
		if err != nil {
			return nil, err
		}
		text = append(append(append(text, pair...), ':'), count...)
	}
	return append(text, '}'), nil
}

// Quantiles are of one measured time, with its mean.
type Quantiles struct {
	Mean, P50, P95, P99, Max time.Duration
}

// MarshalJSON writes milliseconds.
func (q Quantiles) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Mean float64 `json:"mean"`
		P50  float64 `json:"p50"`
		P95  float64 `json:"p95"`
		P99  float64 `json:"p99"`
		Max  float64 `json:"max"`
	}{millis(q.Mean), millis(q.P50), millis(q.P95), millis(q.P99), millis(q.Max)})
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Minute is a minute of wall time, by the arrivals in it.
type Minute struct {
	At     time.Duration // since the run began
	Good   int
	Judged int
}

// Attainment is the share of good requests among the judged; false where
// there were none.
func (m Minute) Attainment() (float64, bool) { return share(m.Good, m.Judged) }

// Example is one request that did not end well.
type Example struct {
	Outcome scale.Outcome `json:"outcome"`
	AtS     float64       `json:"at_s"`
	Detail  string        `json:"detail"`
}

// Report is what became of a run's requests.
type Report struct {
	Requests int
	Outcomes Outcomes
	Good     int       // met the SLO
	Judged   int       // all but those cancelled
	Woke     int       // waited for a wake from zero
	Verified int       // replies of which each token was checked
	Tokens   int       // output tokens of the ok ones, as the server counts them where it says so
	TTFT     Quantiles // of the ok ones, as are TPOT and E2E
	TPOT     Quantiles
	E2E      Quantiles
	Worst    Minute
	Lag      Quantiles // due → sent, of all
	Duration time.Duration
	Buckets  []Bucket // over the run, of one width
	Width    time.Duration
	Examples []Example // a few of each outcome that is not ok
}

// Attainment is the share of good requests among the judged; false where
// there were none.
func (r Report) Attainment() (float64, bool) { return share(r.Good, r.Judged) }

// Rates are the requests that ended well and their output tokens each second,
// over the whole run; 0 for a run that took no time.
func (r Report) Rates() (requests, tokens float64) {
	if r.Duration <= 0 {
		return 0, 0
	}
	return float64(r.Outcomes[scale.OK]) / r.Duration.Seconds(), float64(r.Tokens) / r.Duration.Seconds()
}

// KeptUp says whether the machine started requests when they were due.
func (r Report) KeptUp() bool { return r.Lag.P99 <= MaxLag }

func share(good, judged int) (float64, bool) {
	if judged == 0 {
		return 0, false
	}
	return float64(good) / float64(judged), true
}

// MarshalJSON writes the report for scripts, times in milliseconds, and an
// attainment of no requests as null.
func (r Report) MarshalJSON() ([]byte, error) {
	orNull := func(share float64, ok bool) *float64 {
		if !ok {
			return nil
		}
		return &share
	}
	requests, tokens := r.Rates()
	return json.Marshal(struct {
		Requests    int       `json:"requests"`
		Outcomes    Outcomes  `json:"outcomes"`
		Attainment  *float64  `json:"attainment"`
		Good        int       `json:"good"`
		Woke        int       `json:"woke"`
		Verified    int       `json:"verified"`
		Tokens      int       `json:"output_tokens"`
		PerSecond   float64   `json:"requests_per_second"` // ended well
		TokensPerS  float64   `json:"output_tokens_per_second"`
		TTFT        Quantiles `json:"ttft"`
		TPOT        Quantiles `json:"tpot"`
		E2E         Quantiles `json:"e2e"`
		WorstMinute *float64  `json:"worst_minute"`
		WorstAt     float64   `json:"worst_minute_at_s"`
		WorstOf     int       `json:"worst_minute_requests"`
		Lag         Quantiles `json:"lag_ms"`
		KeptUp      bool      `json:"kept_up"`
		Duration    float64   `json:"duration_s"`
		Examples    []Example `json:"examples,omitempty"`
	}{
		r.Requests, r.Outcomes, orNull(r.Attainment()), r.Good, r.Woke, r.Verified,
		r.Tokens, requests, tokens, r.TTFT, r.TPOT, r.E2E,
		orNull(r.Worst.Attainment()), r.Worst.At.Seconds(), r.Worst.Judged,
		r.Lag, r.KeptUp(), r.Duration.Seconds(), r.Examples,
	})
}

// tally counts results. One goroutine owns it.
type tally struct {
	outcomes             Outcomes
	good, judged         int
	woke, verified       int
	tokens               int
	ttft, tpot, e2e, lag *hdrhistogram.Histogram // microseconds
	minutes              []Minute
	over                 overTime
	examples             []Example
}

func newTally() *tally {
	return &tally{ttft: histogram(), tpot: histogram(), e2e: histogram(), lag: histogram()}
}

// longest is what the histograms tell apart at most.
const longest = 2 * time.Hour

func histogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longest.Microseconds(), 3)
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(d, 0), longest).Microseconds()) // cannot fail: within bounds
}

const examplesEach = 5

func (t *tally) add(r result) {
	outcome := r.served.Outcome
	t.outcomes[outcome]++
	record(t.lag, r.lag)
	t.minute(r)
	t.over.add(r)
	if r.judged() {
		t.judged++
	}
	if r.good {
		t.good++
	}
	if r.served.Woke {
		t.woke++
	}
	if outcome != scale.OK {
		if t.outcomes[outcome] <= examplesEach {
			t.examples = append(t.examples, Example{Outcome: outcome, AtS: r.due.Seconds(), Detail: r.detail})
		}
		return
	}
	if r.verified {
		t.verified++
	}
	t.tokens += r.served.OutputTokens
	record(t.ttft, r.served.TTFT)
	record(t.e2e, r.served.Total)
	if r.served.OutputTokens > 1 {
		record(t.tpot, r.served.TPOT())
	}
}

func (t *tally) minute(r result) {
	i := int(r.due / time.Minute)
	for len(t.minutes) <= i {
		t.minutes = append(t.minutes, Minute{At: time.Duration(len(t.minutes)) * time.Minute})
	}
	if r.judged() {
		t.minutes[i].Judged++
	}
	if r.good {
		t.minutes[i].Good++
	}
}

func (t *tally) report(took time.Duration) Report {
	var worst Minute
	least := 2.0
	for _, m := range t.minutes {
		if share, ok := m.Attainment(); ok && share < least {
			worst, least = m, share
		}
	}
	return Report{
		Requests: t.outcomes.Sum(), Outcomes: t.outcomes, Good: t.good, Judged: t.judged,
		Woke: t.woke, Verified: t.verified, Tokens: t.tokens,
		TTFT: quantiles(t.ttft), TPOT: quantiles(t.tpot), E2E: quantiles(t.e2e), Lag: quantiles(t.lag),
		Worst: worst, Duration: took, Buckets: t.over.buckets, Width: t.over.width, Examples: t.examples,
	}
}

func quantiles(h *hdrhistogram.Histogram) Quantiles {
	at := func(q float64) time.Duration { return time.Duration(h.ValueAtQuantile(q)) * time.Microsecond }
	mean := time.Duration(h.Mean() * float64(time.Microsecond))
	return Quantiles{Mean: mean, P50: at(50), P95: at(95), P99: at(99), Max: time.Duration(h.Max()) * time.Microsecond}
}

// Bucket is a span of the run, by the arrivals in it.
type Bucket struct {
	Arrived int
	Good    int
	Judged  int
}

// overTime keeps a run of any length in at most maxBuckets buckets: when they
// do not suffice, neighbours are joined and all become twice as wide.
type overTime struct {
	width   time.Duration
	buckets []Bucket
}

const maxBuckets = 1024

func (o *overTime) add(r result) {
	if o.width == 0 {
		o.width = time.Second
	}
	for int(r.due/o.width) >= maxBuckets {
		o.join()
	}
	i := int(r.due / o.width)
	for len(o.buckets) <= i {
		o.buckets = append(o.buckets, Bucket{})
	}
	b := &o.buckets[i]
	b.Arrived++
	if r.judged() {
		b.Judged++
	}
	if r.good {
		b.Good++
	}
}

func (o *overTime) join() {
	joined := o.buckets[:0]
	for i := 0; i < len(o.buckets); i += 2 {
		b := o.buckets[i]
		if i+1 < len(o.buckets) {
			n := o.buckets[i+1]
			b = Bucket{b.Arrived + n.Arrived, b.Good + n.Good, b.Judged + n.Judged}
		}
		joined = append(joined, b)
	}
	o.buckets, o.width = joined, 2*o.width
}
