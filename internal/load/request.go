package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// The headers by which the gateway says how long it held a request and
// whether the request waited for a wake from zero.
const (
	HeaderHeld = "X-Penstock-Held-Ms"
	HeaderWoke = "X-Penstock-Woke"
	// HeaderRequest is the request's ID in the series, for whoever looks on.
	HeaderRequest = "X-Load-Request"
)

// errLeft is the cause of a request's end whose client's Manners are to leave.
var errLeft = errors.New("the client went away, as it was to")

// errStalled is the cause of giving a silent request up.
var errStalled = errors.New("no byte came for too long")

// result is what became of one request.
type result struct {
	id       scale.RequestID
	sent     time.Time
	left     time.Time     // by Manners
	due      time.Duration // since the run began
	lag      time.Duration // due → sent
	served   scale.Served
	good     bool
	verified bool // each token was checked
	detail   string
}

func (r result) ended() Ended {
	return Ended{
		ID: r.id, Outcome: r.served.Outcome, Held: r.served.Held, Sent: r.sent, Took: r.served.Total, Left: r.left, Detail: r.detail,
	}
}

// judged says whether the request counts for attainment.
func (r result) judged() bool { return r.served.Outcome != scale.Cancelled }

// send asks for one request and reads the reply to its end.
func (r *run) send(flight context.Context, model *target, request scale.Request, due time.Time) result {
	ctx, cancel := context.WithCancelCause(flight)
	defer cancel(nil)
	body, prompt := chatBody(model.Name, r.Seed, request)
	c := &checker{
		verify: model.emulated.Load(), emulated: &model.emulated,
		seed: engine.Seed(prompt), want: max(1, request.OutputTokens),
	}
	var how Manners
	if r.Manners != nil {
		how = r.Manners(request)
	}
	sent := time.Now()
	client := &client{Manners: how, done: ctx.Done(), cancel: cancel}
	served := r.ask(ctx, client, request.ID, body, c)
	end := time.Now()
	served.Streamed = true
	served.OutputTokens = c.outputTokens()
	if !c.last.IsZero() {
		end = c.last
	}
	served.Total = end.Sub(sent)
	served.TTFT = served.Total
	if !c.first.IsZero() {
		served.TTFT = c.first.Sub(sent)
	}
	return result{
		id: request.ID, sent: sent, left: client.whenLeft(),
		due: due.Sub(r.began), lag: sent.Sub(due), served: served,
		good: model.SLO.Good(served), verified: c.verify, detail: c.detail,
	}
}

// ask makes the exchange and says how it ended. It leaves the times in c.
func (r *run) ask(ctx context.Context, by *client, id scale.RequestID, body string, c *checker) scale.Served {
	stall := time.AfterFunc(r.Stall, func() { by.cancel(errStalled) })
	defer stall.Stop()
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Target+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		c.detail = err.Error()
		return scale.Served{Outcome: scale.Failed}
	}
	post.Header.Set("Content-Type", "application/json")
	post.Header.Set("Accept", "text/event-stream")
	post.Header.Set(HeaderRequest, strconv.FormatUint(uint64(id), 10))
	began := by.await()
	reply, err := r.Client.Do(post)
	began()
	if err != nil {
		return scale.Served{Outcome: c.unanswered(ctx, fmt.Errorf("no answer: %w", err))}
	}
	defer reply.Body.Close()
	served := scale.Served{Woke: reply.Header.Get(HeaderWoke) == "true"}
	if ms, err := strconv.ParseFloat(reply.Header.Get(HeaderHeld), 64); err == nil {
		served.Held = time.Duration(ms * float64(time.Millisecond))
	}
	by.from = watched{reply.Body, stall, r.Stall}
	from := by.reader()
	if reply.StatusCode != http.StatusOK {
		served.Outcome = c.errorReply(reply, from)
		return served
	}
	if kind := reply.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
		c.detail = fmt.Sprintf("a stream was asked for, %q came", kind)
		served.Outcome = scale.Corrupted
		return served
	}
	buffer := r.readers.get(from)
	defer r.readers.put(buffer)
	served.Outcome = c.settle(ctx, c.read(buffer))
	return served
}

// errorReply reads a reply that is not a success.
func (c *checker) errorReply(reply *http.Response, from io.Reader) scale.Outcome {
	text, _ := io.ReadAll(io.LimitReader(from, 1<<16)) // the status has said it all
	_, _ = io.Copy(io.Discard, from)                   // so that the connection is used again
	c.detail = fmt.Sprintf("%d: %s", reply.StatusCode, errorText(text))
	switch reply.StatusCode {
	case http.StatusTooManyRequests, http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable:
		return scale.Refused
	case http.StatusGatewayTimeout:
		return scale.Expired
	default:
		return scale.Failed
	}
}

// unanswered tells why a request that has no proper end has none.
func (c *checker) unanswered(ctx context.Context, err error) scale.Outcome {
	cause := context.Cause(ctx)
	c.detail = err.Error()
	switch {
	case errors.Is(cause, errStalled):
		c.detail = errStalled.Error()
		return scale.Lost
	case cause != nil:
		return scale.Cancelled
	default:
		return scale.Lost
	}
}

// errorText is the message of an OpenAI-shaped error, else the text itself.
func errorText(body []byte) string {
	var reply struct {
		Error apiError `json:"error"`
	}
	if json.Unmarshal(body, &reply) == nil && reply.Error.Message != "" {
		return reply.Error.String()
	}
	return strings.ToValidUTF8(strings.TrimSpace(string(body[:min(len(body), 200)])), "?")
}

// chatBody returns the body that asks for a request, and the prompt in it:
// words of three letters, one a token. The first words count the requests, so
// that no two prompts of four words and more are the same, the rest are drawn.
func chatBody(model string, seed uint64, request scale.Request) (body, prompt string) {
	words := max(1, request.PromptTokens)
	name, _ := json.Marshal(model) // a string always encodes
	var b strings.Builder
	b.Grow(len(name) + 4*words + 160)
	b.WriteString(`{"model":`)
	b.Write(name)
	b.WriteString(`,"stream":true,"stream_options":{"include_usage":true},"max_tokens":`)
	b.WriteString(strconv.Itoa(max(1, request.OutputTokens)))
	b.WriteString(`,"messages":[{"role":"user","content":"`)
	from := b.Len()
	writeWords(&b, words, seed, uint64(request.ID))
	to := b.Len()
	b.WriteString(`"}]}`)
	body = b.String()
	return body, body[from:to]
}

// writeWords writes so many words of three letters, with blanks between.
func writeWords(b *strings.Builder, words int, seed, id uint64) {
	const three = 26 * 26 * 26
	count, random := id, seed^id*0x9e3779b97f4a7c15
	for i := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		number := count % three
		count /= three
		if i >= 4 {
			// splitmix64, as in engine.AppendToken.
			random += 0x9e3779b97f4a7c15
			x := random
			x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
			x = (x ^ x>>27) * 0x94d049bb133111eb
			number = (x ^ x>>31) % three
		}
		b.WriteByte('a' + byte(number%26))
		b.WriteByte('a' + byte(number/26%26))
		b.WriteByte('a' + byte(number/(26*26)))
	}
}

// watched puts off the end of a stalled request at each byte that comes.
type watched struct {
	from  io.Reader
	timer *time.Timer
	limit time.Duration
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.from.Read(p)
	if n > 0 {
		w.timer.Reset(w.limit)
	}
	return n, err
}

// readers keeps line buffers for use by one reply after another.
type readers struct{ pool sync.Pool }

// bufferSize holds many events, and any line that is not extraordinary.
const bufferSize = 8 << 10

func newReaders() *readers {
	return &readers{sync.Pool{New: func() any { return bufio.NewReaderSize(nil, bufferSize) }}}
}

func (p *readers) get(from io.Reader) *bufio.Reader {
	b, ok := p.pool.Get().(*bufio.Reader)
	if !ok {
		b = bufio.NewReaderSize(nil, bufferSize)
	}
	b.Reset(from)
	return b
}

func (p *readers) put(b *bufio.Reader) {
	b.Reset(nil)
	p.pool.Put(b)
}
