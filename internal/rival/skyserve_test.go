package rival

import (
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// offer runs with arrivals measured at every call. SkyServe's target is
// 0.7 × 2 = 1.4 requests/s per replica in these stories.
func (g *stage) offer(p Policy, rate float64, d time.Duration) {
	for end := g.now.Add(d); g.now.Before(end); {
		g.demand.Arrivals, g.demand.ArrivalsOver = g.at(rate), p.Every()
		g.step(p)
	}
}

func TestSkyServeWaitsFiveMinutesUpAndTwentyDown(t *testing.T) {
	g := newStage(chatSetting(1, 100), 2)
	p := skyServe().New(g.setting)
	g.offer(p, 2.5, 5*time.Minute) // 1.8 replicas
	if g.size() != 2 {
		t.Fatalf("%d replicas for 2.5 requests/s, want 2", g.size())
	}
	g.offer(p, 13, 280*time.Second) // 9.3
	if g.size() != 2 {
		t.Fatalf("%d replicas before the 15th decision for more, want 2", g.size())
	}
	g.offer(p, 13, 115*time.Second)
	if g.size() != 10 {
		t.Fatalf("%d replicas after 395 s of 13 requests/s, want all 10 in one jump", g.size())
	}
	g.offer(p, 2.5, 1180*time.Second)
	if g.size() != 10 {
		t.Fatalf("%d replicas before the 60th decision for fewer, want 10", g.size())
	}
	g.offer(p, 2.5, 110*time.Second)
	if g.size() != 2 {
		t.Errorf("%d replicas after 1290 s of less, want 2", g.size())
	}
}

func TestOneContraryDecisionResetsSkyServesCounters(t *testing.T) {
	p := &sky{bounds: scale.Range{Min: 1, Max: 100}, want: 10}
	for range 59 {
		p.decide(4)
	}
	p.decide(10)
	for range 59 {
		p.decide(4)
	}
	if p.want != 10 {
		t.Fatalf("%d replicas; a decision for as many as there are begins the count again", p.want)
	}
	if p.decide(5); p.want != 5 {
		t.Errorf("%d replicas after 60 decisions for fewer, want what the last one says, 5", p.want)
	}
	for range 14 {
		p.decide(9)
	}
	p.decide(4)
	if p.decide(9); p.want != 5 {
		t.Errorf("%d replicas after a decision for fewer among those for more, want 5", p.want)
	}
}

func TestSkyServeWakesByTheRateAndNotByWhatWaits(t *testing.T) {
	g := newStage(chatSetting(0, 100), 0)
	p := skyServe().New(g.setting)
	g.demand.Held = g.at(40)
	g.until(p, time.Minute)
	if g.size() != 0 {
		t.Fatalf("%d replicas for requests held without arrivals, want 0: it holds none itself", g.size())
	}
	g.offer(p, 3, 25*time.Second) // synced after 20 s at the latest
	if g.size() < 1 || g.size() > 3 {
		t.Errorf("%d replicas 25 s after 3 requests/s began, want what a part of the minute asks for, 1 to 3", g.size())
	}
	g.offer(p, 3, 10*time.Minute)
	if g.size() != 3 {
		t.Errorf("%d replicas for 3 requests/s, want 3", g.size())
	}
}

func TestLostTimestampsAgeOutOfSkyServesWindow(t *testing.T) {
	for name, silence := range map[string]func(*stage, Policy){
		"absent": func(g *stage, p Policy) {
			g.demand.Arrivals = scale.Observation{}
			g.until(p, 21*time.Minute)
		},
		"stale": func(g *stage, p Policy) { g.until(p, 21*time.Minute) },
	} {
		g := newStage(chatSetting(2, 100), 10)
		p := skyServe().New(g.setting)
		g.offer(p, 13, 10*time.Minute)
		if g.size() != 10 {
			t.Fatalf("%s: %d replicas at 13 requests/s, want 10", name, g.size())
		}
		silence(g, p)
		if g.size() != 2 {
			t.Errorf("%s: %d replicas 21 minutes after the timestamps stopped, want the minimum: they read as no traffic", name, g.size())
		}
	}
}

// spotSetting has both capacity types.
func spotSetting() (Setting, scale.ScaleTarget) {
	s := chatSetting(1, 100)
	s.Model.Variants[0].Capacities = []scale.CapacityType{scale.OnDemand, scale.Spot}
	spot := s.Target
	spot.Capacity = scale.Spot
	return s, spot
}

func TestSkyServeFillsWithOnDemandWhatSpotDoesNotGive(t *testing.T) {
	for name, c := range map[string]struct {
		want, base, readySpot int
		onDemand, spot        int
	}{
		"all spot is ready":                    {want: 5, readySpot: 5, spot: 5},
		"two are not":                          {want: 5, readySpot: 3, spot: 5, onDemand: 2},
		"there is no spot":                     {want: 5, spot: 5, onDemand: 5},
		"more is ready than wanted":            {want: 5, readySpot: 7, spot: 5},
		"a base on demand":                     {want: 5, base: 2, readySpot: 3, spot: 3, onDemand: 2},
		"a base, and one spot replica is lost": {want: 5, base: 2, readySpot: 2, spot: 3, onDemand: 3},
		"a base larger than what is wanted":    {want: 1, base: 2, onDemand: 1},
	} {
		s, spot := spotSetting()
		p := newSky(s)
		p.want, p.base = c.want, c.base
		wants := p.blend(c.readySpot)
		if countOf(wants, spot) != c.spot || countOf(wants, s.Target) != c.onDemand {
			t.Errorf("%s: %v, want %d on demand and %d spot", name, wants, c.onDemand, c.spot)
		}
	}
}

func TestSkyServeAsleepWantsNeither(t *testing.T) {
	s, spot := spotSetting()
	wants := newSky(s).blend(3)
	if countOf(wants, spot) != 0 || countOf(wants, s.Target) != 0 {
		t.Errorf("%v with nothing wanted, want 0 of both", wants)
	}
}

func TestSkyServeMovesBackToSpotAsItBecomesReady(t *testing.T) {
	s, spot := spotSetting()
	g := newStage(s, 4)
	g.boot = time.Minute
	p := skyServe().New(s)
	g.offer(p, 5, 30*time.Second)
	if g.count(s.Target, scale.Ready) != 4 || g.count(spot, scale.Starting) != 4 {
		t.Fatalf("%d on demand and %d spot loading, want 4 and 4", g.count(s.Target, scale.Ready), g.count(spot, scale.Starting))
	}
	g.offer(p, 5, time.Minute)
	if g.size() != 0 || g.count(spot, scale.Ready) != 4 {
		t.Errorf("%d on demand and %d spot ready, want 0 and 4", g.size(), g.count(spot, scale.Ready))
	}
}
