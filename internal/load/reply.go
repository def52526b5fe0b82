package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// maxEvent bounds one line of a stream.
const maxEvent = 4 << 20

// checker reads one event stream of chat completion chunks and notes what is
// wrong with it. It is ready with its first four fields set.
//
// Chunks differ in their content alone, as a rule, and thousands come each
// second. So the first chunk with content is decoded in full, and what stands
// before and after the content is kept: a later chunk with the same bytes
// around its content is told by comparing them. Any other is decoded.
type checker struct {
	verify   bool         // whether each token is checked
	emulated *atomic.Bool // whether the model is known to be emulated; shared by its replies
	seed     uint64       // of the reply of an emulated engine
	want     int          // tokens

	first, last time.Time // first content, and [DONE]
	tokens      int       // as checked
	pieces      int       // chunks with content
	usage       int       // completion tokens as the server counts them; 0 if it did not say
	id          string
	finish      string
	open        bool // within an event
	done        bool // after [DONE]
	failure     *apiError
	fault       string // what is wrong with the stream, first of all
	detail      string // why the outcome is what it is

	before, after []byte // around the content of a usual chunk
	token         []byte // room for the token expected
}

// apiError is an OpenAI-shaped error.
type apiError struct {
	Message string `json:"message"`
	Type    string `json:"type"`
	Code    any    `json:"code"` // a string here, a number elsewhere
}

func (e apiError) String() string {
	if e.Code == nil {
		return e.Message
	}
	return fmt.Sprintf("%v: %s", e.Code, e.Message)
}

// chunk is a decoded event.
type chunk struct {
	ID      string    `json:"id"`
	Error   *apiError `json:"error"`
	Choices []struct {
		Index int `json:"index"`
		Delta struct {
			Content          string `json:"content"`
			ReasoningContent string `json:"reasoning_content"`
		} `json:"delta"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		CompletionTokens int `json:"completion_tokens"`
	} `json:"usage"`
}

// read takes the stream to its end. A clean end is no error.
func (c *checker) read(from *bufio.Reader) error {
	var long []byte
	for {
		line, err := from.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) || (len(long) > 0 && err == nil) {
			long = append(long, line...)
			if len(long) > maxEvent {
				return fmt.Errorf("a line of the stream is longer than %d bytes", maxEvent)
			}
			if err != nil {
				continue
			}
			line, long = long, nil
		}
		if err != nil {
			if len(line)+len(long) > 0 && errors.Is(err, io.EOF) {
				c.open = true // half a line
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		c.line(line[:len(line)-1])
	}
}

// line takes one line without its end.
func (c *checker) line(line []byte) {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	if len(line) == 0 {
		c.open = false
		return
	}
	if c.done && !c.open {
		c.wrong("bytes after [DONE]: %.60q", line)
		return
	}
	data, ok := bytes.CutPrefix(line, []byte("data:"))
	if !ok {
		if line[0] != ':' && !bytes.HasPrefix(line, []byte("event:")) && !bytes.HasPrefix(line, []byte("id:")) && !bytes.HasPrefix(line, []byte("retry:")) {
			c.wrong("a line that is none of an event stream: %.60q", line)
		}
		return
	}
	if c.open {
		c.wrong("two data lines in one event: %.60q", line)
		return
	}
	c.open = true
	c.event(bytes.TrimPrefix(data, []byte(" ")))
}

func (c *checker) event(data []byte) {
	if c.usual(data) {
		return
	}
	if string(data) == "[DONE]" {
		c.done, c.last = true, time.Now()
		return
	}
	var k chunk
	if err := json.Unmarshal(data, &k); err != nil {
		c.wrong("an event that is no JSON: %.60q", data)
		return
	}
	if k.Error != nil {
		c.failure = k.Error
		return
	}
	c.chunk(k)
	c.learn(data, k)
}

// usual takes a chunk that differs from an earlier one in its content alone.
func (c *checker) usual(data []byte) bool {
	if c.before == nil || !bytes.HasPrefix(data, c.before) {
		return false
	}
	content := data[len(c.before):]
	end := bytes.IndexByte(content, '"')
	if end <= 0 || !bytes.Equal(content[end:], c.after) || bytes.IndexByte(content[:end], '\\') >= 0 {
		return false
	}
	c.content(content[:end])
	return true
}

// learn keeps what stands around the content of a plain chunk.
func (c *checker) learn(data []byte, k chunk) {
	if len(k.Choices) != 1 || k.Choices[0].FinishReason != "" || k.Usage != nil {
		return
	}
	content := k.Choices[0].Delta.Content
	key := []byte(`"content":"`)
	at := bytes.Index(data, key) + len(key)
	if content == "" || at < len(key) || bytes.Count(data, key) != 1 || !bytes.HasPrefix(data[at:], []byte(content+`"`)) {
		return
	}
	c.before = append(c.before[:0], data[:at]...)
	c.after = append(c.after[:0], data[at+len(content):]...)
}

// chunk takes a decoded chunk.
func (c *checker) chunk(k chunk) {
	if c.id == "" {
		c.id = k.ID
	}
	if k.ID != c.id {
		c.wrong("chunks of %q and %q in one stream", c.id, k.ID)
	}
	if k.Usage != nil {
		c.usage = k.Usage.CompletionTokens
	}
	for _, choice := range k.Choices {
		if choice.Index != 0 {
			c.wrong("a choice of index %d, one was asked for", choice.Index)
		}
		if choice.Delta.Content != "" {
			c.content([]byte(choice.Delta.Content))
		} else if choice.Delta.ReasoningContent != "" {
			c.piece()
		}
		if choice.FinishReason != "" {
			c.finish = choice.FinishReason
		}
	}
}

func (c *checker) piece() {
	if c.first.IsZero() {
		c.first = time.Now()
	}
	c.pieces++
	if c.finish != "" {
		c.wrong("content after finish_reason %q", c.finish)
	}
}

// content takes the text of a chunk: whole tokens, where they are checked. A
// reply that begins with the first token of an emulated engine's is one.
func (c *checker) content(text []byte) {
	c.piece()
	if !c.verify && c.pieces == 1 {
		c.token = engine.AppendToken(c.token[:0], c.seed, 0)
		if bytes.HasPrefix(text, c.token) {
			c.verify = true
			c.emulated.Store(true)
		}
	}
	if !c.verify {
		return
	}
	for len(text) > 0 {
		c.token = engine.AppendToken(c.token[:0], c.seed, c.tokens)
		if !bytes.HasPrefix(text, c.token) {
			c.wrong("token %d is %.20q, should be %q", c.tokens, text, c.token)
			return
		}
		text = text[len(c.token):]
		c.tokens++
	}
}

// wrong notes what is wrong with the stream; the first fault counts.
func (c *checker) wrong(format string, args ...any) {
	if c.fault == "" {
		c.fault = fmt.Sprintf(format, args...)
	}
}

// settle says how the reply ended, given how reading it did.
func (c *checker) settle(ctx context.Context, err error) scale.Outcome {
	if !c.verify && c.emulated.Load() { // as another reply has shown meanwhile
		c.verify = true
		if c.pieces > 0 {
			c.wrong("token 0 is not an emulated engine's, which other replies are")
		}
	}
	whole := c.done && !c.open
	switch {
	case c.fault != "":
		c.detail = c.fault
		return scale.Corrupted
	case c.failure != nil:
		c.detail = c.failure.String()
		return c.failure.outcome()
	case !whole && err != nil:
		return c.unanswered(ctx, fmt.Errorf("cut short after %d pieces: %w", c.pieces, err))
	case !whole:
		c.detail = fmt.Sprintf("a clean end without [DONE] after %d pieces", c.pieces)
		return scale.Lost
	}
	if c.detail = c.incomplete(); c.detail != "" {
		return scale.Corrupted
	}
	return scale.OK
}

// incomplete says what a success lacks.
func (c *checker) incomplete() string {
	switch {
	case c.finish == "":
		return "[DONE] without finish_reason"
	case c.verify && c.tokens != c.want:
		return fmt.Sprintf("a success of %d tokens, %d were asked for", c.tokens, c.want)
	case c.verify && c.finish != "length":
		return fmt.Sprintf("finish_reason %q, should be length", c.finish)
	case c.verify && c.usage != 0 && c.usage != c.want:
		return fmt.Sprintf("usage says %d tokens, %d came", c.usage, c.tokens)
	default:
		return ""
	}
}

// outcome of a stream that ended with this error. One that was committed by a
// heartbeat while it was held can only be refused or expire so.
func (e apiError) outcome() scale.Outcome {
	switch e.Code {
	case "hold_deadline":
		return scale.Expired
	case "queue_full", "draining":
		return scale.Refused
	default:
		return scale.Interrupted
	}
}

// outputTokens is the best that is known of the reply's length.
func (c *checker) outputTokens() int {
	switch {
	case c.verify:
		return c.tokens
	case c.usage > 0:
		return c.usage
	default:
		return c.pieces
	}
}
