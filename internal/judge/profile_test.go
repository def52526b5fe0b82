package judge_test

import (
	"compress/gzip"
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// measured is what a batch of requests that come together takes.
type measured struct {
	prefill time.Duration // until every request has its first token
	decode  time.Duration // of an iteration then, on average until the first request ends
}

// measure runs a batch through plain iteration.
func measure(t *testing.T, p scale.Profile, batch, prompt, output int) measured {
	t.Helper()
	e := engine.New(p)
	for i := range batch {
		if err := e.Add(engine.Job{ID: scale.RequestID(i + 1), PromptTokens: prompt, OutputTokens: output}); err != nil {
			t.Fatal(err)
		}
	}
	var m measured
	for first := 0; first < batch; {
		it, ok := e.Iterate()
		if !ok {
			t.Fatalf("the engine is idle, and %d of %d requests have no token", batch-first, batch)
		}
		m.prefill += it.Took
		for _, emitted := range it.Emitted {
			if emitted.Index == 0 {
				first++
			}
		}
	}
	iterations := 0
	for e.Running() == batch {
		it, _ := e.Iterate()
		if it.DecodeTokens != batch {
			t.Fatalf("%d of %d requests decode", it.DecodeTokens, batch)
		}
		m.decode += it.Took
		iterations++
	}
	m.decode /= time.Duration(max(1, iterations))
	return m
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// profileOf is a profile as the benchmark's own file has it.
func profileOf(t *testing.T, name string) scale.Profile {
	t.Helper()
	w, err := config.LoadWorkloads(traces(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range w.Profiles {
		if v.Name == name {
			return v.Profile
		}
	}
	t.Fatalf("%s holds no profile %s", config.WorkloadsFile, name)
	return scale.Profile{}
}

func traces(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("PENSTOCK_TRACES")
	if dir == "" {
		t.Skip("PENSTOCK_TRACES names no folder of trace files")
	}
	return dir
}

// The line is llm-d WVA's for an 8B model on an H100, measured: ITL = 7 + 0.044 b
// ms. Context is 600 tokens on average while it is measured.
func TestH100IsNearItsPublishedLineEndToEnd(t *testing.T) {
	p := profileOf(t, "8b-h100")
	t.Log("  b    ITL   line  ratio")
	for _, b := range []int{1, 2, 4, 8, 16, 32, 48, 64} {
		got, want := ms(measure(t, p, b, 536, 129).decode), 7+0.044*float64(b)
		t.Logf("%3d %6.2f %6.2f %6.2f", b, got, want, got/want)
		if math.Abs(got/want-1) > 0.15 {
			t.Errorf("at b = %d an iteration takes %.2f ms, the line says %.2f", b, got, want)
		}
	}
}

// Splitwise measured Llama-2-70B on four H100 with an older engine, whose CPU
// bound its decode and which computed prompts without chunks: a bound from
// above for today's. It is no bound from below, but an engine of today is not
// five times as fast either.
func Test70BIsFasterThanSplitwiseMeasured(t *testing.T) {
	p := profileOf(t, "70b-h100x4")
	t.Log("prompt batch  out   prefill  measured ratio   decode measured ratio")
	rows := 0
	for _, row := range splitwise(t) {
		if row.model != "llama2-70b" || row.gpu != "h100-80gb" || row.tp != 4 {
			continue
		}
		rows++
		m := measure(t, p, row.batch, row.prompt, row.output)
		prefill, decode := ms(m.prefill)/row.prefill, ms(m.decode)/row.decode
		t.Logf("%6d %5d %4d %9.1f %9.1f %5.2f %8.2f %8.2f %5.2f", row.prompt, row.batch, row.output, ms(m.prefill), row.prefill, prefill, ms(m.decode), row.decode, decode)
		if prefill >= 1 || prefill < 0.2 {
			t.Errorf("prefill of %d × %d tokens takes %.1f ms, measured are %.1f", row.batch, row.prompt, ms(m.prefill), row.prefill)
		}
		if decode >= 1 || decode < 0.2 {
			t.Errorf("decode of %d × %d tokens takes %.2f ms a token, measured are %.2f", row.batch, row.prompt, ms(m.decode), row.decode)
		}
	}
	if rows != 19 {
		t.Errorf("found %d rows of Llama-2-70B on four H100, want 19", rows)
	}
}

// splitwiseRow is one measured configuration; times in milliseconds.
type splitwiseRow struct {
	model, gpu                string
	tp, prompt, batch, output int
	prefill, decode           float64
}

func splitwise(t *testing.T) []splitwiseRow {
	t.Helper()
	f, err := os.Open(filepath.Join(traces(t), "service_time_splitwise_measured.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	table, err := csv.NewReader(unzipped).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	number := func(text string) float64 {
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	var rows []splitwiseRow
	for _, r := range table[1:] {
		rows = append(rows, splitwiseRow{
			model: r[0], gpu: r[1], tp: int(number(r[2])), prompt: int(number(r[3])), batch: int(number(r[4])), output: int(number(r[5])),
			prefill: number(r[6]), decode: number(r[7]),
		})
	}
	return rows
}
