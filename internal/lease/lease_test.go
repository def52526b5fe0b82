package lease

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/penstock/penstock/internal/scale"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plane is a data plane that remembers what it was told.
type plane struct {
	mu       sync.Mutex
	routes   []scale.Route
	standing scale.Standing
	traffic  scale.Traffic
}

func (p *plane) Route(_ string, routes []scale.Route) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.routes = append([]scale.Route(nil), routes...)
}

func (p *plane) Traffic(string, time.Time) scale.Traffic {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.traffic
	p.traffic = p.traffic.Told()
	return t
}

func (p *plane) Standing(string) scale.Standing {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.standing
}

func (p *plane) stand(s scale.Standing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.standing = s
}

// slots returns how many requests the plane may have at a replica.
func (p *plane) slots(id scale.ReplicaID) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.routes {
		if r.Replica.ID == id && r.Replica.Phase == scale.Ready {
			return r.BatchLimit
		}
	}
	return 0
}

func route(id scale.ReplicaID, batch int) scale.Route {
	return scale.Route{Replica: scale.Replica{ID: id, Phase: scale.Ready, Address: "127.0.0.1:1"}, BatchLimit: batch}
}

// office is a Lessor behind a real server.
type office struct {
	*Lessor
	own    *plane
	server *httptest.Server
	url    *url.URL
	woken  chan string
	broken atomic.Bool
}

func newOffice(t *testing.T, token string) *office {
	t.Helper()
	o := &office{own: &plane{}, woken: make(chan string, 100)}
	o.Lessor = &Lessor{
		Gateway: o.own, Token: token, Logger: slog.New(slog.DiscardHandler),
		Settings: Settings{Version: "v1", Models: []scale.Model{{Name: "m"}}, MaxHeld: 7},
		Wake:     func(model string) { o.woken <- model },
	}
	handler := o.Handler()
	o.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o.broken.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	o.url, _ = url.Parse(o.server.URL)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("lessor: %v", err)
		}
		o.server.Close()
	})
	return o
}

// join runs one more gateway until the test ends.
func (o *office) join(t *testing.T, name string) (l *Lessee, p *plane, stop func()) {
	t.Helper()
	p = &plane{}
	settings, err := Fetch(t.Context(), o.url, o.Token)
	if err != nil {
		t.Fatal(err)
	}
	l = &Lessee{Server: o.url, Token: o.Token, Name: name, Gateway: p, Settings: settings, Logger: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("lessee: %v", err)
		}
	})
	t.Cleanup(stop)
	return l, p, stop
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, longest time.Duration, holds func() bool) time.Duration {
	t.Helper()
	from := time.Now()
	for !holds() {
		if time.Since(from) > longest {
			t.Fatalf("not within %v: %s", longest, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(from)
}

// Alone the Lessor passes on what it is told; with another gateway each has its
// share, by demand; one that leaves gives its share back at once.
func TestGatewaysShareByDemand(t *testing.T) {
	t.Parallel()
	o := newOffice(t, "")
	routes := []scale.Route{route("b", 64), {Replica: scale.Replica{ID: "s", Phase: scale.Starting}, BatchLimit: 64}, route("a", 64)}
	o.Route("m", routes)
	if diff := cmp.Diff(routes, o.own.routes); diff != "" {
		t.Fatalf("alone: %s", diff)
	}
	o.own.stand(scale.Standing{InFlight: map[scale.ReplicaID]int{"a": 30, "b": 30}})
	l, other, stop := o.join(t, "other")
	other.stand(scale.Standing{Held: 60})
	l.Poke()
	took := eventually(t, "half of the slots are the other's", 4*time.Second, func() bool {
		return other.slots("a") >= 30 && other.slots("b") >= 30
	})
	t.Logf("half after %v", took)
	if sum := o.own.slots("a") + other.slots("a"); sum > 64 {
		t.Errorf("together there are %d slots of 64", sum)
	}
	select {
	case model := <-o.woken:
		if model != "m" {
			t.Errorf("woke %s", model)
		}
	default:
		t.Error("requests are held elsewhere and nobody was woken")
	}
	o.own.stand(scale.Standing{})
	eventually(t, "nearly all are the other's", 6*time.Second, func() bool { return other.slots("a")+other.slots("b") >= 127 })
	stop()
	if here, there := o.own.slots("a")+o.own.slots("b"), other.slots("a")+other.slots("b"); here != 128 || there != 0 {
		t.Errorf("when the other has left it has %d slots and one's own gateway %d of 128", there, here)
	}
}

// renewAs sends a report as a gateway would.
func (o *office) renewAs(t *testing.T, r any, want int) string {
	t.Helper()
	body, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return o.post(t, bytes.NewReader(body), o.Token, want)
}

func (o *office) post(t *testing.T, body io.Reader, token string, want int) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, o.server.URL+"/v1/lease", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	reply, err := o.server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	text, _ := io.ReadAll(reply.Body)
	if reply.StatusCode != want {
		t.Errorf("answered %d, want %d: %s", reply.StatusCode, want, text)
	}
	return string(text)
}

// A gateway that can not reach the Lessor sends nothing new when its lease is
// over, and the Lessor gives its share to others no sooner.
func TestAnExpiredLeaseIsWorthZero(t *testing.T) {
	t.Parallel()
	o := newOffice(t, "")
	o.Route("m", []scale.Route{route("a", 10)})
	o.own.stand(scale.Standing{Held: 5})
	_, other, _ := o.join(t, "other")
	other.stand(scale.Standing{Held: 5})
	eventually(t, "each has its share", 4*time.Second, func() bool { return other.slots("a") == 5 && o.own.slots("a") == 5 })
	o.broken.Store(true)
	cut := time.Now()
	ended := time.Time{}
	eventually(t, "all is one's own", Term+2*time.Second, func() bool {
		there, here := other.slots("a"), o.own.slots("a")
		if there+here > 10 {
			t.Fatalf("%d and %d slots of 10", there, here)
		}
		if there == 0 && ended.IsZero() {
			ended = time.Now()
		}
		return here == 10
	})
	if ended.IsZero() || ended.Sub(cut) > Term+100*time.Millisecond || ended.Sub(cut) < Term-renewEvery-100*time.Millisecond {
		t.Errorf("the lease of %v ended %v after the last answer could come", Term, ended.Sub(cut))
	}
	o.broken.Store(false)
	eventually(t, "each has its share again", 4*time.Second, func() bool { return other.slots("a") == 5 })
}

// A replica that drains counts as busy until every gateway knows of it.
func TestInFlightCountsWhatOthersMaySend(t *testing.T) {
	t.Parallel()
	o := newOffice(t, "")
	o.Route("m", []scale.Route{route("a", 10)})
	_, other, _ := o.join(t, "other")
	other.stand(scale.Standing{Held: 9})
	eventually(t, "the other has a share", 4*time.Second, func() bool { return other.slots("a") > 5 })
	other.stand(scale.Standing{InFlight: map[scale.ReplicaID]int{"a": 2}})
	draining := route("a", 10)
	draining.Replica.Phase = scale.Draining
	o.Route("m", []scale.Route{draining})
	if n := o.InFlight("m", "a"); n <= 5 {
		t.Errorf("%d requests may be at a replica that others still use", n)
	}
	eventually(t, "two are left", 4*time.Second, func() bool { return o.InFlight("m", "a") == 2 && other.slots("a") == 0 })
	other.stand(scale.Standing{})
	eventually(t, "none is left", 4*time.Second, func() bool { return o.InFlight("m", "a") == 0 })
	if err := o.Drain(t.Context()); err != nil {
		t.Errorf("drain with nothing in flight: %v", err)
	}
}

// What gateways measured is one Traffic, and each thing is in it once.
func TestTrafficOfAllGatewaysIsOne(t *testing.T) {
	t.Parallel()
	o := newOffice(t, "")
	o.Route("m", []scale.Route{route("a", 10)})
	now := time.Now()
	seen := func(v float64) scale.Observation { return scale.Observe(v, now) }
	o.own.traffic = scale.Traffic{Demand: scale.Demand{Arrivals: seen(4), ArrivalsOver: time.Second, Held: seen(1), Good: seen(10), Bad: seen(0)}}
	report := Report{Gateway: "x", Version: "v1", Turn: 1, Now: now.Add(-time.Hour), Models: []ModelReport{{Model: "m", Traffic: scale.Traffic{
		Demand: scale.Demand{Arrivals: scale.Observe(6, now.Add(-time.Hour)), ArrivalsOver: time.Second, Held: scale.Observe(2, now.Add(-time.Hour)), Good: scale.Observe(5, now.Add(-time.Hour))},
		Uses:   map[string]scale.Use{"acme": {Requests: 6}},
	}}, {Model: "unknown"}}}
	o.renewAs(t, report, http.StatusOK)
	first := o.Traffic("m", now)
	if d := first.Demand; d.Arrivals.Value != 10 || d.ArrivalsOver != time.Second || d.Held.Value != 3 || d.Good.Value != 15 || first.Uses["acme"].Requests != 6 {
		t.Errorf("together: %+v, %v", d, first.Uses)
	}
	if at := first.Demand.Good.At; at.Sub(now).Abs() > time.Minute {
		t.Errorf("a gateway whose clock is an hour late measured at %v", at)
	}
	o.own.traffic = scale.Traffic{Demand: scale.Demand{Arrivals: seen(4), ArrivalsOver: time.Second, Good: seen(11), Bad: seen(0)}}
	if second := o.Traffic("m", now); second.Uses != nil || second.Demand.Arrivals.Value != 10 || second.Demand.Good.Value != 16 {
		t.Errorf("the second time: %+v, %v", second.Demand, second.Uses)
	}
	o.renewAs(t, Report{Gateway: "x", Version: "v1", Turn: 2, Leaving: true}, http.StatusOK)
	o.own.traffic = scale.Traffic{Demand: scale.Demand{Arrivals: seen(4), ArrivalsOver: time.Second, Good: seen(12), Bad: seen(0)}}
	if d := o.Traffic("m", now).Demand; d.Arrivals.Value != 4 || d.Good.Value != 17 {
		t.Errorf("after the other left: %+v", d)
	}
}

// Whoever has no token, and whatever is no report, is refused.
func TestTheLessorRefuses(t *testing.T) {
	t.Parallel()
	o := newOffice(t, "a-token-of-some-length")
	report := `{"Gateway":"g","Version":"v1","Turn":1}`
	o.post(t, strings.NewReader(report), "another", http.StatusUnauthorized)
	o.post(t, strings.NewReader(report), "", http.StatusUnauthorized)
	o.post(t, strings.NewReader("{"), o.Token, http.StatusBadRequest)
	o.post(t, strings.NewReader(`{"Gateway":"`+strings.Repeat("g", maxName+1)+`","Version":"v1","Turn":1}`), o.Token, http.StatusBadRequest)
	o.post(t, strings.NewReader(`{"Version":"v1","Turn":1}`), o.Token, http.StatusBadRequest)
	o.post(t, io.LimitReader(strings.NewReader(`{"Gateway":"`+strings.Repeat("g", maxReport)), maxReport+1), o.Token, http.StatusBadRequest)
	o.post(t, strings.NewReader(report), o.Token, http.StatusOK)
	if text := o.post(t, strings.NewReader(report), o.Token, http.StatusConflict); !strings.Contains(text, codeLate) {
		t.Errorf("the same turn again: %s", text)
	}
	for i := range maxGateways - 1 {
		o.renewAs(t, Report{Gateway: "g" + string(rune('A'+i)), Version: "v1", Turn: 1}, http.StatusOK)
	}
	o.renewAs(t, Report{Gateway: "one too many", Version: "v1", Turn: 1}, http.StatusTooManyRequests)
	if _, err := Fetch(t.Context(), o.url, "wrong"); !errors.Is(err, errRefused) {
		t.Errorf("settings without a token: %v", err)
	}
	s, err := Fetch(t.Context(), o.url, o.Token)
	if err != nil || s.MaxHeld != 7 || s.Models[0].Name != "m" {
		t.Errorf("settings %+v, %v", s, err)
	}
	changed := &Lessee{Server: o.url, Token: o.Token, Name: "old", Gateway: &plane{}, Settings: Settings{Version: "v0", Models: s.Models}, Logger: slog.New(slog.DiscardHandler)}
	if err := changed.Run(t.Context()); !errors.Is(err, ErrChanged) {
		t.Errorf("a gateway of older settings ended with %v", err)
	}
}
