package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/penstock/penstock/internal/scale"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const modelName = "meta/chat-8b"

// rig is a gateway on a real socket with its owner goroutines running.
type rig struct {
	*Gateway
	t      *testing.T
	url    string
	client *http.Client
	woken  atomic.Int64
}

// newRig starts a gateway for one model; adjust may change it before.
func newRig(t *testing.T, adjust func(*Gateway)) *rig {
	t.Helper()
	r := &rig{t: t}
	r.Gateway = &Gateway{
		Models: []scale.Model{{
			Name: modelName, Aliases: []string{"legal"},
			SLO: scale.SLO{TTFT: 5 * time.Second, TPOT: time.Second, Objective: 0.99, MaxHold: 30 * time.Second},
		}},
		Limits:     Limits{MaxHeld: 1000, MaxHeldBytes: 64 << 20, MaxBody: 1 << 20},
		Wake:       func(string) { r.woken.Add(1) },
		Registerer: prometheus.NewRegistry(),
		Logger:     slog.New(slog.DiscardHandler),
	}
	if adjust != nil {
		adjust(r.Gateway)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop := r.listen()
	r.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}}
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		stop()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return r
}

// listen serves as penstock does; stop ends it once no request is left.
func (r *rig) listen() (stop func()) {
	if r.Certificate == nil {
		server := httptest.NewUnstartedServer(nil)
		server.Config = r.Server()
		server.Start()
		r.url = server.URL
		return server.Close
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	server := r.Server()
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	r.url = "https://" + listener.Addr().String()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			r.t.Errorf("shut down: %v", err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			r.t.Errorf("serve: %v", err)
		}
	}
}

func route(id, address string, batch int) scale.Route {
	return scale.Route{
		Replica: scale.Replica{
			ID: scale.ReplicaID(id), Target: scale.ScaleTarget{Model: modelName, Variant: "a100", Capacity: scale.OnDemand},
			Phase: scale.Ready, Address: address,
		},
		BatchLimit: batch,
	}
}

// routes makes the fleet these replicas of 64 each.
func (r *rig) routes(addresses ...string) {
	var routes []scale.Route
	for i, a := range addresses {
		routes = append(routes, route(fmt.Sprintf("r%d", i), a, 64))
	}
	r.Route(modelName, routes)
}

// post sends a body and returns the reply, whose body the caller closes.
func (r *rig) post(ctx context.Context, path, body string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	return r.client.Do(request)
}

// ask sends a body and reads the whole reply.
func (r *rig) ask(path, body string) (*http.Response, string, error) {
	r.t.Helper()
	reply, err := r.post(r.t.Context(), path, body)
	if err != nil {
		r.t.Fatalf("post: %v", err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	return reply, string(text), err
}

func chatBody(more string) string {
	return `{"model":"` + modelName + `","messages":[{"role":"user","content":"one two"}]` + more + `}`
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// outcomes returns how many requests of the model ended in a way.
func (r *rig) outcomes(o scale.Outcome) int {
	return int(testutil.ToFloat64(r.metrics.requests.WithLabelValues(modelName, o.String())))
}

func (r *rig) wantOutcome(o scale.Outcome, n int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d requests %v", n, o), func() bool { return r.outcomes(o) == n })
}

// upstream is a replica.
func upstream(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/models" {
			fmt.Fprintf(w, `{"object":"list","data":[{"id":"other","owned_by":"nobody"},{"id":%q,"owned_by":"penstock-emulator"}]}`, modelName)
			return
		}
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// rawUpstream is a replica that speaks bytes: each connection whose request
// was read is handed over with its number, from 1.
func rawUpstream(t *testing.T, serve func(n int, conn net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		running sync.WaitGroup
		number  atomic.Int64
		mu      sync.Mutex
		open    []net.Conn
	)
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			running.Go(func() {
				defer conn.Close()
				if path, err := readRequest(conn); err == nil && path != "/v1/models" {
					serve(int(number.Add(1)), conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return listener.Addr().String()
}

// readRequest reads one request with its body and returns its path.
func readRequest(conn net.Conn) (string, error) {
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return "", err
	}
	_, err = io.Copy(io.Discard, request.Body)
	return request.URL.Path, err
}

// echoTokens is a replica whose reply tells which request it belongs to:
// token i of a prompt P is "P/i". It streams max_tokens of them.
func echoTokens(pause time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		prompt, _ := between(string(body), `"content":"`, `"`)
		tokens := 0
		count, _ := between(string(body), `"max_tokens":`, ",")
		fmt.Sscan(count, &tokens)
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		for i := range tokens {
			fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":\"%s/%d\"}}]}\n\n", prompt, i)
			if pause == 0 {
				continue
			}
			http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(pause):
			}
		}
		io.WriteString(w, "data: [DONE]\n\n")
	}
}

func echoBody(prompt string, tokens int) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"%s"}],"max_tokens":%d,"stream":true}`, modelName, prompt, tokens)
}

// echoReply is what echoTokens answers.
func echoReply(prompt string, tokens int) string {
	var b bytes.Buffer
	for i := range tokens {
		fmt.Fprintf(&b, "data: {\"choices\":[{\"delta\":{\"content\":\"%s/%d\"}}]}\n\n", prompt, i)
	}
	b.WriteString("data: [DONE]\n\n")
	return b.String()
}

func between(s, from, to string) (string, bool) {
	_, rest, _ := strings.Cut(s, from)
	text, _, found := strings.Cut(rest, to)
	return text, found
}
