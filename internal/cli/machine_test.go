package cli

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/load"
	"github.com/penstock/penstock/internal/local"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/trace"
)

// TestMain lets the test binary stand in for penstock: replicas, their guards
// and whole servers are processes of it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "leaky" {
		os.Exit(leakyEngine(os.Args[2:]))
	}
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop) // as in cmd/penstock
		code := Main(ctx, os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// quick is a model whose engines take 20 ms a token, four requests at a time,
// and half a second to load, so that a test sees many scalings.
const quick = `
apiVersion: penstock.dev/v1alpha1
kind: ServerConfig
spec:
  listen: 127.0.0.1:0
  console: 127.0.0.1:0
  gpus: [{type: generic, count: 8}]
  stateDir: %s
  tick: 200ms
  drainTimeout: 20s
---
apiVersion: penstock.dev/v1alpha1
kind: InferenceAutoscaler
metadata: {name: quick}
spec:
  model: quick
  slo: {ttft: 2s, tpot: 60ms, objective: 95%%, maxHold: 30s}
  variants:
  - name: tiny
    accelerator: {type: generic, count: 1, memory: 8GB, bandwidth: 1000GB}
    profile:
      weights: 1GB
      kvBytesPerToken: 1000
      prefillChunk: 2048
      maxBatch: 4
      linear: [{tokens: 1, time: 20ms}, {tokens: 4096, time: 40ms}]
    coldStart: 1s
    run: {command: ["{{penstock}}", emulate, --port, "{{port}}", --model, "{{model}}", --file, %s, --variant, tiny, --load-delay, 500ms, --shutdown-timeout, 10s]}
  replicas: {min: 0, max: 8}
  scaleToZero: {after: 2s}
  scaleDownWindow: 1s
`

// serveQuick runs a machine until the test ends.
func serveQuick(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "penstock.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, quick, filepath.Join(dir, "state"), file), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return serveMachine(t, cfg)
}

// serveMachine runs what a configuration says until the test ends.
func serveMachine(t *testing.T, cfg config.Config) *machine {
	t.Helper()
	var log lockedBuffer
	ctx, stop := context.WithCancel(t.Context())
	m, err := open(ctx, cfg, logger(&log, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := m.close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", log.String())
		}
	})
	return m
}

// waves is a series whose rate goes up and down without end.
func waves(n int, low, high float64, period time.Duration) []scale.Request {
	out := make([]scale.Request, n)
	at := 0.0
	for i := range out {
		rate := low + (high-low)*(1-math.Cos(2*math.Pi*at/period.Seconds()))/2
		at += 1 / rate
		out[i] = scale.Request{
			ID: scale.RequestID(i + 1), At: trace.Epoch().Add(time.Duration(at * float64(time.Second))), Model: "quick",
			PromptTokens: 20 + i%50, OutputTokens: 5 + i%7,
		}
	}
	return out
}

// send puts a series through the machine's gateway and reads every reply.
func send(t *testing.T, m *machine, series []scale.Request) load.Report {
	t.Helper()
	g := &load.Generator{
		Target: m.url(), Models: []load.Model{{Name: "quick", SLO: m.config.Models[0].SLO, Emulated: true}},
		Requests: trace.Of(series), Start: trace.Epoch(), Total: len(series), Grace: 30 * time.Second, Stall: time.Minute, Client: load.NewClient(),
	}
	r, err := g.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d requests in %v: %+v, %d good, woke %d", r.Requests, r.Duration.Round(time.Second), r.Outcomes, r.Good, r.Woke)
	for _, x := range r.Examples {
		t.Logf("%+v", x)
	}
	return r
}

// until polls a condition that some process is about to make true.
func until(t *testing.T, what string, longest time.Duration, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(longest)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, longest)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestNothingIsLostWhileScaling sends 10,000 streams through a fleet that never
// stops growing and shrinking.
func TestNothingIsLostWhileScaling(t *testing.T) {
	m := serveQuick(t)
	var ups, downs int
	stop := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		last := 0
		for {
			if latest, ok := m.loop.Latest(); ok {
				n := replicas(latest.Snapshot)
				ups, downs = ups+max(0, n-last), downs+max(0, last-n)
				last = n
			}
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	r := send(t, m, waves(10_000, 10, 190, 24*time.Second))
	close(stop)
	watcher.Wait()
	t.Logf("replicas started %d, gone %d", ups, downs)
	if r.Outcomes[scale.OK] != 10_000 || r.Verified != 10_000 {
		t.Errorf("%d ok, %d verified of 10,000: %+v", r.Outcomes[scale.OK], r.Verified, r.Outcomes)
	}
	if r.Good < 5_000 {
		t.Skipf("only %d of 10,000 in time: this machine is too busy for the waves to have valleys", r.Good)
	}
	if ups < 10 || downs < 10 {
		t.Errorf("only %d started and %d gone: the fleet did not keep scaling", ups, downs)
	}
}

// TestAKilledReplicaEndsItsStreamsWithAnError: every stream that the replica
// had begun is interrupted, every other request is served.
func TestAKilledReplicaEndsItsStreamsWithAnError(t *testing.T) {
	m := serveQuick(t)
	series := waves(600, 30, 60, 10*time.Second)
	for i := range series {
		series[i].OutputTokens = 40
	}
	killed := make(chan int, 1)
	go func() {
		defer close(killed)
		time.Sleep(4 * time.Second) // let the fleet fill; nothing depends on how much
		id, ok := busiest(m)
		pid, err := engineOf(id)
		if !ok || err != nil {
			t.Errorf("no replica with streams to kill: %v", err)
			return
		}
		_ = syscall.Kill(pid, syscall.SIGSTOP)
		time.Sleep(300 * time.Millisecond)
		n := m.gateway.Begun("quick", id)
		_ = syscall.Kill(pid, syscall.SIGKILL)
		killed <- n
	}()
	r := send(t, m, series)
	n := <-killed
	if n == 0 || r.Outcomes[scale.Interrupted] != n || r.Outcomes[scale.OK] != 600-n {
		t.Errorf("%d streams were begun at the killed replica: %+v", n, r.Outcomes)
	}
}

func busiest(m *machine) (scale.ReplicaID, bool) { return (&show{machine: m}).busiest() }

// TestAModelWithoutItsGPUsIsRefusedAtTheStart: its requests would be held until
// they expire.
func TestAModelWithoutItsGPUsIsRefusedAtTheStart(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "penstock.yaml")
	text := strings.Replace(fmt.Sprintf(quick, filepath.Join(dir, "state"), file), "  gpus: [{type: generic, count: 8}]\n", "", 1)
	text = strings.Replace(text, "accelerator: {type: generic, count: 1", "accelerator: {type: nvidia-t4, count: 64", 1) // no machine has as many
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := Main(t.Context(), []string{"serve", "-f", file}, Streams{Out: &out, Err: &out}); code != exitUsage || !strings.Contains(out.String(), "variant tiny needs 64 × nvidia-t4, and there are") {
		t.Errorf("exit code %d: %s", code, &out)
	}
}

// TestKilledPenstockLeavesNoOrphanAndResumes kills -9 a whole server.
func TestKilledPenstockLeavesNoOrphanAndResumes(t *testing.T) {
	dir := t.TempDir()
	file, state := filepath.Join(dir, "penstock.yaml"), filepath.Join(dir, "state")
	if err := os.WriteFile(file, fmt.Appendf(nil, quick, state, file), 0o600); err != nil {
		t.Fatal(err)
	}
	server, url := startServer(t, file)
	client := load.NewClient()
	ask := func(url string) load.Report {
		g := &load.Generator{
			Target: url, Models: []load.Model{{Name: "quick", SLO: scale.SLO{TTFT: time.Minute, TPOT: time.Second, MaxHold: time.Minute}, Emulated: true}},
			Requests: trace.Of(waves(100, 40, 80, 10*time.Second)), Start: trace.Epoch(), Grace: time.Minute, Stall: time.Minute, Client: client,
		}
		r, err := g.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := ask(url); r.Outcomes[scale.OK] != 100 {
		t.Fatalf("before: %+v", r.Outcomes)
	}
	running := processesOf(t, state)
	if len(running) == 0 {
		t.Fatal("no replica runs")
	}
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = server.Wait()
	until(t, "no orphan", 5*time.Second, func() bool { return len(processesOf(t, state)) == 0 })

	second, url := startServer(t, file)
	defer func() {
		_ = second.Process.Signal(syscall.SIGTERM)
		_ = second.Wait()
		if left := processesOf(t, state); len(left) > 0 {
			t.Errorf("after SIGTERM %v still run", left)
		}
	}()
	if r := ask(url); r.Outcomes[scale.OK] != 100 {
		t.Errorf("after: %+v", r.Outcomes)
	}
	if log := second.Stderr.(*lockedBuffer).String(); !strings.Contains(log, "memory resumed") {
		t.Errorf("the second run did not resume the first one's memory:\n%s", log)
	}
}

// startServer runs `penstock serve` as a process and returns it with the
// gateway's URL.
func startServer(t *testing.T, file string, flags ...string) (*exec.Cmd, string) {
	t.Helper()
	log := &lockedBuffer{}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"serve", "-f", file}, flags...)...)
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
			t.Logf("log of serve:\n%s", log)
		}
	})
	url := ""
	until(t, "serve says where it listens", 20*time.Second, func() bool {
		_, after, found := strings.Cut(log.String(), "gateway  ")
		url, _, _ = strings.Cut(after, "/v1")
		return found
	})
	return cmd, url
}

// processesOf lists the processes of all replicas of a state directory: guards,
// engines and whatever they started. They are those whose environment names one
// of its replicas' IDs in its logs.
func processesOf(t *testing.T, state string) []string {
	t.Helper()
	logs, _ := filepath.Glob(filepath.Join(state, "logs", "*.log"))
	var ids []string
	for _, l := range logs {
		ids = append(ids, strings.TrimSuffix(filepath.Base(l), ".log"))
	}
	var out []string
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, e := range environs {
		text, err := os.ReadFile(e)
		if err != nil {
			continue
		}
		for v := range bytes.SplitSeq(text, []byte{0}) {
			if id, ok := strings.CutPrefix(string(v), local.ReplicaVariable+"="); ok && slices.Contains(ids, id) {
				out = append(out, filepath.Base(filepath.Dir(e))+" "+id)
			}
		}
	}
	return out
}

// lockedBuffer is a buffer that a process may write while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
