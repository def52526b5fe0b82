package load

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
)

func ended(at time.Duration, outcome scale.Outcome, good bool) result {
	return result{
		due: at, lag: 2 * time.Millisecond, good: good, verified: true, detail: "why",
		served: scale.Served{Outcome: outcome, Streamed: true, TTFT: 100 * time.Millisecond, Total: 200 * time.Millisecond, OutputTokens: 11},
	}
}

func TestReportJSON(t *testing.T) {
	tally := newTally()
	tally.add(ended(0, scale.OK, true))
	tally.add(ended(time.Second, scale.OK, true))
	tally.add(ended(61*time.Second, scale.OK, false))
	tally.add(ended(62*time.Second, scale.OK, true))
	tally.add(ended(63*time.Second, scale.Lost, false))
	tally.add(ended(200*time.Second, scale.Cancelled, false))
	got, err := json.Marshal(tally.report(210 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"requests":6,"outcomes":{"ok":4,"refused":0,"expired":0,"interrupted":0,"failed":0,"cancelled":1,"lost":1,"corrupted":0},` +
		`"attainment":0.6,"good":3,"woke":0,"verified":4,"output_tokens":44,"requests_per_second":0.01904761904761905,"output_tokens_per_second":0.20952380952380953,` +
		`"ttft":{"mean":100,"p50":100.031,"p95":100.031,"p99":100.031,"max":100.031},"tpot":{"mean":10.004,"p50":10.007,"p95":10.007,"p99":10.007,"max":10.007},` +
		`"e2e":{"mean":200,"p50":200.063,"p95":200.063,"p99":200.063,"max":200.063},` +
		`"worst_minute":0.3333333333333333,"worst_minute_at_s":60,"worst_minute_requests":3,` +
		`"lag_ms":{"mean":2,"p50":2,"p95":2,"p99":2,"max":2},"kept_up":true,"duration_s":210,` +
		`"examples":[{"outcome":"lost","at_s":63,"detail":"why"},{"outcome":"cancelled","at_s":200,"detail":"why"}]}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
}

func TestReportOfNothing(t *testing.T) {
	got, err := json.Marshal(newTally().report(0))
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		Requests    int            `json:"requests"`
		Outcomes    map[string]int `json:"outcomes"`
		Attainment  *float64       `json:"attainment"`
		WorstMinute *float64       `json:"worst_minute"`
	}
	if err := json.Unmarshal(got, &said); err != nil {
		t.Fatal(err)
	}
	if said.Attainment != nil || said.WorstMinute != nil || len(said.Outcomes) != 8 {
		t.Errorf("of no requests: %s", got)
	}
}

func TestLagAboveItsBoundIsSaid(t *testing.T) {
	tally := newTally()
	for i := range 100 {
		r := ended(0, scale.OK, true)
		if i >= 98 {
			r.lag = 80 * time.Millisecond
		}
		tally.add(r)
	}
	if r := tally.report(0); r.KeptUp() {
		t.Errorf("kept up with lag %+v", r.Lag)
	}
}

func TestExamplesAreFew(t *testing.T) {
	tally := newTally()
	for range 100 {
		tally.add(ended(0, scale.Refused, false))
		tally.add(ended(0, scale.Lost, false))
	}
	if n := len(tally.report(0).Examples); n != 10 {
		t.Errorf("%d examples, want five of each kind", n)
	}
}

func TestBucketsStayBounded(t *testing.T) {
	var over overTime
	const each = 7 * time.Second
	n := 0
	for at := time.Duration(0); at < 10*time.Hour; at += each {
		over.add(ended(at, scale.OK, n%2 == 0))
		n++
	}
	var sum Bucket
	for _, b := range over.buckets {
		sum.Arrived, sum.Good, sum.Judged = sum.Arrived+b.Arrived, sum.Good+b.Good, sum.Judged+b.Judged
	}
	if len(over.buckets) > maxBuckets || over.width != 64*time.Second || sum.Arrived != n || sum.Judged != n || sum.Good != (n+1)/2 {
		t.Errorf("%d buckets of %v with %+v, want at most %d of 64s with %d", len(over.buckets), over.width, sum, maxBuckets, n)
	}
}
