package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/penstock/penstock/internal/scale"
)

// The request that a replica gets is the client's, but for what belongs to the
// connection or to the gateway.
func TestRequestReachesTheReplicaAsItCame(t *testing.T) {
	for name, forward := range map[string]bool{"authorization kept here": false, "authorization forwarded": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(g *Gateway) { g.ForwardAuthorization = forward })
			var got *http.Request
			var body string
			r.routes(upstream(t, func(w http.ResponseWriter, up *http.Request) {
				b, _ := io.ReadAll(up.Body)
				got, body = up, string(b)
				w.Header().Set("X-Penstock-Secret", "upstream")
				w.Header().Set("X-Request-Id", "engine")
				w.Header().Set("X-Engine", "yes")
				w.Header().Set("Connection", "X-Hop")
				w.Header().Set("X-Hop", "1")
				io.WriteString(w, `{"usage":{"completion_tokens":7}}`)
			}))
			sent := chatBody(`, "max_tokens": 9`)
			request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/v1/chat/completions?a=b&model="+modelName, strings.NewReader(sent))
			for k, v := range map[string]string{
				"Authorization": "Bearer s3cret", "X-Penstock-Tenant": "me", "Connection": "X-Drop", "X-Drop": "1", "Upgrade": "websocket",
				"X-Request-Id": "mine", "X-Forwarded-For": "1.2.3.4", "Te": "trailers", "Accept-Encoding": "gzip", "X-Custom": "kept",
			} {
				request.Header.Set(k, v)
			}
			reply, err := r.client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			reply.Body.Close()
			if body != sent || got.URL.RequestURI() != "/v1/chat/completions?a=b&model="+modelName {
				t.Errorf("replica got %s %q", got.URL.RequestURI(), body)
			}
			want := http.Header{"X-Custom": {"kept"}, "User-Agent": {"Go-http-client/1.1"}, "Content-Length": {fmt.Sprint(len(sent))}, "X-Request-Id": got.Header["X-Request-Id"]}
			if forward {
				want["Authorization"] = []string{"Bearer s3cret"}
			}
			if diff := cmp.Diff(want, got.Header); diff != "" {
				t.Errorf("header at the replica (-want +got):\n%s", diff)
			}
			if id := got.Header.Get("X-Request-Id"); !strings.HasPrefix(id, "req-") {
				t.Errorf("the replica got request ID %q, not a unique one", id)
			}
			h := reply.Header
			if h.Get("X-Request-Id") != "mine" || h.Get("X-Engine") != "yes" || h.Get("X-Penstock-Secret") != "" || h.Get("X-Hop") != "" {
				t.Errorf("header at the client: %v", h)
			}
			r.wantOutcome(scale.OK, 1)
		})
	}
}

// Each part of a stream reaches the client before the next is made, whatever
// its borders, and the whole is the same byte for byte.
func TestStreamPassesByteForByteAtOnce(t *testing.T) {
	r := newRig(t, nil)
	parts := []string{": hello\n\n", "data: {\"a\"", ":1}\n", "\n", "event: x\r\ndata: é\xc3", "\xa9\r\n\r\n", "data: [DO", "NE]\n\n"}
	seen := make(chan struct{})
	r.routes(upstream(t, func(w http.ResponseWriter, up *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, p := range parts {
			io.WriteString(w, p)
			http.NewResponseController(w).Flush()
			select {
			case <-seen:
			case <-up.Context().Done():
				return
			}
		}
	}))
	reply, err := r.post(t.Context(), "/v1/chat/completions", chatBody(`,"stream":true`))
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	for _, p := range parts {
		got := make([]byte, len(p))
		if _, err := io.ReadFull(reply.Body, got); err != nil || string(got) != p {
			t.Fatalf("got %q, %v; want %q", got, err, p)
		}
		seen <- struct{}{}
	}
	if rest, err := io.ReadAll(reply.Body); err != nil || len(rest) != 0 {
		t.Fatalf("after the end: %q, %v", rest, err)
	}
	r.wantOutcome(scale.OK, 1)
}

const streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

func chunkOf(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

// A replica that fails in the middle of a reply never looks like success.
func TestReplyCutShortIsSeen(t *testing.T) {
	event := "data: {\"choices\":[]}\n\n"
	long := strings.Repeat("0123456789abcdef", 2048)
	for name, c := range map[string]struct {
		raw, path, passed, event string
	}{
		"a stream whose connection breaks": {
			raw: streamHead + chunkOf(event) + "fff\r\nda", path: "/v1/chat/completions",
			passed: event + "da", event: "\n\ndata: {\"error\":",
		},
		"a stream that breaks after a whole line": {
			raw: streamHead + chunkOf("data: 1\n"), path: "/v1/completions", passed: "data: 1\n", event: "\ndata: {\"error\":",
		},
		"a clean end without [DONE]": {
			raw: streamHead + chunkOf(event) + "0\r\n\r\n", path: "/v1/chat/completions", passed: event, event: "data: {\"error\":",
		},
		"a stream by Connection: close that just ends": {
			raw:  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + event,
			path: "/v1/completions", passed: event, event: "data: {\"error\":",
		},
		"a stream of responses": {
			raw: streamHead + chunkOf(event) + "fff\r\n", path: "/v1/responses", passed: event, event: "event: response.failed\n",
		},
		"a reply shorter than its length": {
			raw: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n" + long, path: "/v1/chat/completions", passed: long,
		},
		"a chunked reply without its end": {
			raw: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + chunkOf(`{"id":`), path: "/v1/embeddings", passed: `{"id":`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.routes(rawUpstream(t, func(_ int, conn net.Conn) { io.WriteString(conn, c.raw) }))
			reply, body, err := r.ask(c.path, chatBody(`,"stream":true`))
			if reply.StatusCode != http.StatusOK || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("status %d, then %v; want 200 and an aborted connection", reply.StatusCode, err)
			}
			rest, ok := strings.CutPrefix(body, c.passed)
			if c.event == "" { // what was not flushed yet may be missing
				rest, ok = "", body != "" && strings.HasPrefix(c.passed, body)
			}
			if !ok || !strings.HasPrefix(rest, c.event) {
				t.Errorf("body %.200q, want %.200q and then an event %q", body, c.passed, c.event)
			}
			if c.event != "" && (!strings.Contains(rest, `"replica_lost"`) || !strings.HasSuffix(rest, "}\n\n")) {
				t.Errorf("the last event is %q", rest)
			}
			r.wantOutcome(scale.Interrupted, 1)
			eventually(t, "the slot is free", func() bool { return r.InFlight(modelName, "r0") == 0 })
		})
	}
}

// After [DONE] all has come: how the connection ends does not matter.
func TestStreamIsWholeAfterDone(t *testing.T) {
	r := newRig(t, nil)
	r.routes(rawUpstream(t, func(_ int, conn net.Conn) { io.WriteString(conn, streamHead+chunkOf("data: 1\n\ndata: [DONE]\n\n")) }))
	if _, body, err := r.ask("/v1/completions", chatBody("")); err != nil || body != "data: 1\n\ndata: [DONE]\n\n" {
		t.Fatalf("%q, %v", body, err)
	}
	r.wantOutcome(scale.OK, 1)
}

// While no byte has gone to the client, another replica is tried, once.
func TestFailureBeforeTheFirstByteIsRetriedOnce(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := closed.Addr().String()
	closed.Close()
	for name, raw := range map[string]string{
		"closes before the header":    "",
		"closes within the header":    "HTTP/1.1 200 OK\r\nContent-Ty",
		"closes after the header":     streamHead,
		"ends a stream with no event": streamHead + "0\r\n\r\n",
		"switches protocols":          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
		"breaks off a short reply":    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"id\":",
		"talks nonsense":              "\x00\x01\x02 what\r\n\r\n",
		"refuses connections":         "-",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			var tries atomic.Int64
			bad := refusing
			if raw != "-" {
				bad = rawUpstream(t, func(_ int, conn net.Conn) {
					tries.Add(1)
					io.WriteString(conn, raw)
				})
			}
			good := upstream(t, echoTokens(0))
			r.Route(modelName, []scale.Route{route("a-bad", bad, 8), route("b-good", good, 8)})
			if _, body, err := r.ask("/v1/chat/completions", echoBody("p", 5)); err != nil || body != echoReply("p", 5) {
				t.Fatalf("%q, %v", body, err)
			}
			r.wantOutcome(scale.OK, 1)
			if n := testutil.ToFloat64(r.metrics.retries.WithLabelValues(modelName)); n != 1 {
				t.Errorf("%v retries counted", n)
			}

			// With two bad ones the client is told, and upstream is left alone.
			tries.Store(0)
			r.Route(modelName, []scale.Route{route("a-bad", bad, 8), route("c-bad", bad, 8)})
			reply, body, _ := r.ask("/v1/chat/completions", echoBody("p", 5))
			if reply.StatusCode != http.StatusBadGateway || reply.Header.Get("X-Should-Retry") != "true" || reply.Header.Get("Retry-After") != "1" ||
				!strings.Contains(body, `"code":"replica_unreachable"`) {
				t.Errorf("%d %v %s", reply.StatusCode, reply.Header, body)
			}
			if n := tries.Load(); raw != "-" && n != 2 {
				t.Errorf("tried %d times, want 2", n)
			}
			r.wantOutcome(scale.Failed, 1)
		})
	}
}

// An engine that closes an idle connection just as it is used again costs
// nothing, also in a fleet of one.
func TestStaleIdleConnectionIsReplaced(t *testing.T) {
	r := newRig(t, nil)
	reply := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	var closed atomic.Int64
	r.routes(rawUpstream(t, func(_ int, conn net.Conn) {
		io.WriteString(conn, reply)
		if _, err := readRequest(conn); err == nil { // a second one on the same connection
			closed.Add(1)
		}
	}))
	for range 10 {
		if got, body, err := r.ask("/v1/completions", chatBody("")); err != nil || got.StatusCode != http.StatusOK || body != "{}" {
			t.Fatalf("%d %q %v", got.StatusCode, body, err)
		}
	}
	if closed.Load() == 0 {
		t.Fatal("no connection was used twice: nothing was tested")
	}
	if n := testutil.ToFloat64(r.metrics.retries.WithLabelValues(modelName)); n != 0 {
		t.Errorf("%v retries were counted against replicas", n)
	}
}

// A fleet of one that dies is waited for: its requests are held until the
// next replica is Ready.
func TestOnlyReplicaDies(t *testing.T) {
	r := newRig(t, nil)
	died := make(chan struct{})
	r.Route(modelName, []scale.Route{route("a", rawUpstream(t, func(int, net.Conn) { close(died) }), 8)})
	result := make(chan string, 1)
	go func() {
		_, body, _ := r.ask("/v1/chat/completions", echoBody("q", 3))
		result <- body
	}()
	<-died
	eventually(t, "the request is held", func() bool { return r.Traffic(modelName, time.Now()).Demand.Held.Value == 1 })
	r.Route(modelName, nil)
	if r.woken.Load() == 0 {
		t.Error("nobody was woken")
	}
	r.Route(modelName, []scale.Route{route("b", upstream(t, echoTokens(0)), 8)})
	if body := <-result; body != echoReply("q", 3) {
		t.Fatalf("%q", body)
	}
}

// A replica that accepts and says nothing hurts none but its own, which move
// on when it is found to be Gone.
func TestBlackHole(t *testing.T) {
	r := newRig(t, nil)
	hung := make(chan struct{}, 10)
	hole := rawUpstream(t, func(_ int, conn net.Conn) {
		hung <- struct{}{}
		io.Copy(io.Discard, conn)
	})
	a, b := route("a", hole, 4), route("b", upstream(t, echoTokens(0)), 4)
	r.Route(modelName, []scale.Route{a, b})
	result := make(chan string, 1)
	go func() {
		_, body, _ := r.ask("/v1/chat/completions", echoBody("stuck", 3))
		result <- body
	}()
	<-hung
	for range 50 {
		if _, body, err := r.ask("/v1/chat/completions", echoBody("free", 3)); err != nil || body != echoReply("free", 3) {
			t.Fatalf("beside the black hole: %q, %v", body, err)
		}
	}
	a.Replica.Phase = scale.Gone
	r.Route(modelName, []scale.Route{a, b})
	if body := <-result; body != echoReply("stuck", 3) {
		t.Fatalf("the stuck request got %q", body)
	}
	r.wantOutcome(scale.OK, 51)
}

// A client that goes away frees its slot at once, wherever its request is.
func TestClientGoesAway(t *testing.T) {
	r := newRig(t, nil)
	gone := make(chan struct{}, 1)
	started := make(chan struct{}, 1)
	silent := upstream(t, func(_ http.ResponseWriter, up *http.Request) {
		io.Copy(io.Discard, up.Body)
		started <- struct{}{}
		<-up.Context().Done()
		gone <- struct{}{}
	})
	r.Route(modelName, []scale.Route{route("a", silent, 1)})
	leave := func() (context.CancelFunc, chan error) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			reply, err := r.post(ctx, "/v1/chat/completions", chatBody(""))
			if err == nil {
				reply.Body.Close()
			}
			ended <- err
		}()
		return cancel, ended
	}
	leaveFirst, first := leave()
	<-started
	leaveSecond, second := leave()
	eventually(t, "the second is held", func() bool { return r.Traffic(modelName, time.Now()).Demand.Held.Value == 1 })
	leaveSecond()
	<-second
	r.wantOutcome(scale.Cancelled, 1)
	at := time.Now()
	leaveFirst()
	<-first
	<-gone
	if took := time.Since(at); took > 2*time.Second {
		t.Errorf("the replica learnt of it after %v", took)
	}
	r.wantOutcome(scale.Cancelled, 2)
	eventually(t, "the slot is free", func() bool { return r.InFlight(modelName, "a") == 0 })
	d := r.Traffic(modelName, time.Now()).Demand
	if d.Good.Value != 0 || d.Bad.Value != 0 {
		t.Errorf("cancelled requests were judged: %v good, %v bad", d.Good.Value, d.Bad.Value)
	}
}

// 200 clients abort in the middle of a stream; of the next 2,000 replies each
// is its own. (A half-read connection that went back to a pool would show.)
func TestAbortsLeaveNothingBehind(t *testing.T) {
	r := newRig(t, nil)
	r.routes(upstream(t, echoTokens(time.Millisecond)), upstream(t, echoTokens(time.Millisecond)))
	var running sync.WaitGroup
	for i := range 200 {
		running.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			reply, err := r.post(ctx, "/v1/chat/completions", echoBody(fmt.Sprintf("abort%d", i), 10_000))
			if err != nil {
				t.Errorf("abort %d: %v", i, err)
				return
			}
			defer reply.Body.Close()
			part := make([]byte, 20+i*7)
			if _, err := io.ReadFull(reply.Body, part); err != nil {
				t.Errorf("abort %d: %v", i, err)
			}
		})
	}
	running.Wait()
	r.wantOutcome(scale.Cancelled, 200)
	if n := r.Traffic(modelName, time.Now()).Demand.InFlight.Value; n != 0 {
		t.Fatalf("%v requests are still at replicas", n)
	}
	r.routes(upstream(t, echoTokens(0)), upstream(t, echoTokens(0)))
	for worker := range 20 {
		running.Go(func() {
			for i := range 100 {
				prompt := fmt.Sprintf("clean%d-%d", worker, i)
				_, body, err := r.ask("/v1/chat/completions", echoBody(prompt, 5+i%7))
				if err != nil || body != echoReply(prompt, 5+i%7) {
					t.Errorf("%s: %q, %v", prompt, body, err)
					return
				}
			}
		})
	}
	running.Wait()
	r.wantOutcome(scale.OK, 2000)
}

// A replica's own error is passed on as it is.
func TestUpstreamErrorIsPassedThrough(t *testing.T) {
	r := newRig(t, nil)
	r.routes(upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, `{"error":{"message":"busy"}}`)
	}))
	reply, body, err := r.ask("/v1/embeddings", chatBody(""))
	if err != nil || reply.StatusCode != http.StatusServiceUnavailable || body != `{"error":{"message":"busy"}}` || reply.Header.Get("Retry-After") != "7" {
		t.Fatalf("%d %q %v", reply.StatusCode, body, err)
	}
	r.wantOutcome(scale.Failed, 1)
}

// A slow drip is passed on drop by drop, and is no reason to give up.
func TestSlowDrip(t *testing.T) {
	r := newRig(t, nil)
	text := "data: drop\n\ndata: [DONE]\n\n"
	r.routes(upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range len(text) {
			io.WriteString(w, text[i:i+1])
			http.NewResponseController(w).Flush()
			time.Sleep(2 * time.Millisecond)
		}
	}))
	if _, body, err := r.ask("/v1/completions", chatBody("")); err != nil || body != text {
		t.Fatalf("%q, %v", body, err)
	}
}
