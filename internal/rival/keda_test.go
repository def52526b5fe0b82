package rival

import (
	"slices"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

func TestKEDAWakesOneReplicaAndLeavesTheRestToTheHPA(t *testing.T) {
	s := chatSetting(0, 50) // B* is 10: 7 requests per replica
	g, p := newStage(s, 0), kedaScaler().New(s)
	g.asking(p, 0, 0, 10*time.Minute)
	if g.size() != 0 {
		t.Fatalf("%d replicas without a request, want 0", g.size())
	}
	var sizes []int
	for range 8 {
		g.ask(0, 40)
		g.step(p)
		if n := g.size(); len(sizes) == 0 || sizes[len(sizes)-1] != n {
			sizes = append(sizes, n)
		}
	}
	if want := []int{0, 1, 5, 6}; !slices.Equal(sizes, want) {
		t.Errorf("sizes %v, want %v: one by the poll, then four pods and the rest by the HPA", sizes, want)
	}
}

// A poll comes every 30 s and reads a sample that is 15 s old.
func TestKEDAWakesAtItsPoll(t *testing.T) {
	s := chatSetting(0, 50)
	least, most := time.Hour, time.Duration(0)
	for phase := range 4 {
		g, p := newStage(s, 0), kedaScaler().New(s)
		g.asking(p, 0, 0, 10*time.Minute+time.Duration(phase)*hpaSync)
		took := g.changes(t, p, 0, 1)
		least, most = min(least, took), max(most, took)
	}
	if least != 15*time.Second || most != 30*time.Second {
		t.Errorf("woke after %s to %s, want 15s to 30s", least, most)
	}
}

func TestKEDACoolsDownForFiveMinutes(t *testing.T) {
	s := chatSetting(0, 50)
	g, p := newStage(s, 0), kedaScaler().New(s)
	g.asking(p, 0, 5, 10*time.Minute)
	if g.size() != 1 {
		t.Fatalf("%d replicas, want 1", g.size())
	}
	took := g.changes(t, p, 0, 0)
	if want := kedaCooldown - hpaSync; took != want { // the last poll read a sample of 15 s before
		t.Errorf("asleep after %s, want %s", took, want)
	}
	// One request in between, seen by a poll, begins the cool-down anew.
	g, p = newStage(s, 0), kedaScaler().New(s)
	g.asking(p, 0, 5, 10*time.Minute)
	g.asking(p, 0, 0, 4*time.Minute)
	g.asking(p, 1, 0, kedaPoll)
	g.asking(p, 0, 0, 4*time.Minute)
	if g.size() != 1 {
		t.Errorf("%d replicas four minutes after the last request, want 1", g.size())
	}
}

// A request that comes and goes between two polls is not there for KEDA.
func TestKEDADoesNotSeeWhatEndsBetweenPolls(t *testing.T) {
	s := chatSetting(0, 50)
	g, p := newStage(s, 0), kedaScaler().New(s)
	for range 100 {
		g.asking(p, 0, 0, kedaPoll-hpaSync)
		g.asking(p, 0, 1, hpaSync)
	}
	if g.size() != 0 {
		t.Errorf("%d replicas, want 0", g.size())
	}
}

func TestKEDAKeepsAMinimum(t *testing.T) {
	s := chatSetting(2, 50)
	g, p := newStage(s, 0), kedaScaler().New(s)
	g.asking(p, 0, 0, time.Hour)
	if g.size() != 2 {
		t.Errorf("%d replicas, want the 2 of minReplicaCount", g.size())
	}
	g, p = newStage(s, 0), kedaScaler().New(s)
	if g.changes(t, p, 0, 50); g.size() != 2 {
		t.Errorf("woke %d replicas, want the 2 of minReplicaCount", g.size())
	}
}

// ignoreNullValues is true as shipped: an outage of the metrics reads as zero.
func TestKEDAReadsLostMetricsAsZero(t *testing.T) {
	for _, c := range []struct{ least, want int }{{0, 0}, {1, 1}, {3, 3}} {
		s := chatSetting(c.least, 50)
		g, p := newStage(s, 20), kedaScaler().New(s)
		g.asking(p, 140, 0, time.Hour)
		if g.size() != 20 {
			t.Fatalf("%d replicas, want 20", g.size())
		}
		g.demand = scale.Demand{}
		g.until(p, 20*time.Minute)
		if g.size() != c.want {
			t.Errorf("%d replicas after twenty minutes without metrics, want %d", g.size(), c.want)
		}
	}
}
