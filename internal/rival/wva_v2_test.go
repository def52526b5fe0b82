package rival

import (
	"slices"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

func TestWVADerivesCapacityFromEngineArguments(t *testing.T) {
	profile := scale.Profile{Linear: []scale.LinearPoint{{Tokens: 1, Time: 1}}, PrefillChunk: 2048, MaxBatch: 256}
	for name, c := range map[string]struct {
		work tokenMix
		want float64
	}{
		"bound by batched tokens": {work: tokenMix{input: 3000, output: 200}, want: 396_800}, // 128 × 3100
		"bound by sequences":      {work: tokenMix{input: 100, output: 900}, want: 140_800},  // 256 × 550
		"output not known":        {work: tokenMix{input: 100}, want: 0},
	} {
		if got := derivedCapacity(profile, c.work); got != c.want {
			t.Errorf("%s: %v tokens, want %v", name, got, c.want)
		}
	}
}

func TestWVARemembersWhatFullReplicasHeld(t *testing.T) {
	s := chatSetting(1, 100)
	p := newWVAV2(s, viaDirect)
	now := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	work := tokenMix{input: 1000, output: 200}
	if got := p.compute(now, 0, work, full{used: 90_000, is: true}); got != 90_000 {
		t.Errorf("a full replica's capacity is %v, want what it has in use", got)
	}
	for range wvaHistory {
		p.compute(now, 0, work, full{used: 70_000, is: true})
	}
	if got := p.compute(now, 0, work, full{used: 10}); got != 70_000 {
		t.Errorf("a replica with room has capacity %v, want the mean of the last ten full ones, 70000", got)
	}
	if got := p.compute(now, 0, tokenMix{input: 1000, output: 600}, full{used: 10}); got != derivedCapacity(s.Model.Variants[0].Profile, tokenMix{input: 1000, output: 600}) {
		t.Errorf("another kind of work has capacity %v, want the derived one", got)
	}
	if got := p.compute(now.Add(25*time.Hour), 0, work, full{used: 10}); got == 70_000 {
		t.Error("a capacity of yesterday is still believed after 24 h")
	}
}

// v2Stage has replicas of 400,000 tokens of KV cache, of which 80 % count.
func v2Stage(s Setting, ready int, kv, queue *float64) *stage {
	g := newStage(s, ready)
	g.load = func(int) scale.Load { return wvaLoad(g, *kv, *queue) }
	g.demand.PromptTokens, g.demand.OutputTokens = g.at(1000), g.at(200)
	return g
}

// TestWVATokensSizeInOneStep: capacity is min(0.8·400,000, 281,600 derived).
func TestWVATokensSizeInOneStep(t *testing.T) {
	for name, c := range map[string]struct {
		ready, loading int
		kv, queue      float64
		want           int
	}{
		"nothing to do":                         {ready: 4, kv: 0.55, want: 4},
		"what is missing at once":               {ready: 4, kv: 0.9, want: 7},             // 4·360,000/0.85 = 6.02 capacities
		"what loads is counted upwards":         {ready: 4, loading: 3, kv: 0.9, want: 7}, // so nothing more is ordered
		"what loads is not counted downwards":   {ready: 4, loading: 3, kv: 0.2, want: 5}, // 4 − 4·80,000/281,600/0.7 = 2.37; with it 5.37
		"what is spare goes at once, but whole": {ready: 10, kv: 0.1, want: 3},            // 10 − 2.03 = 7.97
		"queued prompts count":                  {ready: 4, kv: 0.65, queue: 4, want: 5},  // 4·264,000/0.85 = 4.41
	} {
		s := chatSetting(1, 100)
		g := v2Stage(s, c.ready, &c.kv, &c.queue)
		g.boot = time.Hour
		g.add(s.Target, c.loading, scale.Starting)
		p := newWVAV2(s, viaDirect)
		got := countOf(p.Decide(g.now, g.state()), s.Target)
		if got != c.want {
			t.Errorf("%s: %d replicas, want %d", name, got, c.want)
		}
	}
}

func TestWVATokensAddByCostPerTokenAndRemoveTheDearest(t *testing.T) {
	s := wvaSetting(1)
	p := newWVAV2(s, viaDirect)
	// The variants are sorted by name: a100 at $2, l4 at $0.75.
	for name, c := range map[string]struct {
		targets  []int
		capacity []float64
		required float64
		spare    float64
		want     []int
	}{
		"an A100 does more per dollar":           {targets: []int{1, 1}, capacity: []float64{300, 100}, required: 700, want: []int{4, 1}},
		"an L4 does":                             {targets: []int{1, 1}, capacity: []float64{200, 100}, required: 700, want: []int{1, 8}},
		"no capacity is known of one":            {targets: []int{1, 1}, capacity: []float64{0, 100}, required: 700, want: []int{1, 8}},
		"the dearest goes first":                 {targets: []int{3, 3}, capacity: []float64{300, 100}, spare: 799, want: []int{1, 2}},
		"one of the cheapest stays":              {targets: []int{0, 3}, capacity: []float64{300, 100}, spare: 1e6, want: []int{0, 1}},
		"unless something else still runs":       {targets: []int{1, 3}, capacity: []float64{300, 100}, spare: 299, want: []int{1, 1}},
		"a spare that is no whole replica stays": {targets: []int{2, 2}, capacity: []float64{300, 100}, spare: 99, want: []int{2, 2}},
	} {
		if c.required > 0 {
			p.add(c.targets, c.capacity, c.required)
		} else {
			p.remove(c.targets, c.capacity, c.spare)
		}
		if !slices.Equal(c.targets, c.want) {
			t.Errorf("%s: %v, want %v", name, c.targets, c.want)
		}
	}
}

// TestWVATokensThroughTheHPALag: the wish is there within a loop, and the
// replicas 240 s after the HPA has seen it.
func TestWVATokensThroughTheHPALag(t *testing.T) {
	for _, c := range []struct {
		rival       Rival
		least, most time.Duration
	}{
		{wvaTokensDirect(), 0, 0},
		{wvaTokens(), 240 * time.Second, 300 * time.Second},
	} {
		kv, queue := 0.9, 0.0
		g := v2Stage(chatSetting(1, 100), 4, &kv, &queue)
		p := c.rival.New(g.setting)
		if took := g.takes(t, p); took < c.least || took > c.most || g.size() != 7 {
			t.Errorf("%s: %d replicas after %v, want 7 between %v and %v", c.rival.Name, g.size(), took, c.least, c.most)
		}
	}
}

func TestWVATokensHoldWithoutMetrics(t *testing.T) {
	kv, queue := 0.5, 0.0
	g := v2Stage(chatSetting(1, 100), 6, &kv, &queue)
	g.load = func(int) scale.Load { return scale.Load{} }
	p := wvaTokensDirect().New(g.setting)
	g.until(p, time.Hour)
	if g.size() != 6 {
		t.Errorf("%d replicas after an hour without metrics, want 6", g.size())
	}
}

func TestWVATokensCountSlotsOfModelsWithout(t *testing.T) {
	s := chatSetting(1, 100)
	s.Model.Variants[0].Profile = scale.Profile{Service: scale.ServiceTime{Mean: 4 * time.Second, Concurrency: 10}}
	g := newStage(s, 4)
	g.load = func(int) scale.Load { return scale.Load{Running: g.at(8), Waiting: g.at(0)} }
	p := wvaTokensDirect().New(s)
	g.step(p)
	if g.size() != 5 { // capacity min(8, 10): 32/0.85 = 37.6 over 8
		t.Errorf("%d replicas for 32 requests in 40 slots, of which 80 %% count, want 5", g.size())
	}
}
