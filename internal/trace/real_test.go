package trace_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/trace"
)

// shared returns the path of a shared trace, or skips the test.
func shared(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("PENSTOCK_TRACES")
	if dir == "" {
		t.Skip("PENSTOCK_TRACES is not set: real traces are not read")
	}
	return filepath.Join(dir, name)
}

// drawn counts the requests of a source, and checks that they are in order.
func drawn(t *testing.T, source trace.Source, err error) (n int, prompt, output float64) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	last := trace.Epoch()
	for r, err := range trace.All(source) {
		if err != nil {
			t.Fatal(err)
		}
		if r.At.Before(last) {
			t.Fatalf("%s after %s", r.At, last)
		}
		last = r.At
		n++
		prompt += float64(r.PromptTokens)
		output += float64(r.OutputTokens)
	}
	return n, prompt / float64(n), output / float64(n)
}

// near fails unless got is within a share of want.
func near(t *testing.T, what string, got, want, share float64) {
	t.Helper()
	if math.Abs(got/want-1) > share {
		t.Errorf("%s: %v, want %v within %v %%", what, got, want, share*100)
	}
}

// The notebook prints 27,303,999; the file's minutes, read off its figure, add
// up to 16 fewer. A tenth is drawn.
func TestAzureWeek(t *testing.T) {
	tokens, err := trace.OpenSample(shared(t, "azure_2023_conv.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := trace.Counts{Column: "requests", Scale: 0.1, Draw: trace.Draw{Seed: 1, CV: 1.1, Tokens: tokens}}.
		Open(shared(t, "azure_2024_conv_week_digitised.csv.gz"))
	n, prompt, output := drawn(t, source, err)
	if n != 2_730_398 {
		t.Errorf("%d requests, want a tenth of 27,303,983", n)
	}
	near(t, "prompt tokens", prompt, 22361870.0/19366, 0.003)
	near(t, "output tokens", output, 4088665.0/19366, 0.003)
}

// W8's twelve days, and the total of all, which is the official one.
func TestWorldCup(t *testing.T) {
	path := shared(t, "worldcup98_1m.csv.gz")
	source, err := trace.Counts{Scale: 0.001, Draw: trace.Draw{Seed: 1, CV: 1.5}}.Open(path)
	if n, _, _ := drawn(t, source, err); n != 1_352_804 {
		t.Errorf("%d requests, want a thousandth of 1,352,804,107", n)
	}
	source, err = trace.Counts{Scale: 0.01, Part: trace.Days(45, 12), Draw: trace.Draw{Seed: 1, CV: 1.5}}.Open(path)
	minutes, err := trace.ReadMinutes(mustSource(t, source, err))
	if err != nil {
		t.Fatal(err)
	}
	if bins := minutes.Models[0].Bins; minutes.Bin != time.Minute || len(bins) != 12*24*60 {
		t.Errorf("%d bins of %s in twelve days", len(bins), minutes.Bin)
	}
}

// The clients in the file make 98.5 % of 196 requests a second.
func TestServeGen(t *testing.T) {
	tokens, err := trace.OpenWindows(shared(t, "servegen_m-large.tokens.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := trace.Clients{Scale: 0.01, Seed: 1, Tokens: tokens}.Open(shared(t, "servegen_m-large.clients.csv.gz"))
	n, prompt, output := drawn(t, source, err)
	near(t, "requests a second", float64(n)/(14*day).Seconds()/0.01, 0.985*196, 0.002)
	// The windows' means, weighted by the clients' rates in them.
	near(t, "prompt tokens", prompt, 929.66, 0.02)
	near(t, "output tokens", output, 145.86, 0.02)
}

// Every window's means are those of the file.
func TestServeGenWindowsHaveTheirMeans(t *testing.T) {
	tokens, err := trace.OpenWindows(shared(t, "servegen_m-large.tokens.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	for window, want := range map[int][2]float64{0: {359.783, 301.107}, 1: {442.49, 255.71}, 36: {719.136, 58.6018}, 55: {2076.86, 189.351}} {
		random := newRandom()
		const n = 200_000
		var prompt, output float64
		for range n {
			p, o := tokens.Draw(time.Duration(window)*6*time.Hour, random)
			prompt, output = prompt+float64(p), output+float64(o)
		}
		near(t, "prompt tokens", prompt/n, want[0], 0.02)
		near(t, "output tokens", output/n, want[1], 0.02)
	}
}

func TestO365Curves(t *testing.T) {
	for _, column := range []string{"A_prod", "B_prod", "C_prod"} {
		source, err := trace.Curve{Column: column, MeanRPS: 2, Draw: trace.Draw{Seed: 1, CV: 2}}.Open(shared(t, "sageserve_o365_week_prompt_tokens.csv.gz"))
		if n, _, _ := drawn(t, source, err); n < 7*86400*2-1 || n > 7*86400*2 {
			t.Errorf("%s: %d requests in a week at 2 a second", column, n)
		}
	}
}

// The first six windows' rates, read as they are.
func TestServeGenRatesAreACurve(t *testing.T) {
	source, err := trace.Curve{Column: "rps", Part: trace.Part{For: time.Hour}}.Open(shared(t, "servegen_m-large.rates.csv.gz"))
	if n, _, _ := drawn(t, source, err); n != 739_275 {
		t.Errorf("%d requests in the first hour", n)
	}
}

// What W10 repeats end to end.
func TestSpotNodes(t *testing.T) {
	for name, want := range map[string]struct {
		changes, highest int
		span             time.Duration
	}{
		"spot_bamboo_gcp_a100_east1b.csv.gz": {75, 64, 95580 * time.Second},
		"spot_bamboo_p3_nodes.csv.gz":        {163, 32, 40920 * time.Second},
		"spot_bamboo_g4dn_nodes.csv.gz":      {100, 24, 38760 * time.Second}, // 99 rows and the beginning
	} {
		changes, span, err := trace.Availability(shared(t, name))
		if err != nil {
			t.Fatal(err)
		}
		highest := slices.MaxFunc(changes, func(a, b trace.Change) int { return a.Count - b.Count }).Count
		if len(changes) != want.changes || span != want.span || highest != want.highest {
			t.Errorf("%s: %d changes in %s, at most %d nodes", name, len(changes), span, highest)
		}
	}
}
