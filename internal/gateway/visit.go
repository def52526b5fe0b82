package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// visit is one HTTP request from its header to the end of its reply: the writer
// of that reply, and what the access log tells of it. Only the request's own
// goroutine touches it.
type visit struct {
	http.ResponseWriter
	at       time.Time
	id       string // ours, unique: what replicas and the log know it by
	clientID string // the client's own, "" where it sent no usable one
	trace    traceContext
	tenant   *tenant // nil where tenants are not told apart
	route    string  // "" for a path that is none of ours
	model    string  // Model.Name, once it is known
	code     string  // of our own error
	outcome  scale.Outcome
	served   scale.Served // how the exchange ended, if there was one
	began    bool         // a byte of a replica's reply came
	beats    bool         // heartbeats have made the reply an event stream
	shape    shape        // of that stream
	replica  scale.ReplicaID
	attempts int
	status   int
	bytes    int64 // of the reply's body
}

// newVisit takes in a request's header and says its ID in the reply's.
func (g *Gateway) newVisit(w http.ResponseWriter, r *http.Request) *visit {
	v := &visit{ResponseWriter: w, at: time.Now(), id: g.requestID(), trace: traceOf(r.Header), outcome: scale.OK}
	told := v.id
	if own := r.Header.Get("X-Request-Id"); usableID(own) {
		v.clientID, told = own, own
	}
	w.Header().Set("X-Request-Id", told)
	return v
}

// WriteHeader notes the status of the reply; an interim one is none.
func (v *visit) WriteHeader(status int) {
	if status >= http.StatusOK && v.status == 0 {
		v.status = status
	}
	v.ResponseWriter.WriteHeader(status)
}

// Write counts what was written.
func (v *visit) Write(p []byte) (int, error) {
	if v.status == 0 {
		v.status = http.StatusOK
	}
	n, err := v.ResponseWriter.Write(p)
	v.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (v *visit) Unwrap() http.ResponseWriter { return v.ResponseWriter }

// leave counts the visit and writes its line into the access log. The line has
// no prompt, no completion, no key, no query and no path but one of our own.
func (g *Gateway) leave(ctx context.Context, v *visit) {
	if v.tenant != nil {
		v.tenant.gauges.outcomes[v.outcome].Inc()
	}
	if g.AccessLog == nil {
		return
	}
	attrs := make([]slog.Attr, 0, 20)
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	number := func(key string, value int64, known bool) {
		if known {
			attrs = append(attrs, slog.Int64(key, value))
		}
	}
	text("request", v.id)
	text("client_request", v.clientID)
	text("trace", v.trace.id)
	text("tenant", v.tenant.name())
	text("route", v.route)
	text("model", v.model)
	text("outcome", v.outcome.String())
	text("code", v.code)
	number("status", int64(v.status), v.status > 0)
	number("held_ms", v.served.Held.Milliseconds(), v.served.Outcome > 0)
	number("ttft_ms", v.served.TTFT.Milliseconds(), v.began)
	number("total_ms", time.Since(v.at).Milliseconds(), true)
	number("tokens", int64(v.served.OutputTokens), v.began)
	number("bytes", v.bytes, true)
	text("replica", string(v.replica))
	number("attempt", int64(v.attempts), v.attempts > 0)
	g.AccessLog.LogAttrs(ctx, slog.LevelInfo, "request", attrs...)
}
