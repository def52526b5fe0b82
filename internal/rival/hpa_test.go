package rival

import (
	"math"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// asked is a stage at whose gateway so many requests are at replicas and held.
func asked(s Setting, ready int, atReplicas, held float64) *stage {
	g := newStage(s, ready)
	g.ask(atReplicas, held)
	return g
}

func (g *stage) ask(atReplicas, held float64) {
	g.demand = scale.Demand{InFlight: g.at(atReplicas), Held: g.at(held)}
}

// asking runs for so long with the same requests, measured anew at every tick.
func (g *stage) asking(p Policy, atReplicas, held float64, d time.Duration) {
	for end := g.now.Add(d); g.now.Before(end); {
		g.ask(atReplicas, held)
		g.step(p)
	}
}

// changes returns for how long the fleet keeps its size under the same requests.
func (g *stage) changes(t *testing.T, p Policy, atReplicas, held float64) time.Duration {
	t.Helper()
	start, size := g.now, g.size()
	for g.now.Sub(start) < 24*time.Hour {
		before := g.now
		g.ask(atReplicas, held)
		g.step(p)
		if g.size() != size {
			return before.Sub(start)
		}
	}
	t.Fatalf("still %d replicas after a day", size)
	return 0
}

// busy sets what every replica reports as its share of time with work.
func (g *stage) busy(share float64) {
	g.load = func(int) scale.Load { return scale.Load{Busy: g.at(share), InFlight: g.at(share)} }
}

func TestHPAOnConcurrency(t *testing.T) {
	s := chatSetting(1, 50) // B* is 10: 7 requests per replica
	for _, c := range []struct {
		story          string
		ready          int
		running, holds float64
		want           int
	}{
		{"requests at replicas and held ones count", 5, 50, 20, 10},
		{"within a tenth nothing changes", 10, 76, 0, 10},
		{"above it the count is for all of them", 10, 78, 0, 12},
		{"what is idle goes down to the minimum", 5, 0, 0, 1},
		{"no more than the maximum", 40, 10_000, 0, 50},
	} {
		t.Run(c.story, func(t *testing.T) {
			g, p := newStage(s, c.ready), hpaConcurrency().New(s)
			g.asking(p, c.running, c.holds, 10*time.Minute)
			if g.size() != c.want {
				t.Errorf("%d replicas, want %d", g.size(), c.want)
			}
		})
	}
}

func TestHPAActsOneScrapeLate(t *testing.T) {
	s := chatSetting(1, 50)
	g, p := asked(s, 5, 35, 0), hpaConcurrency().New(s)
	g.asking(p, 35, 0, time.Hour)
	if took := g.changes(t, p, 70, 0); took != hpaSync {
		t.Errorf("acted %s after the rise, want %s", took, hpaSync)
	}
}

// The knob is the share of B*; a manifest's quantity rounds up to thousandths.
func TestHPATargetsAShareOfTheBatchLimit(t *testing.T) {
	s := chatSetting(1, 50)
	s.Batch = 37
	if got := concurrencyTarget(s); got != 25_900 {
		t.Errorf("target %dm, want 25900m", got)
	}
	s.Knob = 0.1234567
	if got := concurrencyTarget(s); got != 4568 {
		t.Errorf("target %dm, want 4568m", got)
	}
	s.Batch = 0 // not even one request at a time holds the SLO
	if got := concurrencyTarget(s); got != 124 {
		t.Errorf("target %dm, want 124m", got)
	}
}

func TestHPAHoldsWithoutMetrics(t *testing.T) {
	s := chatSetting(1, 50)
	for _, r := range []Rival{hpaConcurrency(), hpaCPU(), hpaGPU()} {
		t.Run(r.Name, func(t *testing.T) {
			g, p := newStage(s, 8), r.New(s)
			g.boot = 24 * time.Hour
			g.add(s.Target, 1, scale.Starting) // the exporter would read nothing on its device
			g.until(p, time.Hour)
			if g.size() != 9 {
				t.Errorf("%d replicas after an hour without a word, want 9", g.size())
			}
			nan := math.NaN()
			g.busy(nan)
			g.asking(p, nan, nan, time.Hour)
			if g.size() != 9 {
				t.Errorf("%d replicas after an hour of what is no number, want 9", g.size())
			}
		})
	}
}

// A series whose last sample is young enough is answered with it, be it that
// nothing new was ever scraped.
func TestHPABelievesAStaleSampleForFiveMinutes(t *testing.T) {
	s := chatSetting(1, 50)
	g, p := newStage(s, 20), hpaConcurrency().New(s)
	g.asking(p, 14, 0, time.Minute) // two replicas' worth, then silence
	g.until(p, 4*time.Minute)
	if g.size() != 2 {
		t.Errorf("%d replicas, want 2: five minutes of proposals from a sample that was still answered", g.size())
	}
	g, p = newStage(s, 20), hpaConcurrency().New(s)
	g.asking(p, 140, 0, time.Minute)
	g.ask(14, 0)
	g.now = g.now.Add(lookback + time.Second)
	g.until(p, time.Hour)
	if g.size() != 20 {
		t.Errorf("%d replicas, want 20: the sample was too old to be answered", g.size())
	}
}

// The share of time with work is near 1 however little there is, so that the
// fleet grows to its maximum and stays there.
func TestHPAOnBusyTimeGrowsToItsMaximumWhateverTheLoad(t *testing.T) {
	s := chatSetting(1, 50)
	for _, r := range []Rival{hpaCPU(), hpaGPU()} {
		g, p := asked(s, 2, 2, 0), r.New(s)
		g.boot = time.Minute
		g.busy(0.97)
		g.until(p, 2*time.Hour)
		if g.size() != 50 {
			t.Errorf("%s: %d replicas for two requests, want 50", r.Name, g.size())
		}
	}
}

// One that loads counts as nothing, so that the fleet does not double at every
// sync for as long as it loads.
func TestHPAWaitsForWhatItOrdered(t *testing.T) {
	s := chatSetting(1, 50)
	for _, r := range []Rival{hpaCPU(), hpaGPU()} {
		g, p := newStage(s, 4), r.New(s)
		g.boot = 10 * time.Minute
		g.busy(1)
		g.until(p, 9*time.Minute)
		if g.size() != 5 {
			t.Errorf("%s: %d replicas while one loads, want 5", r.Name, g.size())
		}
		g.until(p, 3*time.Minute)
		if g.size() != 7 {
			t.Errorf("%s: %d replicas when it is Ready, want 7", r.Name, g.size())
		}
	}
}

// A replica in its first five minutes counts only once its CPU was measured for
// a window of 30 s; as a Pods metric it counts at once.
func TestCPUOfAYoungReplicaIsSetAside(t *testing.T) {
	young := scale.Replica{Phase: scale.Ready, Created: dawn, Since: dawn.Add(time.Minute)}
	for _, c := range []struct {
		story         string
		now, measured time.Duration
		want          bool
	}{
		{"measured before it was Ready", 80 * time.Second, 50 * time.Second, true},
		{"measured for a part of the window", 100 * time.Second, 80 * time.Second, true},
		{"measured for a window", 110 * time.Second, 90 * time.Second, false},
		{"old enough", 5 * time.Minute, 50 * time.Second, false},
	} {
		if got := unreadyForCPU(dawn.Add(c.now), &young, dawn.Add(c.measured)); got != c.want {
			t.Errorf("%s: set aside is %t", c.story, got)
		}
	}
	young.Phase = scale.Starting
	if !unreadyForCPU(dawn.Add(time.Hour), &young, dawn.Add(time.Hour)) {
		t.Error("one that was never Ready counts after an hour")
	}
}

// A server that does not batch tokens is a pool of workers.
func TestCPUOfAPoolOfWorkersFollowsItsRequests(t *testing.T) {
	s := chatSetting(1, 50)
	s.Model.Variants[0].Profile = scale.Profile{Name: "pool", Service: scale.ServiceTime{Mean: 4 * time.Second, Concurrency: 8}}
	g, p := newStage(s, 4), hpaCPU().New(s)
	g.load = func(ready int) scale.Load { // 40 requests, spread evenly; busy all the time
		return scale.Load{Busy: g.at(1), InFlight: g.at(40 / float64(ready))}
	}
	g.until(p, time.Hour)
	if g.size() != 7 { // 40 ÷ (8 × 0.8) is 6.25
		t.Errorf("%d replicas, want 7", g.size())
	}
}

// It has no more workers than it has.
func TestCPUOfAPoolIsAtMostWhatItRequests(t *testing.T) {
	pool := cpuOf(scale.Profile{Service: scale.ServiceTime{Concurrency: 8}})
	r := scale.Replica{Phase: scale.Ready, Load: scale.Load{InFlight: scale.Observe(20, dawn)}}
	if got := pool(dawn, &r); got != scale.Observe(1, dawn) {
		t.Errorf("20 requests at 8 workers use %v, want 1", got)
	}
}

// DCGM reports a device on which weights are loaded as idle, and a Pods metric
// counts it: the fleet looks too large. The CPU of one that is not Ready is set
// aside.
func TestALoadingReplicaMakesTheFleetLookIdleToDCGM(t *testing.T) {
	s := chatSetting(1, 50)
	for _, c := range []struct {
		rival Rival
		want  int
	}{{hpaGPU(), 3}, {hpaCPU(), 4}} {
		g, p := newStage(s, 3), c.rival.New(s)
		g.boot = 24 * time.Hour
		g.add(s.Target, 1, scale.Starting)
		g.busy(0.73)
		g.until(p, 10*time.Minute)
		if g.size() != c.want {
			t.Errorf("%s: %d replicas, want %d", c.rival.Name, g.size(), c.want)
		}
	}
}

// Replicas for which there is no room are pods that wait: they count as nothing
// on the way up.
func TestHPACountsPendingPods(t *testing.T) {
	s := chatSetting(1, 50)
	s.Knob = 74
	g := newStage(s, 4)
	g.busy(1)
	p, ok := hpaGPU().New(s).(*hpa)
	if !ok {
		t.Fatal("the policy is no HPA")
	}
	p.spec = 5
	for range 10 {
		if want := p.Decide(g.now, g.state())[0].Replicas; want != 5 {
			t.Fatalf("wants %d, want the 5 that carry 4 × 100 %% within a tenth of 74 %%", want)
		}
		g.now = g.now.Add(p.Every())
	}
}

// A sum of which one part is missing is missing.
func TestRequestsAtOnceNeedBothParts(t *testing.T) {
	now := dawn.Add(time.Hour)
	young, old := scale.Observe(3, now.Add(-time.Minute)), scale.Observe(4, now.Add(-time.Hour))
	for _, c := range []struct {
		story  string
		demand scale.Demand
		want   scale.Observation
	}{
		{"both", scale.Demand{InFlight: scale.Observe(2, now), Held: young}, scale.Observe(5, young.At)},
		{"no word of what is held", scale.Demand{InFlight: young}, scale.Observation{}},
		{"no word of what runs", scale.Demand{Held: young}, scale.Observation{}},
		{"one is too old", scale.Demand{InFlight: young, Held: old}, scale.Observation{}},
	} {
		if got := requestsAtOnce(now, c.demand, lookback); got != c.want {
			t.Errorf("%s: %v, want %v", c.story, got, c.want)
		}
	}
}

func TestHPANeverSleeps(t *testing.T) {
	s := chatSetting(0, 50)
	g, p := newStage(s, 0), hpaConcurrency().New(s)
	g.asking(p, 0, 0, time.Hour)
	if g.size() != 1 {
		t.Errorf("%d replicas, want 1: a Deployment with an HPA is deployed with its minimum", g.size())
	}
}

// What the controller remembers is lost with its process: the count at its
// start is the first recommendation, which holds for five minutes more.
func TestARestartOfTheHPAStartsItsWindowAnew(t *testing.T) {
	s := chatSetting(1, 50)
	g := newStage(s, 20)
	for range 6 {
		g.asking(hpaConcurrency().New(s), 14, 0, 4*time.Minute)
	}
	if g.size() != 20 {
		t.Errorf("%d replicas after restarts every four minutes, want 20", g.size())
	}
	g.asking(hpaConcurrency().New(s), 14, 0, 6*time.Minute)
	if g.size() != 2 {
		t.Errorf("%d replicas, want 2", g.size())
	}
}
