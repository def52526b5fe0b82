package emulator_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock/penstock/internal/emulator"
	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

func TestMain(m *testing.M) {
	if beServer() {
		return
	}
	goleak.VerifyTestMain(m)
}

// quick takes a millisecond for an iteration, whatever is in it.
func quick() scale.Profile {
	return scale.Profile{
		Name:              "quick",
		Linear:            []scale.LinearPoint{{Tokens: 1, Time: time.Millisecond}, {Tokens: 1 << 20, Time: time.Millisecond}},
		KVBytesPerToken:   1,
		MemoryBytes:       100_000,
		MemoryUtilisation: 1,
		PrefillChunk:      2048,
		MaxBatch:          256,
	}
}

// started is a running server for a test, and a client of its own.
type started struct {
	*testing.T
	url    string
	client *http.Client
	log    *bytes.Buffer // to be read when the server has ended
}

// start runs a server until the test ends.
func start(t *testing.T, s *emulator.Server) *started {
	t.Helper()
	log := new(bytes.Buffer)
	s.Logger = slog.New(slog.NewTextHandler(log, nil))
	if s.Model == "" {
		s.Model = "org/m"
	}
	server := httptest.NewServer(s.Handler())
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
		server.Close()
	})
	st := &started{T: t, url: server.URL, client: &http.Client{Transport: transport, Timeout: 30 * time.Second}, log: log}
	st.until("ready", func() bool { return st.get("/health").status == http.StatusOK })
	return st
}

// until polls for a condition.
func (s *started) until(what string, condition func() bool) {
	s.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			s.Fatalf("not %s in time", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

type response struct {
	status int
	header http.Header
	body   string
}

func (s *started) get(path string) response {
	s.Helper()
	return s.do(http.MethodGet, path, "", nil)
}

func (s *started) post(path, body string) response {
	s.Helper()
	return s.do(http.MethodPost, path, body, nil)
}

func (s *started) do(method, path, body string, header http.Header) response {
	s.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header = header
	res, err := s.client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	return response{res.StatusCode, res.Header, string(text)}
}

// open begins a stream of a completion and returns its body, which is closed
// when the test ends.
func (s *started) open(prompt string, tokens int) io.ReadCloser {
	s.Helper()
	body := fmt.Sprintf(`{"model":"org/m","stream":true,"prompt":%q,"max_tokens":%d}`, prompt, tokens)
	res, err := s.client.Post(s.url+"/v1/completions", "application/json", strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { res.Body.Close() })
	return res.Body
}

// gauge returns the value of a sample of /metrics.
func (s *started) gauge(sample string) string {
	s.Helper()
	for line := range strings.Lines(s.get("/metrics").body) {
		if value, ok := strings.CutPrefix(line, sample+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	s.Fatalf("no sample %s", sample)
	return ""
}

// chunk is one event of a stream, of either form.
type chunk struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Model   string `json:"model"`
	Choices []struct {
		Text  *string `json:"text"`
		Delta *struct {
			Role    *string `json:"role"`
			Content *string `json:"content"`
		} `json:"delta"`
		FinishReason *string `json:"finish_reason"`
	} `json:"choices"`
	Usage *usage `json:"usage"`
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

// told is what a stream said.
type told struct {
	tokens []string
	roles  int
	finish string
	usage  *usage
	done   bool
	ids    map[string]bool
}

// listen reads a stream to its end, strictly. It fails on anything that is not
// the protocol; an early end is no error here but leaves done false.
func listen(r io.Reader) (told, error) {
	heard := told{ids: map[string]bool{}}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		data, isData := strings.CutPrefix(line, "data: ")
		switch {
		case line == "":
			continue
		case !isData || heard.done:
			return heard, fmt.Errorf("line %q after %d tokens", line, len(heard.tokens))
		case data == "[DONE]":
			heard.done = true
			continue
		}
		var c chunk
		if err := json.Unmarshal([]byte(data), &c); err != nil {
			return heard, fmt.Errorf("event %q: %w", data, err)
		}
		if err := heard.take(c); err != nil {
			return heard, fmt.Errorf("event %q: %w", data, err)
		}
	}
	return heard, lines.Err()
}

func (h *told) take(c chunk) error {
	h.ids[c.ID+" "+c.Object] = true
	if c.Usage != nil {
		if h.usage != nil || len(c.Choices) != 0 || h.finish == "" {
			return fmt.Errorf("misplaced usage")
		}
		h.usage = c.Usage
		return nil
	}
	if len(c.Choices) != 1 || h.finish != "" {
		return fmt.Errorf("%d choices, finish %q", len(c.Choices), h.finish)
	}
	choice := c.Choices[0]
	text := choice.Text
	if choice.Delta != nil {
		text = choice.Delta.Content
		if choice.Delta.Role != nil {
			h.roles++
			if len(h.tokens) > 0 || *text != "" {
				return fmt.Errorf("misplaced role")
			}
			return nil
		}
	}
	if text == nil || len(*text) != engine.TokenBytes {
		return fmt.Errorf("not one token")
	}
	h.tokens = append(h.tokens, *text)
	if choice.FinishReason != nil {
		h.finish = *choice.FinishReason
	}
	return nil
}

// verify compares tokens with those that a prompt must yield.
func verify(tokens []string, prompt string, want int) error {
	seed := engine.Seed(prompt)
	for i, token := range tokens {
		if token != engine.Token(seed, i) {
			return fmt.Errorf("token %d is %q, want %q", i, token, engine.Token(seed, i))
		}
	}
	if len(tokens) != want {
		return fmt.Errorf("%d tokens, want %d", len(tokens), want)
	}
	return nil
}
