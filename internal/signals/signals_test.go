package signals_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/signals"
)

var now = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

func read(tb testing.TB, text string) signals.Sample {
	tb.Helper()
	e, err := signals.Read(strings.NewReader(text), now)
	if err != nil {
		tb.Fatal(err)
	}
	return e.Sample()
}

// recordings returns the recorded expositions by file name.
func recordings(tb testing.TB) map[string]string {
	tb.Helper()
	files, err := filepath.Glob("testdata/*.prom")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no recordings: %v", err)
	}
	all := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		all[filepath.Base(file)] = string(text)
	}
	return all
}

// partIndent is where parts are told, of which only what is known.
const partIndent = "      "

// understood tells all that is understood of an exposition.
func understood(e signals.Exposition) string {
	var b strings.Builder
	for _, s := range e.Samples() {
		fmt.Fprintf(&b, "  %s\n", s.Engine)
		tell(&b, "    ", s)
		for _, p := range e.Parts(s.Engine) {
			fmt.Fprintf(&b, "    of %s\n", p.Of)
			tell(&b, partIndent, p.Sample)
		}
	}
	return b.String()
}

func tell(b *strings.Builder, indent string, s signals.Sample) {
	for _, signal := range slices.Sorted(maps.Keys(s.Values)) {
		r := s.Values[signal]
		if r.Absent != "" && indent != partIndent {
			fmt.Fprintf(b, "%s%v absent: %s\n", indent, signal, r.Absent)
		}
		if r.Absent != "" {
			continue
		}
		fmt.Fprintf(b, "%s%v %v", indent, signal, r.Value)
		if age := now.Sub(r.At); age != 0 {
			fmt.Fprintf(b, ", %s old", age)
		}
		b.WriteByte('\n')
	}
	for _, signal := range slices.Sorted(maps.Keys(s.Timings)) {
		d := s.Timings[signal]
		if d.Absent != "" && indent != partIndent {
			fmt.Fprintf(b, "%s%v absent: %s\n", indent, signal, d.Absent)
		}
		if d.Absent != "" {
			continue
		}
		t := d.Overall()
		fmt.Fprintf(b, "%s%v count %v mean %v median %v p95 %v\n", indent, signal, t.Count, t.Mean, t.Median, t.P95)
	}
}

// TestRecordedExpositionsAreUnderstood holds what is understood of every
// recording against understood.txt, which is to be read by people.
func TestRecordedExpositionsAreUnderstood(t *testing.T) {
	t.Parallel()
	const golden = "testdata/understood.txt"
	var b strings.Builder
	all := recordings(t)
	for _, file := range slices.Sorted(maps.Keys(all)) {
		e, err := signals.Read(strings.NewReader(all[file]), now)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		fmt.Fprintf(&b, "%s\n%s", file, understood(e))
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("what is understood (-want +got):\n%s", diff)
	}
}

func TestEveryDialectHasARecording(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, text := range recordings(t) {
		e, err := signals.Read(strings.NewReader(text), now)
		if err != nil {
			t.Fatal(err)
		}
		seen[e.Sample().Engine] = true
	}
	for _, d := range signals.Engines() {
		// No text of a real NIM was to be had, and TensorFlow Serving's test has
		// names of its own.
		if !seen[d.Name] && d.Name != "nim" && d.Name != "tfserving" {
			t.Errorf("%s: no recording speaks it", d.Name)
		}
	}
}

func TestReadingsOfOneSignal(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text   string
		signal scale.Signal
		want   signals.Reading
	}{
		"zero said is zero, not unknown":                     {"vllm:num_requests_running 0\n", scale.SignalRunning, known(0)},
		"another server's metrics are not ours":              {"http_requests_total 7\n", scale.SignalRunning, signals.Reading{}},
		"what is not exposed is unknown":                     {"vllm:num_requests_running 0\n", scale.SignalWaiting, absent("not exposed: vllm:num_requests_waiting")},
		"engines side by side add up":                        {"vllm:num_requests_running{engine=\"0\"} 2\nvllm:num_requests_running{engine=\"1\"} 3\n", scale.SignalRunning, known(5)},
		"a breakdown by reason is not added":                 {"vllm:num_requests_waiting 5\nvllm:num_requests_waiting_by_reason{reason=\"capacity\"} 5\n", scale.SignalWaiting, known(5)},
		"one part not a number makes the sum unknown":        {"vllm:num_requests_running{engine=\"0\"} 2\nvllm:num_requests_running{engine=\"1\"} NaN\n", scale.SignalRunning, absent("reads NaN")},
		"an infinite gauge is unknown":                       {"vllm:num_requests_running +Inf\n", scale.SignalRunning, absent("reads +Inf")},
		"a negative gauge is unknown":                        {"vllm:num_requests_running -1\n", scale.SignalRunning, absent("reads -1, below zero")},
		"parts whose sum has no end are unknown":             {"vllm:num_requests_running{e=\"0\"} 1.7e18\nvllm:num_requests_running{e=\"1\"} 9.3e18\n", scale.SignalRunning, absent("reads 9300000000000000000, which stands for nothing")},
		"a KV cache use above one is unknown":                {"vllm:kv_cache_usage_perc 37\n", scale.SignalKVCacheUsage, absent("reads 37, above 1: no share")},
		"rounding above one is one":                          {"vllm:kv_cache_usage_perc 1.0002\n", scale.SignalKVCacheUsage, known(1)},
		"the fullest KV cache counts":                        {"vllm:kv_cache_usage_perc{engine=\"0\"} 0.2\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.7\n", scale.SignalKVCacheUsage, known(0.7)},
		"the new name goes before the old":                   {"vllm:gpu_cache_usage_perc 0.9\nvllm:kv_cache_usage_perc 0.4\n", scale.SignalKVCacheUsage, known(0.4)},
		"a malformed line of an unwanted family is skipped":  {"broken{ 1 2 3\nvllm:num_requests_running 4\n", scale.SignalRunning, known(4)},
		"a malformed line spoils its own family":             {"vllm:num_requests_running{engine=\"0\"} 1x\nvllm:num_requests_running{engine=\"1\"} 2\nvllm:num_requests_waiting 4\n", scale.SignalRunning, absent(`malformed: "vllm:num_requests_running{engine=\"0\"} 1x"`)},
		"and no other":                                       {"vllm:num_requests_running{engine=\"0\"} 1x\nvllm:num_requests_waiting 4\n", scale.SignalWaiting, known(4)},
		"a line without a value":                             {"vllm:num_requests_running{engine=\"0\"}\n", scale.SignalRunning, absent(`malformed: "vllm:num_requests_running{engine=\"0\"}"`)},
		"an unclosed label":                                  {"vllm:num_requests_running{engine=\"0} 1\n", scale.SignalRunning, absent(`malformed: "vllm:num_requests_running{engine=\"0} 1"`)},
		"braces, commas and number signs inside a label":     {"vllm:num_requests_running{model_name=\"a } # , \\\" b\", engine=\"0\",} 6 # {trace_id=\"x\"} 1\n", scale.SignalRunning, known(6)},
		"scientific notation, no final newline":              {"vllm:num_requests_running 1.2e1", scale.SignalRunning, known(12)},
		"carriage returns at the ends":                       {"vllm:num_requests_running 3\r\n", scale.SignalRunning, known(3)},
		"an older timestamp is the time of the value":        {"vllm:num_requests_running 4 1795000000000\n", scale.SignalRunning, signals.Reading{Observation: scale.Observe(4, time.UnixMilli(1795000000000))}},
		"the oldest of several counts":                       {"vllm:num_requests_running{e=\"0\"} 4 1795000000000\nvllm:num_requests_running{e=\"1\"} 4\n", scale.SignalRunning, signals.Reading{Observation: scale.Observe(8, time.UnixMilli(1795000000000))}},
		"a timestamp from the future is not believed":        {"vllm:num_requests_running 4 1895000000000\n", scale.SignalRunning, known(4)},
		"nor one from before there were servers":             {"vllm:num_requests_running 4 1795000000\n", scale.SignalRunning, absent("has a timestamp that can not be: 1795000000")},
		"OpenMetrics counts time in seconds":                 {"vllm:num_requests_running 4 1795000000.5\n# EOF\n", scale.SignalRunning, signals.Reading{Observation: scale.Observe(4, time.UnixMilli(1795000000500))}},
		"a sleeping engine's zeros are not idleness":         {"vllm:num_requests_running 0\nvllm:engine_sleep_state{sleep_state=\"awake\"} 0\nvllm:engine_sleep_state{sleep_state=\"weights_offloaded\"} 1\nvllm:engine_sleep_state{sleep_state=\"discard_all\"} 0\n", scale.SignalRunning, absent("the engine sleeps: its zeros say nothing")},
		"one that is awake says what it runs":                {"vllm:num_requests_running 0\nvllm:engine_sleep_state{sleep_state=\"awake\"} 1\nvllm:engine_sleep_state{sleep_state=\"weights_offloaded\"} 0\n", scale.SignalRunning, known(0)},
		"TGI's KV cache is a quotient":                       {"tgi_batch_current_max_tokens 500\ntgi_batch_max_total_tokens 2000\n", scale.SignalKVCacheUsage, known(0.25)},
		"a quotient by zero is unknown":                      {"tgi_batch_current_max_tokens 500\ntgi_batch_max_total_tokens 0\n", scale.SignalKVCacheUsage, absent("tgi_batch_max_total_tokens is 0")},
		"DCGM counts in percent":                             {"DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 40\nDCGM_FI_DEV_GPU_UTIL{gpu=\"1\"} 80\n", scale.SignalGPUUsage, known(0.8)},
		"and in mebibytes":                                   {"DCGM_FI_DEV_FB_USED{gpu=\"0\"} 3\nDCGM_FI_DEV_FB_FREE{gpu=\"0\"} 5\n", scale.SignalGPUMemoryTotal, known(8 << 20)},
		"a 64-bit blank stands for nothing":                  {"DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 9223372036854775794\n", scale.SignalGPUUsage, absent("reads 9223372036854775808, which stands for nothing")},
		"a 32-bit blank stands for nothing":                  {"DCGM_FI_DEV_FB_USED{gpu=\"0\"} 2147483632\n", scale.SignalGPUMemoryUsed, absent("reads 2147483632, which stands for nothing")},
		"NIM has vLLM's names without a prefix":              {"num_requests_running 3\nnum_requests_waiting 1\ngpu_cache_usage_perc 0.5\n", scale.SignalWaiting, known(1)},
		"TensorFlow Serving's failures are all but OK":       {":tensorflow:serving:request_count{status=\"OK\"} 3\n:tensorflow:serving:request_count{status=\"INTERNAL\"} 2\n:tensorflow:serving:request_count{status=\"UNKNOWN\"} 2\n", scale.SignalFailed, known(4)},
		"TensorRT-LLM in Triton goes before Triton's own":    {"nv_inference_pending_request_count 0\nnv_trt_llm_request_metrics{request_type=\"waiting\"} 7\n", scale.SignalWaiting, known(7)},
		"of KV blocks the fraction stands in for the counts": {"nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"fraction\"} 0.5\n", scale.SignalKVCacheUsage, known(0.5)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, read(t, tc.text).Values[tc.signal]); diff != "" {
				t.Errorf("reading (-want +got):\n%s", diff)
			}
		})
	}
}

func known(v float64) signals.Reading   { return signals.Reading{Observation: scale.Observe(v, now)} }
func absent(why string) signals.Reading { return signals.Reading{Absent: why} }

func TestWhatIsNoExpositionIsRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"too many bytes":  "# " + strings.Repeat("x", 2<<20),
		"too many series": strings.Repeat("vllm:num_requests_running{engine=\"0\"} 1\n", 20_001),
		"JSON":            `[{"iter":1,"gpuMemUsage":5}]`,
		"a page":          "<!doctype html><title>Sign in</title>",
		"nothing":         " \n",
		"binary":          "vllm:num_requests_running 1\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := signals.Read(strings.NewReader(text), now)
			if err == nil {
				t.Error("accepted")
			}
			if len(e.Samples()) > 0 {
				t.Errorf("a refused text gave %+v", e.Samples())
			}
		})
	}
}

func TestAnAgentsTextSpeaksSeveralDialects(t *testing.T) {
	t.Parallel()
	e, err := signals.Read(strings.NewReader("vllm:num_requests_running 2\nDCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 40\n"), now)
	if err != nil {
		t.Fatal(err)
	}
	var engines []string
	for _, s := range e.Samples() {
		engines = append(engines, s.Engine)
	}
	if diff := cmp.Diff([]string{"vllm", "dcgm"}, engines); diff != "" {
		t.Errorf("dialects (-want +got):\n%s", diff)
	}
	if got := e.Sample().Scope; got != signals.OfReplica {
		t.Errorf("the first speaks of scope %v", got)
	}
}

func TestIncrease(t *testing.T) {
	t.Parallel()
	o := func(v float64) scale.Observation { return scale.Observe(v, now) }
	tests := map[string]struct {
		before, after scale.Observation
		want          float64
		known         bool
	}{
		"grown":                         {o(3), o(10), 7, true},
		"still":                         {o(3), o(3), 0, true},
		"reset: what it shows is new":   {o(100), o(4), 4, true},
		"nothing before":                {scale.Observation{}, o(4), 0, false},
		"nothing after: absent, not −3": {o(3), scale.Observation{}, 0, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := signals.Increase(tc.before, tc.after)
			if got != tc.want || ok != tc.known {
				t.Errorf("Increase = %v, %v, want %v, %v", got, ok, tc.want, tc.known)
			}
		})
	}
}

// untimed returns a sample line without its timestamp, so that the value is its
// last word.
func untimed(line string) string {
	labels := strings.LastIndexByte(line, '}') + 1
	words := strings.Fields(line[labels:])
	if labels > 0 {
		return line[:labels] + " " + words[0]
	}
	return words[0] + " " + words[1]
}

// TestTwoHundredBadExpositionsLeaveNoValueWithoutAReason spoils recordings, each
// in one of the ways in which servers and networks do, in lines that are asked
// for. What is spoiled must be absent with a reason, or the whole text refused;
// and what is not spoiled must read as before.
func TestTwoHundredBadExpositionsLeaveNoValueWithoutAReason(t *testing.T) {
	t.Parallel()
	spoil := []func(line string) string{
		func(l string) string { return l[:strings.LastIndexByte(l, ' ')] + " NaN" },
		func(l string) string { return l[:strings.LastIndexByte(l, ' ')] + " -Inf" },
		func(l string) string { return l[:strings.LastIndexByte(l, ' ')] + " -7" },
		func(l string) string { return l[:strings.LastIndexByte(l, ' ')] + " 9223372036854775807" },
		func(l string) string { return l[:strings.LastIndexByte(l, ' ')] + " 1,5" },
		func(l string) string { return l[:strings.LastIndexByte(l, ' ')] + " 0x1p-2" },
		func(l string) string { return l[:strings.LastIndexByte(l, ' ')] },
		func(l string) string { return l + " yesterday" },
		func(l string) string { return l + " 5" }, // a timestamp of 1970
		func(l string) string { return l + " 1 2 3" },
		func(l string) string { return l[:strings.LastIndexByte(l, ' ')] + " " + strings.Repeat("9", 400) },
		func(l string) string { return strings.Replace(l, " ", "{a=\"b} ", 1) },
		func(l string) string { return strings.Replace(l, " ", "{=\"b\"} ", 1) },
		func(l string) string { return strings.Replace(l, " ", "{a=\"\xff\"} ", 1) },
	}
	all := recordings(t)
	depends := map[string][]int{} // file → lines without which something is absent or differs
	for file, text := range all {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		for i := range lines {
			without := strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "\n") + "\n# end"
			if was, is := read(t, text), read(t, without); was.Engine == is.Engine && !cmp.Equal(was, is) {
				depends[file] = append(depends[file], i)
			}
		}
	}
	files := slices.Sorted(maps.Keys(depends))
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		file := files[random.IntN(len(files))]
		text := all[file]
		lines := strings.Split(strings.TrimSpace(text), "\n")
		i := depends[file][random.IntN(len(depends[file]))]
		how := n % len(spoil)
		spoiled := slices.Clone(lines)
		line, _, _ := strings.Cut(lines[i], " # ") // an exemplar may be as it likes
		spoiled[i] = spoil[how](untimed(line))
		e, err := signals.Read(strings.NewReader(strings.Join(spoiled, "\n")), now)
		if err != nil {
			continue // refused, with a reason
		}
		before, after := read(t, text), e.Sample()
		if after.Engine != before.Engine {
			t.Errorf("%s with %q: %s was taken for %s", file, spoiled[i], before.Engine, after.Engine)
			continue
		}
		changed := 0
		for signal, was := range before.Values {
			is := after.Values[signal]
			if is.Known() == (is.Absent != "") {
				t.Errorf("%s with %q: %v is %+v", file, spoiled[i], signal, is)
			}
			if !cmp.Equal(was, is) {
				changed++
				if is.Known() {
					t.Errorf("%s with %q: %v reads %v, and was %v", file, spoiled[i], signal, is.Value, was.Value)
				}
			}
		}
		for signal, was := range before.Timings {
			is := after.Timings[signal]
			if is.Known() == (is.Absent != "") {
				t.Errorf("%s with %q: %v is %+v", file, spoiled[i], signal, is)
			}
			if !cmp.Equal(was, is) {
				changed++
				// A summary's quantile that is NaN is one that saw nothing of late.
				if is.Known() && !strings.Contains(lines[i], "quantile=") {
					t.Errorf("%s with %q: %v reads %+v, and was %+v", file, spoiled[i], signal, is, was)
				}
			}
		}
		if changed == 0 {
			t.Errorf("%s with %q: nothing is absent", file, spoiled[i])
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range recordings(f) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := signals.Read(bytes.NewReader(text), now)
		samples := e.Samples()
		if err != nil && len(samples) > 0 {
			t.Errorf("an error and a sample: %v, %+v", err, samples)
		}
		for _, s := range samples {
			plausible(t, s)
			for _, p := range e.Parts(s.Engine) {
				plausible(t, p.Sample)
			}
		}
	})
}

// plausible checks what must hold of every Sample, whatever the text.
func plausible(t *testing.T, s signals.Sample) {
	t.Helper()
	for signal, r := range s.Values {
		switch {
		case r.Known() == (r.Absent != ""):
			t.Errorf("%v is neither known nor absent with a reason: %+v", signal, r)
		case r.Known() && (!(r.Value >= 0) || r.Value > 1e300 || r.At.After(now) || r.At.Year() < 2000):
			t.Errorf("%v is impossible: %+v", signal, r)
		case signal.Unit() == "0..1" && r.Value > 1:
			t.Errorf("%v is no share: %+v", signal, r)
		}
	}
	for signal, d := range s.Timings {
		if d.Known() == (d.Absent != "") {
			t.Errorf("%v is neither known nor absent with a reason: %+v", signal, d)
		}
		timing := d.Overall()
		for _, x := range []float64{timing.Count, timing.Mean, timing.Median, timing.P95} {
			if !(x >= 0) || x > 1e308 {
				t.Errorf("%v is impossible: %+v of %+v", signal, timing, d)
			}
		}
		if timing.Median > timing.P95 {
			t.Errorf("%v: the median is above the 0.95 quantile: %+v of %+v", signal, timing, d)
		}
	}
}
