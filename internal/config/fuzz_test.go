package config

import (
	"os"
	"strings"
	"testing"
)

// No input makes Parse panic; what it refuses it refuses with the file's name,
// and what it accepts is whole.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{minimal, minimal + server("  gpus: [{type: nvidia-l4, count: 1}]"), minimal + prices("{accelerator: x, onDemand: 1}"), second("")} {
		f.Add(seed)
	}
	for _, file := range []string{"emulated/penstock.yaml", "emulated/two-models.yaml", "vllm/penstock.yaml", "llama-cpp/penstock.yaml"} {
		data, err := os.ReadFile("../../examples/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("p.yaml", []byte(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "p.yaml") || len(FaultsOf(err)) == 0 {
				t.Errorf("no place in %v", err)
			}
			return
		}
		if len(c.Models) == 0 || c.Server.Tick <= 0 || c.Server.StateDir == "" {
			t.Errorf("accepted, and not whole: %+v", c)
		}
		for _, m := range c.Models {
			if m.Name == "" || len(m.Variants) == 0 || m.SLO.Objective <= 0 || m.SLO.MaxHold <= 0 || m.Replicas.Max < max(1, m.Replicas.Min) {
				t.Errorf("accepted, and not whole: %+v", m)
			}
			for _, v := range m.Variants {
				run := c.Runs[RunKey{Model: m.Name, Variant: v.Name}]
				if len(run.Command) == 0 || v.Max < 1 || v.Accelerator.Count < 1 || v.ColdStart <= 0 {
					t.Errorf("accepted, and not whole: %+v %+v", v, run)
				}
				if v.Profile.Tokens() == (v.Profile.Service.Concurrency > 0) || v.Profile.Tokens() && !(v.Profile.IterationTime(1, 1) > 0) {
					t.Errorf("accepted, and not whole: %+v", v.Profile)
				}
			}
		}
	})
}
