package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/penstock/penstock/internal/engine"
)

// maxBody bounds a request's body in bytes: several times what the largest KV
// cache of the catalogue holds in words of four bytes.
const maxBody = 16 << 20

// unlimited is how many tokens a reply has when the request sets no limit: the
// emulated model ends by itself then.
const unlimited = 128

// api is one of the two forms in which completions are asked for.
type api int

const (
	chat api = iota + 1
	completion
)

// request is what the emulator needs to know of a request's body.
type request struct {
	api          api
	model        string // as the client names it
	seed         uint64
	promptTokens int
	outputTokens int
	reason       string // finish_reason
	stream       bool
	usage        bool // a stream ends with a usage chunk
}

// fault is an error as the API reports it.
type fault struct {
	status  int
	message string
	param   string // "" where it is about no parameter
}

func (f *fault) Error() string { return f.message }

func badRequest(param, format string, args ...any) *fault {
	return &fault{status: http.StatusBadRequest, message: fmt.Sprintf(format, args...), param: param}
}

// body is the part of both forms' JSON that is read.
type body struct {
	Model               string          `json:"model"`
	Messages            []message       `json:"messages"`
	Prompt              json.RawMessage `json:"prompt"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	N                   *int            `json:"n"`
	Stream              bool            `json:"stream"`
	StreamOptions       *struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

type message struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

// parse reads a request. Its error is a *fault.
func parse(r io.Reader, form api) (request, error) {
	raw, err := io.ReadAll(r)
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return request{}, &fault{
			status:  http.StatusRequestEntityTooLarge,
			message: fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit),
		}
	}
	if err != nil {
		return request{}, badRequest("", "read the body: %v", err)
	}
	var b body
	if err := json.Unmarshal(raw, &b); err != nil {
		return request{}, badRequest("", "the body is not a request: %v", err)
	}
	prompt, err := b.prompt(form)
	if err != nil {
		return request{}, err
	}
	req := request{
		api: form, model: b.Model, seed: engine.Seed(prompt), promptTokens: max(1, words(prompt)),
		outputTokens: unlimited, reason: reasonStop, stream: b.Stream, usage: b.StreamOptions != nil && b.StreamOptions.IncludeUsage,
	}
	if b.N != nil && *b.N != 1 {
		return request{}, badRequest("n", "n is %d: the emulator makes one choice", *b.N)
	}
	if b.StreamOptions != nil && !b.Stream {
		return request{}, badRequest("stream_options", "stream_options are only allowed when stream is true")
	}
	limit, name := b.MaxTokens, "max_tokens"
	if form == chat && b.MaxCompletionTokens != nil {
		limit, name = b.MaxCompletionTokens, "max_completion_tokens"
	}
	if limit != nil {
		if *limit < 1 {
			return request{}, badRequest(name, "%s must be at least 1, got %d", name, *limit)
		}
		req.outputTokens, req.reason = *limit, reasonLength
	}
	return req, nil
}

// prompt returns the text that the reply is a function of.
func (b *body) prompt(form api) (string, error) {
	if form == completion {
		return completionPrompt(b.Prompt)
	}
	if len(b.Messages) == 0 {
		return "", badRequest("messages", "messages is empty or missing")
	}
	texts := make([]string, len(b.Messages))
	for i, m := range b.Messages {
		text, ok := content(m.Content)
		if !ok {
			return "", badRequest("messages", "messages[%d].content is neither a text nor a list of text parts", i)
		}
		texts[i] = text
	}
	return strings.Join(texts, "\n"), nil
}

// completionPrompt reads a text, or a list of one.
func completionPrompt(raw json.RawMessage) (string, error) {
	var text string
	if len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	var list []string
	if json.Unmarshal(raw, &list) == nil && len(list) == 1 {
		return list[0], nil
	}
	return "", badRequest("prompt", "prompt is neither a text nor a list of one: the emulator knows no token numbers")
}

// content reads a message's content: a text, a list of text parts, which are
// joined as they are, or nothing.
func content(raw json.RawMessage) (string, bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", true
	}
	var text string
	if raw[0] == '"' {
		err := json.Unmarshal(raw, &text)
		return text, err == nil
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return "", false
	}
	for _, p := range parts {
		if p.Type != "text" {
			return "", false
		}
		text += p.Text
	}
	return text, true
}

func words(text string) int {
	n := 0
	for range strings.FieldsSeq(text) {
		n++
	}
	return n
}
