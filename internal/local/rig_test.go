package local

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
)

// patience bounds every wait for a real process. It is long, since the machine
// may be busy, and only a failing test takes so much time.
const patience = 60 * time.Second

// fakeGateway is a data plane that remembers what it was told and says what the
// test sets.
type fakeGateway struct {
	mu       sync.Mutex
	routes   map[string][]scale.Route
	phases   map[scale.ReplicaID][]scale.Phase // in the order in which they were routed
	inFlight map[scale.ReplicaID]int
	traffic  map[string]scale.Traffic
}

func (g *fakeGateway) Route(model string, routes []scale.Route) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.routes == nil {
		g.routes, g.phases = map[string][]scale.Route{}, map[scale.ReplicaID][]scale.Phase{}
	}
	g.routes[model] = slices.Clone(routes)
	for _, r := range routes {
		seen := g.phases[r.Replica.ID]
		if len(seen) == 0 || seen[len(seen)-1] != r.Replica.Phase {
			g.phases[r.Replica.ID] = append(seen, r.Replica.Phase)
		}
	}
}

func (g *fakeGateway) Traffic(model string, _ time.Time) scale.Traffic {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.traffic[model]
}

func (g *fakeGateway) InFlight(_ string, id scale.ReplicaID) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inFlight[id]
}

func (g *fakeGateway) setInFlight(id scale.ReplicaID, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inFlight == nil {
		g.inFlight = map[scale.ReplicaID]int{}
	}
	g.inFlight[id] = n
}

func (g *fakeGateway) setTraffic(model string, t scale.Traffic) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.traffic == nil {
		g.traffic = map[string]scale.Traffic{}
	}
	g.traffic[model] = t
}

func (g *fakeGateway) routed(model string) []scale.Route {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.routes[model])
}

func (g *fakeGateway) phasesOf(id scale.ReplicaID) []scale.Phase {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.phases[id])
}

// log collects log lines.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// rig is a running World.
type rig struct {
	*World
	gateway *fakeGateway
	log     *log
	stop    func() // ends the World and waits for it
}

// start runs a World with one model, chat, on two GPUs, after changes.
func start(t *testing.T, run config.Run, changes ...func(*World)) *rig {
	t.Helper()
	r := &rig{gateway: &fakeGateway{}, log: &log{}}
	r.World = &World{
		Models:    []scale.Model{testModel("chat", 0)},
		Runs:      map[config.RunKey]config.Run{{Model: "chat", Variant: "v"}: run},
		Offerings: []scale.Offering{{Accelerator: "gpu", Capacity: scale.OnDemand, PricePerHour: 2.5}},
		GPUs:      []GPU{{0, "gpu"}, {1, "gpu"}},
		Tick:      50 * time.Millisecond,
		StateDir:  t.TempDir(),
		Gateway:   r.gateway,
		Logger:    slog.New(slog.NewTextHandler(r.log, nil)),
	}
	for _, change := range changes {
		change(r.World)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("log:\n%s", &r.log.text)
		}
	})
	return r
}

func (r *rig) apply(t *testing.T, d scale.Decision) {
	t.Helper()
	if err := r.Apply(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) observe(t *testing.T) scale.Snapshot {
	t.Helper()
	s, err := r.Observe(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// until observes until a Snapshot is as wanted. The predicate gets every
// Snapshot.
func (r *rig) until(t *testing.T, what string, is func(scale.Snapshot) bool) scale.Snapshot {
	t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		s := r.observe(t)
		if is(s) {
			return s
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatalf("never came: %s", what)
	return scale.Snapshot{}
}

// phase waits until chat has so many Replicas and all are in the phase.
func (r *rig) phase(t *testing.T, n int, phase scale.Phase) []scale.Replica {
	t.Helper()
	s := r.until(t, strconv.Itoa(n)+" "+phase.String(), func(s scale.Snapshot) bool {
		return len(s.Models[0].Replicas) == n && !slices.ContainsFunc(s.Models[0].Replicas, func(r scale.Replica) bool { return r.Phase != phase })
	})
	return s.Models[0].Replicas
}

// none waits until chat has no Replica, and returns its Lifetimes.
func (r *rig) none(t *testing.T) []scale.Lifetime {
	t.Helper()
	r.phase(t, 0, scale.Gone)
	return r.Lifetimes()
}

// livesUntil asks for one Replica of chat, as each tick does, until there have
// been so many in all.
func (r *rig) livesUntil(t *testing.T, n int) []scale.Lifetime {
	t.Helper()
	r.until(t, strconv.Itoa(n)+" lives", func(scale.Snapshot) bool {
		r.apply(t, grow("chat", 0, 1))
		return len(r.Lifetimes()) == n
	})
	return r.Lifetimes()
}

// crash has a Replica exit by itself.
func crash(r scale.Replica) {
	_ = visit("http://" + r.Address + "/exit") // it dies of it, and does not answer
}

// environ returns the environment that a Replica runs in, and its PID.
func environ(t *testing.T, r scale.Replica) []string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.Address+"/environ", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatalf("%s does not answer: %v", r.ID, err)
	}
	defer resp.Body.Close()
	var all []string
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

// eventually polls until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("never came: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// pids reads the process numbers in a file, as processes.
func pids(t *testing.T, path string) []processID {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []processID
	for word := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		s, err := readStat(pid)
		if err != nil {
			t.Fatalf("process %d: %v", pid, err)
		}
		all = append(all, s.processID)
	}
	return all
}

// leftovers counts the processes of the state directory's Replicas: every one
// whose environment names one of them, and those given.
func leftovers(t *testing.T, settings map[string]bool, others []processID) int {
	t.Helper()
	left, err := marked(settings)
	if err != nil {
		t.Fatal(err)
	}
	n := len(left)
	for _, p := range others {
		if p.alive() && !slices.Contains(left, p) {
			n++
		}
	}
	return n
}

func valueOfPID(s stat) string { return strconv.Itoa(s.PID) + "," }
