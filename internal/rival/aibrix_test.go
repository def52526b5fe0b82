package rival

import (
	"slices"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// runningStage has a total of running requests, split evenly.
func runningStage(s Setting, ready int, total *float64) *stage {
	g := newStage(s, ready)
	g.load = func(n int) scale.Load { return scale.Load{Running: g.at(*total / float64(n))} }
	return g
}

func TestAPAScalesByTheRatioWithinTolerancesAndRates(t *testing.T) {
	for name, c := range map[string]struct {
		ratio   float64
		n, want int
	}{
		"on target":                  {ratio: 1, n: 10, want: 10},
		"within the tolerance up":    {ratio: 1.1, n: 10, want: 10},
		"above it":                   {ratio: 1.11, n: 10, want: 12},
		"within the tolerance down":  {ratio: 0.9, n: 10, want: 10},
		"below it":                   {ratio: 0.8, n: 10, want: 8},
		"at most twice as many":      {ratio: 9, n: 10, want: 20},
		"at least half, rounded off": {ratio: 0.1, n: 9, want: 4},
		"from zero there is no way":  {ratio: 9, n: 0, want: 0},
	} {
		p := &apa{aibrix: newAIBrix(chatSetting(1, 100))}
		p.want = c.n
		if got := p.scaled(c.ratio, c.ratio); got != c.want {
			t.Errorf("%s: ratio %v of %d replicas is %d, want %d", name, c.ratio, c.n, got, c.want)
		}
	}
}

// TestPendingPodsDoubleAPAEveryTenSeconds is the storm that pull request 2671
// ended: the mean of hot ready pods times all pods, while the new ones load.
func TestPendingPodsDoubleAPAEveryTenSeconds(t *testing.T) {
	for _, c := range []struct {
		rival Rival
		want  []int
	}{
		{aibrixAPA(), []int{4, 8, 16, 32, 64}},
		{aibrixAPAIntended(), []int{4, 4, 4, 4, 4}},
	} {
		total := 28.0 // two pods, each at twice its target of 7
		g := runningStage(chatSetting(1, 100), 2, &total)
		g.boot = 10 * time.Minute
		p := c.rival.New(g.setting)
		var got []int
		for range c.want {
			g.step(p)
			got = append(got, g.size())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v replicas while the first ordered still load, want %v", c.rival.Name, got, c.want)
		}
	}
}

func TestPendingPodsCountAsOnTargetInAGuardedScaleDown(t *testing.T) {
	for name, c := range map[string]struct {
		ratio          float64
		ready, n, want int
	}{
		"none pending":                          {ratio: 0.5, ready: 10, n: 10, want: 5},
		"half pending":                          {ratio: 0.5, ready: 5, n: 10, want: 8},
		"all but one pending":                   {ratio: 0.5, ready: 1, n: 10, want: 10},
		"hot, and enough is on its way":         {ratio: 2, ready: 5, n: 10, want: 10},
		"hot, and too little is on its way":     {ratio: 4, ready: 5, n: 10, want: 20},
		"more ready than wanted, as they drain": {ratio: 1, ready: 12, n: 10, want: 10},
	} {
		p := &apa{aibrix: newAIBrix(chatSetting(1, 100))}
		p.want = c.n
		if got := p.guarded(c.ratio, c.ready); got != c.want {
			t.Errorf("%s: ratio %v, %d ready of %d is %d, want %d", name, c.ratio, c.ready, c.n, got, c.want)
		}
	}
}

// TestTheScaleDownWindowIsInverted: a wish for few, from a lull of 10 s, is
// taken at the next scale-down although load is back.
func TestTheScaleDownWindowIsInverted(t *testing.T) {
	shipped, intended := newAIBrix(chatSetting(1, 100)), newAIBrix(chatSetting(1, 100))
	now := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	shipped.want, intended.want = 10, 10
	for i, wish := range []int{10, 4, 10, 9} {
		at := now.Add(time.Duration(i) * 10 * time.Second)
		shipped.settle(at, wish, shipped.history.least)
		intended.settle(at, wish, intended.history.most)
		if i == 1 && (shipped.want != 4 || intended.want != 10) {
			t.Errorf("a wish for 4 leaves %d as shipped and %d as intended; want 4 at once, and 10 for 300 s", shipped.want, intended.want)
		}
	}
	if shipped.want != 4 || intended.want != 10 {
		t.Errorf("a wish for 9 after one for 4 leaves %d as shipped and %d as intended, want 4 and 10", shipped.want, intended.want)
	}
	intended.settle(now.Add(6*time.Minute), 9, intended.history.most)
	if intended.want != 9 {
		t.Errorf("a wish for 9 after 300 s leaves %d as intended, want 9", intended.want)
	}
}

// TestKPASettlesAtTheSquareRootOfTheLoad: it solves n = ceil(load/(n·target)).
func TestKPASettlesAtTheSquareRootOfTheLoad(t *testing.T) {
	for need, want := range map[float64]int{4: 2, 9: 3, 16: 4, 25: 5} {
		total := need * 7 // needs so many replicas at 7 running each
		g := runningStage(chatSetting(1, 100), 1, &total)
		p := aibrixKPA().New(g.setting)
		g.until(p, 4*time.Hour)
		if g.size() != want {
			t.Errorf("a load that needs %v replicas has %d, want %d", need, g.size(), want)
		}
	}
}

// TestAPASettlesOnlyAsIntended: three minutes of memory times the count of now
// overshoot to the maximum, and the inverted window falls back from there.
func TestAPASettlesOnlyAsIntended(t *testing.T) {
	total := 16 * 7.0
	g := runningStage(chatSetting(1, 100), 1, &total)
	p := aibrixAPAIntended().New(g.setting)
	g.until(p, time.Hour)
	if g.size() < 16 || g.size() > 20 {
		t.Errorf("%d replicas for a load that needs 16; within a tolerance of 20 %% are 16 to 20", g.size())
	}
	g = runningStage(chatSetting(1, 100), 1, &total)
	p = aibrixAPA().New(g.setting)
	least, most := 100, 0
	for range 720 {
		g.step(p)
		least, most = min(least, g.size()), max(most, g.size())
	}
	if least != 2 || most != 100 {
		t.Errorf("between %d and %d replicas as shipped; the saw-tooth goes from 2 to the maximum", least, most)
	}
}

func TestAIBrixSkipsPodsThatDoNotAnswer(t *testing.T) {
	total := 0.0
	g := runningStage(chatSetting(1, 100), 4, &total)
	m := g.state()
	m.Replicas[0].Load.Running = g.at(14) // of the others two are silent and one is idle
	m.Replicas[1].Load.Running, m.Replicas[2].Load.Running = scale.Observation{}, scale.Observation{}
	p := newAIBrix(g.setting)
	if !p.scrape(g.now, m) {
		t.Fatal("two pods answered")
	}
	if mean := p.metric.mean(g.now, aibrixStable); mean != 7 {
		t.Errorf("the mean is %v, want that of the two that answered, 7", mean)
	}
}

func TestWhatTheGatewayHoldsRunsAtAIBrixsPods(t *testing.T) {
	total := 28.0
	g := runningStage(chatSetting(1, 100), 4, &total)
	g.demand.Held = g.at(20)
	p := newAIBrix(g.setting)
	p.scrape(g.now, g.state())
	if mean := p.metric.mean(g.now, aibrixStable); mean != 12 {
		t.Errorf("the mean is %v with 7 running at each of four pods and 20 held, want 12", mean)
	}
}

func TestAIBrixHoldsWhenNoPodAnswers(t *testing.T) {
	for _, r := range []Rival{aibrixAPA(), aibrixAPAIntended(), aibrixKPA()} {
		total := 28.0
		g := runningStage(chatSetting(1, 100), 4, &total)
		p := r.New(g.setting)
		g.load = func(int) scale.Load { return scale.Load{} }
		g.until(p, time.Hour)
		if g.size() != 4 {
			t.Errorf("%s: %d replicas after an hour without metrics, want 4", r.Name, g.size())
		}
	}
}

func TestAIBrixKeepsOneReplicaWhereItMightSleep(t *testing.T) {
	for _, r := range []Rival{aibrixAPA(), aibrixAPAIntended(), aibrixKPA()} {
		total := 0.0
		g := runningStage(chatSetting(0, 100), 3, &total)
		g.until(r.New(g.setting), time.Hour)
		if g.size() != 1 {
			t.Errorf("%s: %d replicas after an idle hour, want 1: there is no way back from zero", r.Name, g.size())
		}
	}
}
