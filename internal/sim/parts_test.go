package sim

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
)

func TestTimersFireInOrderWhateverWasSetAndUnset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const ids = 9
		var h timers
		h.room(ids)
		due := map[int32]timer{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			x := timer{id: rapid.Int32Range(0, ids-1).Draw(t, "id"), rank: rapid.Uint32Range(0, 3).Draw(t, "rank")}
			x.rank = x.rank<<24 | uint32(x.id)
			x.at = rapid.SampledFrom([]time.Duration{1, 2, 3, 5, never}).Draw(t, "at")
			h.set(x.id, x.rank, x.at)
			if due[x.id] = x; x.at == never {
				delete(due, x.id)
			}
			first := timer{at: never}
			for _, y := range due {
				if first.at == never || y.before(first) {
					first = y
				}
			}
			if len(h.heap) != len(due) || h.first() != first.at || len(due) > 0 && h.heap[0] != first {
				t.Fatalf("first is %+v of %d, want %+v of %d", h.heap, len(h.heap), first, len(due))
			}
		}
	})
}

func TestQuantileIsThatOfSortedValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SliceOfN(rapid.IntRange(0, 9), 1, 300).Draw(t, "d")
		q := rapid.SampledFrom([]float64{0, 0.5, 0.95, 1}).Draw(t, "q")
		sorted := slices.Sorted(slices.Values(d))
		if got, want := quantile(d, q), sorted[int(q*float64(len(d)-1)+0.5)]; got != want {
			t.Fatalf("quantile %v is %d, want %d of %v", q, got, want, sorted)
		}
	})
}

func TestARingKeepsTheMeanOfTheNewest(t *testing.T) {
	var r ring
	for i := 1; i <= 3*recent+7; i++ {
		r.put(i)
		first := max(1, i-recent+1)
		if want := float64(first+i) / 2; r.mean() != want {
			t.Fatalf("mean %v after %d, want %v", r.mean(), i, want)
		}
	}
}

// TestBinsDoubleAndLoseNothing: what a year of minutes holds is still there
// when bins are an hour long.
func TestBinsDoubleAndLoseNothing(t *testing.T) {
	b := newBooks(1)
	x := &target{rate: 2}
	x.ready, x.starting = 3, 1
	const year = 365 * 24 * time.Hour
	for at := time.Duration(0); at < year; at += 7 * time.Hour {
		b.spread(x, at)
		b.at(at).arrivals++
		b.ended(at, scale.OK)
	}
	b.spread(x, year)
	minutes := b.minutes(year)
	if len(minutes) > MaxMinutes || b.length != 32*time.Minute {
		t.Fatalf("%d bins of %v", len(minutes), b.length)
	}
	arrivals, judged, cost := 0, 0, 0.0
	for i, m := range minutes {
		arrivals, judged, cost = arrivals+m.Arrivals, judged+m.Judged, cost+m.Cost
		if math.Abs(float64(m.Ready[0])-3) > 1e-3 || math.Abs(float64(m.Serving[0])-4) > 1e-3 {
			t.Fatalf("bin %d: %v Ready and %v serving, want 3 and 4", i, m.Ready, m.Serving)
		}
	}
	if want := int(year/(7*time.Hour)) + 1; arrivals != want || judged != want || math.Abs(cost-2*365*24) > 1e-6 {
		t.Errorf("%d arrivals, %d judged, $%.6f", arrivals, judged, cost)
	}
}

func TestTheWorstTenMinutesAreThoseThatMatter(t *testing.T) {
	flat := func(n int) []Minute {
		m := make([]Minute, n)
		for i := range m {
			m[i] = Minute{Judged: 100, Good: 100}
		}
		return m
	}
	hour := flat(60)
	hour[30].Good = 0
	across := flat(60)
	across[29].Good, across[30].Good = 50, 50 // in no window that begins at a full ten minutes are both
	night := flat(6000)
	for i := range 3000 {
		night[i] = Minute{}
	}
	night[100] = Minute{Judged: 1} // one lost request of a night is no window
	for what, tc := range map[string]struct {
		minutes []Minute
		bin     time.Duration
		want    float64
	}{
		"nothing":                      {nil, time.Minute, 1},
		"all good":                     {hour[:30], time.Minute, 1},
		"a lost minute":                {hour, time.Minute, 0.9},
		"windows begin at any minute":  {across, time.Minute, 0.9},
		"too few to count":             {night, time.Minute, 1},
		"shorter than ten minutes":     {[]Minute{{Judged: 4, Good: 1}}, time.Minute, 0.25},
		"bins of four make twelve":     {hour, 4 * time.Minute, 2.0 / 3},
		"bins of an hour stand alone":  {hour, time.Hour, 0},
		"the first window is a window": {append([]Minute{{Judged: 100}}, flat(9)...), time.Minute, 0.9},
	} {
		t.Run(what, func(t *testing.T) {
			if got := worst(tc.minutes, tc.bin); math.Abs(got-tc.want) > 1e-12 {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestDecisionTimesAreTold(t *testing.T) {
	var x timing
	for i := 1; i <= 1000; i++ {
		x.add(time.Duration(i) * time.Microsecond)
	}
	got := x.result()
	if got.Ticks != 1000 || got.Mean != 500500*time.Nanosecond || math.Abs(got.P99.Seconds()/990e-6-1) > 0.1 {
		t.Errorf("%+v", got)
	}
}

func TestIDsLeadToTheSlot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slot := rapid.Int32Range(0, 99_999).Draw(t, "slot")
		birth := rapid.IntRange(0, 9_999_998).Draw(t, "birth")
		id := name("a.model-1", birth, slot)
		if slotOf(id) != int(slot) || id >= name("a.model-1", birth+1, 0) {
			t.Fatalf("%s is of slot %d", id, slotOf(id))
		}
	})
}

// TestBootsHaveTheMeanThatIsSaid: the mixture's mean, and the share that fails.
func TestBootsHaveTheMeanThatIsSaid(t *testing.T) {
	r := newRun(World{Services: []Service{{
		Model: scale.Model{Variants: []scale.Variant{{Name: "v", Capacities: []scale.CapacityType{scale.OnDemand}, ColdStart: time.Hour}}},
		Truths: []Truth{{Boot: Boot{Fails: 0.1, Mixture: []Mode{
			{Share: 0.35, Mean: 2800 * time.Millisecond, Sigma: 0.6}, {Share: 0.65, Mean: 34600 * time.Millisecond, Sigma: 0.25},
		}}}},
	}}, Faults: Faults{FailedBoots: 0.2}})
	const n = 40_000
	sum, failed, quick := 0.0, 0, 0
	for i := range n {
		took, fails := r.boot(r.targets[0], i)
		sum += took.Seconds() / n
		if fails {
			failed++
		}
		if took < 10*time.Second {
			quick++
		}
	}
	if want := 0.35*2.8 + 0.65*34.6; math.Abs(sum/want-1) > 0.01 {
		t.Errorf("mean boot %.3f s, want %.3f", sum, want)
	}
	if share := float64(failed) / n; math.Abs(share-0.28) > 0.01 {
		t.Errorf("%.3f of boots fail, want 1 − 0.9 · 0.8", share)
	}
	if share := float64(quick) / n; math.Abs(share-0.35) > 0.01 {
		t.Errorf("%.3f of boots are of the quick mode, want 0.35", share)
	}
	again, fails := r.boot(r.targets[0], 7)
	if took, failsToo := r.boot(r.targets[0], 7); took != again || fails != failsToo {
		t.Errorf("boot 7 takes %v, then %v", again, took)
	}
}

func TestZonesFollowTheirStepsRoundAndRound(t *testing.T) {
	z := zone{Zone: Zone{Nodes: []Step{{At: time.Minute, Count: 3}, {At: 2 * time.Minute, Count: 1}}, Repeat: 5 * time.Minute}}
	for at, want := range []int{0, 3, 1, 1, 1, 1, 3, 1, 1, 1, 1, 3} {
		z.advance(time.Duration(at) * time.Minute)
		if z.count != want {
			t.Errorf("minute %d: %d nodes, want %d", at, z.count, want)
		}
	}
	z.advance(5*time.Hour + time.Minute)
	if z.count != 3 || z.next() != 5*time.Hour+2*time.Minute {
		t.Errorf("after hours: %d nodes, next %v", z.count, z.next())
	}
}

func TestSpotGoesWhereMostNodesAreFree(t *testing.T) {
	r := run{zones: []zone{{count: 3}, {count: 5, taken: 1}, {count: 4}}}
	var order []int
	for z := r.roomiest(); z != nil; z = r.roomiest() {
		z.taken++
		order = append(order, slices.IndexFunc(r.zones, func(o zone) bool { return o.taken == z.taken && o.count == z.count }))
	}
	if !slices.Equal(order, []int{1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2}) {
		t.Errorf("zones %v", order)
	}
}

func TestBackOffDoublesAndForgives(t *testing.T) {
	var b backoff
	at := time.Duration(0)
	for i, want := range []float64{1, 2, 4, 8, 16, 32, 64, 120, 120} {
		b.bootFailed(at, at)
		if got := (b.notBefore - at).Seconds(); got != want {
			t.Errorf("failure %d: waits %v s, want %v", i, got, want)
		}
		if b.bootFailed(at-1, at); b.fails != i+1 {
			t.Error("one that was ordered with it counts as another")
		}
		at += time.Hour
	}
	if b.succeeded(); b.notBefore != 0 || b.fails != 0 {
		t.Error("a boot that succeeds does not end it")
	}
}

// BenchmarkSnapshot is what a tick may know of a model with eight replicas,
// each of which finished six requests since the last.
func BenchmarkSnapshot(b *testing.B) {
	r := newRun(World{
		Governor: Static(8), Services: []Service{{
			Model:  scale.Model{Name: "m", SLO: scale.SLO{TTFT: 1}, Variants: []scale.Variant{{Name: "v", Capacities: []scale.CapacityType{scale.OnDemand}}}},
			Truths: []Truth{{}}, Start: 8,
		}},
	})
	if err := r.open(); err != nil {
		b.Fatal(err)
	}
	s := r.services[0]
	for i := range recent {
		s.meter.prompts.put(i * 7919 % 1000)
	}
	f := flight{}
	b.ReportAllocs()
	for b.Loop() {
		r.turn(r.now + time.Second)
		for _, m := range s.members {
			for i := range 6 {
				d := time.Duration(i * 7919 % 1000)
				m.latency.add(&f, 1, experience{ttft: d, tpot: d, service: d}, r.samples)
			}
		}
		if x := r.snapshot(); len(x.Models[0].Replicas) != 8 {
			b.Fatal("replicas are missing")
		}
	}
}
