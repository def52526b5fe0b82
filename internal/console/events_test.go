package console

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock/penstock/internal/scale"
)

// moving is a fleet whose ticks a test makes.
type moving struct {
	*fleet
	mu sync.Mutex
}

func (m *moving) Snapshot() (scale.Snapshot, scale.Decision, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.snapshot, m.decision, m.ticked
}

// tick makes a tick in which the named model, or every one, has other arrivals.
func (m *moving) tick(name string, arrivals float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.snapshot.Now = m.snapshot.Now.Add(time.Second)
	m.snapshot.Models = append([]scale.ModelState(nil), m.snapshot.Models...)
	for i := range m.snapshot.Models {
		if s := &m.snapshot.Models[i]; name == "" || s.Model.Name == name {
			s.Demand.Arrivals = scale.Observe(arrivals, m.snapshot.Now)
		}
	}
}

// served is a console that listens and watches.
type served struct {
	*moving
	url  string
	stop func() error
}

func serving(t *testing.T, change func(*Console)) served {
	t.Helper()
	m := &moving{fleet: busyFleet(time.Now())}
	c := of(m.fleet)
	c.Fleet = m
	if change != nil {
		change(c)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx, listener) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return served{m, "http://" + listener.Addr().String(), stop}
}

// event is one server-sent event.
type event struct {
	name, id, data string
}

// follow opens a stream of events and yields them until it ends.
func follow(t *testing.T, address string, headers ...string) (<-chan event, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{}
	reply, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if reply.StatusCode != http.StatusOK || reply.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %s %v", address, reply.Status, reply.Header)
	}
	events := make(chan event, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(events)
		var e event
		lines := bufio.NewScanner(reply.Body)
		lines.Buffer(nil, 8<<20)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "":
				if e.name != "" {
					events <- e
				}
				e = event{}
			}
		}
	}()
	return events, func() {
		cancel()
		reply.Body.Close()
		<-ended
		transport.CloseIdleConnections()
	}
}

// next waits for the next event of a name.
func next(t *testing.T, events <-chan event, name string) (event, FleetView) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case e, open := <-events:
			if !open {
				t.Fatalf("the stream ended before an event %q", name)
			}
			if e.name != name {
				continue
			}
			var view FleetView
			if name != "fleet" {
				return e, view
			}
			if err := json.Unmarshal([]byte(e.data), &view); err != nil {
				t.Fatal(err)
			}
			return e, view
		case <-timeout:
			t.Fatalf("no event %q", name)
		}
	}
}

func changed(view FleetView) string {
	var all []string
	for _, m := range view.Models {
		all = append(all, m.Name)
	}
	return strings.Join(all, " ")
}

func TestEventsBringTheWholeAndThenWhatChanged(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := serving(t, nil)
	defer func() { _ = s.stop() }()
	events, leave := follow(t, s.url+"/api/v1/events?model=embed")
	defer leave()
	if e, _ := next(t, events, "model"); !strings.Contains(e.data, `"name":"embed"`) || !strings.Contains(e.data, `"arrivals":[80]`) {
		t.Errorf("of the model: %s", e.data)
	}
	first, view := next(t, events, "fleet")
	if !view.Whole || len(view.Models) != 5 || view.Models[0].Name != "chat" {
		t.Errorf("at first: whole %v, %s", view.Whole, changed(view))
	}
	s.tick("embed", 90)
	second, view := next(t, events, "fleet")
	if view.Whole || !strings.Contains(changed(view), "embed") || len(view.Models) == 5 && strings.Contains(changed(view), "code-32b") {
		t.Errorf("then: whole %v, %s", view.Whole, changed(view))
	}
	if first.id == second.id || second.id != view.ID {
		t.Errorf("ids %s and %s", first.id, second.id)
	}

	// Who comes back with the last ID is told what it missed, and nothing twice.
	s.tick("embed", 95)
	_, view = next(t, events, "fleet")
	again, leaveAgain := follow(t, s.url+"/api/v1/events", "Last-Event-ID", second.id)
	defer leaveAgain()
	if _, missed := next(t, again, "fleet"); missed.Whole || missed.ID != view.ID {
		t.Errorf("what was missed: whole %v, %s at %s, want at %s", missed.Whole, changed(missed), missed.ID, view.ID)
	}
	// An ID of another process means nothing here.
	other, leaveOther := follow(t, s.url+"/api/v1/events", "Last-Event-ID", "1234.1")
	defer leaveOther()
	if _, view := next(t, other, "fleet"); !view.Whole {
		t.Errorf("an ID of another process: %s", changed(view))
	}
}

func TestEventsSayWhatIsGone(t *testing.T) {
	s := serving(t, nil)
	events, leave := follow(t, s.url+"/api/v1/events")
	defer leave()
	next(t, events, "fleet")
	s.mu.Lock()
	s.snapshot.Models = s.snapshot.Models[1:]
	s.snapshot.Now = s.snapshot.Now.Add(time.Second)
	s.mu.Unlock()
	if _, view := next(t, events, "fleet"); len(view.Gone) != 1 || view.Gone[0] != "chat" {
		t.Errorf("gone: %v", view.Gone)
	}
}

func TestEventsEndWithTheServerAndWithTheClient(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := serving(t, nil)
	events, leave := follow(t, s.url+"/api/v1/events")
	next(t, events, "fleet")
	gone, leaveEarly := follow(t, s.url+"/api/v1/events")
	next(t, gone, "fleet")
	leaveEarly()
	began := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > headerTimeout {
		t.Errorf("a stream kept the server for %v", took)
	}
	for range events { // it is closed
	}
	leave()
}

func TestEventsPassAProxy(t *testing.T) {
	s := serving(t, nil)
	behind, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(behind) }})
	defer proxy.Close()
	events, leave := follow(t, proxy.URL+"/api/v1/events")
	defer leave()
	next(t, events, "fleet")
	s.tick("chat", 3)
	if _, view := next(t, events, "fleet"); view.Whole {
		t.Error("the second event is the first again")
	}
}

// TestAClientThatReadsNothingIsDropped: nothing is queued for it, and it does
// not hold up others.
func TestAClientThatReadsNothingIsDropped(t *testing.T) {
	m := &moving{fleet: busyFleet(time.Now())}
	for i := range 400 { // so that an event does not fit the kernel's buffers for long
		state, plan, change := chat(time.Now())
		state.Model.Name = fmt.Sprintf("chat-%03d", i)
		change.Target.Model, plan.Allocations[0].Target.Model = state.Model.Name, state.Model.Name
		m.add(state, plan, change)
	}
	c := of(m.fleet)
	c.Fleet, c.feed.patience = m, 500*time.Millisecond
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx, listener) }()
	defer func() { cancel(); <-done }()

	slow, err := (&net.Dialer{}).DialContext(ctx, "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if err := slow.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(slow, "GET /api/v1/events?model=chat HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	good, leave := follow(t, "http://"+listener.Addr().String()+"/api/v1/events")
	defer leave()
	deadline := time.Now().Add(slowest + 20*time.Second)
	for tick := 0; ; tick++ {
		m.tick("", float64(tick))
		next(t, good, "fleet") // the other client is served all the while
		c.feed.mu.Lock()
		streams := c.feed.streams
		c.feed.mu.Unlock()
		if streams == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d streams are open still", streams)
		}
	}
}

func TestOnlySoManyStreams(t *testing.T) {
	c := of(busyFleet(time.Now()))
	for range maxStreams {
		if !c.feed.enter() {
			t.Fatal("turned away too early")
		}
	}
	if w := get(c, "/api/v1/events"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("one too many: %d %s", w.Code, w.Body)
	}
	c.feed.leave()
	if !c.feed.enter() {
		t.Error("one that left gives no room")
	}
	if w := get(c, "/api/v1/events?model=chta"); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "Nearest: chat.") {
		t.Errorf("an unknown model: %d %s", w.Code, w.Body)
	}
}
