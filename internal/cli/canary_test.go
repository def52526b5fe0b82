package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/store"
)

const canaryConfig = `
apiVersion: penstock.dev/v1alpha1
kind: ServerConfig
spec:
  listen: 127.0.0.1:0
  console: 127.0.0.1:0
  gpus: [{type: generic, count: 8}]
  stateDir: DIR/state
  accessLog: DIR/access.log
  tick: 200ms
  maxBody: 4kB
  hold: {maxRequests: 1}
  drainTimeout: 5s
---
apiVersion: penstock.dev/v1alpha1
kind: FleetPolicy
metadata: {name: fleet}
spec:
  tenants:
  - {name: acme, keys: ["env:PENSTOCK_CANARY_KEY"]}
  - {name: slow, keys: ["file:keys"], limits: {requestsPerSecond: 0.001}}
---
apiVersion: penstock.dev/v1alpha1
kind: InferenceAutoscaler
metadata: {name: leaky}
spec:
  model: leaky
  slo: {ttft: 2s, tpot: 60ms, objective: 95%, maxHold: 30s}
  variants: [{name: tiny, accelerator: {type: generic, memory: 8GB, bandwidth: 1000GB}, PROFILE, coldStart: 1s, run: {
    command: ["{{penstock}}", leaky, --port, "{{port}}", --gpu, "{{gpus}}", --seen, DIR/seen], ready: "/health?token=MARKURL", metrics: "/metrics?token=MARKURL"}}]
  replicas: {min: 4, max: 4}
---
apiVersion: penstock.dev/v1alpha1
kind: InferenceAutoscaler
metadata: {name: never}
spec:
  model: never
  slo: {ttft: 2s, tpot: 60ms, objective: 95%, maxHold: 6s}
  variants: [{name: tiny, accelerator: {type: generic, memory: 8GB, bandwidth: 1000GB}, PROFILE, coldStart: 1s, run: {
    command: ["{{penstock}}", leaky, --never, --port, "{{port}}", --seen, DIR/seen], ready: "/health?token=MARKURL", readyTimeout: 1s}}]
  replicas: {min: 0, max: 1}
---
apiVersion: penstock.dev/v1alpha1
kind: InferenceAutoscaler
metadata: {name: quick}
spec:
  model: quick
  slo: {ttft: 2s, tpot: 60ms, objective: 95%, maxHold: 30s}
  variants: [{name: tiny, accelerator: {type: generic, memory: 8GB, bandwidth: 1000GB}, PROFILE, coldStart: 1s, run: {
    command: ["{{penstock}}", emulate, --port, "{{port}}", --model, "{{model}}", --file, DIR/penstock.yaml, --variant, tiny, --load-delay, 100ms]}}]
  replicas: {min: 1, max: 2}
`

const canaryProfile = `profile: {weights: 1GB, kvBytesPerToken: 1000, maxBatch: 4, linear: [{tokens: 1, time: 20ms}, {tokens: 4096, time: 40ms}]}`

// canary is a whole penstock at debug level with everything in the requests and
// replies marked.
type canary struct {
	t            *testing.T
	dir          string
	server       *exec.Cmd
	url, console string
	told         lockedBuffer // all that Penstock itself answered
}

func startCanary(t *testing.T) *canary {
	t.Helper()
	c := &canary{t: t, dir: t.TempDir()}
	file := filepath.Join(c.dir, "penstock.yaml")
	text := strings.NewReplacer("DIR", c.dir, "PROFILE", canaryProfile, "MARKURL", markURL).Replace(canaryConfig)
	for name, content := range map[string]string{file: text, filepath.Join(c.dir, "keys"): markFileKey + "\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PENSTOCK_CANARY_KEY", markKey)
	c.server, c.url = startServer(t, file, "--log", "debug")
	c.console = consoleOf(t, c.server)
	return c
}

// ask sends a request with everything marked. Answers of Penstock's own are
// kept: those that no replica gave.
func (c *canary) ask(ctx context.Context, key, path, body string) (int, string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	request.Header.Set("X-Secret", markHeader)
	request.Header.Set("Traceparent", markHeader)
	request.Header.Set("X-Request-Id", markHeader+" !")
	reply, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return 0, ""
	}
	defer reply.Body.Close()
	text, _ := io.ReadAll(reply.Body)
	if reply.Header.Get("X-Should-Retry") != "" {
		fmt.Fprintf(&c.told, "%v %s\n", reply.Header, text)
	}
	return reply.StatusCode, string(text)
}

func (c *canary) chat(key, model, way string) (int, string) {
	return c.ask(c.t.Context(), key, "/v1/chat/completions?q="+markQuery, fmt.Sprintf(
		`{"model":%q,"stream":true,"max_tokens":5,"messages":[{"role":"user","content":"way=%s %s"}]}`, model, way, markPrompt))
}

// scenarios does everything that can be done to a gateway, and says which
// statuses it saw.
func (c *canary) scenarios() map[int]bool {
	t, statuses := c.t, map[int]bool{}
	if status, text := c.chat(markKey, "leaky", "good"); status != http.StatusOK || !strings.Contains(text, markCompletion) {
		t.Fatalf("the good way: %d %s", status, text)
	}
	if status, _ := c.chat(markKey, "quick", "good"); status != http.StatusOK {
		t.Fatalf("an emulated engine: %d", status)
	}
	note := func(status int, _ string) { statuses[status] = true }
	for _, way := range []string{"error", "unavailable", "cut", "close", "garbage", "header", "status", "length", "chunk", "nodone", "switch"} {
		note(c.chat(markKey, "leaky", way))
	}
	note(c.chat(markWrongKey, "leaky", "good"))
	note(c.chat(markFileKey, "leaky", "good"))
	note(c.chat(markFileKey, "leaky", "good")) // over its limit
	chat := "/v1/chat/completions"
	for path, body := range map[string]string{
		chat + "?model=" + markQuery:    `{"model":"leaky"}`,
		chat + "?" + markQuery + "=1;2": `{"model":"leaky"}`,
		chat + "?a":                     `{"model":"leaky","` + markPrompt + `":1,"` + markPrompt + `":2}`,
		chat + "?b":                     `{"model":"leaky","messages":` + markPrompt,
		chat + "?c":                     strings.Repeat(markPrompt, 300),
		"/v1/audio/transcriptions":      markPrompt,
		"/" + markPath:                  markPrompt,
		"/v1/models/%2e" + markPath:     markPrompt,
		"/v2/models/leaky/infer":        `{"prompt":"` + markPrompt + `"}`,
	} {
		note(c.ask(t.Context(), markKey, path, body))
	}
	for _, bytes := range []string{
		"GET /" + markPath + " HTTP/9.9\r\n\r\n",
		"POST " + chat + " HTTP/1.1\r\nHost: x\r\n" + markHeader + "\r\n\r\n",
		"POST " + chat + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + markHeader + "\r\n\r\n",
		"POST " + chat + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + markKey + "\r\nTransfer-Encoding: chunked\r\n\r\n" + markPrompt + "\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + markPrompt + markHeader,
		"\x16\x03\x01" + markPrompt,
	} {
		c.raw(bytes)
	}
	c.holds(note)
	return statuses
}

// holds has a request held for a model that never starts: one expires, one is
// one too many, one is given up.
func (c *canary) holds(note func(int, string)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(c.t.Context(), 300*time.Millisecond)
		defer cancel()
		c.ask(ctx, markKey, "/v1/chat/completions", `{"model":"never","messages":["`+markPrompt+`"]}`)
	}()
	<-done
	held := func(n string) func() bool {
		line := `penstock_held_requests{model="never"} `
		return func() bool { return scrape(c.t, c.console, strings.TrimSpace(line)) == line+n }
	}
	until(c.t, "none is held", 10*time.Second, held("0"))
	expired := make(chan int, 1)
	go func() {
		status, _ := c.chat(markKey, "never", "good")
		expired <- status
	}()
	until(c.t, "one is held", 10*time.Second, held("1"))
	note(c.chat(markKey, "never", "good"))
	note(<-expired, "")
}

// raw sends bytes and reads what comes back.
func (c *canary) raw(text string) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	_, _ = io.WriteString(conn, text)
	_ = conn.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(&c.told, conn)
}

// console reads everything that the console tells.
func (c *canary) consoleTells() string {
	var all strings.Builder
	for _, path := range []string{
		"/metrics", "/api/v1/status", "/api/v1/decisions?limit=500", "/api/v1/explain?model=leaky", "/api/v1/explain?model=never",
		"/api/v1/fleet", "/api/v1/series?model=leaky", "/api/v1/replicas", "/healthz", "/", "/no/such/path",
	} {
		request, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.console+path, http.NoBody)
		if err != nil {
			c.t.Fatal(err)
		}
		reply, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			c.t.Fatal(err)
		}
		fmt.Fprintf(&all, "\n%s %v ", path, reply.Header)
		_, _ = io.Copy(&all, reply.Body)
		reply.Body.Close()
	}
	for _, args := range [][]string{
		{"status"},
		{"status", "--json"},
		{"explain", "leaky"},
		{"explain", "never", "--json"},
	} {
		var out bytes.Buffer
		Main(c.t.Context(), append(args, "--server", c.console), Streams{Out: &out, Err: &out})
		fmt.Fprintf(&all, "\n%v %s", args, &out)
	}
	return all.String()
}

// processes returns the command lines of the server and all that it started,
// and the environment of the latter.
func (c *canary) processes() string {
	var all strings.Builder
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range lines {
		if text, err := os.ReadFile(name); err == nil && bytes.Contains(text, []byte(c.dir)) {
			fmt.Fprintf(&all, "\n%s %s", name, text)
		}
	}
	for _, p := range processesOf(c.t, filepath.Join(c.dir, "state")) {
		pid, _, _ := strings.Cut(p, " ")
		text, _ := os.ReadFile("/proc/" + pid + "/environ")
		line, _ := os.ReadFile("/proc/" + pid + "/cmdline")
		fmt.Fprintf(&all, "\n%s %s %s", p, line, text)
	}
	return all.String()
}

// journal reads every record that was kept, whatever form it is kept in.
func (c *canary) journal() string {
	reader, err := store.Read(c.t.Context(), filepath.Join(c.dir, "state", "journal.db"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer reader.Close()
	var all strings.Builder
	records := 0
	for record, err := range reader.Records(c.t.Context(), time.Time{}, time.Now().Add(time.Hour)) {
		if err != nil {
			c.t.Fatal(err)
		}
		records++
		fmt.Fprintf(&all, "%+v %s\n", record, record.Memory)
		if text, err := json.Marshal(record); err == nil {
			all.Write(text)
		}
	}
	if records < 10 {
		c.t.Errorf("only %d records in the journal", records)
	}
	return all.String()
}

// TestNothingSecretLeavesTheWire: prompt, completion, keys, Authorization, the
// replica's URL, query and headers are each marked, everything is done that can
// be, at debug level, and then everything is searched that Penstock wrote.
func TestNothingSecretLeavesTheWire(t *testing.T) {
	c := startCanary(t)
	statuses := c.scenarios()
	for _, status := range []int{200, 400, 401, 404, 413, 429, 500, 502, 503, 504} {
		if !statuses[status] {
			t.Errorf("no scenario was answered %d: %v", status, statuses)
		}
	}
	until(t, "three replicas' metrics are given up", 20*time.Second, func() bool {
		return strings.Count(c.server.Stderr.(*lockedBuffer).String(), "metrics not read") >= 3
	})
	places := map[string]string{"console": c.consoleTells(), "processes": c.processes()}
	if err := c.server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = c.server.Wait()
	places["log"] = c.server.Stderr.(*lockedBuffer).String()
	places["answers"] = c.told.String()
	places["journal"] = c.journal()
	_ = filepath.WalkDir(filepath.Join(c.dir, "state"), func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			text, _ := os.ReadFile(name)
			places[name] = string(text)
		}
		return nil
	})
	access, _ := os.ReadFile(filepath.Join(c.dir, "access.log"))
	places["access log"] = string(access)
	for place, text := range places {
		if len(text) == 0 && !strings.HasPrefix(place, c.dir) {
			t.Errorf("%s is empty: looked in the wrong place", place)
		}
		for _, mark := range marks() {
			if at := strings.Index(text, mark); at >= 0 {
				t.Errorf("%s holds %s: …%q…", place, mark, text[max(0, at-200):min(len(text), at+100)])
				break
			}
		}
	}
	// and the markers were there to be found
	seen, _ := os.ReadFile(filepath.Join(c.dir, "seen"))
	for _, mark := range []string{markPrompt, markURL, markQuery, markHeader} {
		if !bytes.Contains(seen, []byte(mark)) {
			t.Errorf("no replica saw %s: nothing was tested", mark)
		}
	}
	for _, key := range []string{markKey, markFileKey, markWrongKey} {
		if bytes.Contains(seen, []byte(key)) {
			t.Errorf("a replica saw %s", key)
		}
	}
}
