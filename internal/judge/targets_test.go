package judge

import (
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/report"
)

// ran is a workload with Penstock and one rival.
func ran(name string, own, rival report.Policy) report.Workload {
	own.Name = report.Penstock
	return report.Workload{Name: name, Policies: []report.Policy{own, rival}}
}

func TestTargets(t *testing.T) {
	good := report.Policy{ObjectiveMet: true, Attainment: 0.995, Ratio: 1.04, Cost: 100, GPUHours: report.Hours{Total: 50}, Decision: report.Latencies{Mean: 10, P99: 50}, MemoryBytes: 30 << 10}
	hpa := report.Policy{Name: "hpa-concurrency", Attainment: 0.99, Cost: 150, GPUHours: report.Hours{Total: 75}, RequestsPerS: 1.2e6}
	late := good
	late.ObjectiveMet = false
	for what, tc := range map[string]struct {
		workload report.Workload
		target   string
		met      bool
		note     string
	}{
		"a ratio within":                          {ran("W1", good, hpa), "ratio, W1", true, ""},
		"a ratio within, but late":                {ran("W1", late, hpa), "ratio, W1", false, "objective missed"},
		"a third fewer GPU-hours":                 {ran("W1", good, hpa), "GPU-hours saved beside hpa-concurrency, geometric mean", true, ""},
		"decisions within":                        {ran("W1", good, hpa), "decision, mean, the worst workload", true, ""},
		"a quick simulator":                       {ran("W1", good, hpa), "simulated on one core, W1, the quickest policy", true, ""},
		"half as many violations are not a tenth": {ran("W8", good, hpa), "violations of hpa-concurrency over Penstock's, W8", false, ""},
		"steps within":                            {ran("W6a", good, report.Policy{Name: staticP99, Cost: 120}), "cost on W6a over static p99", true, ""},
		"spot at half the price":                  {ran("W10", good, report.Policy{Name: onDemandOnly, Cost: 200}), "spot, W10: cheaper than on-demand alone", true, ""},
		"blind, and yet it shrank":                {ran("W12", report.Policy{DownsInFaults: 1}, hpa), "scale-downs while signals were absent, stale or lying, W12", false, ""},
	} {
		t.Run(what, func(t *testing.T) {
			for _, got := range targets([]report.Workload{tc.workload}) {
				if got.Name != tc.target {
					continue
				}
				if got.Met != tc.met || !strings.Contains(got.Note, tc.note) {
					t.Errorf("got %+v", got)
				}
				return
			}
			t.Errorf("no target %q", tc.target)
		})
	}
	if got := targets(nil); got != nil {
		t.Errorf("targets of nothing: %v", got)
	}
}
