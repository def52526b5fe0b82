package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
)

// logBuffer is where the access log of a rig goes.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take waits for one line and returns its fields, but for those that differ
// from run to run, of which it returns the names.
func (l *logBuffer) take(t *testing.T) (map[string]any, []string) {
	t.Helper()
	line := ""
	eventually(t, "a line is in the access log", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		line = l.b.String()
		return strings.HasSuffix(line, "\n")
	})
	l.mu.Lock()
	l.b.Reset()
	l.mu.Unlock()
	if n := strings.Count(line, "\n"); n != 1 {
		t.Fatalf("%d lines for one request:\n%s", n, line)
	}
	fields := map[string]any{}
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatal(err)
	}
	var varying []string
	for _, name := range []string{"request", "held_ms", "ttft_ms", "total_ms"} {
		if _, has := fields[name]; has {
			varying = append(varying, name)
			delete(fields, name)
		}
	}
	delete(fields, "time")
	delete(fields, "level")
	delete(fields, "msg")
	return fields, varying
}

// Each request is one line, with these keys and no others; nothing that it or
// its reply says is in it.
func TestAccessLogTellsEachRequestOnce(t *testing.T) {
	log := &logBuffer{}
	r := newTenantRig(t, scale.TenantLimits{}, func(g *Gateway) {
		g.AccessLog = slog.New(slog.NewJSONHandler(log, nil))
		g.Models[1].SLO.MaxHold = 20 * time.Millisecond
	})
	r.routes(upstream(t, echoTokens(0)))
	asked := []string{"request", "held_ms", "ttft_ms", "total_ms"}
	held := []string{"request", "held_ms", "total_ms"}
	early := []string{"request", "total_ms"}
	chat := "/v1/chat/completions"
	for name, c := range map[string]struct {
		key, method, path, body string
		want                    map[string]any
		varying                 []string
	}{
		"a stream": {
			acmeKey, http.MethodPost, chat + "?secret=QUERY", echoBody("PROMPT", 6),
			map[string]any{
				"tenant": "acme", "route": chat, "model": modelName, "outcome": "ok", "status": 200.0, "tokens": 5.0,
				"bytes": float64(len(echoReply("PROMPT", 6))), "replica": "r0", "attempt": 1.0,
			},
			asked,
		},
		"a hold that expires": {
			acmeKey, http.MethodPost, chat, `{"model":"tiny","messages":[]}`,
			map[string]any{"tenant": "acme", "route": chat, "model": "small", "outcome": "expired", "status": 504.0, "code": "hold_deadline"},
			held,
		},
		"no key": {
			"", http.MethodPost, chat, echoBody("PROMPT", 6),
			map[string]any{"outcome": "refused", "status": 401.0, "code": "api_key_missing"},
			early,
		},
		"a path that is none": {
			acmeKey, http.MethodGet, "/SECRET/path", "",
			map[string]any{"tenant": "acme", "outcome": "refused", "status": 404.0, "code": "not_found"},
			early,
		},
		"an unknown model": {
			acmeKey, http.MethodPost, chat, `{"model":"SECRET"}`,
			map[string]any{"tenant": "acme", "route": chat, "outcome": "refused", "status": 404.0, "code": "model_not_found"},
			early,
		},
		"the list of models": {
			otherKey, http.MethodGet, "/v1/models", "",
			map[string]any{"tenant": "other-inc", "route": "/v1/models", "outcome": "ok", "status": 200.0},
			early,
		},
		"one model": {
			otherKey, http.MethodGet, "/v1/models/tiny", "",
			map[string]any{"tenant": "other-inc", "route": "/v1/models", "model": "small", "outcome": "ok", "status": 200.0},
			early,
		},
		"health": {"", http.MethodGet, "/healthz", "", map[string]any{"route": "/healthz", "outcome": "ok", "status": 200.0}, early},
	} {
		t.Run(name, func(t *testing.T) {
			authorization := ""
			if c.key != "" {
				authorization = "Bearer " + c.key
			}
			_, body := r.as(authorization, c.method, c.path, c.body)
			got, varying := log.take(t)
			c.want["bytes"] = float64(len(body))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if !slices.Equal(varying, c.varying) {
				t.Errorf("keys %q, want %q", varying, c.varying)
			}
			for _, value := range slices.Collect(maps.Values(got)) {
				for _, secret := range []string{"PROMPT", "SECRET", "QUERY", acmeKey, "ACME"} {
					if strings.Contains(fmt.Sprint(value), secret) {
						t.Errorf("the log holds %s: %v", secret, got)
					}
				}
			}
		})
	}
}

// What goes wrong is in the line, too: a second attempt, a replica lost in the
// middle, a client that went away.
func TestAccessLogTellsWhatWentWrong(t *testing.T) {
	log := &logBuffer{}
	r := newRig(t, func(g *Gateway) { g.AccessLog = slog.New(slog.NewJSONHandler(log, nil)) })
	failed := make(chan struct{})
	dead := rawUpstream(t, func(_ int, conn net.Conn) {
		conn.Close()
		close(failed)
	})
	r.Route(modelName, []scale.Route{route("dead", dead, 64)})
	retried := make(chan struct{})
	go func() {
		defer close(retried)
		r.ask("/v1/chat/completions", echoBody("retried", 3))
	}()
	<-failed
	r.Route(modelName, []scale.Route{route("dead", dead, 64), route("alive", upstream(t, echoTokens(0)), 64)})
	<-retried
	got, _ := log.take(t)
	if got["replica"] != "alive" || got["attempt"] != 2.0 || got["outcome"] != "ok" {
		t.Errorf("retried: %v", got)
	}

	r.routes(rawUpstream(t, func(_ int, conn net.Conn) { io.WriteString(conn, streamHead+chunkOf("data: 1\n\n")) }))
	r.ask("/v1/chat/completions", echoBody("cut", 3))
	if got, _ = log.take(t); got["outcome"] != "interrupted" || got["status"] != 200.0 || got["replica"] != "r0" {
		t.Errorf("cut short: %v", got)
	}

	r.Route(modelName, nil)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if reply, err := r.post(ctx, "/v1/chat/completions", chatBody("")); err == nil {
			reply.Body.Close()
		}
	}()
	eventually(t, "it is held", func() bool { return r.held() == 1 })
	cancel()
	<-gone
	got, _ = log.take(t)
	if got["outcome"] != "cancelled" || got["status"] != nil {
		t.Errorf("cancelled: %v", got)
	}
}

// The client's request ID is kept in the reply and the log if it can do no
// harm; replicas get ours, as they use it as a key.
func TestRequestIDs(t *testing.T) {
	log := &logBuffer{}
	r := newRig(t, func(g *Gateway) { g.AccessLog = slog.New(slog.NewJSONHandler(log, nil)) })
	up := make(chan string, 1)
	r.routes(upstream(t, func(w http.ResponseWriter, request *http.Request) {
		up <- request.Header.Get("X-Request-Id")
		w.Header().Set("X-Request-Id", "the engine's")
		io.WriteString(w, "{}")
	}))
	for sent, kept := range map[string]bool{
		"": false, "mine-1": true, "a.b_C-9": true, "with blank": false, `x"y`: false, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "ü": false,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/v1/completions", strings.NewReader(chatBody("")))
		if err != nil {
			t.Fatal(err)
		}
		request.Header["X-Request-Id"] = []string{sent}
		reply, err := r.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
		told, ours := reply.Header.Get("X-Request-Id"), <-up
		fields, _ := log.take(t)
		if !strings.HasPrefix(ours, "req-") || kept && told != sent || !kept && told != ours {
			t.Errorf("sent %q, told %q, the replica got %q", sent, told, ours)
		}
		if own, _ := fields["client_request"].(string); kept && own != sent || !kept && own != "" {
			t.Errorf("sent %q, the log has %q", sent, own)
		}
	}
}
