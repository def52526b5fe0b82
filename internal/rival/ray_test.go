package rival

import (
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// rayStage has a total of requests in flight, split evenly.
func rayStage(s Setting, ready int, total *float64) *stage {
	g := newStage(s, ready)
	g.load = func(n int) scale.Load { return scale.Load{InFlight: g.at(*total / float64(n))} }
	return g
}

func TestRayScalesUpInOneJumpAfterThirtySeconds(t *testing.T) {
	total := 10.0
	g := rayStage(chatSetting(1, 100), 1, &total)
	p := rayServe().New(g.setting)
	if took := g.takes(t, p); took != 30*time.Second || g.size() != 5 {
		t.Errorf("%d replicas after %v; 10 ongoing at 2 each are 5, after 30 s", g.size(), took)
	}
}

func TestRayScalesDownInOneJumpAfterTenMinutes(t *testing.T) {
	total := 4.0
	g := rayStage(chatSetting(1, 100), 9, &total)
	p := rayServe().New(g.setting)
	if took := g.takes(t, p); took != 600*time.Second || g.size() != 2 {
		t.Errorf("%d replicas after %v; 4 ongoing at 2 each are 2, after 600 s", g.size(), took)
	}
}

func TestOneContraryLoopResetsTenMinutesOfRay(t *testing.T) {
	total := 4.0
	g := rayStage(chatSetting(1, 100), 9, &total)
	p := rayServe().New(g.setting)
	g.until(p, 590*time.Second)
	total = 100 // one report of a burst
	g.until(p, 10*time.Second)
	total = 4
	start := g.now
	if took := g.takes(t, p); took < 590*time.Second {
		t.Errorf("shrank %v after a burst of 10 s at minute 9; the count begins again", took)
	}
	if g.now.Sub(start) > 650*time.Second {
		t.Errorf("shrank only after %v", g.now.Sub(start))
	}
}

func TestRayWakesOneReplicaWhateverTheBacklog(t *testing.T) {
	g := newStage(chatSetting(0, 100), 0)
	g.boot = time.Minute
	g.demand.Held = g.at(50)
	p := rayServe().New(g.setting)
	g.step(p)
	if g.size() != 1 {
		t.Fatalf("%d replicas at once for 50 requests held, want 1", g.size())
	}
	for range 59 {
		g.demand.Held = g.at(50)
		g.step(p)
	}
	if g.size() != 1 {
		t.Fatalf("%d replicas while the first loads, want 1", g.size())
	}
	for range 40 {
		g.demand.Held = g.at(50)
		g.step(p)
	}
	if g.size() != 25 {
		t.Errorf("%d replicas 40 s after the first is Ready, want 50/2", g.size())
	}
}

func TestRayReachesZeroOnlyFromOne(t *testing.T) {
	total := 0.0
	g := rayStage(chatSetting(0, 100), 6, &total)
	p := rayServe().New(g.setting)
	if took := g.takes(t, p); took != 600*time.Second || g.size() != 1 {
		t.Fatalf("%d replicas after %v, want 1 first", g.size(), took)
	}
	if took := g.takes(t, p); took < 590*time.Second || g.size() != 0 {
		t.Errorf("%d replicas after %v more, want 0 after 600 s more", g.size(), took)
	}
}

func TestRayReadsLostMetricsAsLess(t *testing.T) {
	total := 20.0
	g := rayStage(chatSetting(2, 100), 10, &total)
	p := rayServe().New(g.setting)
	g.until(p, time.Minute)
	g.load = func(int) scale.Load { return scale.Load{} }
	if took := g.takes(t, p); took < 600*time.Second || took > 640*time.Second || g.size() != 2 {
		t.Errorf("%d replicas %v after the metrics stopped; they are dropped after 20 s, and 600 s later the fleet is at its minimum", g.size(), took)
	}
}

func TestRayHasNoTolerance(t *testing.T) {
	p := &ray{goal: 2, bounds: scale.Range{Min: 1, Max: 100}}
	for name, c := range map[string]struct {
		total         float64
		running, want int
	}{
		"on target":                      {total: 20, running: 10, want: 10},
		"a hair above":                   {total: 20.1, running: 10, want: 11},
		"less than one replica to spare": {total: 18.5, running: 10, want: 10},
		"one replica to spare":           {total: 18, running: 10, want: 9},
		"nothing":                        {total: 0, running: 10, want: 1},
		"more than the maximum":          {total: 1e12, running: 10, want: 100},
	} {
		if got := p.desired(c.total, c.running); got != c.want {
			t.Errorf("%s: %v ongoing on %d replicas want %d, not %d", name, c.total, c.running, got, c.want)
		}
	}
}
