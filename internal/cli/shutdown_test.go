package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// single is the quick model with one replica that serves one request at a time,
// so that the second is held.
func single(t *testing.T) (file, state string) {
	t.Helper()
	dir := t.TempDir()
	file, state = filepath.Join(dir, "penstock.yaml"), filepath.Join(dir, "state")
	text := strings.NewReplacer("maxBatch: 4", "maxBatch: 1", "{min: 0, max: 8}", "{min: 1, max: 1}").Replace(fmt.Sprintf(quick, state, file))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, state
}

// stream asks for a stream of tokens and returns its reply when it has begun.
func stream(ctx context.Context, url string, tokens int) (*http.Response, error) {
	body := fmt.Sprintf(`{"model":"quick","messages":[{"role":"user","content":"count"}],"stream":true,"max_tokens":%d}`, tokens)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	return http.DefaultTransport.RoundTrip(request)
}

// scrape returns the line of a metric at the console, "" if there is none.
func scrape(t *testing.T, console, metric string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, console+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(reply.Body)
		t.Fatalf("%s/metrics: %s: %s", console, reply.Status, text)
	}
	for lines := bufio.NewScanner(reply.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), metric) {
			return lines.Text()
		}
	}
	return ""
}

// consoleOf returns where a server's console is, as its log says.
func consoleOf(t *testing.T, server *exec.Cmd) string {
	t.Helper()
	found := regexp.MustCompile(`console +(http://[0-9.:]+)`).FindStringSubmatch(server.Stderr.(*lockedBuffer).String())
	if found == nil {
		t.Fatal("serve does not say where its console is")
	}
	return found[1]
}

// refusedAsDraining says what is wrong with the answer to a request that came
// too late, or was held.
func refusedAsDraining(reply *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	body, _ := io.ReadAll(reply.Body)
	h := reply.Header
	if reply.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), `"code":"draining"`) ||
		h.Get("Retry-After") != "1" || h.Get("Retry-After-Ms") != "1000" || h.Get("X-Should-Retry") != "true" || !reply.Close {
		return fmt.Errorf("%d %v %s", reply.StatusCode, h, body)
	}
	return nil
}

// TestSIGTERMEndsInTheToldOrder: new requests are refused, held ones are
// answered, streams finish, then loop, replicas, gateway and journal end.
func TestSIGTERMEndsInTheToldOrder(t *testing.T) {
	file, state := single(t)
	server, url := startServer(t, file)
	console := consoleOf(t, server)
	reply, err := stream(t.Context(), url, 100)
	if err != nil || reply.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", reply, err)
	}
	defer reply.Body.Close()
	held := make(chan error, 1)
	go func() { held <- refusedAsDraining(stream(t.Context(), url, 5)) }()
	until(t, "the second request is held", 10*time.Second, func() bool {
		return scrape(t, console, "penstock_held_requests") == `penstock_held_requests{model="quick"} 1`
	})

	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-held; err != nil {
		t.Errorf("the held request: %v", err)
	}
	if err := refusedAsDraining(stream(t.Context(), url, 5)); err != nil {
		t.Errorf("a new request: %v", err)
	}
	for path, status := range map[string]int{"/readyz": http.StatusServiceUnavailable, "/healthz": http.StatusOK} {
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, http.NoBody)
		answer, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != status {
			t.Errorf("%s while draining: %d", path, answer.StatusCode)
		}
	}
	text, err := io.ReadAll(reply.Body)
	if err != nil || !strings.HasSuffix(string(text), "data: [DONE]\n\n") || strings.Count(string(text), `"content":`) < 100 {
		t.Errorf("the stream did not finish: %v, %d bytes, %d tokens", err, len(text), strings.Count(string(text), `"content":`))
	}
	if err := server.Wait(); err != nil {
		t.Errorf("serve ended with %v", err)
	}
	log := server.Stderr.(*lockedBuffer).String()
	for _, line := range []string{
		`msg=draining`, `msg=drained`, `msg=stopped parts="?\[.*\bloop\b`, `msg=stopped parts="?\[.*\breplicas\b`,
		`msg=stopped parts="?\[.*\bgateway\b`, `msg="journal closed"`,
	} {
		at := regexp.MustCompile(line).FindStringIndex(log)
		if at == nil {
			t.Fatalf("%s does not follow in the log", line)
		}
		log = log[at[1]:]
	}
	if left := processesOf(t, state); len(left) > 0 {
		t.Errorf("%v still run", left)
	}
}

// TestASecondSIGTERMEndsAtOnce: who asks twice does not wait for streams, and
// nothing is left running all the same.
func TestASecondSIGTERMEndsAtOnce(t *testing.T) {
	file, state := single(t)
	server, url := startServer(t, file)
	reply, err := stream(t.Context(), url, 1000) // 20 s
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, "it drains", 5*time.Second, func() bool { return strings.Contains(server.Stderr.(*lockedBuffer).String(), "msg=draining") })
	at := time.Now()
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var ended *exec.ExitError
	if err := server.Wait(); !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v", err)
	}
	if took := time.Since(at); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	text, err := io.ReadAll(reply.Body)
	if err == nil || strings.Contains(string(text), "[DONE]") {
		t.Errorf("the stream ended as if it were whole: %v", err)
	}
	until(t, "no orphan", 5*time.Second, func() bool { return len(processesOf(t, state)) == 0 })
}
