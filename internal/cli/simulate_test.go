package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/report"
)

const emulated = "../../examples/emulated/penstock.yaml"

// ranker is a configuration of a model without tokens, of which a lot is
// simulated in little time.
const ranker = `apiVersion: penstock.dev/v1alpha1
kind: InferenceAutoscaler
metadata: {name: ranker}
spec:
  model: ranker
  slo: {latency: 5s}
  variants:
  - name: l4
    accelerator: {type: nvidia-l4, count: 1}
    profile: {service: {mean: 1s, concurrency: 8}}
    coldStart: 30s
    run: {command: [ranker, "{{port}}"]}
  replicas: {min: 1}
`

// write writes files into a new folder, whose path it returns.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// contents are the files of a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		all[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// steady is a file of requests for a model, so many a second for so long.
func steady(model string, rate int, span time.Duration) string {
	var b strings.Builder
	b.WriteString("t_ms,in_tokens,out_tokens,model\n")
	for at := time.Duration(0); at < span; at += time.Second / time.Duration(rate) {
		fmt.Fprintf(&b, "%d,400,100,%s\n", at.Milliseconds(), model)
	}
	return b.String()
}

// compare runs a command that compares policies and returns its JSON.
func compare(t *testing.T, args ...string) report.Scaling {
	t.Helper()
	var out, talk bytes.Buffer
	if code := Main(t.Context(), append(args, "--json"), Streams{Out: &out, Err: &talk}); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &talk)
	}
	var found report.Scaling
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		t.Fatal(err)
	}
	if len(found.Workloads) != 1 || len(found.Failures) > 0 {
		t.Fatalf("%d workloads, failures %v", len(found.Workloads), found.Failures)
	}
	return found
}

func TestASimulationIsReportedInTextAndHTML(t *testing.T) {
	dir := write(t, map[string]string{"noon.csv": steady("ranker", 2, 10*time.Minute), "penstock.yaml": ranker})
	file := filepath.Join(dir, "report.html")
	var out, talk bytes.Buffer
	code := Main(t.Context(), []string{"simulate", "-f", filepath.Join(dir, "penstock.yaml"), "--trace", filepath.Join(dir, "noon.csv"), "--policy", "penstock", "--policy", "static-peak", "--truth", "30%", "--speed", "2", "--report", file}, Streams{Out: &out, Err: &talk})
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, &talk)
	}
	for _, want := range []string{"Simulation\n", "noon, requests of noon.csv", "1,200 requests; 5 min 00 s", "\nUnder Penstock this would have cost $", "cheapest other policy that meets it, static-peak, would have cost $"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("there is no %q in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "Targets") {
		t.Error("the benchmark's targets are in it")
	}
	if page := contents(t, dir)[file]; !strings.Contains(page, "<html") || !strings.Contains(page, "--truth 30%") {
		t.Errorf("the report is %d bytes: %.300s", len(page), page)
	}
	if n := len(contents(t, dir)); n != 3 {
		t.Errorf("%d files are left", n)
	}
}

func TestTheSameSeedsGiveTheSameSimulation(t *testing.T) {
	var counts strings.Builder
	counts.WriteString("t_s,requests\n")
	for i := range 15 {
		fmt.Fprintf(&counts, "%d,%d\n", 60*i, 20+i%7*6)
	}
	dir := write(t, map[string]string{"counts.csv": counts.String(), "penstock.yaml": ranker})
	play := func(more ...string) string {
		found := compare(t, append([]string{"simulate", "-f", filepath.Join(dir, "penstock.yaml"), "--trace", filepath.Join(dir, "counts.csv"), "--cv", "2", "--policy", "penstock", "--policy", "keda"}, more...)...)
		w := &found.Workloads[0]
		for i := range w.Policies { // what they took on this machine is not of the seed
			p := &w.Policies[i]
			p.Decision, p.Wall, p.RequestsPerS = report.Latencies{}, 0, 0
			for j := range p.Seeds {
				p.Seeds[j].Wall = 0
			}
		}
		text, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	first, again := play(), play("--workers", "1")
	if diff := cmp.Diff(first, again); diff != "" {
		t.Error(diff)
	}
}

// packed is a text as gzip, cut short.
func packed(t *testing.T, text string, cut int) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()[:b.Len()-cut]
}

func TestBadTracesAreSaidWithTheirLine(t *testing.T) {
	const head = "t_ms,in_tokens,out_tokens\n"
	for name, c := range map[string]struct{ trace, want string }{
		"a negative time":           {head + "0,1,1\n-5,1,1\n", "trace.csv:3: t_ms: -5 is negative"},
		"unsorted times":            {head + "10,1,1\n5,1,1\n", "trace.csv:3: t_ms: 5 is earlier than the 10 ms"},
		"NaN":                       {head + "NaN,1,1\n", `trace.csv:2: t_ms: "NaN" is no number`},
		"half a token":              {head + "0,1.5,1\n", "trace.csv:2: in_tokens: "},
		"a column too few":          {head + "0,1,1\n1,1\n", "trace.csv:3: "},
		"an empty file":             {"", "trace.csv:1: the file is empty"},
		"a header alone":            {head, "trace.csv:2: there is no request after the header"},
		"counts without a row":      {"t_s,requests\n", "trace.csv:2: there is no row"},
		"a gzip that was cut":       {packed(t, head+strings.Repeat("0,1,1\n", 100_000), 20), "trace.csv:"},
		"a fault at the very end":   {head + strings.Repeat("0,1,1\n", 50_000) + "x,1,1\n", "trace.csv:50002: t_ms: "},
		"columns of something else": {"time,value\n0,1\n", "trace.csv:1: found time,value, where t_ms,in_tokens,out_tokens (requests) or t_s,requests (counts) is wanted"},
		"a model that nobody has":   {"t_ms,in_tokens,out_tokens,model\n0,1,1,chat\n1,1,1,chta\n", `trace.csv:3: model "chta" is served by nothing`},
		"half a request":            {"t_s,requests\n0,1\n60,1.5\n", "trace.csv:3: requests: 1.5 is no whole number of requests"},
		"counts that fall back":     {"t_s,requests\n0,1\n60,1\n30,1\n", "trace.csv:4: t_s: 30 is not after the 60 s"},
		"counts of less than none":  {"t_s,requests\n0,1\n60,-1\n", "trace.csv:3: requests: -1 is negative"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, map[string]string{"trace.csv": c.trace, "report.html": "the old one"})
			turnedAway(t, dir, c.want, "simulate", "-f", emulated, "--trace", filepath.Join(dir, "trace.csv"), "--report", filepath.Join(dir, "report.html"))
		})
	}
}

// turnedAway runs a command that is asked wrongly: it says so, and leaves the
// folder as it is.
func turnedAway(t *testing.T, dir, want string, args ...string) {
	t.Helper()
	before := contents(t, dir)
	var out, talk bytes.Buffer
	if code := Main(t.Context(), args, Streams{Out: &out, Err: &talk}); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	if said := talk.String(); !strings.Contains(said, "penstock: ") || !strings.Contains(said, want) || out.Len() > 0 {
		t.Errorf("standard error %q, standard output %q; want %q", said, &out, want)
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("files have changed: %s", diff)
	}
}

func TestWhatIsAskedWronglyIsSaidBeforeAnythingRuns(t *testing.T) {
	dir := write(t, map[string]string{
		"trace.csv": steady("chat", 1, time.Minute), "plain.csv": "t_ms,in_tokens,out_tokens\n0,1,1\n",
		"broken.yaml": "apiVersion: penstock.dev/v1alpha1\nkind: InferenceAutoscaler\nmetadata: {name: chat}\nspec: {modelx: x}\n",
	})
	trace := filepath.Join(dir, "trace.csv")
	for name, c := range map[string]struct {
		want string
		args []string
	}{
		"an unknown policy":         {`there is no policy "keta"; did you mean keda?`, []string{"--trace", trace, "--policy", "keta"}},
		"no trace":                  {"--trace is missing", nil},
		"a trace that is not there": {"no such file", []string{"--trace", trace + ".gz"}},
		"a report into nowhere":     {"--report: ", []string{"--trace", trace, "--report", filepath.Join(dir, "nowhere", "report.html")}},
		"a report over a folder":    {"is no file", []string{"--trace", trace, "--report", dir}},
		"no time at all":            {"--speed is 0", []string{"--trace", trace, "--speed", "0"}},
		"no seed":                   {"--seeds 0", []string{"--trace", trace, "--seeds", "0"}},
		"a truth without percent":   {"write it like", []string{"--trace", trace, "--truth", "0.3"}},
		"a variation without end":   {"--cv is 11", []string{"--trace", trace, "--cv", "11"}},
		"a model that nobody has":   {`--model: model "x" is served by nothing`, []string{"--trace", trace, "--model", "x"}},
		"a start that is no time":   {`--start: "soon" is no time`, []string{"--trace", trace, "--start", "soon"}},
		"a configuration's fault":   {"broken.yaml:4 spec.modelx is no known key. Did you mean model?", []string{"-f", filepath.Join(dir, "broken.yaml"), "--trace", trace}},
		"which of two models":       {"plain.csv:2: the request names no model, and there are 2", []string{"-f", "../../examples/emulated/two-models.yaml", "--trace", filepath.Join(dir, "plain.csv")}},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"simulate"}
			if len(c.args) < 2 || c.args[0] != "-f" {
				args = append(args, "-f", emulated)
			}
			turnedAway(t, dir, c.want, append(args, c.args...)...)
		})
	}
}

func TestABadWorkloadsFileIsSaidWithItsLine(t *testing.T) {
	const good = `profiles:
  generic: {service_time: {mean: 4, cv: 0.6, concurrency: 8}, price_per_hour: {on_demand: 1.00}}
cold_starts:
  60s: {mean: 60}
workloads:
  - {name: W, what: one, counts: counts.csv, variants: [generic], cold_start: 60s, min: 1, slo: {latency: 20.0, objective: 0.99}}
`
	counts := "t_s,requests\n0,60\n60,60\n"
	for name, c := range map[string]struct{ workloads, counts, want string }{
		"a typo in a key":        {strings.Replace(good, "cold_start: 60s", "cold_starts: 60s", 1), counts, "workloads.yaml:6 workloads[0]."},
		"a profile that is not":  {strings.Replace(good, "[generic]", "[genric]", 1), counts, "workloads.yaml:6 workloads[0]."},
		"a file that is not":     {strings.Replace(good, "counts.csv", "counst.csv", 1), counts, "counst.csv"},
		"no YAML":                {"workloads: [", counts, "workloads.yaml:"},
		"a count below nothing":  {good, "t_s,requests\n0,60\n60,-1\n", "counts.csv:3: requests: -1 is negative"},
		"a workload that is not": {good, counts, `there is no workload "V"; did you mean W?`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, map[string]string{"workloads.yaml": c.workloads, "counts.csv": c.counts, "report.html": "the old one"})
			args := []string{"bench", "scaling", "--traces", dir, "--policy", "static-peak", "--report", filepath.Join(dir, "report.html")}
			if name == "a workload that is not" {
				args = append(args, "--workload", "V")
			}
			turnedAway(t, dir, c.want, args...)
		})
	}
}

// writerFunc is a Writer that does something at each write.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestAnInterruptedSimulationLeavesNothing(t *testing.T) {
	dir := write(t, map[string]string{"busy.csv": "t_s,requests\n0,1000000\n86400,1000000\n", "report.html": "the old one", "penstock.yaml": ranker})
	for _, when := range []string{"what each minute needs", "penstock, seed 1"} {
		t.Run(when, func(t *testing.T) {
			before := contents(t, dir)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			var began time.Time
			var out bytes.Buffer
			talk := writerFunc(func(p []byte) (int, error) {
				if strings.Contains(string(p), when) && ctx.Err() == nil {
					began = time.Now()
					cancel(errors.New("interrupt"))
				}
				return len(p), nil
			})
			args := []string{"simulate", "-f", filepath.Join(dir, "penstock.yaml"), "--trace", filepath.Join(dir, "busy.csv"), "--days", "0.1", "--policy", "penstock", "--report", filepath.Join(dir, "report.html")}
			if code := Main(ctx, args, Streams{Out: &out, Err: talk}); code != exitFailed {
				t.Errorf("exit code %d", code)
			}
			if took := time.Since(began); began.IsZero() || took > 10*time.Second {
				t.Errorf("it went on for %v after %v", took, began)
			}
			if diff := cmp.Diff(before, contents(t, dir)); diff != "" || out.Len() > 0 {
				t.Errorf("files have changed: %s; standard output %q", diff, &out)
			}
		})
	}
}
