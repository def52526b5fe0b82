package rival

import (
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

func TestDelayedOffTurnsOnWhatIsNeededAtOnce(t *testing.T) {
	s := chatSetting(0, 50) // B* is 10, a cold start a minute
	g, p := newStage(s, 0), delayedOff().New(s)
	g.ask(0, 0)
	g.step(p)
	if g.size() != 0 {
		t.Errorf("%d replicas without a request, want 0", g.size())
	}
	g.ask(20, 15)
	g.step(p)
	if g.size() != 4 {
		t.Errorf("%d replicas for 35 requests, want 4", g.size())
	}
	g.ask(5000, 0)
	g.step(p)
	if g.size() != 50 {
		t.Errorf("%d replicas, want the maximum", g.size())
	}
}

// With packing the last server is the one that idles; each is off one cold start
// after it was last busy.
func TestDelayedOffWaitsForOneColdStart(t *testing.T) {
	s := chatSetting(0, 50)
	for _, c := range []struct {
		knob float64
		want time.Duration
	}{{0, time.Minute}, {5, 5 * time.Minute}} {
		s.Knob = c.knob
		g, p := newStage(s, 0), delayedOff().New(s)
		g.asking(p, 60, 0, 10*time.Minute)
		// The last busy tick was one before.
		if took := g.changes(t, p, 25, 0) + p.Every(); took != c.want {
			t.Errorf("off %s after it was last busy, want %s", took, c.want)
		}
		if g.size() != 3 {
			t.Errorf("%d replicas, want 3: all that were idle for as long", g.size())
		}
	}
}

// A level that is needed now and then stays on; the timer of each runs by itself.
func TestDelayedOffRunsATimerForEachServer(t *testing.T) {
	s := chatSetting(0, 50)
	g, p := newStage(s, 0), delayedOff().New(s)
	g.asking(p, 60, 0, time.Minute)
	for range 20 {
		g.asking(p, 35, 0, 10*time.Second)
		g.asking(p, 15, 0, 40*time.Second)
	}
	if g.size() != 4 {
		t.Errorf("%d replicas, want the 4 of which all are busy once in 50 s", g.size())
	}
}

// The wait begins when a server is set up, though what it was for is gone.
func TestDelayedOffLetsASetUpEnd(t *testing.T) {
	s := chatSetting(0, 50)
	g, p := newStage(s, 1), delayedOff().New(s)
	g.boot = 3 * time.Minute
	g.asking(p, 30, 0, 10*time.Second)
	if took := g.changes(t, p, 10, 0); took < 3*time.Minute+40*time.Second || took > 4*time.Minute {
		t.Errorf("off after %s, want a boot of 3 minutes and a wait of one", took)
	}
}

func TestDelayedOffHoldsWithoutMetrics(t *testing.T) {
	s := chatSetting(0, 50)
	g, p := newStage(s, 7), delayedOff().New(s)
	g.demand = scale.Demand{}
	g.until(p, time.Hour)
	if g.size() != 7 {
		t.Errorf("%d replicas after an hour without a word, want 7", g.size())
	}
	s.Model.Replicas.Min = 2
	g, p = newStage(s, 7), delayedOff().New(s)
	g.asking(p, 0, 0, time.Hour)
	if g.size() != 2 {
		t.Errorf("%d replicas, want the minimum of 2", g.size())
	}
}
