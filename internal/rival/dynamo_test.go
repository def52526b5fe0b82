package rival

import (
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// kvStage has replicas with so much of their KV cache in use.
func kvStage(s Setting, ready int, usage *float64) *stage {
	g := newStage(s, ready)
	g.load = func(int) scale.Load { return scale.Load{KVCacheUsage: g.at(*usage)} }
	g.demand.PromptTokens, g.demand.OutputTokens = g.at(1000), g.at(200)
	return g
}

func TestDynamoEasyModeAsksAnyForMoreAndAllForFewer(t *testing.T) {
	for name, c := range map[string]struct {
		rival  Rival
		usages []float64 // of 400,000 tokens
		queued float64
		want   int
	}{
		"one engine is over its cache":             {rival: dynamoThroughput(), usages: []float64{0.95, 0.1, 0.1}, queued: 30_000, want: 1},
		"a full cache is not over it":              {rival: dynamoThroughput(), usages: []float64{1, 0.1, 0.1}, want: 0},
		"all below 60 %":                           {rival: dynamoThroughput(), usages: []float64{0.5, 0.5, 0.59}, want: -1},
		"one at 60 %":                              {rival: dynamoThroughput(), usages: []float64{0.1, 0.1, 0.6}, want: 0},
		"one engine alone stays":                   {rival: dynamoThroughput(), usages: []float64{0.01}, want: 0},
		"two would fill one, and it does not care": {rival: dynamoThroughput(), usages: []float64{0.59, 0.59}, want: -1},
		"for latency, one above 40 %":              {rival: dynamoLatency(), usages: []float64{0.41, 0.05}, want: 1},
		"for latency, all below 10 %":              {rival: dynamoLatency(), usages: []float64{0.09, 0.05}, want: -1},
		"for latency, one in between":              {rival: dynamoLatency(), usages: []float64{0.2, 0.05}, want: 0},
	} {
		p := c.rival.New(chatSetting(1, 100)).(*dynamoEasy)
		var loads []engineLoad
		for _, u := range c.usages {
			loads = append(loads, engineLoad{kv: u * p.capacity, queued: c.queued})
		}
		if got := p.step(loads); got != c.want {
			t.Errorf("%s: %+d, want %+d", name, got, c.want)
		}
	}
}

func TestDynamoMovesOneReplicaAtATimeAndWaitsForIt(t *testing.T) {
	usage := 0.9
	g := kvStage(chatSetting(1, 100), 2, &usage)
	g.boot = time.Minute
	g.demand.HeldTokens = g.at(400_000)
	p := dynamoThroughput().New(g.setting)
	g.step(p)
	if g.size() != 3 {
		t.Fatalf("%d replicas at once, want 3", g.size())
	}
	if took := g.takes(t, p); took < 50*time.Second || took > 70*time.Second || g.size() != 4 {
		t.Errorf("%d replicas after %v more, want 4 once the third is Ready", g.size(), took)
	}
}

func TestASilentEngineAndALostReplicaHoldDynamo(t *testing.T) {
	usage := 0.1
	g := kvStage(chatSetting(1, 100), 4, &usage)
	p := dynamoThroughput().New(g.setting)
	m := g.state()
	m.Replicas[2].Load = scale.Load{}
	if got := countOf(p.Decide(g.now, m), g.setting.Target); got != 4 {
		t.Errorf("%d replicas with a silent engine among four idle ones, want 4", got)
	}
	m = g.state()
	m.Replicas = m.Replicas[:3]
	if got := countOf(p.Decide(g.now, m), g.setting.Target); got != 4 {
		t.Errorf("%d replicas while one of four is lost, want 4", got)
	}
	if got := countOf(p.Decide(g.now, g.state()), g.setting.Target); got != 3 {
		t.Errorf("%d replicas once all are there and idle, want 3", got)
	}
}

func TestDynamosBudget(t *testing.T) {
	for name, c := range map[string]struct {
		budget  gpuBudget
		n, want int
	}{
		"within":                       {budget: gpuBudget{each: 4, most: 16, least: 1}, n: 4, want: 4},
		"above":                        {budget: gpuBudget{each: 4, most: 19, least: 1}, n: 9, want: 4},
		"no budget":                    {budget: gpuBudget{each: 4, most: -1, least: 1}, n: 900, want: 900},
		"raised to min_endpoint":       {budget: gpuBudget{each: 1, most: 8, least: 2}, n: 0, want: 2},
		"min_endpoint does not fit: 0": {budget: gpuBudget{each: 4, most: 7, least: 2}, n: 3, want: 0},
	} {
		if got := c.budget.fit(c.n); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestDynamoKnowsNoZero(t *testing.T) {
	for _, r := range []Rival{dynamoThroughput(), dynamoLatency(), dynamoSLA()} {
		usage := 0.0
		g := kvStage(chatSetting(0, 100), 3, &usage)
		g.until(r.New(g.setting), time.Hour)
		if g.size() != 1 {
			t.Errorf("%s: %d replicas after an idle hour, want min_endpoint", r.Name, g.size())
		}
	}
}
