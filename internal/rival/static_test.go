package rival

import (
	"testing"
	"time"
)

func TestAStaticFleetHoldsWhatItWasGiven(t *testing.T) {
	for _, c := range []struct {
		story string
		knob  float64
		want  int
	}{
		{"a count", 12, 12},
		{"a part of a replica is one", 11.2, 12},
		{"not more than are allowed", 80, 50},
		{"not fewer", 1, 2},
		{"without a count as many as are allowed", 0, 50},
	} {
		for _, r := range []Rival{staticPeak(), staticP99()} {
			s := chatSetting(2, 50)
			s.Knob = c.knob
			g, p := newStage(s, 3), r.New(s)
			g.asking(p, 1000, 1000, time.Minute)
			g.asking(p, 0, 0, time.Hour)
			if g.size() != c.want {
				t.Errorf("%s, %s: %d replicas, want %d", r.Name, c.story, g.size(), c.want)
			}
		}
	}
}
