package signals

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
)

// The week that the Prometheus under test remembers, scraped every minute: vLLM
// with two models, one of which came and went, and an hour without scrapes.
var weekStart = time.Date(2026, 5, 4, 0, 0, 0, 0, time.UTC)

const (
	week     = 7 * 24 * time.Hour
	scrape   = time.Minute
	gapFrom  = 50 * time.Hour
	gapUntil = 51 * time.Hour
)

// rateAt is the requests/s of the model chat.
func rateAt(at time.Duration) float64 { return 10 + 8*math.Sin(2*math.Pi*at.Hours()/24) }

// exposition is the week as OpenMetrics with timestamps, each family whole.
func exposition() []byte {
	var b bytes.Buffer
	family := func(name, kind string, lines func(at time.Duration, stamp string)) {
		fmt.Fprintf(&b, "# TYPE %s %s\n", name, kind)
		for at := time.Duration(0); at <= week; at += scrape {
			if at < gapFrom || at >= gapUntil {
				lines(at, fmt.Sprint(weekStart.Add(at).Unix()))
			}
		}
	}
	counted := func(at time.Duration) float64 {
		hours := at.Hours()
		return math.Round(3600 * (10*hours + 8*24/(2*math.Pi)*(1-math.Cos(2*math.Pi*hours/24))))
	}
	family("vllm:request_success", "counter", func(at time.Duration, stamp string) {
		fmt.Fprintf(&b, "vllm:request_success_total{model_name=\"org/chat\",finished_reason=\"stop\"} %.0f %s\n", counted(at), stamp)
		if at < 24*time.Hour {
			fmt.Fprintf(&b, "vllm:request_success_total{model_name=\"org/other\",finished_reason=\"stop\"} 7 %s\n", stamp)
		}
	})
	family("vllm:prompt_tokens", "counter", func(at time.Duration, stamp string) {
		fmt.Fprintf(&b, "vllm:prompt_tokens_total{model_name=\"org/chat\"} %.0f %s\n", 1000*counted(at), stamp)
		if at < 24*time.Hour {
			fmt.Fprintf(&b, "vllm:prompt_tokens_total{model_name=\"org/other\"} 7000 %s\n", stamp)
		}
	})
	family("vllm:generation_tokens", "counter", func(at time.Duration, stamp string) {
		fmt.Fprintf(&b, "vllm:generation_tokens_total{model_name=\"org/chat\"} %.0f %s\n", 200*counted(at), stamp)
	})
	family("first", "gauge", func(at time.Duration, stamp string) {
		if at < week/2 {
			fmt.Fprintf(&b, "first{half=\"1\"} 1 %s\n", stamp)
		} else {
			fmt.Fprintf(&b, "first{half=\"2\"} 1 %s\n", stamp)
		}
	})
	b.WriteString("# EOF\n")
	return b.Bytes()
}

// prometheus runs a real one that remembers the week, and returns its URL.
func prometheus(t *testing.T) string {
	t.Helper()
	server, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("no prometheus on PATH; Debian's package of that name has it and promtool")
	}
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("no promtool on PATH; Debian's package prometheus has it")
	}
	dir := t.TempDir()
	text, data, settings := filepath.Join(dir, "week.txt"), filepath.Join(dir, "data"), filepath.Join(dir, "prometheus.yml")
	for name, content := range map[string][]byte{text: exposition(), settings: []byte("global: {scrape_interval: 1h}\n")} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), tool, "tsdb", "create-blocks-from", "--max-block-duration=336h", "openmetrics", text, data).CombinedOutput(); err != nil {
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
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), server, "--config.file="+settings, "--storage.tsdb.path="+data,
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
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !answers(ctx, url+"/-/ready") {
		select {
		case <-ctx.Done():
			t.Fatal("prometheus is not ready after a minute")
		case <-time.After(50 * time.Millisecond):
		}
	}
	return url
}

func answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func TestPastIsReadOutOfARealPrometheus(t *testing.T) {
	h := History{URL: prometheus(t)}
	end := weekStart.Add(week)

	t.Run("a week of requests, and a gap in it", func(t *testing.T) {
		const step = 5 * time.Minute
		q, err := QueriesOf("vllm", "org/chat", "", step)
		if err != nil {
			t.Fatal(err)
		}
		points, err := h.Range(t.Context(), q.Requests, weekStart.Add(step), end, step)
		if err != nil {
			t.Fatal(err)
		}
		total := 0.0
		for i, p := range points {
			since := p.At.Sub(weekStart)
			total += p.Value * step.Seconds()
			if want := rateAt(since - step/2); math.Abs(p.Value-want) > 0.02*want && (since < gapFrom || since > gapUntil+step) {
				t.Fatalf("point %d at %s is %.3f requests/s, want %.3f", i, since, p.Value, want)
			}
			if since > gapFrom+step && since < gapUntil {
				t.Fatalf("there is a value at %s, and nothing was scraped then", since)
			}
		}
		// 10/s over a week but for the hour.
		if want := 10 * (week.Seconds() - 3600); math.Abs(total-want) > 0.01*want {
			t.Errorf("%.0f requests in all, want %.0f", total, want)
		}
	})
	t.Run("mean tokens", func(t *testing.T) {
		q, err := QueriesOf("vllm", "org/chat", `finished_reason!="abort"`, 5*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		for query, want := range map[string]float64{q.PromptTokens: 1000, q.OutputTokens: 200} {
			points, err := h.Range(t.Context(), query, weekStart.Add(time.Hour), weekStart.Add(24*time.Hour), 5*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range points {
				if math.Abs(p.Value-want) > 1e-6*want {
					t.Fatalf("%s at %s is %v, want %v", query, p.At, p.Value, want)
				}
			}
		}
	})
	t.Run("a model without requests has no mean", func(t *testing.T) {
		q, err := QueriesOf("vllm", "org/other", "", 5*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		points, err := h.Range(t.Context(), q.Requests, weekStart.Add(time.Hour), weekStart.Add(23*time.Hour), 5*time.Minute)
		if err != nil || len(points) != 265 || points[0].Value != 0 {
			t.Errorf("%d points, %v", len(points), err)
		}
		_, err = h.Range(t.Context(), q.PromptTokens, weekStart.Add(time.Hour), weekStart.Add(23*time.Hour), 5*time.Minute)
		if err == nil || !strings.Contains(err.Error(), "no data for "+q.PromptTokens) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("more points than Prometheus gives at a time", func(t *testing.T) {
		points, err := h.Range(t.Context(), `sum(first)`, weekStart, end, 30*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		// Prometheus shows a value for five minutes after its scrape.
		gap := int((gapUntil - gapFrom - 5*time.Minute) / (30 * time.Second))
		if want := int(week/(30*time.Second)) + 1 - gap; len(points) < want-1 || len(points) > want+1 {
			t.Errorf("%d points, want %d", len(points), want)
		}
		for i := 1; i < len(points); i++ {
			if apart := points[i].At.Sub(points[i-1].At); apart != 30*time.Second && apart < 50*time.Minute {
				t.Fatalf("%s comes %s after the point before", points[i].At, apart)
			}
		}
	})
	t.Run("a figure of one instant", func(t *testing.T) {
		at := weekStart.Add(30*time.Hour + 30*time.Second)
		for query, want := range map[string]float64{"2 * 21": 42, `sum(first)`: 1, `first{half="1"} * 3`: 3} {
			got, err := h.Instant(t.Context(), query, at, 5*time.Minute)
			if err != nil || got != want {
				t.Errorf("%s is %v, %v, want %v", query, got, err, want)
			}
		}
	})
	for query, want := range map[string]string{
		"nothing": "no data for nothing now", "vllm:prompt_tokens_total": "gives 2 series, such as", "sum(": "it refuses sum(: ",
		"0 / 0": "0 / 0 gives NaN",
	} {
		t.Run("no figure of "+query, func(t *testing.T) {
			if got, err := h.Instant(t.Context(), query, weekStart.Add(time.Hour), 5*time.Minute); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, %v\nwant %s", got, err, want)
			}
		})
	}
	for name, c := range map[string]struct {
		query, want string
	}{
		"a series that is not":          {"nothing", "no data for nothing between 2026-05-04T00:00:00Z and 2026-05-11T00:00:00Z: check the names"},
		"two series":                    {"vllm:request_success_total", "gives 2 series, such as"},
		"two series after each other":   {"first", "gives 2 series, such as first{half=\"1\"} and first{half=\"2\"}: sum them into one, such as sum(first)"},
		"a query that is none":          {"sum(", "it refuses sum(: "},
		"a query of another kind":       {`"text"`, `it refuses "text": `},
		"a query that can not be done":  {"vllm:prompt_tokens_total + on() vllm:request_success_total", "it refuses vllm:prompt_tokens_total + on() "},
		"a number without any division": {"0 / 0", "no data for 0 / 0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.Range(t.Context(), c.query, weekStart, end, time.Minute)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "query Prometheus at "+h.URL+": ") {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}
