package config

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each case spoils the folder's workloads.yaml in one place, and the fault says
// where and what to do. "DIR" stands for the folder.
func TestFaultsInWorkloadsSayWhereAndWhat(t *testing.T) {
	catalogue, dir := Catalogue(), folder(t, questions)
	path := filepath.Join(dir, WorkloadsFile)
	for name, c := range map[string]struct{ replace, by, want string }{
		"a typo in a key":        {"weights_gb", "weight_gb", "DIR/workloads.yaml:5 profiles.small-a.weight_gb is no known key. Did you mean weights_gb?"},
		"a key that is left out": {"    weights_gb: 16.1\n", "", "DIR/workloads.yaml:2 profiles.small-a.weights_gb is missing: a profile with linear_ops needs it."},
		"a key twice":            {"min: 1,", "min: 1, min: 2,", "DIR/workloads.yaml:17 workloads[0].min is set twice, on lines 17 and 17."},
		"text for a number":      {"cv: 1.1", "cv: bursty", `DIR/workloads.yaml:16 workloads[0].cv is the text "bursty", where a number is wanted.`},
		"a number that is none":  {"cv: 1.1", "cv: .nan", "DIR/workloads.yaml:16 workloads[0].cv is the number NaN, where a number is wanted."},
		"an endless number":      {"cv: 1.1", "cv: .inf", "DIR/workloads.yaml:16 workloads[0].cv is the number +Inf, where a number is wanted."},
		"a negative number":      {"scale: 0.5", "scale: -0.5", "DIR/workloads.yaml:16 workloads[0].scale is -0.5. Set it above 0."},
		"a number without bound": {"scale: 0.5", "scale: 1e12", "DIR/workloads.yaml:16 workloads[0].scale is 1e+12. Set it to 1e+09 or less."},
		"a wrong unit":           {"notice: 1m", "notice: 1 minute", `DIR/workloads.yaml:18 workloads[1].notice is the text "1 minute", where a time is wanted: a number of seconds, or text such as 800ms, 30s or 5m.`},
		"a negative time":        {"ttft: 1.0", "ttft: -1", "DIR/workloads.yaml:17 workloads[0].slo.ttft is -1, where a time is wanted: it can not be negative."},
		"no time":                {"ttft: 1.0", "ttft: 0", "DIR/workloads.yaml:17 workloads[0].slo.ttft is 0, where a time is wanted."},
		"an age":                 {"ttft: 1.0", "ttft: 1e12", "DIR/workloads.yaml:17 workloads[0].slo.ttft is 1e+12 seconds. Set it below a hundred years."},
		"a list for a time":      {"ttft: 1.0", "ttft: [1]", "DIR/workloads.yaml:17 workloads[0].slo.ttft is a list, where a time is wanted: seconds, or text such as 30s."},
		"no YAML":                {"workloads:\n", "workloads: [\n", "DIR/workloads.yaml:15 is no YAML: "},
		"two documents":          {"cold_starts:\n", "---\ncold_starts:\n", "DIR/workloads.yaml:1 holds 2 YAML documents, where one with workloads is wanted."},

		"an unknown profile":        {"variants: [slow]", "variants: [slov]", `DIR/workloads.yaml:21 workloads[2].variants[0] is "slov", which is no profile of this file or of the catalogue. Did you mean slow?`},
		"a profile twice":           {"variants: [slow]", "variants: [slow, slow]", "DIR/workloads.yaml:21 workloads[2].variants[1] is slow again."},
		"no profile":                {"variants: [slow], ", "", "DIR/workloads.yaml:20 workloads[2].variants is missing: name at least one profile. Known are 70b-h100x4, 8b-a100, 8b-h100, 8b-l4, generic-4s, slow, small-a."},
		"an unknown cold start":     {"cold_start: two", "cold_start: tow", `DIR/workloads.yaml:18 workloads[1].cold_start is "tow", which cold_starts does not hold. Did you mean two?`},
		"no cold start":             {"cold_start: 60s, slo: {lat", "slo: {lat", "DIR/workloads.yaml:20 workloads[2].cold_start is missing. Known are 60s, two."},
		"a workload like no other":  {"name: nights, like: day", "name: nights, like: dya", `DIR/workloads.yaml:18 workloads[1].like is "dya", which is no workload. Did you mean day?`},
		"a workload like itself":    {"name: nights, like: day", "name: nights, like: nights", `DIR/workloads.yaml:18 workloads[1].like is "nights", the workload itself.`},
		"workloads like each other": {"name: day,", "name: day, like: fleet,", `DIR/workloads.yaml:22 workloads[3].like is "day", which is like this one in turn.`},
		"one name twice":            {"name: jobs", "name: nights", `DIR/workloads.yaml:20 workloads[2].name is "nights" again, as workloads[1].`},
		"a name with a comma":       {"name: jobs", `name: "jobs,more"`, `DIR/workloads.yaml:20 workloads[2].name is "jobs,more". Use a name without blanks, commas and slashes.`},
		"no workload":               {questions[strings.Index(questions, "workloads:"):], "workloads: []\n", "DIR/workloads.yaml:15 workloads is empty: there is nothing to judge."},
		"workloads left out":        {questions[strings.Index(questions, "workloads:"):], "", "DIR/workloads.yaml:1 workloads is missing."},

		"no source":               {"curve: {file: counts.csv, column: jobs, mean_rps: 3}", "what: jobs", "DIR/workloads.yaml:20 workloads[2] has no source of requests. Name one of requests, counts, curve, clients, generate; or another workload with like."},
		"two sources":             {"curve: {", "counts: counts.csv, curve: {", "DIR/workloads.yaml:20 workloads[2].curve stands beside counts. A workload has one source of requests: leave one of them out."},
		"a key without effect":    {"mean_rps: 3}", "mean_rps: 3}, scale: 2", "DIR/workloads.yaml:20 workloads[2].scale has no effect on curve. It takes cv, from_day, days, tokens."},
		"a file that is not":      {"tokens: requests.csv", "tokens: request.csv", `DIR/workloads.yaml:16 workloads[0].tokens is "request.csv", which is no file in DIR. Did you mean requests.csv?`},
		"a device":                {"tokens: requests.csv", "tokens: /dev/zero", `DIR/workloads.yaml:16 workloads[0].tokens is "/dev/zero", which is no file in DIR. Known are back.csv, counts.csv, cut.csv.gz, empty.csv, nodes.csv, odd.csv, one.csv, ops.csv.gz, requests.csv, rows.csv, still.csv, wild.csv.`},
		"a file of another kind":  {"tokens: requests.csv", "tokens: counts.csv", "DIR/workloads.yaml:16 workloads[0].tokens is counts.csv, which has no column t_ms: a file of requests has t_ms, in_tokens and out_tokens."},
		"requests for counts":     {"counts: counts.csv", "counts: requests.csv", "DIR/workloads.yaml:16 workloads[0].counts is requests.csv, which has no column t_s: a file of counts has t_s and a column of counts."},
		"counts for clients":      {"curve: {file: counts.csv, column: jobs, mean_rps: 3}", "clients: counts.csv", "DIR/workloads.yaml:20 workloads[2].clients is counts.csv, which has no column client: a file of clients has client, t_s, rps, dist and shape."},
		"counts for tokens":       {"curve: {file: counts.csv, column: jobs, mean_rps: 3}", "clients: counts.csv, tokens_by_window: counts.csv", "DIR/workloads.yaml:20 workloads[2].tokens_by_window is counts.csv, which has no column field: a file of tokens by window has t_s, field, mean and quantiles."},
		"a column that is not":    {"column: load", "column: laod", `DIR/workloads.yaml:16 workloads[0].column is "laod", which is no column of counts.csv. Did you mean load?`},
		"no column of several":    {"column: load, ", "", "DIR/workloads.yaml:16 workloads[0].column is missing: counts.csv has the columns t_s, load, jobs."},
		"an empty file":           {"counts: counts.csv", "counts: empty.csv", "DIR/workloads.yaml:16 workloads[0].counts can not be read: DIR/empty.csv:1: the file is empty."},
		"a rate of nothing":       {"mean_rps: 3", "mean_rps: 0", "DIR/workloads.yaml:20 workloads[2].curve.mean_rps is 0. Set it above 0."},
		"an unknown shape":        {"models: 5", "shape: step, models: 5", `DIR/workloads.yaml:22 workloads[3].generate.shape is "step". Did you mean steps?`},
		"no shape":                {"models: 5, ", "", "DIR/workloads.yaml:22 workloads[3].generate.shape is missing. Known are enterprise, enterprise-peaky, api, steps, flash-crowd, sparse-fleet, flat."},
		"models without a fleet":  {"models: 5", "shape: flat, models: 5", "DIR/workloads.yaml:22 workloads[3].generate.models has no effect on shape flat. It takes days, mean_rps, outlier."},
		"a fleet without models":  {"models: 5", "shape: sparse-fleet", "DIR/workloads.yaml:22 workloads[3].generate.models is missing: a sparse fleet needs a number of models."},
		"a share above one":       {"models: 5", "models: 5, active_share: 1.5", "DIR/workloads.yaml:22 workloads[3].generate.active_share is 1.5. Set it to 1 or less."},
		"an outlier of no length": {"models: 5", "models: 5, outlier: {share: 0.1, in_tokens: 0}", "DIR/workloads.yaml:22 workloads[3].generate.outlier.in_tokens is 0. Set it to 1 or more."},

		"measured operators that are not":   {"ops.csv.gz", "opps.csv.gz", `DIR/workloads.yaml:3 profiles.small-a.linear_ops.file is "opps.csv.gz", which is no file in DIR. Did you mean ops.csv.gz?`},
		"measured operators cut short":      {"ops.csv.gz", "cut.csv.gz", "DIR/workloads.yaml:3 profiles.small-a.linear_ops.file can not be read: DIR/cut.csv.gz:1: unexpected EOF."},
		"a row cut short":                   {"ops.csv.gz", "rows.csv", "DIR/workloads.yaml:3 profiles.small-a.linear_ops.file can not be read: DIR/rows.csv:5: wrong number of fields."},
		"a measured time that is none":      {"ops.csv.gz", "odd.csv", `DIR/workloads.yaml:3 profiles.small-a.linear_ops.file can not be read: DIR/odd.csv:3: linear_ops_ms is "NaN", where a number of 0 or more is wanted.`},
		"measured tokens that fall":         {"ops.csv.gz", "back.csv", "DIR/workloads.yaml:3 profiles.small-a.linear_ops.file can not be read: DIR/back.csv:3: 1 tokens in 100 ms: tokens ascend from 1, and times are above 0 and below 1000 s."},
		"measured operators without a time": {"ops.csv.gz", "counts.csv", "DIR/workloads.yaml:3 profiles.small-a.linear_ops.file can not be read: DIR/counts.csv:1: column model is missing."},
		"a model that was not measured":     {"model: small", "model: smal", `DIR/workloads.yaml:3 profiles.small-a.linear_ops.model is "smal", which ops.csv.gz does not hold. Did you mean small?`},
		"a GPU that was not measured":       {"gpu: a", "gpu: h100", `DIR/workloads.yaml:3 profiles.small-a.linear_ops.gpu is "h100", on which ops.csv.gz holds no small. Known are a, b.`},
		"a parallelism that was not":        {"tp: 1", "tp: 8", "DIR/workloads.yaml:3 profiles.small-a.linear_ops.tp is 8, with which ops.csv.gz holds no small on a. Known are 1."},
		"a parallelism of none":             {"tp: 1", "tp: 0", "DIR/workloads.yaml:3 profiles.small-a.linear_ops.tp is 0. Set it to 1 or more."},
		"memory for the weights alone":      {"gpu_memory_gb: 80", "gpu_memory_gb: 18", "DIR/workloads.yaml:6 profiles.small-a.gpu_memory_gb is too little: 18.0 GB × 0.90 − 16.1 GB weights = 0.1 GB for KV cache ÷ 131072 bytes/token = 762 tokens, and one request of ordinary size needs 4096."},
		"a share of memory above one":       {"gpu_memory_gb: 80", "gpu_memory_gb: 80\n    memory_utilisation: 90", "DIR/workloads.yaml:7 profiles.small-a.memory_utilisation is 90. Set it to 1 or less."},
		"a price of nothing":                {"on_demand: 2.00", "on_demand: 0", "DIR/workloads.yaml:8 profiles.small-a.price_per_hour.on_demand is 0. Set it above 0."},
		"no price":                          {"    price_per_hour: {on_demand: 1.00}\n", "", "DIR/workloads.yaml:9 profiles.slow.price_per_hour is missing."},
		"a profile of nothing":              {"    service_time: {mean: 4, cv: 0.6, concurrency: 8}\n", "", "DIR/workloads.yaml:9 profiles.slow gives neither linear_ops (for a model with tokens) nor service_time (for one without)."},
		"weights beside a service time":     {"concurrency: 8}", "concurrency: 8}\n    weights_gb: 3", "DIR/workloads.yaml:11 profiles.slow.weights_gb has no effect beside service_time, which is for models without tokens."},
		"a service that takes no time":      {"mean: 4, cv", "mean: 0, cv", "DIR/workloads.yaml:10 profiles.slow.service_time.mean is 0, where a time is wanted."},
		"a concurrency of none":             {"concurrency: 8", "concurrency: 0", "DIR/workloads.yaml:10 profiles.slow.service_time.concurrency is 0. Set it to 1 or more."},
		"a batch of none":                   {"gpu_memory_gb: 80", "gpu_memory_gb: 80\n    max_batch: 0", "DIR/workloads.yaml:7 profiles.small-a.max_batch is 0. Set it to 1 or more."},

		"shares that do not add up":   {"share: 0.75", "share: 0.7", "DIR/workloads.yaml:14 cold_starts.two.mixture has shares that add up to 0.95. They must add up to 1."},
		"a mean beside a mixture":     {"two: {", "two: {mean: 3, ", "DIR/workloads.yaml:14 cold_starts.two.mixture stands beside mean. Leave one of them out."},
		"a cold start of nothing":     {"60s: {mean: 1m}", "60s: {}", "DIR/workloads.yaml:13 cold_starts.60s gives neither mean nor mixture."},
		"a cold start in no time":     {"60s: {mean: 1m}", "60s: {mean: 0}", "DIR/workloads.yaml:13 cold_starts.60s.mean is 0, where a time is wanted."},
		"a sigma beside a mixture":    {"two: {", "two: {sigma: 1, ", "DIR/workloads.yaml:14 cold_starts.two.sigma has no effect beside mixture, whose parts have their own."},
		"an objective of everything":  {"objective: 0.995", "objective: 1", "DIR/workloads.yaml:17 workloads[0].slo.objective is 1. Set it below 1, such as 0.99: what is left is the error budget."},
		"an objective in per cent":    {"objective: 0.995", "objective: 99.5", "DIR/workloads.yaml:17 workloads[0].slo.objective is 99.5. Set it to 1 or less."},
		"half an SLO":                 {"tpot: 50ms, ", "", "DIR/workloads.yaml:17 workloads[0].slo is not complete. Set both ttft and tpot, or latency for a model without tokens."},
		"an SLO of both kinds":        {"latency: 20", "latency: 20, ttft: 1", "DIR/workloads.yaml:21 workloads[2].slo.latency stands beside ttft or tpot. Set ttft and tpot for a model that streams tokens, or latency for one without."},
		"an SLO of the other kind":    {"latency: 20", "ttft: 1, tpot: 1", "DIR/workloads.yaml:21 workloads[2].variants[0] is slow, but slo sets ttft and tpot, which a model without tokens has not: set latency instead."},
		"latency for tokens":          {"ttft: 1.0, tpot: 50ms", "latency: 20", "DIR/workloads.yaml:17 workloads[0].variants[0] is small-a, but slo sets latency, which is for models without tokens: set ttft and tpot instead."},
		"a latency below the mean":    {"latency: 20", "latency: 3", "DIR/workloads.yaml:21 workloads[2].slo.latency is 3s, but slow takes 4s for a lone request on average."},
		"a token faster than can be":  {"tpot: 50ms", "tpot: 5ms", "DIR/workloads.yaml:17 workloads[0].slo.tpot is 5ms, but small-a takes 15.1ms per token even for a lone request."},
		"a first token that can not":  {"ttft: 1.0", "ttft: 10ms", "DIR/workloads.yaml:17 workloads[0].slo.ttft is 10ms, but small-a takes 15ms for a lone prompt of one token."},
		"a window that is not kept":   {"latency: 20", "latency: 20, window: 60d", "DIR/workloads.yaml:21 workloads[2].slo.window is 60d, and requests are counted for 31d. Set it to 31d or less."},
		"a hold below the cold start": {"latency: 20", "latency: 20, max_hold: 50", "DIR/workloads.yaml:21 workloads[2].slo.max_hold is 50s, but a cold start takes 1m: a request that wakes a model from zero would expire. Raise it, or set min to 1 or more."},
		"fewer than no replica":       {"min: 1", "min: -1", "DIR/workloads.yaml:17 workloads[0].min is -1. Set it to 0 or more."},
		"no GPU":                      {"gpus: 4", "gpus: 0", "DIR/workloads.yaml:21 workloads[2].gpus is 0. Set it to 1 or more."},
		"too few GPUs for a replica":  {"variants: [slow], cold_start: 60s, slo: {latency: 20}, gpus: 4", "variants: [70b-h100x4], cold_start: 60s, slo: {ttft: 2, tpot: 0.1}, gpus: 3", "DIR/workloads.yaml:21 workloads[2].variants[0] is 70b-h100x4, a replica of which takes 4 accelerators, and gpus is 3: none could ever start."},

		"an unknown capacity":      {"[spot, on_demand]", "[spot, onDemand]", `DIR/workloads.yaml:18 workloads[1].capacity[1] is "onDemand". Did you mean on_demand?`},
		"a capacity twice":         {"[spot, on_demand]", "[spot, spot]", "DIR/workloads.yaml:18 workloads[1].capacity[1] is spot again."},
		"spot that is not sold":    {"capacity: [spot, on_demand]", "capacity: [spot, on_demand], variants: [slow]", "DIR/workloads.yaml:18 workloads[1].variants[0] is slow, which has no spot price: add price_per_hour.spot to the profile, or leave spot out of capacity."},
		"spot without nodes":       {"     spot_nodes: [nodes.csv, {name: east, changes: [[0, 2], [60, 4], [120, 4]]}]}", "    }", "DIR/workloads.yaml:18 workloads[1].spot_nodes is missing: capacity holds spot, so that it must be said how much there is and when."},
		"nodes without spot":       {"capacity: [spot, on_demand], ", "", "DIR/workloads.yaml:19 workloads[1].spot_nodes has no effect without spot in capacity."},
		"a notice without spot":    {"capacity: [spot, on_demand], ", "", "DIR/workloads.yaml:18 workloads[1].notice has no effect without spot in capacity."},
		"nodes that are not":       {"[nodes.csv", "[node.csv", `DIR/workloads.yaml:19 workloads[1].spot_nodes[0] is "node.csv", which is no file in DIR. Did you mean nodes.csv?`},
		"nodes of another kind":    {"[nodes.csv", "[counts.csv", "DIR/workloads.yaml:19 workloads[1].spot_nodes[0] is wrong: DIR/counts.csv:1: column nodes is missing."},
		"nodes that never change":  {"[nodes.csv", "[still.csv", "DIR/workloads.yaml:19 workloads[1].spot_nodes[0] is wrong: DIR/still.csv:2: at least two changes are wanted: the last one ends the series."},
		"nodes back in time":       {"[nodes.csv", "[wild.csv", "DIR/workloads.yaml:19 workloads[1].spot_nodes[0] is wrong: DIR/wild.csv:3: 540 s comes after 600 s: times ascend."},
		"half a node":              {"[60, 4]", "[60, 4.5]", "DIR/workloads.yaml:19 workloads[1].spot_nodes[1] is wrong: changes[1]: 4.5 nodes at 60 s: times and whole counts of 0 or more are wanted."},
		"a change without a count": {"[60, 4]", "[60]", "DIR/workloads.yaml:19 workloads[1].spot_nodes[1] is wrong: changes[1] has 1 numbers, where [seconds, nodes] is wanted."},
		"a zone without a node":    {"[[0, 2], [60, 4], [120, 4]]", "[[0, 0], [60, 0]]", "DIR/workloads.yaml:19 workloads[1].spot_nodes[1] is wrong: there never is a node."},
		"a zone twice":             {"[nodes.csv, ", "[nodes.csv, nodes.csv, ", "DIR/workloads.yaml:19 workloads[1].spot_nodes[1] is nodes again: each zone needs a name of its own."},
		"a number for nodes":       {"[nodes.csv", "[7", "DIR/workloads.yaml:19 workloads[1].spot_nodes[0] is the number 7, where a file (t_s,nodes) or {name, changes} is wanted."},

		"a fault that never comes":   {"[[60, 30]]", "[[86400, 30]]", "DIR/workloads.yaml:22 workloads[3].faults.metrics_zero[0] begins at 1d, and the workload ends at 1d: it would never come."},
		"a fault that does not last": {"[[60, 30]]", "[[60, 0]]", "DIR/workloads.yaml:22 workloads[3].faults.metrics_zero[0] begins at 60 s and lasts 0 s. Begin at 0 or later, and let it last."},
		"a fault of three numbers":   {"[[60, 30]]", "[[60, 30, 1]]", "DIR/workloads.yaml:22 workloads[3].faults.metrics_zero[0] has 3 numbers, where [start, duration] is wanted, in seconds."},
		"a fault that is no list":    {"[[60, 30]]", "[60, 30]", "DIR/workloads.yaml:22 workloads[3].faults.metrics_zero[0] is the number 60, where a list is wanted."},
		"a quota above all":          {"60, 0.5]", "60, 1.5]", "DIR/workloads.yaml:22 workloads[3].faults.quota[0] leaves a share of 1.5. Set it to 0 or more and below 1."},
		"a quota without a share":    {"60, 0.5]", "60]", "DIR/workloads.yaml:22 workloads[3].faults.quota[0] has 2 numbers, where [start, duration, share] is wanted, in seconds."},
		"boots that fail too often":  {"failed_boots: 0.2", "failed_boots: 2", "DIR/workloads.yaml:22 workloads[3].faults.failed_boots is 2. Set it to 1 or less."},
		"a restart after the end":    {"[7200, 1h]", "[7200, 2d]", "DIR/workloads.yaml:22 workloads[3].faults.restarts[1] begins at 2d, and the workload ends at 1d: it would never come."},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(questions, c.replace) {
				t.Fatalf("the file holds no %q", c.replace)
			}
			_, err := catalogue.workloads(path, dir, []byte(strings.Replace(questions, c.replace, c.by, 1)))
			if err == nil {
				t.Fatal("no fault")
			}
			want := strings.ReplaceAll(c.want, "DIR", dir)
			for _, fault := range FaultsOf(err) {
				if s := fault.String(); s == want || strings.HasSuffix(want, ": ") && strings.HasPrefix(s, want) {
					return
				}
			}
			t.Errorf("got\n%s\nwant among them\n%s", strings.ReplaceAll(err.Error(), dir, "DIR"), c.want)
		})
	}
}

func TestFaultIsToldOnceWhereManyWorkloadsAreLikeTheOneThatHasIt(t *testing.T) {
	dir := folder(t, strings.NewReplacer("objective: 0.995", "objective: 2", "min: 1", "min: -1", "counts: counts.csv", "counts: none.csv", "small-a], cold", "small-b], cold").Replace(questions))
	_, err := LoadWorkloads(dir)
	var paths []string
	for _, f := range FaultsOf(err) {
		paths = append(paths, f.Path)
	}
	want := "workloads[0].counts workloads[0].min workloads[0].slo.objective workloads[0].variants[0]"
	if got := strings.Join(paths, " "); got != want {
		t.Errorf("got %s\nwant %s\n%v", got, want, err)
	}
}

func TestAllFaultsInWorkloadsAreToldInOrder(t *testing.T) {
	spoil := strings.NewReplacer("tp: 1", "tp: 9", "share: 0.25", "share: -1", "scale: 0.5", "scale: 0", "cold_start: two", "cold_start: three", "latency: 20", "latency: 1", "[60, 30]", "[]")
	dir := folder(t, spoil.Replace(questions))
	_, err := LoadWorkloads(dir)
	faults := FaultsOf(err)
	if len(faults) < 6 {
		t.Errorf("told only %d faults:\n%v", len(faults), err)
	}
	for i, f := range faults {
		if f.Line < 1 || i > 0 && f.Line < faults[i-1].Line {
			t.Errorf("out of order:\n%v", err)
		}
	}
	for range 10 {
		if _, again := LoadWorkloads(dir); again.Error() != err.Error() {
			t.Fatalf("another order:\n%v\n%v", err, again)
		}
	}
}

func TestLineWithoutEndIsNotReadToItsEnd(t *testing.T) {
	read, err := io.ReadAll(&bound{Reader: strings.NewReader(strings.Repeat("t_ms,", 1000)), left: 100})
	if len(read) != 100 || err == nil || err.Error() != "more than 64 MiB" {
		t.Errorf("read %d bytes, %v", len(read), err)
	}
}

// No input makes the reading panic; what is refused is refused with the
// file's name, and what is accepted is whole.
func FuzzWorkloads(f *testing.F) {
	f.Add(questions)
	f.Add(string(generatedYAML))
	if traces := os.Getenv("PENSTOCK_TRACES"); traces != "" {
		data, err := os.ReadFile(filepath.Join(traces, WorkloadsFile))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	catalogue := Catalogue()
	f.Fuzz(func(t *testing.T, text string) {
		w, err := catalogue.workloads("w.yaml", "testdata", []byte(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "w.yaml") || len(FaultsOf(err)) == 0 {
				t.Errorf("no place in %v", err)
			}
			return
		}
		if len(w.Workloads) == 0 {
			t.Error("accepted, and empty")
		}
		for _, l := range w.Workloads {
			whole := l.Name != "" && l.Source.Kind > 0 && l.Source.Scale > 0 && l.Source.CV > 0 && len(l.Variants) > 0 && len(l.Capacity) > 0 &&
				l.ColdStart.Mean() > 0 && l.SLO.Objective > 0 && l.SLO.Objective < 1 && l.SLO.MaxHold > 0 && l.SLO.Window > 0
			if !whole {
				t.Errorf("accepted, and not whole: %+v", l)
			}
		}
	})
}
