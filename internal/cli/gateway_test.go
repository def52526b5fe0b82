package cli

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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
	text := fmt.Sprintf(quick, filepath.Join(dir, "state"), file)
	text = strings.Replace(text, "  gpus:", "  gateways: {listen: \"127.0.0.1:0\"}\n  gpus:", 1)
	text = strings.Replace(text, "replicas: {min: 0, max: 8}", "replicas: {min: 4, max: 4}", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
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
	_, otherURL := startGateway(t, m.leaseURL())
	until(t, "both have joined", 5*time.Second, func() bool { return len(m.lessor.Gateways()) == 2 })
	var own, other, lost load.Report
	var running sync.WaitGroup
	running.Go(func() { own = burst(t, m, m.url(), 150, 13) })
	running.Go(func() { other = burst(t, m, otherURL, 150, 13) })
	running.Go(func() { lost = burst(t, m, victimURL, 80, 13) })
	time.Sleep(3 * time.Second) // so that all have requests in flight; nothing depends on how many
	if err := victim.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait()
	until(t, "its lease is over", 5*time.Second, func() bool { return len(m.lessor.Gateways()) == 1 })
	running.Wait()
	for name, r := range map[string]load.Report{"own": own, "other": other, "victim": lost} {
		t.Logf("%s: %+v, %d verified, TTFT p99 %v", name, r.Outcomes, r.Verified, r.TTFT.P99)
		if name != "victim" && (r.Outcomes[scale.OK] != 150 || r.Verified != 150) {
			t.Errorf("%s: %+v", name, r.Outcomes)
		}
	}
	if n := lost.Outcomes[scale.OK]; n == 80 || n < 10 || lost.Outcomes[scale.Corrupted] > 0 {
		t.Errorf("victim: %+v", lost.Outcomes)
	}
	for id, n := range peaks(t, m) {
		if n > 4 || n == 0 {
			t.Errorf("%s had %d requests at once, and its limit is 4", id, n)
		}
	}
}
