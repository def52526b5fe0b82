package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/penstock/penstock/internal/scale"
)

// heartbeatEvery is after what time held, and how often from then on, a stream
// whose model has heartbeats is sent a comment. Proxies give up on a silent
// connection after 30 s at the soonest by default.
const heartbeatEvery = 10 * time.Second

// beat is what clients of event streams skip (WHATWG HTML 9.2.6).
const beat = ": held until a replica is free\n\n"

// beats returns when heartbeats are due; it never fires for a request that gets
// none.
func (x *exchange) beats() (<-chan time.Time, func()) {
	streams := x.shape == chat || x.shape == completion || x.shape == responses
	if !x.owner.model.Heartbeats || !x.hints.stream || !streams {
		return nil, func() {}
	}
	every := x.gateway.heartbeat
	if every == 0 {
		every = heartbeatEvery
	}
	ticker := time.NewTicker(every)
	return ticker.C, ticker.Stop
}

// beat tells the client that its request is still held. The first one commits
// the reply to be an event stream with status 200; what goes wrong later is
// told in an event. Nothing of a replica's reply has come then, so the request
// may still be sent again.
func (x *exchange) beat() {
	_ = x.control.SetWriteDeadline(time.Now().Add(writeStall)) // not every test's writer has one
	defer x.control.SetWriteDeadline(time.Time{})              //nolint:errcheck // as above
	if !x.w.beats {
		x.w.beats, x.w.shape = true, x.shape
		h := x.w.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		x.w.WriteHeader(http.StatusOK)
	}
	if _, err := io.WriteString(x.w, beat); err == nil { // a client that left ends the context
		_ = x.control.Flush()
	}
}

// writeEvent answers with the refusal where heartbeats have begun the reply. Its
// connection is aborted then: a clean end would look like a whole stream.
func (f *refusal) writeEvent(w *visit, of shape) {
	_, _ = w.Write(f.event(of))
	_ = http.NewResponseController(w).Flush()
}

// event is the refusal in a stream.
func (f *refusal) event(of shape) []byte {
	if of == responses {
		return fmt.Appendf(nil, "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"object\":\"response\",\"status\":\"failed\",\"error\":{\"code\":%q,\"message\":%q}}}\n\n", f.code, f.message)
	}
	return fmt.Appendf(nil, "data: %s\n\n", f.body())
}

// translate makes an event of a reply that is no event stream, where heartbeats
// have begun one: the error that the replica told, or that it told none.
func (y *relay) translate(ctx context.Context, room []byte, n int, err error) result {
	for err == nil && n < len(room) {
		var more int
		more, err = y.next(room[n:])
		n += more
	}
	told := jsontext.Value(room[:n])
	if errors.Is(err, io.EOF) && y.reply.StatusCode >= http.StatusBadRequest && y.shape != responses &&
		told.Kind() == '{' && told.Compact() == nil {
		_, _ = fmt.Fprintf(y.w, "data: %s\n\n", told)
		_ = y.control.Flush()
	} else {
		f := refusal{
			kind: serverError, code: "replica_error",
			message: fmt.Sprintf("The replica answered with status %d, and not with the stream that was asked for.", y.reply.StatusCode),
		}
		f.writeEvent(y.w, y.shape)
	}
	y.gateway.Logger.DebugContext(ctx, "reply is no stream after heartbeats", "model", y.owner.model.Name, "replica", y.attempt.replica, "status", y.reply.StatusCode)
	return result{outcome: scale.Failed, begin: time.Now(), abort: true}
}
