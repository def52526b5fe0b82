// Package clients_test holds the gateway against the official OpenAI clients for
// Go, Python and JavaScript, unmodified: what they read, what they raise, and how
// often they come back. `make test-clients` runs it; what it needs of Python and
// npm is where PENSTOCK_CLIENTS says, and cases without it are skipped.
package clients_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

const configuration = `
apiVersion: penstock.dev/v1alpha1
kind: ServerConfig
spec:
  listen: 127.0.0.1:0
  console: 127.0.0.1:0
  gpus: [{type: generic, count: 8}]
  stateDir: DIR/state
  accessLog: DIR/access.log
  tick: 200ms
  hold: {maxRequests: 1}
---
apiVersion: penstock.dev/v1alpha1
kind: FleetPolicy
metadata: {name: fleet}
spec:
  tenants:
  - {name: acme, keys: ["file:key"]}
  - {name: slow, keys: ["file:slow-key"], limits: {requestsPerSecond: 0.2, requestBurst: 1}}
---
apiVersion: penstock.dev/v1alpha1
kind: InferenceAutoscaler
metadata: {name: quick}
spec:
  model: quick
  slo: {ttft: 2s, tpot: 60ms, objective: 95%, maxHold: 30s}
  variants: [{name: tiny, accelerator: {type: generic, memory: 8GB, bandwidth: 1000GB}, PROFILE, coldStart: 1s, run: {
    command: ["{{penstock}}", emulate, --port, "{{port}}", --model, "{{model}}", --file, DIR/penstock.yaml, --variant, tiny, --load-delay, 100ms]}}]
  replicas: {min: 1, max: 1}
---
apiVersion: penstock.dev/v1alpha1
kind: InferenceAutoscaler
metadata: {name: never}
spec:
  model: never
  slo: {ttft: 2s, tpot: 60ms, objective: 95%, maxHold: 2s}
  variants: [{name: tiny, accelerator: {type: generic, memory: 8GB, bandwidth: 1000GB}, PROFILE, coldStart: 1s, run: {
    command: [sleep, "600", "{{port}}"]}}]
  replicas: {min: 0, max: 1}
`

// One request at a time, 20 ms a token.
const profile = `profile: {weights: 1GB, kvBytesPerToken: 1000, maxBatch: 1, linear: [{tokens: 1, time: 20ms}, {tokens: 4096, time: 40ms}]}`

const (
	key     = "pk_AAAAAAAAAAAAAAAAAAAAAAAAAA"
	slowKey = "pk_BBBBBBBBBBBBBBBBBBBBBBBBBB"
)

// outcome is what a client told of one call.
type outcome struct {
	Text    string
	Status  int
	Code    string
	Error   string
	Seconds float64
}

// client makes one call, in which its requests carry a name.
type client func(t *testing.T, key, model, name string) outcome

// gateway is a running penstock.
type gateway struct {
	t       *testing.T
	dir     string
	url     string
	console string
}

func start(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{t: t, dir: t.TempDir()}
	binary := filepath.Join(g.dir, "penstock")
	build := exec.Command("go", "build", "-o", binary, "./cmd/penstock")
	build.Dir = "../.."
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	file := filepath.Join(g.dir, "penstock.yaml")
	for name, text := range map[string]string{
		file:                             strings.NewReplacer("DIR", g.dir, "PROFILE", profile).Replace(configuration),
		filepath.Join(g.dir, "key"):      key,
		filepath.Join(g.dir, "slow-key"): slowKey,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := &buffer{}
	cmd := exec.Command(binary, "serve", "-f", file)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	address := regexp.MustCompile(`gateway  (http://[0-9.:]+)`)
	g.wait("it serves", func() bool { return address.MatchString(log.String()) })
	g.url = address.FindStringSubmatch(log.String())[1]
	address = regexp.MustCompile(`console  (http://[0-9.:]+)`)
	g.wait("its console does", func() bool { return address.MatchString(log.String()) })
	g.console = address.FindStringSubmatch(log.String())[1]
	return g
}

func (g *gateway) wait(what string, holds func() bool) {
	g.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Fatalf("not in time: %s", what)
		}
	}
}

// statuses returns how the requests of a name ended, by the access log.
func (g *gateway) statuses(name string) []int {
	text, err := os.ReadFile(filepath.Join(g.dir, "access.log"))
	if err != nil {
		g.t.Fatal(err)
	}
	var out []int
	for line := range strings.Lines(string(text)) {
		var entry struct {
			Client string `json:"client_request"`
			Status int    `json:"status"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			g.t.Fatal(err)
		}
		if entry.Client == name {
			out = append(out, entry.Status)
		}
	}
	return out
}

func (g *gateway) want(name string, want ...int) {
	g.t.Helper()
	g.wait(name+" is in the access log", func() bool { return len(g.statuses(name)) >= len(want) })
	if got := g.statuses(name); fmt.Sprint(got) != fmt.Sprint(want) {
		g.t.Errorf("the requests of %s ended with %v, want %v", name, got, want)
	}
}

// goClient is the official client for Go.
func (g *gateway) goClient(t *testing.T, key, model, name string) outcome {
	c := openai.NewClient(option.WithBaseURL(g.url+"/v1/"), option.WithAPIKey(key), option.WithHeader("X-Request-Id", name))
	begun := time.Now()
	stream := c.Chat.Completions.NewStreaming(t.Context(), openai.ChatCompletionNewParams{
		Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("count")}, MaxTokens: openai.Int(20),
	})
	defer stream.Close()
	var o outcome
	for stream.Next() {
		for _, choice := range stream.Current().Choices {
			o.Text += choice.Delta.Content
		}
	}
	o.Seconds = time.Since(begun).Seconds()
	if failure, ok := errors.AsType[*openai.Error](stream.Err()); ok {
		o.Status, o.Code = failure.StatusCode, failure.Code
	} else if stream.Err() != nil {
		t.Errorf("%s: %v", name, stream.Err())
	}
	return o
}

// script is a client in another language.
func (g *gateway) script(program, script string) client {
	return func(t *testing.T, key, model, name string) outcome {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, script, g.url+"/v1", key, model, name)
		cmd.Stderr = os.Stderr
		text, err := cmd.Output()
		var o outcome
		if err == nil {
			err = json.Unmarshal(text, &o)
		}
		if err != nil {
			t.Errorf("%s %s: %v: %s", program, script, err, text)
		}
		return o
	}
}

func TestOfficialClients(t *testing.T) {
	g := start(t)
	folder := os.Getenv("PENSTOCK_CLIENTS")
	python, node := filepath.Join(folder, "python", "bin", "python"), filepath.Join(folder, "node", "client.mjs")
	for name, c := range map[string]struct {
		client client
		needs  string
	}{
		"go":         {g.goClient, ""},
		"python":     {g.script(python, "client.py"), python},
		"javascript": {g.script("node", node), filepath.Join(folder, "node", "node_modules")},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(c.needs); c.needs != "" && (folder == "" || err != nil) {
				t.Skipf("%s is not there: run make test-clients, which installs it", c.needs)
			}
			g.cases(t, c.client, name)
		})
	}
}

// cases are what a client must see, and how often it may ask for it.
func (g *gateway) cases(t *testing.T, call client, name string) {
	plain := call(t, key, "quick", name+"-stream")
	if words := strings.Fields(plain.Text); len(words) != 20 || plain.Status != 0 {
		t.Errorf("a stream: %+v", plain)
	}
	g.want(name+"-stream", 200)

	if o := call(t, "pk_nobodynobodynobodynobody", "quick", name+"-stranger"); o.Status != http.StatusUnauthorized || o.Code != "invalid_api_key" {
		t.Errorf("a key that is none: %+v", o)
	}
	g.want(name+"-stranger", 401)

	if o := call(t, key, "quik", name+"-unknown"); o.Status != http.StatusNotFound || o.Code != "model_not_found" {
		t.Errorf("a model that is none: %+v", o)
	}
	g.want(name+"-unknown", 404)

	// One hold that expires must not become three.
	if o := call(t, key, "never", name+"-expired"); o.Status != http.StatusGatewayTimeout || o.Code != "hold_deadline" || o.Seconds > 5 {
		t.Errorf("a hold that expires: %+v", o)
	}
	g.want(name+"-expired", 504)

	g.full(t, call, name)

	// A tenant over its rate comes back when it was told to, not before and not
	// more often.
	g.goClient(t, slowKey, "quick", name+"-rate-1")
	if o := call(t, slowKey, "quick", name+"-rate-2"); o.Text != plain.Text {
		t.Errorf("after a limit on the rate: %+v", o)
	}
	g.want(name+"-rate-1", 200)
	g.want(name+"-rate-2", 429, 200)
	time.Sleep(5 * time.Second) // so that the next client finds the bucket full
}

// full has the client come when the hold is full: it must be refused at once,
// come back after Retry-After, and be served. Others keep the hold full until the
// client was refused. It may slip in between two of them; then it comes again.
func (g *gateway) full(t *testing.T, call client, name string) {
	t.Helper()
	for try := range 5 {
		own := fmt.Sprintf("%s-full-%d", name, try)
		crowd, leave := context.WithCancel(t.Context())
		var others sync.WaitGroup
		for range 4 {
			others.Go(func() {
				for crowd.Err() == nil && len(g.statuses(own)) == 0 {
					g.occupy(crowd)
				}
			})
		}
		o := call(t, key, "quick", own)
		leave()
		others.Wait()
		g.wait(own+" is in the access log", func() bool { return len(g.statuses(own)) > 0 })
		got := g.statuses(own)
		if got[0] != http.StatusTooManyRequests {
			continue
		}
		if last := got[len(got)-1]; last != http.StatusOK || len(got) > 3 || len(strings.Fields(o.Text)) != 20 || o.Seconds < 1 {
			t.Errorf("after a full hold: %v, %+v", got, o)
		}
		return
	}
	t.Error("the hold was never full")
}

// occupy takes the replica, or a place in the hold, for as long as 40 tokens take.
func (g *gateway) occupy(ctx context.Context) {
	body := `{"model":"quick","max_tokens":40,"messages":[{"role":"user","content":"crowd"}]}`
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		g.t.Error(err)
		return
	}
	request.Header.Set("Authorization", "Bearer "+key)
	if reply, err := http.DefaultClient.Do(request); err == nil {
		_, _ = io.Copy(io.Discard, reply.Body)
		_ = reply.Body.Close()
	}
}

// buffer is written by a process while a test reads it.
type buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
