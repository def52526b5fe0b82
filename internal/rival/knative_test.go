package rival

import (
	"slices"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

func TestKPAAimsAtSeventyPercentOfTheBatchLimit(t *testing.T) {
	s := chatSetting(1, 50) // B* is 10: 7 requests per replica
	for _, c := range []struct {
		story          string
		ready          int
		running, holds float64
		want           int
	}{
		{"the quotient is rounded up, held requests count", 10, 50, 21, 11},
		{"there is no tolerance", 10, 70.01, 0, 11},
		{"down to the minimum", 10, 0, 0, 1},
		{"up to the maximum", 10, 9000, 0, 50},
	} {
		t.Run(c.story, func(t *testing.T) {
			g, p := newStage(s, c.ready), knativeKPA().New(s)
			g.asking(p, c.running, c.holds, 10*time.Minute)
			if g.size() != c.want {
				t.Errorf("%d replicas, want %d", g.size(), c.want)
			}
		})
	}
}

// Twice what the Ready replicas should have is panic: the six-second window
// rules, nothing goes down, and it lasts until a minute has passed without.
func TestKPAInPanicNeverGoesDown(t *testing.T) {
	s := chatSetting(1, 50)
	g, p := newStage(s, 4), knativeKPA().New(s)
	g.asking(p, 28, 0, 5*time.Minute)
	if g.size() != 4 {
		t.Fatalf("%d replicas, want 4", g.size())
	}
	g.asking(p, 140, 0, 6*time.Second) // 20 replicas' worth
	if g.size() != 20 {
		t.Fatalf("%d replicas six seconds after the burst, want 20", g.size())
	}
	// The boots were instantaneous, so that it was over the threshold at the first
	// tick or two only.
	if took := g.changes(t, p, 28, 0); took < 56*time.Second || took > 64*time.Second {
		t.Errorf("first went down %s after the burst, want about a minute", took)
	}
}

func TestKPAWithoutPanicAveragesOverAMinute(t *testing.T) {
	s := chatSetting(1, 50)
	g, p := newStage(s, 10), knativeKPA().New(s)
	g.asking(p, 70, 0, 5*time.Minute)
	g.asking(p, 105, 0, 32*time.Second) // half of a minute: (70 + 105) / 2 is 12.5 replicas
	if g.size() != 13 {
		t.Errorf("%d replicas half a minute after the rise, want 13", g.size())
	}
	g.asking(p, 105, 0, 32*time.Second)
	if g.size() != 15 {
		t.Errorf("%d replicas a minute after the rise, want 15", g.size())
	}
}

// At zero nothing is recorded, so that the first seconds of a backlog are all
// that the windows hold.
func TestKPAWakesForTheWholeBacklog(t *testing.T) {
	s := chatSetting(0, 50)
	g, p := newStage(s, 0), knativeKPA().New(s)
	g.asking(p, 0, 0, 10*time.Minute)
	if g.size() != 0 {
		t.Fatalf("%d replicas, want 0", g.size())
	}
	g.ask(0, 70)
	g.step(p)
	if g.size() != 10 {
		t.Errorf("%d replicas at the first tick, want 10", g.size())
	}
}

// An autoscaler that a request at zero pokes ticks out of turn, and its next tick
// does not count the same second twice.
func TestAPokeDoesNotCountASecondTwice(t *testing.T) {
	s := chatSetting(0, 50)
	g := newStage(s, 0)
	p, ok := knativeKPA().New(s).(*knative)
	if !ok {
		t.Fatal("the policy is no KPA")
	}
	for _, at := range []int{0, 1100, 2000, 4000} {
		g.now = dawn.Add(time.Duration(at) * time.Millisecond)
		g.ask(0, 12)
		p.Decide(g.now, g.state())
	}
	if got := p.decider.stable.average(g.now.Unix()); got != 12 {
		t.Errorf("average %v of what was always 12", got)
	}
}

// To zero: the minute's average must be 0. The revision was active for longer
// than a minute and is marked inactive. With few replicas the activator is in
// the path for the burst capacity, so that no grace follows; with many it has to
// be put there and stay for 30 s.
func TestKPAFallsAsleep(t *testing.T) {
	s := chatSetting(0, 50)
	asleep := func(asks float64) time.Duration {
		g, p := newStage(s, 1), knativeKPA().New(s)
		g.asking(p, asks, 0, 5*time.Minute)
		return g.changes(t, p, 0, 0)
	}
	if took := asleep(7); took < 58*time.Second || took > 64*time.Second {
		t.Errorf("one replica slept after %s, want the minute", took)
	}
	s.Batch = 1000 // one replica takes the burst of 211 beside its 500
	if took := asleep(500); took < 88*time.Second || took > 96*time.Second {
		t.Errorf("one replica with room for a burst slept after %s, want the minute and 30 s", took)
	}
}

// A revision that was active for less than a minute keeps one replica for it,
// though nobody has asked for it for longer.
func TestKPAKeepsAFreshRevisionForAMinute(t *testing.T) {
	s := chatSetting(0, 50)
	g, p := newStage(s, 0), knativeKPA().New(s)
	g.boot = 2 * time.Minute
	g.asking(p, 0, 3, 20*time.Second)
	g.asking(p, 0, 0, 100*time.Second+50*time.Second)
	if g.size() != 1 {
		t.Errorf("%d replicas 50 s after the boot, want 1", g.size())
	}
	g.asking(p, 0, 0, 20*time.Second)
	if g.size() != 0 {
		t.Errorf("%d replicas 70 s after the boot, want 0", g.size())
	}
}

// While it boots, a revision is neither active nor asleep: it is given up after
// the progress deadline only.
func TestKPAGivesUpABootAfterTenAndAHalfMinutes(t *testing.T) {
	s := chatSetting(0, 50)
	g, p := newStage(s, 0), knativeKPA().New(s)
	g.boot = 24 * time.Hour
	g.asking(p, 0, 3, 10*time.Second)
	g.asking(p, 0, 0, 10*time.Minute)
	if g.size() != 1 {
		t.Fatalf("%d replicas after ten minutes of a boot, want 1", g.size())
	}
	g.asking(p, 0, 0, 2*time.Minute)
	if g.size() != 0 {
		t.Errorf("%d replicas after twelve minutes of a boot, want 0", g.size())
	}
}

// A revision that an autoscaler finds active at its own start was so from then on.
func TestARestartedKPALetsAnIdleRevisionBeForAMinute(t *testing.T) {
	s := chatSetting(0, 50)
	g, p := newStage(s, 1), knativeKPA().New(s)
	g.asking(p, 0, 0, 58*time.Second)
	if g.size() != 1 {
		t.Errorf("%d replicas within the minute, want 1", g.size())
	}
	g.asking(p, 0, 0, 8*time.Second)
	if g.size() != 0 {
		t.Errorf("%d replicas after the minute, want 0", g.size())
	}
}

// min-scale is applied to a revision of which nothing was heard yet, too.
func TestKPARaisesToItsMinimumWithoutMetrics(t *testing.T) {
	s := chatSetting(2, 50)
	g, p := newStage(s, 0), knativeKPA().New(s)
	g.until(p, time.Minute)
	if g.size() != 2 {
		t.Errorf("%d replicas, want the minimum of 2", g.size())
	}
}

// The activator reports while it has requests, and once that it has none.
func TestTheActivatorReportsTheEndOfRequestsOnce(t *testing.T) {
	s := chatSetting(0, 50)
	g := newStage(s, 0)
	p, ok := knativeKPA().New(s).(*knative)
	if !ok {
		t.Fatal("the policy is no KPA")
	}
	g.boot = time.Hour
	g.asking(p, 0, 0, time.Minute)
	if p.condition != kpaInactive {
		t.Errorf("condition %d of a revision at zero, want inactive", p.condition)
	}
	g.asking(p, 0, 12, 4*time.Second)
	g.asking(p, 0, 0, 20*time.Second)
	if got := p.decider.stable.average(g.now.Unix()); got != 8 { // 12 for four seconds, 0 for two
		t.Errorf("average %v, want 8", got)
	}
}

// Half of the Ready replicas go at a tick, at most: of eight, four, two and one.
func TestKPAHalvesAtMost(t *testing.T) {
	s := chatSetting(1, 50)
	g := newStage(s, 8)
	p := &knative{target: s.Target, bounds: rangeOf(s, s.Target, 0), desired: -1, decider: KPADecider{Target: 1e9, Total: 1e9}}
	g.asking(p, 1, 0, 62*time.Second) // until it is out of the panic that it begins in
	var sizes []int
	for range 4 {
		g.ask(1, 0)
		g.step(p)
		sizes = append(sizes, g.size())
	}
	if want := []int{4, 2, 1, 1}; !slices.Equal(sizes, want) {
		t.Errorf("sizes %v, want %v", sizes, want)
	}
}

// In an outage the minute's average is over what is left of the minute. A tick
// just a minute after the last scrape finds the windows neither filled nor empty
// and reads 0, which halves the fleet once (so does Knative: bench/); from then
// on there is no data and nothing changes.
func TestKPAHalvesOnceInAnOutageAndHolds(t *testing.T) {
	s := chatSetting(0, 50)
	g, p := newStage(s, 10), knativeKPA().New(s)
	g.until(p, time.Hour)
	if g.size() != 10 {
		t.Errorf("%d replicas after an hour without a word, want 10", g.size())
	}
	g.asking(p, 70, 0, 5*time.Minute)
	g.demand = scale.Demand{}
	g.until(p, 56*time.Second)
	if g.size() != 10 {
		t.Errorf("%d replicas within the minute, want 10", g.size())
	}
	g.until(p, time.Hour)
	if g.size() != 5 {
		t.Errorf("%d replicas after an hour's outage, want 5", g.size())
	}
	g.ask(0, 0) // a value that is not measured anew is no scrape
	g.now = g.now.Add(10 * time.Second)
	g.until(p, 5*time.Minute)
	if g.size() != 5 {
		t.Errorf("%d replicas after five minutes of a stale zero, want 5", g.size())
	}
}

// Its windows are lost with its process: it begins in panic mode, with what it finds.
func TestARestartOfTheKPADoesNotShrinkTheFleet(t *testing.T) {
	s := chatSetting(1, 50)
	g := newStage(s, 10)
	g.asking(knativeKPA().New(s), 70, 0, 5*time.Minute)
	p := knativeKPA().New(s)
	g.asking(p, 7, 0, time.Minute)
	if g.size() != 10 {
		t.Errorf("%d replicas in the minute of the restart, want 10", g.size())
	}
	g.asking(p, 7, 0, time.Minute)
	if g.size() != 1 {
		t.Errorf("%d replicas when it was over, want 1", g.size())
	}
}
