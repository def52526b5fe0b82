package gateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/penstock/penstock/internal/scale"
)

func newBeatingRig(t *testing.T) *rig {
	t.Helper()
	return newRig(t, func(g *Gateway) {
		g.Models[0].Heartbeats, g.heartbeat = true, 20*time.Millisecond
		g.Models[0].SLO.MaxHold = 10 * time.Second
	})
}

// heldStream asks for a stream that is held, and waits for its first heartbeat.
func (r *rig) heldStream(path, body string) (*http.Response, string) {
	r.t.Helper()
	reply, err := r.post(r.t.Context(), path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	if reply.StatusCode != http.StatusOK || !strings.HasPrefix(reply.Header.Get("Content-Type"), "text/event-stream") {
		r.t.Errorf("heartbeats came with status %d and %v", reply.StatusCode, reply.Header)
	}
	first := make([]byte, len(beat))
	if _, err := io.ReadFull(reply.Body, first); err != nil || string(first) != beat {
		r.t.Errorf("the reply begins with %q, %v", first, err)
	}
	return reply, string(first)
}

// withoutBeats is what a client makes of a stream: comments are nothing.
func withoutBeats(stream string) string { return strings.ReplaceAll(stream, beat, "") }

// A held stream is sent comments, and then its reply as it is.
func TestAHeldStreamHasHeartbeats(t *testing.T) {
	r := newBeatingRig(t)
	reply, _ := r.heldStream("/v1/chat/completions", echoBody("held", 5))
	defer reply.Body.Close()
	time.Sleep(50 * time.Millisecond) // for another one
	r.routes(upstream(t, echoTokens(0)))
	rest, err := io.ReadAll(reply.Body)
	if err != nil || withoutBeats(string(rest)) != echoReply("held", 5) || !strings.Contains(string(rest), beat) {
		t.Errorf("after the first heartbeat came %q, %v", rest, err)
	}
	r.wantOutcome(scale.OK, 1)
}

// Who asks for no stream, and whose model has no heartbeats, gets none.
func TestOthersHaveNoHeartbeats(t *testing.T) {
	for name, c := range map[string]struct {
		on   bool
		body string
	}{
		"off":       {false, echoBody("held", 2)},
		"no stream": {true, chatBody("")},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(g *Gateway) {
				g.Models[0].Heartbeats, g.heartbeat = c.on, 5*time.Millisecond
				g.Models[0].SLO.MaxHold = 100 * time.Millisecond
			})
			reply, body, err := r.ask("/v1/chat/completions", c.body)
			if err != nil || reply.StatusCode != http.StatusGatewayTimeout || strings.Contains(body, beat) {
				t.Errorf("%d %q, %v", reply.StatusCode, body, err)
			}
		})
	}
}

// What goes wrong after a heartbeat is told in an event, and the connection does
// not end as that of a whole stream does.
func TestAfterAHeartbeatFailuresAreEvents(t *testing.T) {
	for name, c := range map[string]struct {
		path    string
		adjust  func(*Gateway)
		replica http.HandlerFunc // nil for none
		want    string
		outcome scale.Outcome
	}{
		"an expired hold": {
			"/v1/chat/completions", func(g *Gateway) { g.Models[0].SLO.MaxHold = 100 * time.Millisecond }, nil,
			`data: {"error":{"message":"No replica of meta/chat-8b became free within the 1`, scale.Expired,
		},
		"an expired hold of a response": {
			"/v1/responses", func(g *Gateway) { g.Models[0].SLO.MaxHold = 100 * time.Millisecond }, nil,
			"event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"object\":\"response\",\"status\":\"failed\",\"error\":{\"code\":\"hold_deadline\"", scale.Expired,
		},
		"the replica's own error": {
			"/v1/chat/completions", nil, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusBadRequest)
				io.WriteString(w, "{\n \"error\": {\"message\": \"too long\"}\n}\n")
			}, `data: {"error":{"message":"too long"}}`, scale.Failed,
		},
		"an error in other words": {
			"/v1/chat/completions", nil, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusInternalServerError)
				io.WriteString(w, "<h1>Internal\nServer Error</h1>")
			}, `data: {"error":{"message":"The replica answered with status 500, and not with the stream that was asked for."`, scale.Failed,
		},
		"no stream": {
			"/v1/chat/completions", nil, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, `{"choices":[]}`)
			}, `data: {"error":{"message":"The replica answered with status 200, and not with the stream that was asked for."`, scale.Failed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(g *Gateway) {
				g.Models[0].Heartbeats, g.heartbeat = true, 20*time.Millisecond
				if c.adjust != nil {
					c.adjust(g)
				}
			})
			reply, _ := r.heldStream(c.path, echoBody("held", 5))
			defer reply.Body.Close()
			if c.replica != nil {
				r.routes(upstream(t, c.replica))
			}
			rest, err := io.ReadAll(reply.Body)
			if err == nil {
				t.Error("the connection ended as if the stream were whole")
			}
			if text := withoutBeats(string(rest)); !strings.HasPrefix(text, c.want) || !strings.HasSuffix(text, "\n\n") || strings.Count(text, "data:") != 1 {
				t.Errorf("the stream ended with %q, want %q", text, c.want)
			}
			r.wantOutcome(c.outcome, 1)
		})
	}
}

// Heartbeats are no byte of a reply: a replica that fails before its first may
// be replaced by another.
func TestAHeartbeatDoesNotEndTheRightToRetry(t *testing.T) {
	r := newBeatingRig(t)
	reply, _ := r.heldStream("/v1/chat/completions", echoBody("again", 3))
	defer reply.Body.Close()
	dead := rawUpstream(t, func(_ int, conn net.Conn) {
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
	})
	r.Route(modelName, []scale.Route{route("a", dead, 1)})
	eventually(t, "it was sent to the dead one", func() bool {
		return testutil.ToFloat64(r.metrics.retries.WithLabelValues(modelName)) == 1
	})
	r.routes(upstream(t, echoTokens(0)))
	rest, err := io.ReadAll(reply.Body)
	if err != nil || withoutBeats(string(rest)) != echoReply("again", 3) {
		t.Errorf("%q, %v", rest, err)
	}
	r.wantOutcome(scale.OK, 1)
}
