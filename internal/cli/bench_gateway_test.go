package cli

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/toll"
)

// TestBenchGatewayMeasuresEveryWay runs the benchmark in a few seconds. Only
// what does not depend on time is held against anything.
func TestBenchGatewayMeasuresEveryWay(t *testing.T) {
	var out, talk bytes.Buffer
	if code := Main(t.Context(), []string{"bench", "gateway", "--quick", "--json"}, Streams{Out: &out, Err: &talk}); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &talk)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var r struct {
		toll.Result
		Checks []check
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		t.Fatal(err)
	}
	want := []string{toll.Direct, toll.TCP, toll.Reverse, toll.Tuned, toll.Penstock}
	if _, err := exec.LookPath("nginx"); err == nil {
		want = append(want, toll.Nginx)
	}
	for what, ways := range map[string][]toll.Way{"2 KB": r.Fixed[0].Ways, "64 KB": r.Fixed[1].Ways, "512 KB": r.Fixed[2].Ways, "streams": r.Streams} {
		var names []string
		for _, w := range ways {
			names = append(names, w.Name)
			if w.Samples == 0 || w.P50 <= 0 || (w.CPU <= 0) != (w.Name == toll.Direct) {
				t.Errorf("%s: %+v", what, w)
			}
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s by %v, want %v", what, names, want)
		}
	}
	if len(r.Saturated) != len(want) || r.Routing.Nanoseconds <= 0 || len(r.Inspection) != 3 || r.Held.BytesEach <= 0 {
		t.Errorf("%+v", r.Result)
	}
	if len(r.Checks) != 11 {
		t.Errorf("%d checks", len(r.Checks))
	}
	for _, c := range r.Checks {
		if c.Target == 0 && !c.Met {
			t.Errorf("%s: %v", c.Name, c.Value)
		}
	}
}
