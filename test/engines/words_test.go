package engines_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The rule by which the tiny model's words follow each other; see
// examples/llama-cpp/tiny_model.py.
const (
	words = 26 * 26 * 26
	step  = 4629
	start = 7919
)

func word(n int) string {
	return string([]byte{'a' + byte(n%26), 'a' + byte(n/26%26), 'a' + byte(n/676)})
}

func number(w string) int {
	return int(w[0]-'a') + 26*int(w[1]-'a') + 676*int(w[2]-'a')
}

// reply is what the model must answer to a prompt, in so many tokens.
func reply(prompt string, tokens int) string {
	n := number(prompt[len(prompt)-3:])
	var b strings.Builder
	for range tokens {
		n = (n*step + start) % words
		b.WriteString(" " + word(n))
	}
	return b.String()
}

// prompt draws so many words.
func prompt(tokens int) string {
	all := make([]string, tokens)
	for i := range all {
		all[i] = word(rand.IntN(words))
	}
	return strings.Join(all, " ")
}

// ask is one streamed request.
type ask struct {
	path   string // of the API; chat completions by default
	prompt string
	tokens int
}

func (a ask) body(model string) []byte {
	fields := map[string]any{
		"model": model, "stream": true, "max_tokens": a.tokens, "stream_options": map[string]any{"include_usage": true},
	}
	if a.path == "/v1/completions" {
		fields["prompt"] = a.prompt
	} else {
		fields["messages"] = []map[string]string{{"role": "user", "content": a.prompt}}
	}
	body, err := json.Marshal(fields)
	if err != nil {
		panic(err) // nothing in it that cannot be encoded
	}
	return body
}

// answer is a reply read to its end.
type answer struct {
	header http.Header
	text   string
	pieces int
	usage  int
	finish string
	failed string // code of the error event
	done   bool
	err    error // how reading ended; nil for a clean end
}

// stream sends a request and reads the reply. Begun is called once there is
// content; it may be nil.
func stream(url string, a ask, begun func()) answer {
	if a.path == "" {
		a.path = "/v1/chat/completions"
	}
	request, err := http.NewRequest(http.MethodPost, url+a.path, bytes.NewReader(a.body("tiny-chat")))
	if err != nil {
		return answer{err: err}
	}
	request.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: 2 * time.Minute}
	r, err := client.Do(request)
	if err != nil {
		return answer{err: err}
	}
	defer r.Body.Close()
	out := answer{header: r.Header}
	if r.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(r.Body) // for the message only
		out.err = fmt.Errorf("status %d: %s", r.StatusCode, text)
		return out
	}
	out.read(r.Body, begun)
	return out
}

func (a *answer) read(from io.Reader, begun func()) {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) || line != "" {
				a.err = err
			}
			return
		}
		data, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			a.done = true
			continue
		}
		if err := a.event(data); err != nil {
			a.err = err
			return
		}
		if a.pieces > 0 && begun != nil {
			begun()
			begun = nil
		}
	}
}

// event takes in one event of either API.
func (a *answer) event(data string) error {
	var e struct {
		Error *struct {
			Code string `json:"code"`
		} `json:"error"`
		Choices []struct {
			Text  string `json:"text"`
			Delta struct {
				Content string `json:"content"`
			} `json:"delta"`
			Finish string `json:"finish_reason"`
		} `json:"choices"`
		Usage *struct {
			Tokens int `json:"completion_tokens"`
		} `json:"usage"`
	}
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return fmt.Errorf("event %q: %w", data, err)
	}
	if a.done {
		return fmt.Errorf("event after [DONE]: %q", data)
	}
	if e.Error != nil {
		a.failed = e.Error.Code
	}
	if e.Usage != nil {
		a.usage = e.Usage.Tokens
	}
	for _, c := range e.Choices {
		if piece := c.Text + c.Delta.Content; piece != "" {
			a.text += piece
			a.pieces++
		}
		if c.Finish != "" {
			a.finish = c.Finish
		}
	}
	return nil
}

// fault says what is not as it must be with a whole reply, "" for nothing.
func (a *answer) fault(asked ask) string {
	want := reply(asked.prompt, asked.tokens)
	switch {
	case a.err != nil:
		return a.err.Error()
	case a.failed != "":
		return "an error event: " + a.failed
	case !a.done:
		return "no [DONE]"
	case a.text != want:
		return fmt.Sprintf("text %.80q, should be %.80q", a.text, want)
	case a.usage != asked.tokens || a.finish != "length":
		return fmt.Sprintf("usage %d of %d tokens, finish_reason %q", a.usage, asked.tokens, a.finish)
	default:
		return ""
	}
}

// whole fails the test unless the reply is the whole one.
func (a *answer) whole(t *testing.T, asked ask) {
	t.Helper()
	if fault := a.fault(asked); fault != "" {
		t.Errorf("%d words to %d: %s", strings.Count(asked.prompt, " ")+1, asked.tokens, fault)
	}
}
