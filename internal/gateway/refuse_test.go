package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// Each refusal of a request whose model is not known: status, code, and the
// headers that clients obey.
func TestRefusals(t *testing.T) {
	r := newRig(t, func(g *Gateway) { g.Limits.MaxBody = 200 })
	var reached atomic.Int64
	r.routes(upstream(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	const post, get = http.MethodPost, http.MethodGet
	chat := "/v1/chat/completions"
	for name, c := range map[string]struct {
		method, target, body string
		header               string
		status               int
		code                 string
	}{
		"no JSON":                          {method: post, target: chat, body: "hello", status: 400, code: "body_not_json"},
		"an empty body":                    {method: post, target: chat, status: 400, code: "body_not_json"},
		"an array":                         {method: post, target: chat, body: `["model"]`, status: 400, code: "body_not_json"},
		"half an object":                   {method: post, target: chat, body: `{"model":"` + modelName + `"`, status: 400, code: "body_not_json"},
		"two objects":                      {method: post, target: chat, body: `{"model":"` + modelName + `"}{}`, status: 400, code: "body_not_json"},
		"two models":                       {method: post, target: chat, body: `{"model":"` + modelName + `","model":"other"}`, status: 400, code: "duplicate_key"},
		"two models, one escaped":          {method: post, target: chat, body: `{"model":"` + modelName + `","mod\u0065l":"other"}`, status: 400, code: "duplicate_key"},
		"no model":                         {method: post, target: chat, body: `{"messages":[]}`, status: 400, code: "model_missing"},
		"a model that is a number":         {method: post, target: chat, body: `{"model":3}`, status: 400, code: "model_missing"},
		"another model in the query":       {method: post, target: chat + "?model=other", body: chatBody(""), status: 400, code: "model_ambiguous"},
		"an unknown model":                 {method: post, target: chat, body: `{"model":"meta/chat-8"}`, status: 404, code: "model_not_found"},
		"a body too large":                 {method: post, target: chat, body: chatBody(strings.Repeat(" ", 300)), status: 413, code: "body_too_large"},
		"a chunked body too large":         {method: post, target: chat, header: "Transfer-Encoding: chunked", body: "c8\r\n" + strings.Repeat(" ", 200) + "\r\n1\r\n \r\n0\r\n\r\n", status: 413, code: "body_too_large"},
		"a compressed body":                {method: post, target: chat, body: chatBody(""), header: "Content-Encoding: gzip", status: 415, code: "body_encoded"},
		"GET of completions":               {method: get, target: chat, status: 405, code: "method_not_allowed"},
		"POST of models":                   {method: post, target: "/v1/models", body: "{}", status: 405, code: "method_not_allowed"},
		"POST of health":                   {method: post, target: "/healthz", body: "{}", status: 405, code: "method_not_allowed"},
		"TRACE of readiness":               {method: "TRACE", target: "/readyz", status: 405, code: "method_not_allowed"},
		"an unknown path":                  {method: get, target: "/metrics", status: 404, code: "not_found"},
		"two slashes":                      {method: post, target: "//v1/chat/completions", body: chatBody(""), status: 400, code: "path_not_canonical"},
		"dot segments":                     {method: post, target: "/v1/../v1/chat/completions", body: chatBody(""), status: 400, code: "path_not_canonical"},
		"an encoded slash":                 {method: post, target: "/v1%2fchat/completions", body: chatBody(""), status: 400, code: "path_not_canonical"},
		"an encoded letter":                {method: post, target: "/v1/ch%61t/completions", body: chatBody(""), status: 400, code: "path_not_canonical"},
		"encoded line ends":                {method: post, target: "/v1/chat/completions%0d%0a", body: chatBody(""), status: 400, code: "path_not_canonical"},
		"another host as target":           {method: post, target: "http://evil/v1/chat/completions", body: chatBody(""), status: 400, code: "absolute_target"},
		"a header with an underscore":      {method: post, target: chat, body: chatBody(""), header: "X_Penstock_Tenant: me", status: 400, code: "bad_header"},
		"a body that ends before its time": {method: post, target: chat, header: "Transfer-Encoding: chunked", body: "zz\r\n", status: 400, code: "body_unreadable"},
	} {
		t.Run(name, func(t *testing.T) {
			length := ""
			if c.method == post && !strings.HasPrefix(c.header, "Transfer") {
				length = fmt.Sprintf("Content-Length: %d\r\n", len(c.body))
			}
			if c.header != "" {
				length += c.header + "\r\n"
			}
			reply, body := r.raw(t, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n%s", c.method, c.target, length, c.body))
			var got errorBody
			if err := json.Unmarshal([]byte(body), &got); err != nil || got.Error.Message == "" || got.Error.Type != invalidRequest {
				t.Errorf("the body is no OpenAI error: %s (%v)", body, err)
			}
			if reply.StatusCode != c.status || got.Error.Code != c.code {
				t.Errorf("%d %s, want %d %s", reply.StatusCode, body, c.status, c.code)
			}
			if reply.Header.Get("X-Should-Retry") != "false" || !strings.HasPrefix(reply.Header.Get("X-Request-Id"), "req-") {
				t.Errorf("header %v", reply.Header)
			}
		})
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d refused requests reached a replica", n)
	}
}

// raw sends bytes and reads one reply.
func (r *rig) raw(t *testing.T, text string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply, string(body)
}

// Where Content-Length and Transfer-Encoding came together the connection is
// not used again, so that no tail of the body is read as a request.
func TestLengthAndChunkedTogetherCloseTheConnection(t *testing.T) {
	r := newRig(t, nil)
	var bodies atomic.Int64
	r.routes(upstream(t, func(w http.ResponseWriter, up *http.Request) {
		b, _ := io.ReadAll(up.Body)
		if string(b) == chatBody("") {
			bodies.Add(1)
		}
		io.WriteString(w, "{}")
	}))
	body := chatBody("")
	reply, _ := r.raw(t, fmt.Sprintf("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", len(body), body))
	if !reply.Close || reply.StatusCode != http.StatusOK || bodies.Load() != 1 {
		t.Fatalf("%d, close %v, %d bodies", reply.StatusCode, reply.Close, bodies.Load())
	}
}

func TestServerBounds(t *testing.T) {
	r := newRig(t, nil)
	s := r.Server()
	if s.ReadHeaderTimeout != 5*time.Second || s.MaxHeaderBytes != 32<<10 || s.IdleTimeout == 0 || s.HTTP2.MaxConcurrentStreams != 100 {
		t.Errorf("%+v", s)
	}
	reply, _ := r.raw(t, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Big: "+strings.Repeat("a", 40<<10)+"\r\n\r\n")
	if reply.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 40 KiB got %d", reply.StatusCode)
	}
}

// HTTP/2 with prior knowledge serves the same, and a stream that is cut short
// is reset.
func TestHTTP2(t *testing.T) {
	r := newRig(t, nil)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	r.client = &http.Client{Transport: &http.Transport{Protocols: protocols}}
	r.routes(upstream(t, echoTokens(0)))
	reply, body, err := r.ask("/v1/chat/completions", echoBody("two", 6))
	if err != nil || reply.ProtoMajor != 2 || body != echoReply("two", 6) {
		t.Fatalf("%v %q %v", reply.Proto, body, err)
	}
	r.routes(rawUpstream(t, func(_ int, conn net.Conn) { io.WriteString(conn, streamHead+chunkOf("data: 1\n\n")) }))
	if _, body, err := r.ask("/v1/chat/completions", echoBody("two", 6)); err == nil || !strings.Contains(body, "replica_lost") {
		t.Fatalf("%q, %v", body, err)
	}
}
