package cli

import (
	"slices"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
)

// TestTheDemosStoryInVirtualTime plays the demo, its accidents apart, in the
// simulator, where it is the same every time: what the demo shows on a machine
// that keeps up is not luck.
func TestTheDemosStoryInVirtualTime(t *testing.T) {
	cfg, err := config.Parse("demo.yaml", demoConfig)
	if err != nil {
		t.Fatal(err)
	}
	for i := range cfg.Offerings { // as the machine says of its slots
		cfg.Offerings[i].Limited, cfg.Offerings[i].Slots = true, 12
	}
	spike := demoSpike(cfg.Models[0].Name)
	s := &show{machine: &machine{config: cfg}, model: cfg.Models[0], spike: spike, series: spike.Requests()}
	var reached []scale.ReasonCode
	model := cfg.Models[0]
	world := sim.World{
		Services: []sim.Service{{
			Model: model, Truths: []sim.Truth{{Profile: model.Variants[0].Profile, Boot: sim.Boot{Mixture: []sim.Mode{{Share: 1, Mean: 8 * time.Second}}}}}, Asks: true,
		}},
		Offerings: cfg.Offerings, Governor: sim.Penstock(cfg.Server.Tick), Source: sim.List(s.series),
		Settle: 2*time.Minute + model.ScaleToZero.After,
		Watch: func(_ scale.Snapshot, d scale.Decision) {
			for _, c := range d.Changes {
				for _, r := range c.Reasons {
					if !slices.Contains(reached, r.Code) {
						reached = append(reached, r.Code)
					}
				}
			}
		},
	}
	out, err := world.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.span = out.Span
	peak, err := s.staticPeak(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at, _ := out.Attainment()
	t.Logf("%d requests, %.2f %% good, peak %d, $%.4f against $%.4f for %d static, at zero after %v",
		out.Requests, 100*at, out.Peak, out.Cost, peak.Cost, peak.Replicas, out.Empty.Round(time.Second))
	if out.Requests < 2000 || at < 0.95 || out.Peak < 3 || out.Cost > 0.6*peak.Cost {
		t.Error("the story does not hold: ≥ 2000 requests, ≥ 95 % good, a peak of ≥ 3, < 0.6 of the static peak's cost")
	}
	if out.Empty == 0 || out.Empty > demoLongest-10*time.Second {
		t.Errorf("at zero after %v, which must leave room within %v", out.Empty, demoLongest)
	}
	for _, code := range []scale.ReasonCode{scale.ReasonWakeFromZero, scale.ReasonDemand, scale.ReasonStabilisation, scale.ReasonScaleToZero} {
		if !slices.Contains(reached, code) {
			t.Errorf("no decision gives %v as its reason", code)
		}
	}
}
