package gateway

import (
	"bufio"
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// sighting is a request as the server of a replica understood it.
type sighting struct {
	ID     string `json:"id"` // X-Request-Id
	Method string `json:"method"`
	Target string `json:"target"`
	Host   string `json:"host"`
	Body   string `json:"body"`
	Hidden bool   `json:"hidden"`
}

// parser is a replica whose server tells what it understood, and answers with
// the ID of the request that it thinks it answers.
type parser struct {
	address string
	mu      sync.Mutex
	saw     map[string][]sighting
}

func (p *parser) add(s sighting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saw[s.ID] = append(p.saw[s.ID], s)
}

// goParser is net/http.
func goParser(t *testing.T) *parser {
	t.Helper()
	p := &parser{saw: map[string][]sighting{}}
	p.address = upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s := sighting{r.Header.Get("X-Request-Id"), r.Method, r.RequestURI, r.Host, string(body), r.Header.Get("X-Hidden") != ""}
		p.add(s)
		fmt.Fprintf(w, `{"id":%q}`, s.ID)
	})
	return p
}

const uvicornApp = `
import json, sys
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            m = await receive()
            await send({"type": m["type"] + ".complete"})
            if m["type"] == "lifespan.shutdown": return
    body = b""
    while True:
        m = await receive()
        if m["type"] != "http.request": return
        body += m.get("body", b"")
        if not m.get("more_body"): break
    h = {k.decode("latin1"): v.decode("latin1") for k, v in scope["headers"]}
    query = scope["query_string"].decode("latin1")
    target = scope["raw_path"].decode("latin1").split("?")[0] + ("?" + query if query else "")
    s = {"id": h.get("x-request-id", ""), "method": scope["method"], "target": target, "host": h.get("host", ""), "body": body.decode("latin1"), "hidden": "x-hidden" in h}
    if target != "/v1/models":
        print(json.dumps(s), flush=True)
    reply = json.dumps({"id": s["id"]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(reply)).encode())]})
    await send({"type": "http.response.body", "body": reply})
`

const nodeApp = `
require("http").createServer((q, a) => {
  const parts = [];
  q.on("data", d => parts.push(d));
  q.on("end", () => {
    const s = { id: q.headers["x-request-id"] || "", method: q.method, target: q.url, host: q.headers.host || "", body: Buffer.concat(parts).toString("latin1"), hidden: "x-hidden" in q.headers };
    if (q.url !== "/v1/models") console.log(JSON.stringify(s));
    a.setHeader("Content-Type", "application/json");
    a.end(JSON.stringify({ id: s.id }));
  });
}).listen(+process.argv[2], "127.0.0.1");
`

// foreignParser runs a server in another language; nil where it is not
// installed.
func foreignParser(t *testing.T, kind string) *parser {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &parser{address: listener.Addr().String(), saw: map[string][]sighting{}}
	_, port, _ := net.SplitHostPort(p.address)
	listener.Close()
	dir := t.TempDir()
	python := "/usr/bin/python3" // Debian's, which has Debian's uvicorn
	command := []string{python, "-m", "uvicorn", "--http", kind, "--port", port, "--no-access-log", "--log-level", "critical", "hostile:app"}
	file, text := filepath.Join(dir, "hostile.py"), uvicornApp
	if kind == "node" {
		file, text = filepath.Join(dir, "hostile.js"), nodeApp
		command = []string{"node", file, port}
	} else if exec.CommandContext(t.Context(), python, "-c", "import uvicorn, "+kind).Run() != nil {
		return nil
	}
	if _, err := exec.LookPath(command[0]); err != nil {
		return nil
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), command[0], command[1:]...)
	run.Dir, run.Stderr = dir, os.Stderr
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var s sighting
			if stdjson.Unmarshal(lines.Bytes(), &s) == nil {
				p.add(s)
			}
		}
	})
	t.Cleanup(func() {
		_ = run.Process.Kill()
		reading.Wait()
		_ = run.Wait()
	})
	eventually(t, kind+" listens", func() bool {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return p
}

// access is a line of the access log: what the gateway authorised.
type access struct {
	Request string `json:"request"`
	Route   string `json:"route"`
	Model   string `json:"model"`
	Attempt int    `json:"attempt"`
	Status  int    `json:"status"`
}

// deliver writes a payload to a connection of its own and returns what came
// back.
func (r *rig) deliver(payload string) (string, error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return "", err
	}
	_, _ = io.WriteString(conn, payload+"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	// Where a body is still waited for, the connection stays open: that the
	// client has no more to say is said once the server is quiet.
	var got bytes.Buffer
	buffer := make([]byte, 64<<10)
	for quiet := false; ; {
		if !quiet {
			_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		}
		n, err := conn.Read(buffer)
		got.Write(buffer[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) && !quiet {
			quiet = true
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			_ = conn.(*net.TCPConn).CloseWrite()
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return got.String(), fmt.Errorf("the connection hangs: %w", err)
		}
		if err != nil {
			return got.String(), nil
		}
	}
}

// Whatever is sent, the server of a replica sees the requests that the gateway
// authorised, as often as it sent them, with their path, host and model, and no
// other; and no reply goes to another request, on any connection.
func TestRawRequestsReachReplicasAsAuthorised(t *testing.T) {
	all := payloads()
	if len(all) < 400 {
		t.Fatalf("only %d payloads", len(all))
	}
	kinds := []string{"net/http"}
	if hostile() {
		kinds = append(kinds, "h11", "httptools", "node")
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			log := &journal{}
			r := newRig(t, func(g *Gateway) { g.AccessLog = slog.New(slog.NewJSONHandler(log, nil)) })
			var p *parser
			if kind == "net/http" {
				p = goParser(t)
			} else if p = foreignParser(t, kind); p == nil {
				t.Skipf("%s is not installed", kind)
			}
			r.Route(modelName, routesOf(64, p.address))
			var (
				workers sync.WaitGroup
				next    = make(chan string)
			)
			for range 16 {
				workers.Go(func() {
					for payload := range next {
						r.deliverAndCheck(t, payload)
					}
				})
			}
			for i := 0; i < len(all); i += either(1, 5) {
				next <- all[i]
			}
			close(next)
			workers.Wait()
			sent := r.compare(t, p, log)
			if sent < 50 {
				t.Errorf("only %d requests were authorised: too few for a test", sent)
			}
			t.Logf("raw HTTP/1: %d payloads, %d requests authorised, %s saw those and no other", len(all)/either(1, 5), sent, kind)
		})
	}
}

// deliverAndCheck looks at what a client of the gateway sees, and asks well
// after.
func (r *rig) deliverAndCheck(t *testing.T, payload string) {
	t.Helper()
	got, err := r.deliver(payload)
	if err != nil {
		t.Errorf("%.300q: %v", payload, err)
	}
	// Each reply is whole and is that to its own request.
	from := bufio.NewReader(strings.NewReader(got))
	asked := &http.Request{Method: http.MethodPost}
	if strings.HasPrefix(payload, http.MethodHead) {
		asked.Method = http.MethodHead
	}
	for ; ; asked.Method = http.MethodPost {
		reply, err := http.ReadResponse(from, asked)
		if err != nil {
			break
		}
		text, err := io.ReadAll(reply.Body)
		if err != nil {
			t.Errorf("%.300q: a reply is cut: %v", payload, err)
			break
		}
		var answered sighting
		own := reply.Header.Get("X-Request-Id")
		if reply.StatusCode == http.StatusOK && stdjson.Unmarshal(text, &answered) == nil && strings.HasPrefix(own, "req-") && answered.ID != own {
			t.Errorf("%.300q: %s got the reply to %s", payload, own, answered.ID)
		}
	}
	status, body := r.do(t, http.MethodPost, "/v1/completions", chatBody(""), nil)
	if status != http.StatusOK || !strings.HasPrefix(strings.ReplaceAll(body, " ", ""), `{"id":"req-`) {
		t.Errorf("after %.300q a good request got %d %s", payload, status, body)
	}
}

// compare holds what the server saw against the access log, and returns how
// many requests that were.
func (r *rig) compare(t *testing.T, p *parser, log *journal) int {
	t.Helper()
	authorised, answered := map[string]access{}, 0
	log.mu.Lock()
	lines := strings.Split(strings.TrimSpace(log.text.String()), "\n")
	log.mu.Unlock()
	for _, line := range lines {
		var a access
		if err := stdjson.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if a.Attempt > 0 {
			authorised[a.Request] = a
		}
		if a.Attempt > 0 && a.Status == http.StatusOK { // it may refuse what the gateway does not
			answered++
		}
	}
	seen := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.saw)
	}
	eventually(t, "the server tells of all that it answered", func() bool { return seen() >= answered })
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, saw := range p.saw {
		a, ok := authorised[id]
		s := saw[0]
		target, _, _ := strings.Cut(s.Target, "?")
		var body struct{ Model string }
		_ = stdjson.Unmarshal([]byte(s.Body), &body)
		if !ok || len(saw) != a.Attempt || s.Hidden || s.Method != http.MethodPost || target != a.Route || s.Host != p.address || body.Model != a.Model {
			t.Errorf("authorised %+v (%v), seen %d times: %+v", a, ok, len(saw), s)
		}
	}
	return len(authorised)
}
