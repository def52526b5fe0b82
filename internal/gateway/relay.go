package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Why an attempt is cut.
var (
	errGone      = errors.New("the replica is gone")
	errGoingDown = errors.New("the gateway is shutting down")
	errEmpty     = errors.New("the event stream ended before its first byte")
	errSwitched  = errors.New("the replica switched protocols")
	errNoDone    = errors.New("the event stream ended without the event that ends it")
)

const (
	copyBuffer = 16 << 10
	// writeStall is how long a client may take no byte of a reply, or half of it:
	// the deadline is not moved for each part. Its slot at the replica is worth
	// more.
	writeStall = 60 * time.Second
)

// result is how an attempt ended.
type result struct {
	outcome  scale.Outcome
	failed   error // the replica failed and no byte went to the client
	abort    bool  // the connection must not end cleanly
	streamed bool
	begin    time.Time // first byte of the body
	tokens   int
	held     time.Duration
	woke     bool
}

// attempt sends the request to one replica and relays its reply. One that the
// client gave up ends when the replica has hung up.
func (x *exchange) attempt(ctx context.Context, a *attempt) (r result) {
	var used lines
	defer func() {
		if r.outcome == scale.Cancelled {
			used.leave(lingerFor)
		} else {
			used.leave(0)
		}
	}()
	return x.ask(used.watch(ctx), a)
}

func (x *exchange) ask(ctx context.Context, a *attempt) result {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a.bind(cancel)
	reply, err := x.roundTrip(ctx, a, cancel)
	if err != nil {
		return x.unanswered(why(ctx, err))
	}
	defer reply.Body.Close()
	if reply.StatusCode == http.StatusSwitchingProtocols {
		return x.unanswered(errSwitched)
	}
	room := x.gateway.buffers.Get().(*buffer)
	defer x.gateway.buffers.Put(room)
	y := relay{exchange: x, attempt: a, reply: reply, meter: newMeter(x.shape, reply, room)}
	return y.run(ctx, room.part[:])
}

// newCallTransport returns the upstream side of gRPC: HTTP/2 with prior
// knowledge, whose connections carry many calls and are asked now and then
// whether they still live.
func newCallTransport() *http.Transport {
	t := newTransport()
	t.DialContext = newDialer().DialContext // connections are shared
	t.Protocols = new(http.Protocols)
	t.Protocols.SetUnencryptedHTTP2(true)
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second}
	return t
}

// roundTrip asks the replica.
func (x *exchange) roundTrip(ctx context.Context, a *attempt, cancel context.CancelCauseFunc) (*http.Response, error) {
	request := x.outbound(ctx, a.address)
	if x.shape != remote {
		return x.gateway.transport.RoundTrip(request)
	}
	request.Header["Te"] = []string{"trailers"} // some servers of gRPC insist on it
	if x.tape != nil {
		request.ContentLength = -1
		request.GetBody = func() (io.ReadCloser, error) { return x.tape.play(ctx, cancel), nil }
		request.Body, _ = request.GetBody()
	}
	return x.gateway.callTransport.RoundTrip(request)
}

// why returns what the attempt was cut for, if it was, else err.
func why(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return foreign(err)
}

// unanswered says what a failure before the first byte of a reply means.
func (x *exchange) unanswered(err error) result {
	if x.r.Context().Err() != nil {
		return result{outcome: scale.Cancelled}
	}
	return result{outcome: scale.Failed, failed: err}
}

// outbound makes the request for a replica. The Host, the path and the body
// are what was checked.
func (x *exchange) outbound(ctx context.Context, address string) *http.Request {
	h := x.r.Header.Clone()
	dropHops(h)
	for name := range h {
		if strings.HasPrefix(name, "X-Penstock-") || strings.HasPrefix(name, "X-Forwarded-") {
			delete(h, name)
		}
	}
	h.Del("Forwarded")
	h.Del("Accept-Encoding")
	h.Del("Expect")
	if !x.gateway.ForwardAuthorization {
		h.Del("Authorization")
	}
	x.w.trace.forward(h)
	h["X-Request-Id"] = []string{x.id} // engines use it as a key: it must be unique
	if _, set := h["User-Agent"]; !set {
		h["User-Agent"] = []string{""} // not net/http's own
	}
	if _, set := h["Idempotency-Key"]; !set && !x.once {
		// Not sent when empty, but has the transport try a new connection when
		// the engine closed an idle one.
		h["Idempotency-Key"] = []string{}
	}
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(x.body)), nil }
	first, _ := body()
	if len(x.body) == 0 {
		first, body = http.NoBody, nil // or it is sent in chunks
	}
	request := &http.Request{
		Method: x.r.Method,
		URL:    &url.URL{Scheme: "http", Host: address, Path: x.r.URL.Path, RawQuery: x.r.URL.RawQuery},
		Header: h, Host: address, ContentLength: int64(len(x.body)), Body: first, GetBody: body,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	return request.WithContext(ctx)
}

// hopHeaders belong to one connection, by RFC 9110 7.6.1 and the older 2616
// 13.5.1; httputil.ReverseProxy has the same list.
func hopHeaders() [9]string {
	return [...]string{
		"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade",
	}
}

// dropHops removes hop-by-hop headers and those that Connection names.
func dropHops(h http.Header) {
	for _, field := range h["Connection"] {
		for name := range strings.SplitSeq(field, ",") {
			if name = textproto.TrimString(name); name != "" {
				h.Del(name)
			}
		}
	}
	for _, name := range hopHeaders() {
		delete(h, name)
	}
}

// relay is one reply on its way to the client.
type relay struct {
	*exchange
	attempt *attempt
	reply   *http.Response
	meter   meter
	counted int       // of the reply's events, told to the owner as tokens
	patient time.Time // until when the client's write deadline is set
}

// buffer is what relaying one reply needs room for.
type buffer struct {
	part [copyBuffer]byte // that is passed on
	head [lineHead]byte   // of the meter
	tail [tailSize]byte   // of the meter
}

func newBuffer() any { return new(buffer) }

// run passes the reply on. Nothing goes to the client before the first bytes
// of the body have come.
func (y *relay) run(ctx context.Context, room []byte) result {
	n, err := y.first(room)
	eof := errors.Is(err, io.EOF)
	switch {
	case err != nil && !eof && (n == 0 || !y.prompt()):
		return y.unanswered(why(ctx, err))
	case n == 0 && eof && y.meter.events && y.reply.StatusCode == http.StatusOK:
		return y.unanswered(errEmpty)
	}
	if y.w.beats && !y.meter.judged {
		return y.translate(ctx, room, n, err)
	}
	out := result{begin: time.Now(), streamed: y.meter.events}
	y.attempt.begun.Store(true)
	if y.tape != nil {
		y.tape.begun()
	}
	y.owner.post(event{kind: begun, call: y.call})
	y.header()
	defer y.control.SetWriteDeadline(time.Time{}) //nolint:errcheck // the connection's next reply has its own
	for {
		if n > 0 {
			if failure := y.pass(room[:n]); failure != nil {
				out.outcome, out.abort = scale.Cancelled, true
				return out
			}
		}
		if err != nil {
			break
		}
		n, err = y.next(room)
	}
	out.tokens = y.meter.tokens()
	y.owner.tokens.Add(int64(out.tokens - y.counted))
	y.finish(ctx, &out, err)
	return out
}

// prompt says whether the client waits for each part of the reply.
func (y *relay) prompt() bool { return y.meter.events || y.reply.ContentLength < 0 }

// first reads the first bytes: what there is of a stream, as much as fits of
// another reply, so that a short one which breaks off can be asked for again.
func (y *relay) first(into []byte) (int, error) {
	n, err := y.next(into)
	for err == nil && n < len(into) && !y.prompt() {
		var more int
		more, err = y.next(into[n:])
		n += more
	}
	return n, err
}

// next reads until there is something.
func (y *relay) next(into []byte) (int, error) {
	for {
		if n, err := y.reply.Body.Read(into); n > 0 || err != nil {
			return n, foreign(err)
		}
	}
}

// header passes on the status and the header.
func (y *relay) header() {
	if y.w.beats {
		return // there is one already
	}
	dropHops(y.reply.Header)
	h := y.w.Header()
	for name, values := range y.reply.Header {
		if name != "X-Request-Id" && !strings.HasPrefix(name, "X-Penstock-") {
			h[name] = values
		}
	}
	if y.meter.judged || y.shape == remote {
		// After a length that was kept, neither an event of ours nor an abort
		// would be seen.
		h.Del("Content-Length")
	}
	if _, typed := h["Content-Type"]; !typed {
		h["Content-Type"] = nil // or net/http guesses one
	}
	y.w.WriteHeader(y.reply.StatusCode)
}

// pass writes bytes as they came, and at once where a client waits for each.
func (y *relay) pass(p []byte) error {
	y.meter.see(p)
	if n := y.meter.count - y.counted; n > 0 {
		y.owner.tokens.Add(int64(n))
		y.counted += n
	}
	if now := time.Now(); now.Add(writeStall / 2).After(y.patient) {
		y.patient = now.Add(writeStall)
		_ = y.control.SetWriteDeadline(y.patient) // not every test's writer has one
	}
	if _, err := y.w.Write(p); err != nil {
		return err
	}
	var err error
	if y.prompt() {
		err = y.control.Flush()
	}
	if y.r.ProtoMajor > 1 {
		// There the deadline resets the stream also while nothing is written,
		// and an engine may well be silent for long.
		y.patient = time.Time{}
		_ = y.control.SetWriteDeadline(y.patient)
	}
	return err
}

// finish judges a reply of which something was passed on, and sees to it that
// one cut short does not look whole.
func (y *relay) finish(ctx context.Context, out *result, err error) {
	if y.shape == remote {
		y.finishCall(ctx, out, err)
		return
	}
	switch {
	case y.meter.done:
		err = nil // all came that will
	case errors.Is(err, io.EOF) && y.meter.needsDone:
		err = errNoDone
	case errors.Is(err, io.EOF):
		err = nil
	}
	switch {
	case err == nil && y.reply.StatusCode < http.StatusBadRequest && !y.meter.failed:
		out.outcome = scale.OK
		return
	case err == nil:
		out.outcome = scale.Failed
		return
	case y.r.Context().Err() != nil:
		out.outcome, out.abort = scale.Cancelled, true
		return
	}
	err = why(ctx, err)
	y.lament(ctx, err)
	out.outcome, out.abort = scale.Interrupted, true
	if y.meter.events && y.reply.Header.Get("Content-Encoding") == "" {
		_, _ = y.w.Write(y.errorEvent(err))
		_ = y.control.Flush()
	}
}

// lament logs that a reply was cut short.
func (y *relay) lament(ctx context.Context, err error) {
	y.gateway.Logger.WarnContext(ctx, "replica lost in the middle of a reply",
		"model", y.owner.model.Name, "replica", y.attempt.replica, "request", y.id, "error", err)
}

// lost is what a client is told of a reply that was cut short.
func lost(err error) *refusal {
	f := refusal{
		status: http.StatusServiceUnavailable, kind: serverError, code: "replica_lost",
		message: "The replica that served this request was lost before the reply was complete.",
	}
	if errors.Is(err, errGoingDown) {
		f.code, f.message = "gateway_stopped", "The gateway stopped before the reply was complete."
	}
	return &f
}

// errorEvent is what ends a stream that was cut short. What has come of an
// event is closed by an empty line first.
func (y *relay) errorEvent(err error) []byte {
	f := lost(err)
	event := y.meter.gap()
	if isOpenInference(y.r) {
		return fmt.Appendf(event, "data: %s\n\n", f.plainBody())
	}
	return append(event, f.event(y.shape)...)
}

// isEvents says whether a reply is an event stream.
func isEvents(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "text/event-stream")
}
