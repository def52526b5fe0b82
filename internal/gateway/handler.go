package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/admission"
	"github.com/penstock/penstock/internal/scale"
)

const (
	// A body must come within slowBody and, after that, at slowRate at least.
	slowBody = 10 * time.Second
	slowRate = 64 << 10 // bytes/s
	// firstRead is how much memory a body gets before any of it has come, and
	// trust is how many times what has come it gets next, if it says that it is so
	// long: a length is quickly said.
	firstRead = 16 << 10
	trust     = 8
)

// Handler returns the data plane: OpenAI's paths, the Open Inference Protocol's,
// those that the models' configuration names, /healthz and /readyz.
func (g *Gateway) Handler() http.Handler {
	g.prepare()
	return http.HandlerFunc(g.serve)
}

func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	v := g.newVisit(w, r)
	defer g.leave(r.Context(), v)
	if f := hygiene(r); f != nil {
		g.reject(v, r, f)
		return
	}
	if len(r.TransferEncoding) > 0 {
		// RFC 9112 6.1 asks this where Content-Length came as well, and
		// net/http does not show that it did.
		v.Header().Set("Connection", "close")
	}
	switch {
	case r.URL.Path == "/healthz" || r.URL.Path == "/v2/health/live":
		v.route = r.URL.Path
		if g.allow(v, r, http.MethodGet, http.MethodHead) {
			v.WriteHeader(http.StatusOK)
		}
	case r.URL.Path == "/readyz" || r.URL.Path == "/v2/health/ready":
		v.route = r.URL.Path
		if g.allow(v, r, http.MethodGet, http.MethodHead) && g.door.isShut() {
			goingDown().write(v, r)
		}
	case !g.door.enter():
		g.reject(v, r, goingDown())
	default:
		defer g.door.leave()
		g.admit(v, r)
	}
}

// admit finds out who asks before anything else is looked at.
func (g *Gateway) admit(v *visit, r *http.Request) {
	var f *refusal
	if v.tenant, f = g.keys.authenticate(r.Header); f != nil {
		g.reject(v, r, f)
		return
	}
	g.dispatch(v, r)
}

// reject answers a request that does not come as far as admission.
func (g *Gateway) reject(w *visit, r *http.Request, f *refusal) {
	g.metrics.rejected.WithLabelValues(f.code).Inc()
	w.outcome = scale.Refused
	f.write(w, r)
}

// requestID returns an ID that no other request has, in this run or another.
func (g *Gateway) requestID() string {
	return "req-" + g.boot + "-" + strconv.FormatUint(g.requests.Add(1), 36)
}

func usableID(id string) bool {
	return id != "" && len(id) <= 128 && strings.IndexFunc(id, func(c rune) bool {
		return c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
	}) < 0
}

// hygiene refuses requests that we and a server behind us could read
// differently. net/http refuses most others (two lengths, bad chunks).
func hygiene(r *http.Request) *refusal {
	p := r.URL.Path
	switch {
	case r.URL.IsAbs() || r.URL.Opaque != "":
		return badRequest("absolute_target", "The request target must be a path.")
	case p != path.Clean(p) || r.URL.EscapedPath() != p:
		return badRequest("path_not_canonical", "The path must be in its plain form: without //, dot segments, a slash at its end or percent-encoding.")
	}
	for name := range r.Header {
		if strings.Contains(name, "_") {
			return badRequest("bad_header", "Header names with an underscore are not accepted.")
		}
	}
	return nil
}

// exchange is one request for a model, from its body to the end of its reply.
type exchange struct {
	gateway *Gateway
	w       *visit
	r       *http.Request
	control *http.ResponseController
	id      string
	shape   shape
	once    bool // what a replica may have taken in must not be sent to another
	streams bool // messages go on to come while the reply does
	tape    *tape
	body    []byte
	hints   hints
	owner   *owner // of the model; until the body is read, of the host, if it is a model's
	call    *call
	settled bool // the owner knows how it ended
	over    bool // the visit does
}

// run serves the exchange. It panics with http.ErrAbortHandler to abort the
// connection of a reply that was cut short, which is how net/http wants it.
func (x *exchange) run(ctx context.Context) {
	t := x.w.tenant
	if f := t.enter(x.w.at); f != nil {
		x.gateway.reject(x.w, x.r, f)
		return
	}
	defer func() { t.leave(x.w.served) }()
	if f := x.read(); f != nil {
		x.gateway.reject(x.w, x.r, f)
		return
	}
	if !t.sees(x.owner.model.Name) { // of the path or the host; read has looked at names
		x.gateway.reject(x.w, x.r, notFound())
		return
	}
	x.w.model = x.owner.model.Name
	now := time.Now()
	if f := t.charge(x.hints.promptTokens, now); f != nil {
		x.gateway.reject(x.w, x.r, f)
		return
	}
	x.call = &call{
		request: scale.Request{
			ID: scale.RequestID(x.gateway.requests.Add(1)), At: now, Model: x.owner.model.Name,
			PromptTokens: x.hints.promptTokens, Prefix: x.hints.prefix, Bytes: len(x.body), Deadline: now.Add(x.owner.model.SLO.MaxHold),
		},
		limit:    x.hints.limit,
		dispatch: make(chan dispatch, 1),
	}
	if t != nil {
		x.call.request.Tenant, x.call.request.Priority = t.Name, t.Priority
	}
	if !x.owner.post(event{kind: arrived, call: x.call}) {
		x.gateway.reject(x.w, x.r, goingDown())
		return
	}
	defer x.settle(result{outcome: scale.Failed}) // only if a panic came before the one below
	result := x.attempts(ctx)
	x.settle(result)
	if result.abort || x.w.beats && result.outcome != scale.OK {
		panic(http.ErrAbortHandler)
	}
}

// attempts sends the request until there is a reply, at most twice.
func (x *exchange) attempts(ctx context.Context) result {
	for tries := 1; ; tries++ {
		d, err := x.wait(ctx)
		switch {
		case errors.Is(err, errNotRunning):
			x.settled = true
			goingDown().write(x.w, x.r)
			return result{outcome: scale.Refused}
		case err != nil:
			return result{outcome: scale.Cancelled}
		}
		tell(x.w.Header(), d)
		if d.Kind != admission.Send {
			x.settled = true
			refused(x.owner.model.Name, d).write(x.w, x.r)
			outcome := scale.Refused
			if d.Kind == admission.Expire {
				outcome = scale.Expired
			}
			return result{outcome: outcome, held: d.Held, woke: d.Woke}
		}
		x.w.replica, x.w.attempts = d.Replica, tries
		result := x.attempt(ctx, d.attempt)
		result.held, result.woke = d.Held, d.Woke
		if result.failed == nil {
			return result
		}
		x.gateway.Logger.WarnContext(ctx, "replica failed before its reply began",
			"model", x.owner.model.Name, "replica", d.Replica, "request", x.id, "attempt", tries, "error", result.failed)
		switch {
		case errors.Is(result.failed, errGoingDown):
			goingDown().write(x.w, x.r)
			result.outcome = scale.Refused
			return result
		case errors.Is(result.failed, errBadMessages):
			x.tape.fault().write(x.w, x.r)
			result.outcome = scale.Cancelled
			return result
		case (x.once || x.tape != nil && x.tape.spent()) && !undelivered(result.failed):
			unknownFate().write(x.w, x.r)
			return result
		case tries == maxTries || !x.owner.post(event{kind: failed, call: x.call}):
			unreachable().write(x.w, x.r)
			return result
		}
	}
}

// tell says in a reply's header how long its request was held, and whether it
// waited for a wake from zero, so that clients can judge by it, too.
func tell(h http.Header, d dispatch) {
	if d.Held > 0 {
		h.Set("X-Penstock-Held-Ms", strconv.FormatInt(d.Held.Milliseconds(), 10))
	}
	if d.Woke {
		h.Set("X-Penstock-Woke", "true")
	}
}

// maxTries is how often a request is sent at most.
const maxTries = 2

// wait returns what admission decides, or why the exchange is over before.
func (x *exchange) wait(ctx context.Context) (dispatch, error) {
	beat, stop := x.beats()
	defer stop()
	for {
		select {
		case d := <-x.call.dispatch:
			return d, nil
		case <-ctx.Done():
			return dispatch{}, ctx.Err()
		case <-x.owner.stopped:
			return dispatch{}, errNotRunning
		case <-beat:
			x.beat()
		}
	}
}

// settle tells the visit how the exchange ended, and the owner, where it does
// not know; once.
func (x *exchange) settle(r result) {
	if x.over {
		return
	}
	x.over = true
	end, c := time.Now(), x.call
	served := scale.Served{
		Outcome: r.outcome, Held: r.held, Woke: r.woke, Streamed: r.streamed,
		Total: end.Sub(c.request.At), OutputTokens: r.tokens,
	}
	if !r.begin.IsZero() {
		served.TTFT, x.w.began = r.begin.Sub(c.request.At), true
	}
	x.w.outcome, x.w.served = served.Outcome, served
	if x.settled {
		return
	}
	x.settled = true
	c.begin, c.end, c.served = r.begin, end, served
	x.owner.post(event{kind: ended, call: c})
}

// readBody takes in the body, bounded in size and patience.
func (x *exchange) readBody() *refusal {
	limit := x.gateway.Limits.MaxBody
	size := x.r.ContentLength
	if size > limit {
		return bodyTooLarge(limit)
	}
	expect := limit
	if size >= 0 {
		expect = size
	}
	patience := slowBody + time.Duration(expect)*time.Second/slowRate
	// net/http takes the deadline away when the body has been read. Not every
	// test's writer has one.
	_ = x.control.SetReadDeadline(time.Now().Add(patience))
	body := make([]byte, 0, min(max(size, 0)+1, firstRead))
	from := io.LimitReader(x.r.Body, limit+1)
	for {
		n, err := from.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return unread(err)
		}
		if len(body) == cap(body) {
			said := int(min(size+1, int64(trust*len(body)))) - len(body)
			body = slices.Grow(body, max(len(body), said))
		}
	}
	if int64(len(body)) > limit {
		return bodyTooLarge(limit)
	}
	x.body = body
	return nil
}

func unread(err error) *refusal {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return bodyTooSlow()
	}
	f := badRequest("body_unreadable", "The body could not be read to its end.")
	f.last = true
	return f
}
