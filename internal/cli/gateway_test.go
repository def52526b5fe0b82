package cli

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/load"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/trace"
)

// startGateway runs `penstock gateway` as a process and returns it with its URL.
func startGateway(t *testing.T, server string) (*exec.Cmd, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := &lockedBuffer{}
	cmd := exec.Command(self, "gateway", "--server", server, "--listen", "127.0.0.1:0")
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if t.Failed() {
			t.Logf("log of gateway:\n%s", log)
		}
	})
	url := ""
	until(t, "the gateway says where it listens", 20*time.Second, func() bool {
		_, after, found := strings.Cut(log.String(), "gateway  ")
		url, _, _ = strings.Cut(after, "/v1")
		return found && strings.Contains(log.String(), "lease taken")
	})
	return cmd, url
}

// peaks asks every engine for the most requests that it ever had at once.
func peaks(t *testing.T, m *machine) map[scale.ReplicaID]int {
	t.Helper()
	out, client := map[scale.ReplicaID]int{}, load.NewClient()
	defer client.CloseIdleConnections()
	latest, ok := m.loop.Latest()
	if !ok {
		t.Fatal("nothing was decided")
	}
	for _, model := range latest.Snapshot.Models {
		for _, r := range model.Replicas {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.Address+"/metrics", nil)
			if err != nil {
				t.Fatal(err)
			}
			reply, err := client.Do(request)
			if err != nil {
				continue // it starts, or has just ended
			}
			for lines := bufio.NewScanner(reply.Body); lines.Scan(); {
				if line := lines.Text(); strings.HasPrefix(line, "penstock_emulator_peak_requests") {
					n := 0
					_, _ = fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &n)
					out[r.ID] = n
				}
			}
			reply.Body.Close()
		}
	}
	return out
}

// serveShared is serveQuick with four replicas that stay, which other gateways
// may share.
func serveShared(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "penstock.yaml")
	if err := os.WriteFile(file, []byte(shared(dir, file)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	m := serveMachine(t, cfg)
	until(t, "four replicas are ready", 20*time.Second, func() bool {
		latest, ok := m.loop.Latest()
		return ok && len(latest.Snapshot.Models) > 0 && readyOf(latest.Snapshot.Models[0]) == 4
	})
	return m
}

// shared is what serveShared serves.
func shared(dir, file string) string {
	text := fmt.Sprintf(quick, filepath.Join(dir, "state"), file)
	text = strings.Replace(text, "  gpus:", "  gateways: {listen: \"127.0.0.1:0\"}\n  gpus:", 1)
	return strings.Replace(text, "replicas: {min: 0, max: 8}", "replicas: {min: 4, max: 4}", 1)
}

func readyOf(s scale.ModelState) int {
	n := 0
	for _, r := range s.Replicas {
		if r.Phase == scale.Ready {
			n++
		}
	}
	return n
}

// burst sends a series at a gateway and returns what became of it.
func burst(t *testing.T, m *machine, url string, n int, rate float64) load.Report {
	t.Helper()
	series := waves(n, rate, rate, time.Second)
	for i := range series {
		series[i].OutputTokens = 15 + i%20
	}
	g := &load.Generator{
		Target: url, Models: []load.Model{{Name: "quick", SLO: m.config.Models[0].SLO, Emulated: true}},
		Requests: trace.Of(series), Start: trace.Epoch(), Total: n, Grace: 30 * time.Second, Stall: time.Minute, Client: load.NewClient(),
	}
	r, err := g.Run(t.Context())
	if err != nil {
		t.Errorf("%s: %v", url, err)
	}
	return r
}

// Three gateways are in front of four replicas of four slots each, and all are
// busy. One is killed: its requests fail, where it can be seen; those of the
// others are served, no replica ever has more than its limit, and what the dead
// one had is soon the others'.
func TestAKilledGatewayTakesOnlyItsOwnRequests(t *testing.T) {
	m := serveShared(t)
	victim, victimURL := startGateway(t, m.leaseURL())
	another, otherURL := startGateway(t, m.leaseURL())
	until(t, "both have joined", 5*time.Second, func() bool { return len(m.lessor.Gateways()) == 2 })
	var own, other, lost load.Report
	var running sync.WaitGroup
	running.Go(func() { own = burst(t, m, m.url(), 100, 13) })
	running.Go(func() { other = burst(t, m, otherURL, 100, 13) })
	running.Go(func() { lost = burst(t, m, victimURL, 50, 13) })
	time.Sleep(2 * time.Second) // so that all have requests in flight; nothing depends on how many
	if err := victim.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait()
	until(t, "its lease is over", 5*time.Second, func() bool { return len(m.lessor.Gateways()) == 1 })
	running.Wait()
	for name, r := range map[string]load.Report{"own": own, "other": other, "victim": lost} {
		t.Logf("%s: %+v, %d verified, TTFT p99 %v", name, r.Outcomes, r.Verified, r.TTFT.P99)
		if name != "victim" && (r.Outcomes[scale.OK] != 100 || r.Verified != 100) {
			t.Errorf("%s: %+v", name, r.Outcomes)
		}
	}
	if n := lost.Outcomes[scale.OK]; n == 50 || n == 0 || lost.Outcomes[scale.Corrupted] > 0 {
		t.Errorf("victim: %+v", lost.Outcomes)
	}
	for id, n := range peaks(t, m) {
		if n > 4 || n == 0 {
			t.Errorf("%s had %d requests at once, and its limit is 4", id, n)
		}
	}
	if err := another.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := another.Wait(); err != nil {
		t.Errorf("after SIGTERM the gateway ended with %v", err)
	}
	if left := m.lessor.Gateways(); len(left) > 0 {
		t.Errorf("gateways that have ended still have a lease: %v", left)
	}
}

// A gateway drains before it ends, and so does every gateway before the replicas
// are stopped: in both, the streams under way are finished.
func TestEndingFinishesTheStreamsOfEveryGateway(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "penstock.yaml")
	if err := os.WriteFile(file, []byte(shared(dir, file)), 0o600); err != nil {
		t.Fatal(err)
	}
	server, _ := startServer(t, file)
	log := server.Stderr.(*lockedBuffer)
	_, after, _ := strings.Cut(log.String(), "gateways ")
	office, _, _ := strings.Cut(after, " ")
	first, firstURL := startGateway(t, office)
	_, secondURL := startGateway(t, office)
	until(t, "a replica is ready", 20*time.Second, func() bool { return strings.Contains(log.String(), "replica ready") })
	read := make(chan error, 2)
	for _, url := range []string{firstURL, secondURL} {
		go func() { read <- wholeStream(t, url, 100) }() // two seconds
	}
	until(t, "both have begun", 10*time.Second, func() bool { return streamsBegun.Load() == 2 })
	for _, p := range []*exec.Cmd{first, server} {
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := <-read; err != nil {
			t.Error(err)
		}
	}
	for _, p := range []*exec.Cmd{first, server} {
		if err := p.Wait(); err != nil {
			t.Errorf("%v ended with %v", p.Args[1], err)
		}
	}
}

// streamsBegun counts the streams whose first byte has come.
var streamsBegun atomic.Int32

// wholeStream reads one stream of so many tokens to its end.
func wholeStream(t *testing.T, url string, tokens int) error {
	t.Helper()
	body := fmt.Sprintf(`{"model":"quick","messages":[{"role":"user","content":"one two"}],"stream":true,"max_tokens":%d}`, tokens)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return err
	}
	client := load.NewClient()
	defer client.CloseIdleConnections()
	reply, err := client.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	from := bufio.NewReader(reply.Body)
	if _, err := from.Peek(1); err != nil {
		return fmt.Errorf("%s: %w", reply.Status, err)
	}
	streamsBegun.Add(1)
	text, err := io.ReadAll(from)
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(text)), "[DONE]") {
		return fmt.Errorf("%s: the stream ended with %q, %w", url, text[max(0, len(text)-200):], err)
	}
	return nil
}
