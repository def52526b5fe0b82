package rival

import (
	"math"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

func slaEngine() dynamoEngine {
	e := newDynamoEngine(chatSetting(1, 100), 1)
	e.mix, e.perEngine = tokenMix{input: 1000, output: 200}, 20
	return e
}

// TestDynamoNeedsAllEnginesLate: the target is 1 s; 1000 tokens of prompt take
// about 140 ms alone, and 8,000 queued ones another second.
func TestDynamoNeedsAllEnginesLate(t *testing.T) {
	e := slaEngine()
	late, idle := engineLoad{queued: 9000, kv: 20_000}, engineLoad{kv: 20_000}
	if own, behind := e.nextTTFT(0, 20_000, e.mix), e.nextTTFT(9000, 20_000, e.mix); own > 0.3 || behind < 1 {
		t.Fatalf("TTFT %.3f s alone and %.3f s behind 9,000 tokens; the story needs 1 s between", own, behind)
	}
	for name, c := range map[string]struct {
		loads []engineLoad
		want  int
	}{
		"all late":                          {loads: []engineLoad{late, late, late}, want: 1},
		"two of three late":                 {loads: []engineLoad{late, late, idle}, want: 0},
		"all could bear half as much again": {loads: []engineLoad{idle, idle, idle}, want: -1},
		"one late, alone":                   {loads: []engineLoad{late}, want: 1},
		"one idle, alone":                   {loads: []engineLoad{idle}, want: 0},
	} {
		if got := e.step(c.loads); got != c.want {
			t.Errorf("%s: %+d, want %+d", name, got, c.want)
		}
	}
}

// TestDynamoRemovesOnlyWhatTheOthersCanBear: what goes at N = 10 is refused at
// N = 2, where the survivor would take twice its load.
func TestDynamoRemovesOnlyWhatTheOthersCanBear(t *testing.T) {
	e := slaEngine()
	for name, c := range map[string]struct {
		load engineLoad
		n    int
		want bool
	}{
		"KV cache of 15 % on ten":         {load: engineLoad{kv: 0.15 * e.capacity}, n: 10, want: true},
		"KV cache of 15 % on two":         {load: engineLoad{kv: 0.15 * e.capacity}, n: 2},
		"a queue of 3,000 on ten":         {load: engineLoad{kv: 20_000, queued: 3000}, n: 10, want: true},
		"a queue of 3,000 on two":         {load: engineLoad{kv: 20_000, queued: 3000}, n: 2},
		"what waits fills the cache, too": {load: engineLoad{kv: 0.5 * e.capacity, queued: 0.5 * e.capacity}, n: 10},
	} {
		n := float64(c.n)
		if got := e.bears(c.load, n/(n-1)); got != c.want {
			t.Errorf("%s: bears %v, want %v", name, got, c.want)
		}
	}
	e.ttft = 0.05 // below the request's own prefill
	if e.bears(engineLoad{kv: 20_000}, 1.1) {
		t.Error("a target below the request's own prefill leaves no room, and nothing may go")
	}
}

func TestDynamosRateHoldsBothTargets(t *testing.T) {
	e := slaEngine()
	rate := e.bestRate(e.mix)
	// Little's law: the batch that this rate fills, and the next one that does not hold.
	batch := 0.0
	for b := 1.0; b <= 256; b++ {
		prefill, kv := e.steady(b, e.mix)
		if math.Abs(b/(e.mix.output*e.wall(prefill, kv, e.mix))-rate) < 1e-9 {
			batch = b
		}
	}
	if batch == 0 {
		t.Fatalf("no batch gives %v requests/s", rate)
	}
	prefill, kv := e.steady(batch, e.mix)
	more, fuller := e.steady(batch+1, e.mix)
	if e.wall(prefill, kv, e.mix) > e.itl || e.nextTTFT(prefill, kv, e.mix) > e.ttft {
		t.Errorf("a batch of %v misses a target", batch)
	}
	if e.wall(more, fuller, e.mix) <= e.itl && e.nextTTFT(more, fuller, e.mix) <= e.ttft {
		t.Errorf("a batch of %v holds both targets, and %v was chosen", batch+1, batch)
	}
	e.itl = 0.001
	if got, want := e.bestRate(e.mix), 1/(e.mix.output*e.wall(5, e.context(e.mix), e.mix)); math.Abs(got-want) > 1e-9 {
		t.Errorf("an ITL that cannot be met gives %v requests/s, want that of a batch of one, %v", got, want)
	}
}

func TestDynamoLearnsThatEnginesAreSlowerThanTold(t *testing.T) {
	e := slaEngine()
	prefill, kv := e.steady(20, e.mix)
	told := e.profile.IterationTime(prefill+20, kv)
	r := &scale.Replica{Load: scale.Load{Latency: scale.Latency{
		Requests: 5, Concurrency: 20, PromptTokens: 1000, OutputTokens: 200,
		TPOT: time.Duration(1.3 * told * float64(time.Second)),
	}}}
	for range 4 {
		e.observe([]*scale.Replica{r}, e.mix)
	}
	if e.factor != 1 {
		t.Errorf("factor %v after four samples, want 1: five are the least", e.factor)
	}
	for range 100 {
		e.observe([]*scale.Replica{r}, e.mix)
	}
	if math.Abs(e.factor-1.3) > 1e-6 || len(e.seen) != dynamoSamples {
		t.Errorf("factor %v from %d samples, want 1.3 from %d", e.factor, len(e.seen), dynamoSamples)
	}
}

// slaStage offers a rate that spreads evenly, at the profile's own speed.
func slaStage(rate *float64, ready int) *stage {
	g := newStage(chatSetting(1, 100), ready)
	g.load = func(n int) scale.Load {
		batch := *rate / float64(n) * 200 * 0.025 // 25 ms a token
		g.demand.Arrivals, g.demand.ArrivalsOver = g.at(*rate), dynamoLoadInterval
		return scale.Load{Running: g.at(batch), KVCacheUsage: g.at(math.Min(1, batch*1100/400_000))}
	}
	g.demand.PromptTokens, g.demand.OutputTokens = g.at(1000), g.at(200)
	return g
}

func TestDynamosForecastIsAFloor(t *testing.T) {
	rate := 0.0
	g := slaStage(&rate, 1)
	p := dynamoSLA().New(g.setting).(*sla)
	p.engine.mix = tokenMix{input: 1000, output: 200}
	each := p.engine.bestRate(p.engine.mix)
	rate = 6.5 * each
	g.until(p, 10*time.Minute)
	if p.floor != 7 || g.size() < 7 {
		t.Errorf("%d replicas over a floor of %d for 6.5 engines' rate, want 7", g.size(), p.floor)
	}
}

func TestUnknownTrafficIsNotZeroForDynamo(t *testing.T) {
	rate := 0.0
	g := slaStage(&rate, 5)
	p := dynamoSLA().New(g.setting).(*sla)
	p.engine.mix = tokenMix{input: 1000, output: 200}
	rate = 4.5 * p.engine.bestRate(p.engine.mix)
	g.until(p, 10*time.Minute)
	floor := p.floor
	load := g.load
	g.load = func(n int) scale.Load {
		l := load(n)
		g.demand.Arrivals = scale.Observation{}
		return l
	}
	g.until(p, 30*time.Minute)
	if floor < 4 || p.floor != floor {
		t.Errorf("the floor went from %d to %d while arrivals were not measured", floor, p.floor)
	}
}

func TestDynamoCountsAnObservationOnce(t *testing.T) {
	g := newStage(chatSetting(1, 100), 1)
	p := dynamoSLA().New(g.setting).(*sla)
	d := scale.Demand{Arrivals: g.at(2), ArrivalsOver: 5 * time.Second}
	p.count(d)
	p.count(d)
	if p.requests != 10 || p.over != 5*time.Second {
		t.Errorf("%v requests over %v from 2/s over 5 s, seen twice", p.requests, p.over)
	}
}
