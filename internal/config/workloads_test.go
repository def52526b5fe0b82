package config

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
)

const operators = `model,gpu,tp,tokens_in_iteration,linear_ops_ms
small,a,1,1,10
small,a,1,2048,100
small,b,2,1,5
large,a,4,1,50
`

// questions is a workloads.yaml that says a little of everything.
const questions = `profiles:
  small-a:
    linear_ops: {file: ops.csv.gz, model: small, gpu: a, tp: 1, scale: 1.1, floor_ms: 12}
    kv_bytes_per_token: 131072
    weights_gb: 16.1
    gpu_memory_gb: 80
    memory_bandwidth_gb_s: 2000
    price_per_hour: {on_demand: 2.00, spot: 0.60}
  slow:
    service_time: {mean: 4, cv: 0.6, concurrency: 8}
    price_per_hour: {on_demand: 1.00}
cold_starts:
  60s: {mean: 1m}
  two: {mixture: [{share: 0.25, mean: 4, sigma: 0.6}, {share: 0.75, mean: 40}]}
workloads:
  - {name: day, what: a day, counts: counts.csv, column: load, cv: 1.1, scale: 0.5, from_day: 1, days: 2, tokens: requests.csv,
     variants: [small-a], cold_start: 60s, min: 1, slo: {ttft: 1.0, tpot: 50ms, objective: 0.995}}
  - {name: nights, like: day, capacity: [spot, on_demand], cold_start: two, notice: 1m, slo: {objective: 0.9},
     spot_nodes: [nodes.csv, {name: east, changes: [[0, 2], [60, 4], [120, 4]]}]}
  - {name: jobs, curve: {file: counts.csv, column: jobs, mean_rps: 3},
     variants: [slow], cold_start: 60s, slo: {latency: 20}, gpus: 4}
  - {name: fleet, like: day, generate: {models: 5, mean_rps: 2, days: 1}, faults: {metrics_zero: [[60, 30]], failed_boots: 0.2, quota: [[600, 60, 0.5]], restarts: [7200, 1h]}}
`

// folder makes a folder of small trace files with that workloads.yaml.
func folder(t *testing.T, yaml string) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("ops.csv.gz", zipped(t, operators))
	put("cut.csv.gz", zipped(t, operators)[:40])
	put("rows.csv", []byte(operators[:strings.Index(operators, "large")]+"large,a,4,1\n"))
	put("odd.csv", []byte(strings.Replace(operators, "2048,100", "2048,NaN", 1)))
	put("back.csv", []byte(strings.Replace(operators, "2048,100", "1,100", 1)))
	put("counts.csv", []byte("t_s,load,jobs\n0,10,1\n60,20,2\n"))
	put("one.csv", []byte("t_s,load\n0,10\n60,20\n"))
	put("requests.csv", []byte("t_ms,in_tokens,out_tokens\n0,10,20\n"))
	put("nodes.csv", []byte("t_s,nodes\n600,20\n660,30\n1200,15\n1800,40\n2400,0\n"))
	put("still.csv", []byte("t_s,nodes\n600,20\n"))
	put("wild.csv", []byte("t_s,nodes\n600,20\n540,30\n"))
	put("empty.csv", nil)
	put(WorkloadsFile, []byte(yaml))
	return dir
}

func zipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWorkloadsAreReadAsTheyAreWritten(t *testing.T) {
	dir := folder(t, questions)
	got, err := LoadWorkloads(dir)
	if err != nil {
		t.Fatal(err)
	}
	small := WorkloadVariant{
		Name: "small-a", Accelerator: scale.Accelerator{Type: "small-a", Count: 1}, OnDemand: 2, Spot: 0.6,
		Profile: scale.Profile{
			Name:     "small-a",
			Linear:   []scale.LinearPoint{{Tokens: 1, Time: 12 * time.Millisecond}, {Tokens: 2048, Time: 110 * time.Millisecond}},
			Overhead: 3 * time.Millisecond, Bandwidth: 2000e9 * 0.85, KVBytesPerToken: 131072, WeightBytes: 16.1e9,
			MemoryBytes: 80e9, MemoryUtilisation: 0.9, PrefillChunk: 2048, MaxBatch: 256,
		},
	}
	slow := WorkloadVariant{
		Name: "slow", Accelerator: scale.Accelerator{Type: "slow", Count: 1}, OnDemand: 1,
		Profile: scale.Profile{Name: "slow", Service: scale.ServiceTime{Mean: 4 * time.Second, CV: 0.6, Concurrency: 8}},
	}
	minute := ColdStart{Name: "60s", Mixture: []ColdStartMode{{Share: 1, Mean: time.Minute, Sigma: 0.25}}, Fails: 0.01}
	day := Workload{
		Name: "day", What: "a day",
		Source: Source{
			Kind: FromCounts, File: filepath.Join(dir, "counts.csv"), Column: "load", Scale: 0.5, CV: 1.1, FromDay: 1, Days: 2,
			Tokens: filepath.Join(dir, "requests.csv"),
		},
		Variants: []WorkloadVariant{small}, Capacity: []scale.CapacityType{scale.OnDemand}, ColdStart: minute, Min: 1,
		SLO: scale.SLO{TTFT: time.Second, TPOT: 50 * time.Millisecond, Objective: 0.995, Window: 28 * 24 * time.Hour, MaxHold: 2 * time.Minute},
	}
	nights := day
	nights.Name, nights.Capacity, nights.Notice = "nights", []scale.CapacityType{scale.OnDemand, scale.Spot}, time.Minute
	nights.ColdStart = ColdStart{Name: "two", Mixture: []ColdStartMode{{Share: 0.25, Mean: 4 * time.Second, Sigma: 0.6}, {Share: 0.75, Mean: 40 * time.Second, Sigma: 0.25}}, Fails: 0.01}
	nights.SLO.Objective, nights.SLO.MaxHold = 0.9, 62*time.Second
	nights.Spot = []SpotZone{
		{Name: "nodes", Changes: []SpotChange{{Nodes: 5}, {At: time.Minute, Nodes: 8}, {At: 10 * time.Minute, Nodes: 4}, {At: 20 * time.Minute, Nodes: 10}}, Period: 30 * time.Minute},
		{Name: "east", Changes: []SpotChange{{Nodes: 5}, {At: time.Minute, Nodes: 10}}, Period: 2 * time.Minute},
	}
	jobs := Workload{
		Name: "jobs", Source: Source{Kind: FromCurve, File: filepath.Join(dir, "counts.csv"), Column: "jobs", Scale: 1, CV: 1, MeanRPS: 3},
		Variants: []WorkloadVariant{slow}, Capacity: []scale.CapacityType{scale.OnDemand}, ColdStart: minute, GPUs: 4,
		SLO: scale.SLO{Latency: 20 * time.Second, Objective: 0.99, Window: 28 * 24 * time.Hour, MaxHold: 2 * time.Minute},
	}
	fleet := day
	fleet.Name, fleet.Source = "fleet", Source{Kind: FromShape, Scale: 1, CV: 1, Generate: Generate{Shape: "sparse-fleet", Models: 5, MeanRPS: 2, Days: 1, Zipf: 1.1, ActiveShare: 0.25}}
	fleet.ColdStart.Fails = 0.2
	fleet.Faults = WorkloadFaults{
		MetricsZero: []FaultSpan{{From: time.Minute, For: 30 * time.Second}},
		Quota:       []QuotaFault{{FaultSpan: FaultSpan{From: 10 * time.Minute, For: time.Minute}, Share: 0.5}},
		Restarts:    []time.Duration{time.Hour, 2 * time.Hour},
	}
	want := Workloads{
		Dir: dir, Profiles: []WorkloadVariant{slow, small}, Workloads: []Workload{day, nights, jobs, fleet},
		Files: []string{filepath.Join(dir, "counts.csv"), filepath.Join(dir, "nodes.csv"), filepath.Join(dir, "ops.csv.gz"), filepath.Join(dir, "requests.csv")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if mean := nights.ColdStart.Mean(); mean != 31*time.Second {
		t.Errorf("the cold starts take %s on average, want 31s", mean)
	}
}

func TestWorkloadsCanBeNamedByFileOrFolder(t *testing.T) {
	dir := folder(t, questions)
	byFolder, err := LoadWorkloads(dir)
	if err != nil {
		t.Fatal(err)
	}
	byFile, err := LoadWorkloads(filepath.Join(dir, WorkloadsFile))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(byFolder, byFile); diff != "" {
		t.Errorf("(-folder +file):\n%s", diff)
	}
	t.Chdir(dir)
	if relative, err := LoadWorkloads("."); err != nil || relative.Dir != dir {
		t.Errorf("got %s, %v", relative.Dir, err)
	}
	if _, err := LoadWorkloads(filepath.Join(dir, "none")); err == nil || FaultsOf(err) != nil {
		t.Errorf("got %v", err)
	}
}

func TestTracesWithoutAnEntryAreLikeW1(t *testing.T) {
	dir := folder(t, questions)
	w, err := LoadWorkloads(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cut.csv.gz", "empty.csv"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	unlisted, err := w.Unlisted()
	if err != nil || !slices.Equal(unlisted, []string{"one.csv"}) {
		t.Fatalf("got %v, %v", unlisted, err)
	}
	got, err := w.Default("one.csv")
	if err != nil {
		t.Fatal(err)
	}
	want, _ := GeneratedWorkloads().Workload("enterprise-day")
	want.Name, want.What = "one", "a trace without an entry"
	want.Source = Source{Kind: FromCounts, File: filepath.Join(dir, "one.csv"), Column: "load", Scale: 1, CV: 1.1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for file, want := range map[string]string{
		"nodes.csv": "nodes.csv:1: the columns are t_s, nodes, where", "none.csv": "no such file", "../" + filepath.Base(dir) + "/counts.csv": "where t_ms,in_tokens,out_tokens or t_s,requests is wanted",
	} {
		if _, err := w.Default(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", file, err)
		}
	}
}

func TestTracesWithoutAnEntryTakeW1AsTheFolderSaysIt(t *testing.T) {
	dir := folder(t, strings.NewReplacer("name: day", "name: W1", "like: day", "like: W1").Replace(questions))
	w, err := LoadWorkloads(dir)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]Source{
		"one.csv":      {Kind: FromCounts, Column: "load", Scale: 1, CV: 1.1, Tokens: filepath.Join(dir, "requests.csv")},
		"requests.csv": {Kind: FromRequests, Scale: 1, CV: 1},
	} {
		got, err := w.Default(file)
		if err != nil {
			t.Fatal(err)
		}
		want.File = filepath.Join(dir, file)
		if diff := cmp.Diff(want, got.Source); diff != "" || got.SLO.Objective != 0.995 || got.Variants[0].Name != "small-a" {
			t.Errorf("%s (-want +got):\n%s\n%+v", file, diff, got)
		}
	}
}

func TestShapeIsCutToTheDaysOfWhoIsLikeIt(t *testing.T) {
	w, err := LoadWorkloads(folder(t, questions+"  - {name: hours, like: fleet, days: 0.5, faults: {}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	hours, _ := w.Workload("hours")
	if got := hours.Source; got.Generate.Days != 0.5 || got.Days != 0 || got.Generate.Models != 5 || len(hours.Faults.Restarts) != 0 {
		t.Errorf("got %+v", hours)
	}
}

func TestFolderOfTracesNeedsNoWorkloadsFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadWorkloads(dir); err == nil || !strings.Contains(err.Error(), "neither a workloads.yaml nor a trace file") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mine.csv"), []byte("t_ms,in_tokens,out_tokens\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := LoadWorkloads(dir)
	if err != nil {
		t.Fatal(err)
	}
	if unlisted, err := w.Unlisted(); err != nil || len(unlisted) != 1 || len(w.Names()) != 0 {
		t.Errorf("got %v, %v", unlisted, err)
	}
}

func TestGeneratedWorkloadsNeedNoFiles(t *testing.T) {
	w := GeneratedWorkloads()
	var requests float64
	for _, l := range w.Workloads {
		g := l.Source.Generate
		if l.Source.Kind != FromShape || l.Source.Tokens != "" || g.Days > 1 {
			t.Errorf("%s: %+v", l.Name, l.Source)
		}
		requests += g.Days * 86400 * g.MeanRPS
	}
	// All policies together simulate them in under five minutes at 600,000
	// requests a second: about 30 runs of each.
	if len(w.Files) > 0 || requests < 1e6 || requests > 3e6 {
		t.Errorf("%v files and %.0f requests", w.Files, requests)
	}
	want := []string{"enterprise-day", "bursty-api", "steps", "flash-crowd", "sparse-fleet", "spot", "heterogeneous", "faults", "head-of-line"}
	if diff := cmp.Diff(want, w.Names()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The benchmark's own file, where it is there.
func TestBenchmarksWorkloadsAreRead(t *testing.T) {
	traces := os.Getenv("PENSTOCK_TRACES")
	if traces == "" {
		t.Skip("PENSTOCK_TRACES names no folder of trace files")
	}
	w, err := LoadWorkloads(traces)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"W1", "W3", "W5", "W6a", "W6b", "W8", "W9", "W10", "W11", "W12", "W13"}, w.Names()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// The catalogue's profiles are these, number by number.
	r := workloadsReader{catalogue: Catalogue()}
	for _, got := range w.Profiles {
		entry, found := r.catalogue.entry(got.Name)
		if diff := cmp.Diff(r.builtin(entry), got); !found || diff != "" {
			t.Errorf("%s (-catalogue +file):\n%s", got.Name, diff)
		}
	}
	spot, _ := w.Workload("W10")
	var zones []string
	for _, z := range spot.Spot {
		most := 0
		for _, c := range z.Changes {
			most = max(most, c.Nodes)
		}
		zones = append(zones, z.Name)
		if most != 10 || z.Period < 10*time.Hour {
			t.Errorf("zone %s has %d nodes at most and lasts %s", z.Name, most, z.Period)
		}
	}
	if diff := cmp.Diff([]string{"spot_bamboo_gcp_a100_east1b", "spot_bamboo_p3_nodes", "spot_bamboo_g4dn_nodes"}, zones); diff != "" || spot.Notice != 30*time.Second || spot.ColdStart.Mean() != 2*time.Minute {
		t.Errorf("notice %s, cold start %s, zones (-want +got):\n%s", spot.Notice, spot.ColdStart.Mean(), diff)
	}
	faults, _ := w.Workload("W12")
	if faults.ColdStart.Fails != 0.1 || faults.Source.Days != 3 || len(faults.Faults.Restarts) != 3 || faults.Faults.Quota[0].Share != 0.7 {
		t.Errorf("got %+v", faults)
	}
	fleet, _ := w.Workload("W9")
	if diff := cmp.Diff(Generate{Shape: "sparse-fleet", Days: 7, MeanRPS: 3, Models: 80, Zipf: 1.1, ActiveShare: 0.25, Diurnal: true}, fleet.Source.Generate); diff != "" || fleet.GPUs != 24 || fleet.SLO.MaxHold != 2*time.Minute {
		t.Errorf("%+v, generate (-want +got):\n%s", fleet, diff)
	}
	if unlisted, err := w.Unlisted(); err != nil || !slices.Equal(unlisted, []string{"azure_2023_code.csv.gz", "mooncake_synthetic.csv.gz"}) {
		t.Errorf("unlisted are %v, %v", unlisted, err)
	}
}
