package sim_test

import (
	"context"
	"errors"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

const ms = time.Millisecond

// flat is an engine whose iterations all take 10 ms.
func flat() scale.Profile {
	return scale.Profile{
		Name: "flat", Linear: []scale.LinearPoint{{Tokens: 1, Time: 10 * ms}, {Tokens: 100_000, Time: 10 * ms}},
		KVBytesPerToken: 1, MemoryBytes: 1000, MemoryUtilisation: 1, PrefillChunk: 100, MaxBatch: 8,
	}
}

func fleet(replicas, batch int) sim.Fleet {
	return sim.Fleet{
		Profile: flat(), Replicas: replicas, BatchLimit: batch,
		SLO: scale.SLO{TTFT: 20 * ms, TPOT: 10 * ms, Objective: 0.99, MaxHold: time.Minute},
	}
}

func requests(list ...scale.Request) iter.Seq2[scale.Request, error] {
	for i := range list {
		list[i].ID = scale.RequestID(i + 1)
	}
	return trace.Of(list)
}

func at(d time.Duration, in, out int) scale.Request {
	return scale.Request{At: trace.Epoch().Add(d), PromptTokens: in, OutputTokens: out}
}

func serve(t *testing.T, f sim.Fleet, series iter.Seq2[scale.Request, error]) ([]scale.Served, sim.Totals) {
	t.Helper()
	got := map[scale.RequestID]scale.Served{}
	totals, err := f.Run(context.Background(), series, func(r scale.Request, s scale.Served) { got[r.ID] = s })
	if err != nil {
		t.Fatal(err)
	}
	list := make([]scale.Served, len(got))
	for id, s := range got {
		list[id-1] = s
	}
	return list, totals
}

func ok(held, ttft, total time.Duration, tokens int) scale.Served {
	return scale.Served{Outcome: scale.OK, Streamed: true, Held: held, TTFT: ttft, Total: total, OutputTokens: tokens}
}

func TestFleetsThatCanBeComputedByHand(t *testing.T) {
	tight := fleet(1, 1)
	tight.SLO.MaxHold = 30 * ms
	byTokens := fleet(1, 8)
	byTokens.KVTokens = 15
	for what, tc := range map[string]struct {
		fleet  sim.Fleet
		series iter.Seq2[scale.Request, error]
		want   []scale.Served
		totals sim.Totals
	}{
		"one request": {
			fleet(1, 1), requests(at(0, 5, 5)),
			[]scale.Served{ok(0, 10*ms, 50*ms, 5)},
			sim.Totals{Requests: 1, Good: 1, Judged: 1, Busy: 50 * ms, Span: 50 * ms},
		},
		"the second waits for the first at a batch of one": {
			fleet(1, 1), requests(at(0, 5, 5), at(0, 5, 2)),
			[]scale.Served{ok(0, 10*ms, 50*ms, 5), ok(50*ms, 60*ms, 70*ms, 2)},
			sim.Totals{Requests: 2, Good: 1, Judged: 2, Busy: 70 * ms, Span: 70 * ms},
		},
		"both at once in a batch of two, one joining an iteration later": {
			fleet(1, 2), requests(at(0, 5, 5), at(3*ms, 5, 2)),
			[]scale.Served{ok(0, 10*ms, 50*ms, 5), ok(0, 17*ms, 27*ms, 2)},
			sim.Totals{Requests: 2, Good: 2, Judged: 2, Busy: 50 * ms, Span: 50 * ms},
		},
		"two replicas share": {
			fleet(2, 1), requests(at(0, 5, 5), at(3*ms, 5, 2)),
			[]scale.Served{ok(0, 10*ms, 50*ms, 5), ok(0, 10*ms, 20*ms, 2)},
			sim.Totals{Requests: 2, Good: 2, Judged: 2, Busy: 70 * ms, Span: 50 * ms},
		},
		"idle between two requests": {
			fleet(1, 1), requests(at(time.Second, 5, 1), at(3*time.Second, 5, 1)),
			[]scale.Served{ok(0, 10*ms, 10*ms, 1), ok(0, 10*ms, 10*ms, 1)},
			sim.Totals{Requests: 2, Good: 2, Judged: 2, Busy: 20 * ms, Span: 2010 * ms},
		},
		"a prompt of three chunks": {
			fleet(1, 1), requests(at(0, 250, 1)),
			[]scale.Served{ok(0, 30*ms, 30*ms, 1)},
			sim.Totals{Requests: 1, Judged: 1, Busy: 30 * ms, Span: 30 * ms},
		},
		"the hold ends at its deadline": {
			tight, requests(at(0, 5, 5), at(0, 5, 2)),
			[]scale.Served{ok(0, 10*ms, 50*ms, 5), {Outcome: scale.Expired, Streamed: true, Held: 30 * ms}},
			sim.Totals{Requests: 2, Good: 1, Judged: 2, Busy: 50 * ms, Span: 50 * ms},
		},
		"tokens bound the batch": {
			byTokens, requests(at(0, 5, 5), at(0, 5, 5)),
			[]scale.Served{ok(0, 10*ms, 50*ms, 5), ok(50*ms, 60*ms, 100*ms, 5)},
			sim.Totals{Requests: 2, Good: 1, Judged: 2, Busy: 100 * ms, Span: 100 * ms},
		},
		"what never fits fails and harms nobody": {
			fleet(1, 1), requests(at(0, 2000, 5), at(0, 5, 1)),
			[]scale.Served{{Outcome: scale.Failed, Streamed: true}, ok(0, 10*ms, 10*ms, 1)},
			sim.Totals{Requests: 2, Good: 1, Judged: 2, Busy: 10 * ms, Span: 10 * ms},
		},
		"no request at all": {fleet(1, 1), requests(), []scale.Served{}, sim.Totals{}},
	} {
		t.Run(what, func(t *testing.T) {
			got, totals := serve(t, tc.fleet, tc.series)
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tc.totals, totals); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRunTellsWhatIsWrongWithTheSeries(t *testing.T) {
	torn := errors.New("torn")
	if _, err := fleet(1, 1).Run(context.Background(), func(yield func(scale.Request, error) bool) { yield(scale.Request{}, torn) }, nil); !errors.Is(err, torn) {
		t.Errorf("error %v, want %v", err, torn)
	}
	_, err := fleet(1, 1).Run(context.Background(), requests(at(time.Second, 1, 1), at(0, 1, 1)), nil)
	if err == nil || !strings.Contains(err.Error(), "request 2 arrives 1s before") {
		t.Errorf("unsorted: error %v", err)
	}
}

// poisson draws n arrivals at a rate, of one prompt token and out tokens.
func poisson(seed uint64, n int, rate float64, out int) []scale.Request {
	random := rand.New(rand.NewPCG(seed, 1))
	list := make([]scale.Request, n)
	seconds := 0.0
	for i := range list {
		seconds += random.ExpFloat64() / rate
		list[i] = at(time.Duration(seconds*float64(time.Second)), 1, out)
	}
	return list
}

// L = λW: what an arrival finds in the system on average (Poisson arrivals see
// time averages) is the rate times the mean time in the system.
func TestLittlesLaw(t *testing.T) {
	const rate, n = 60, 20_000
	series := poisson(5, n, rate, 20)
	f := fleet(3, 5)
	served, _ := serve(t, f, requests(series...))
	var stay float64
	ends := make([]time.Time, n)
	for i, s := range served {
		stay += s.Total.Seconds() / n
		ends[i] = series[i].At.Add(s.Total)
	}
	slices.SortFunc(ends, time.Time.Compare)
	found, ended := 0.0, 0
	for i, r := range series {
		for ended < i && !ends[ended].After(r.At) {
			ended++
		}
		found += float64(i-ended) / n
	}
	if math.Abs(found/(rate*stay)-1) > 0.03 {
		t.Errorf("an arrival finds %.3f, rate × stay is %.3f", found, rate*stay)
	}
	if busy := rate * 0.2 / 15; busy < 0.7 || stay < 0.21 {
		t.Errorf("load %.2f, stay %.3f s: too light for anybody to wait", busy, stay)
	}
}

// One server, fixed service: the mean wait is ρS/2(1−ρ) (Pollaczek and Khinchine).
func TestMD1(t *testing.T) {
	f := fleet(1, 1)
	f.SLO.MaxHold = time.Hour
	const service, rate = 0.05, 14 // 5 tokens of 10 ms; ρ = 0.7
	series := poisson(11, 40_000, rate, 5)
	served, _ := serve(t, f, requests(series...))
	var wait float64
	for _, s := range served {
		wait += s.Held.Seconds() / float64(len(served))
	}
	want := rate * service * service / 2 / (1 - rate*service)
	if math.Abs(wait/want-1) > 0.05 {
		t.Errorf("mean wait %.4f s, want %.4f", wait, want)
	}
}

func small(t *rapid.T) (sim.Fleet, []scale.Request) {
	f := fleet(rapid.IntRange(1, 4).Draw(t, "replicas"), rapid.IntRange(1, 8).Draw(t, "batch"))
	f.KVTokens = rapid.SampledFrom([]int{0, 40, 900}).Draw(t, "kv")
	f.SLO.MaxHold = rapid.SampledFrom([]time.Duration{0, 50 * ms, time.Hour}).Draw(t, "hold")
	n := rapid.IntRange(1, 60).Draw(t, "n")
	list := make([]scale.Request, n)
	now := time.Duration(0)
	for i := range list {
		now += time.Duration(rapid.IntRange(0, 30).Draw(t, "gap")) * ms
		list[i] = at(now, rapid.IntRange(0, 1100).Draw(t, "in"), rapid.IntRange(0, 40).Draw(t, "out"))
	}
	return f, list
}

func TestEveryRequestEndsOnceAndTheSameWayAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, list := small(t)
		var runs [2]map[scale.RequestID]scale.Served
		for i := range runs {
			runs[i] = map[scale.RequestID]scale.Served{}
			totals, err := f.Run(context.Background(), requests(list...), func(r scale.Request, s scale.Served) {
				if _, twice := runs[i][r.ID]; twice {
					t.Fatalf("request %d ended twice", r.ID)
				}
				runs[i][r.ID] = s
			})
			if err != nil {
				t.Fatal(err)
			}
			if totals.Requests != len(list) || totals.Judged != len(list) || len(runs[i]) != len(list) {
				t.Fatalf("totals %+v for %d requests", totals, len(list))
			}
		}
		if d := cmp.Diff(runs[0], runs[1]); d != "" {
			t.Fatal(d)
		}
		for id, s := range runs[0] {
			want := max(1, list[id-1].OutputTokens)
			if s.Outcome == scale.OK && (s.OutputTokens != want || s.TTFT < s.Held+10*ms || s.Total < s.TTFT+time.Duration(want-1)*10*ms) {
				t.Fatalf("request %+v served %+v", list[id-1], s)
			}
		}
	})
}
