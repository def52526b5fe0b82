package judge

import (
	"math"
	"testing"

	"github.com/penstock/penstock/internal/trace"
)

func TestAPulseTellsHowUnevenArrivalsAre(t *testing.T) {
	for _, cv := range []float64{0.5, 1, 2, 4} {
		series, err := trace.Renewal(trace.Draw{Seed: 5, CV: cv}, 30, 200_000)
		if err != nil {
			t.Fatal(err)
		}
		var p pulse
		for r := range series {
			p.beat(r.At.Sub(trace.Epoch()))
		}
		if got := p.cv(); math.Abs(got/cv-1) > 0.07 {
			t.Errorf("a renewal of CV %v reads as %.3f", cv, got)
		}
	}
	if got := new(pulse).cv(); got != 1 {
		t.Errorf("nothing reads as %v", got)
	}
}
