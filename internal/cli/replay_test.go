package cli

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/store"
)

// The hour that is replayed: 0.4 requests/s, then 1.2, and ten minutes in between
// of which nothing is known.
var pastStart = time.Date(2026, 5, 4, 8, 0, 0, 0, time.UTC)

const (
	pastSpan   = time.Hour
	stepAt     = 30 * time.Minute
	missedFrom = 40 * time.Minute
	missedTo   = 50 * time.Minute
)

// pastCount is how many requests have come by then.
func pastCount(at time.Duration) float64 {
	return 0.4*min(at, stepAt).Seconds() + 1.2*max(0, at-stepAt).Seconds()
}

// scraped is the past as vLLM shows it, scraped every 15 s, in OpenMetrics.
func scraped() []byte {
	var b bytes.Buffer
	for _, family := range []struct {
		name  string
		times float64
	}{{"vllm:request_success", 1}, {"vllm:prompt_tokens", 900}, {"vllm:generation_tokens", 150}} {
		fmt.Fprintf(&b, "# TYPE %s counter\n", family.name)
		for at := time.Duration(0); at <= pastSpan; at += 15 * time.Second {
			if at < missedFrom || at >= missedTo {
				fmt.Fprintf(&b, "%s_total{model_name=%q} %.0f %d\n", family.name, "emulated/llama-3.1-8b-instruct", family.times*pastCount(at), pastStart.Add(at).Unix())
			}
		}
	}
	b.WriteString("# EOF\n")
	return b.Bytes()
}

// remembering runs a Prometheus that remembers the past, and returns its URL.
func remembering(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("no %s on PATH; Debian's package prometheus has it", name)
		}
	}
	dir := write(t, map[string]string{"past.txt": string(scraped()), "prometheus.yml": "global: {scrape_interval: 1h}\n"})
	data := filepath.Join(dir, "data")
	if out, err := exec.CommandContext(t.Context(), "promtool", "tsdb", "create-blocks-from", "--max-block-duration=336h", "openmetrics", filepath.Join(dir, "past.txt"), data).CombinedOutput(); err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+data,
		"--storage.tsdb.retention.time=100y", "--web.listen-address="+address, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("prometheus: %v\n%s", err, &said)
		}
	})
	url := "http://" + address
	client := http.Client{Timeout: 5 * time.Second}
	for ends := time.Now().Add(time.Minute); ; {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/-/ready", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return url
			}
		}
		if time.Now().After(ends) {
			t.Fatal("prometheus is not ready after a minute")
		}
		<-time.After(50 * time.Millisecond)
	}
}

func TestThePastOfARealPrometheusIsReplayed(t *testing.T) {
	url := remembering(t)
	until := pastStart.Add(pastSpan).Format(time.RFC3339)
	asked := []string{"replay", "-f", emulated, "--prometheus", url, "--until", until, "--since", "2h", "--policy", "penstock"}
	t.Run("an engine's counters", func(t *testing.T) {
		var out, talk bytes.Buffer
		if code := Main(t.Context(), append(asked, "--engine", "vllm"), Streams{Out: &out, Err: &talk}); code != exitOK {
			t.Fatalf("exit code %d: %s", code, &talk)
		}
		for _, want := range []string{
			"Replay\n", ", 2026-05-04 08:00 to 2026-05-04 09:00 UTC, 10 min 00 s missing\n", "\n2,160 requests; 50 min",
			"Under Penstock this would have cost $", "within the objective of 99.00 %",
			"For 10 min 00 s of that, 16.7 %, nothing was measured. It is left out: what follows comes at once.",
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("there is no %q in\n%s", want, &out)
			}
		}
	})
	t.Run("queries of one's own", func(t *testing.T) {
		cfg, err := config.Load(emulated)
		if err != nil {
			t.Fatal(err)
		}
		c := replayCmd{
			Prometheus: url, Since: time.Hour, Step: time.Minute,
			QueryRate:   "sum(rate(vllm:request_success_total[1m]))",
			QueryPrompt: "sum(rate(vllm:prompt_tokens_total[1m])) / sum(rate(vllm:request_success_total[1m]))",
			QueryOutput: "vector(150)",
		}
		m, _, err := c.read(t.Context(), &cfg, pastStart.Add(pastSpan))
		if err != nil {
			t.Fatal(err)
		}
		d := m.demand["emulated/llama-3.1-8b-instruct"]
		if len(d.Requests) != 50 {
			t.Fatalf("%d minutes, want 50", len(d.Requests))
		}
		for i, n := range d.Requests {
			want := 60 * 0.4
			if i >= 30 {
				want = 60 * 1.2
			}
			if math.Abs(n-want) > 2 || math.Abs(d.PromptTokens[i]-900) > 1 || d.OutputTokens[i] != 150 {
				t.Errorf("minute %d: %.1f requests of %.1f and %.1f tokens, want %.1f", i, n, d.PromptTokens[i], d.OutputTokens[i], want)
			}
		}
	})
	for name, c := range map[string]struct {
		code int
		want string
		more []string
	}{
		"a model that nobody counted": {exitFailed, "no data for ", []string{"--engine", "vllm", "--model", "other"}},
		"a time before all":           {exitFailed, "no data for ", []string{"--engine", "vllm", "--until", "2026-01-01"}},
		"an engine that is none":      {exitUsage, `engine "vlm" is none`, []string{"--engine", "vlm"}},
		"no engine":                   {exitUsage, "--engine is missing", nil},
		"a query that is none":        {exitFailed, "refuses", []string{"--query-rate", "sum("}},
	} {
		t.Run(name, func(t *testing.T) {
			var out, talk bytes.Buffer
			if code := Main(t.Context(), append(asked, c.more...), Streams{Out: &out, Err: &talk}); code != c.code || !strings.Contains(talk.String(), c.want) || out.Len() > 0 {
				t.Errorf("exit code %d, %q, %q; want %d and %q", code, &talk, &out, c.code, c.want)
			}
		})
	}
}

// keep writes a journal as a running Penstock does, of two models, one of which
// is in no configuration any more. It restarts after the time missed.
func keep(t *testing.T, file string) string {
	t.Helper()
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s, err := store.Open(t.Context(), filepath.Join(dir, "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	s.Retention.Age = 1000 * time.Hour
	chat, gone := cfg.Models[0], cfg.Models[0]
	gone.Name, gone.Aliases = "gone", nil
	for at := time.Duration(0); at <= pastSpan; at += 30 * time.Second {
		if at > missedFrom && at < missedTo {
			continue
		}
		now, ended := pastStart.Add(at), pastCount(at)
		if at >= missedTo {
			ended -= pastCount(missedTo)
		}
		state := scale.ModelState{Model: chat, Demand: scale.Demand{
			Good: scale.Observe(ended-ended/10, now), Bad: scale.Observe(ended/10, now),
			PromptTokens: scale.Observe(900, now), OutputTokens: scale.Observe(150, now),
		}}
		other := state
		other.Model = gone
		record := scale.Record{At: now, Snapshot: scale.Snapshot{Now: now, Tick: time.Second, Models: []scale.ModelState{state, other}}}
		if err := s.Append(t.Context(), record, nil); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAJournalIsReplayedWhileItIsKept(t *testing.T) {
	dir := keep(t, emulated)
	asked := []string{"replay", "-f", emulated, "--journal", dir, "--until", pastStart.Add(pastSpan).Format(time.RFC3339), "--since", "1h", "--policy", "penstock"}
	var out, talk bytes.Buffer
	if code := Main(t.Context(), asked, Streams{Out: &out, Err: &talk}); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &talk)
	}
	for _, want := range []string{
		// The half minute that ends with the end is not read.
		", 2026-05-04 08:00 to 2026-05-04 08:59 UTC, 10 min 00 s missing\n", "\n2,124 requests; 49 min",
		"\nLeft out, for the configuration does not serve them: gone.\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("there is no %q in\n%s", want, &out)
		}
	}
}

func TestReplayWithoutAPast(t *testing.T) {
	dir := write(t, map[string]string{"report.html": "the old one", "penstock.yaml": string(example(t))})
	file, into := filepath.Join(dir, "penstock.yaml"), filepath.Join(dir, "report.html")
	for name, c := range map[string]struct {
		want string
		args []string
	}{
		"no journal yet":          {"journal.db: no such file or directory; penstock serve keeps one", nil},
		"no journal there":        {"journal.db: no such file or directory", []string{"--journal", filepath.Join(dir, "nowhere")}},
		"two pasts":               {"can't be used together", []string{"--journal", dir, "--prometheus", "http://127.0.0.1:9"}},
		"an engine for nothing":   {"are for --prometheus", []string{"--engine", "vllm"}},
		"a moment that is none":   {`--until: "noon" is no time`, []string{"--until", "noon"}},
		"a step of half a second": {"--step is 500ms", []string{"--step", "500ms"}},
		"no time":                 {"--since is 0s", []string{"--since", "0s"}},
		"which of the models":     {"say with --model which of them", []string{"-f", "../../examples/emulated/two-models.yaml", "--prometheus", "http://127.0.0.1:9", "--engine", "vllm"}},
		"a report into nowhere":   {"--report: ", []string{"--report", filepath.Join(dir, "nowhere", "report.html")}},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"replay", "-f", file, "--report", into}, c.args...)
			turnedAway(t, dir, c.want, args...)
			if _, err := os.Stat(filepath.Join(dir, "nowhere")); err == nil {
				t.Error("a folder was made")
			}
		})
	}
}

func example(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(emulated)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
