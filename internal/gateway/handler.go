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
	// firstRead is how much memory a body gets before any of it has come.
	firstRead = 64 << 10
)

// Handler returns the data plane: /v1/chat/completions, /v1/completions,
// /v1/embeddings, /v1/responses, /v1/models, /healthz and /readyz.
func (g *Gateway) Handler() http.Handler {
	g.prepare()
	return http.HandlerFunc(g.serve)
}

func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	id := g.requestID()
	reply := r.Header.Get("X-Request-Id")
	if !usableID(reply) {
		reply = id
	}
	w.Header().Set("X-Request-Id", reply)
	if f := hygiene(r); f != nil {
		g.reject(w, f)
		return
	}
	if len(r.TransferEncoding) > 0 {
		// RFC 9112 6.1 asks this where Content-Length came as well, and
		// net/http does not show that it did.
		w.Header().Set("Connection", "close")
	}
	switch {
	case r.URL.Path == "/healthz":
		w.WriteHeader(http.StatusOK)
	case r.URL.Path == "/readyz":
		if g.door.isShut() {
			goingDown().write(w)
		}
	case !g.door.enter():
		g.reject(w, goingDown())
	default:
		defer g.door.leave()
		g.dispatch(w, r, id)
	}
}

// dispatch tells the paths apart.
func (g *Gateway) dispatch(w http.ResponseWriter, r *http.Request, id string) {
	switch p := r.URL.Path; p {
	case "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses":
		if r.Method != http.MethodPost {
			g.reject(w, wrongMethod(w, http.MethodPost))
			return
		}
		x := exchange{gateway: g, w: w, r: r, control: http.NewResponseController(w), id: id}
		x.run(r.Context())
	default:
		name, one := strings.CutPrefix(p, "/v1/models/")
		switch {
		case p != "/v1/models" && !one:
			g.reject(w, &refusal{
				status: http.StatusNotFound, kind: invalidRequest, code: "not_found", message: "There is nothing at this path.",
			})
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			g.reject(w, wrongMethod(w, http.MethodGet))
		case one:
			g.oneModel(w, name)
		default:
			g.listModels(w)
		}
	}
}

func wrongMethod(w http.ResponseWriter, allowed string) *refusal {
	w.Header().Set("Allow", allowed)
	return &refusal{
		status: http.StatusMethodNotAllowed, kind: invalidRequest, code: "method_not_allowed",
		message: "This path takes " + allowed + ".",
	}
}

// reject answers a request whose model is not known.
func (g *Gateway) reject(w http.ResponseWriter, f *refusal) {
	g.metrics.rejected.WithLabelValues(f.code).Inc()
	f.write(w)
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
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	id      string
	body    []byte
	hints   hints
	owner   *owner
	call    *call
	settled bool // the owner knows how it ended
}

// run serves the exchange. It panics with http.ErrAbortHandler to abort the
// connection of a reply that was cut short, which is how net/http wants it.
func (x *exchange) run(ctx context.Context) {
	if f := x.read(); f != nil {
		x.gateway.reject(x.w, f)
		return
	}
	now := time.Now()
	x.call = &call{
		request: scale.Request{
			ID: scale.RequestID(x.gateway.requests.Add(1)), At: now, Model: x.owner.model.Name,
			PromptTokens: x.hints.promptTokens, Bytes: len(x.body), Deadline: now.Add(x.owner.model.SLO.MaxHold),
		},
		limit:    x.hints.limit,
		dispatch: make(chan dispatch, 1),
	}
	if !x.owner.post(event{kind: arrived, call: x.call}) {
		x.gateway.reject(x.w, goingDown())
		return
	}
	defer x.settle(result{outcome: scale.Failed}) // only if a panic came before the one below
	result := x.attempts(ctx)
	x.settle(result)
	if result.abort {
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
			goingDown().write(x.w)
			return result{outcome: scale.Refused}
		case err != nil:
			return result{outcome: scale.Cancelled}
		}
		tell(x.w.Header(), d)
		if d.Kind != admission.Send {
			x.settled = true
			refused(x.owner.model.Name, d).write(x.w)
			return result{}
		}
		result := x.attempt(ctx, d.attempt)
		result.held, result.woke = d.Held, d.Woke
		if result.failed == nil {
			return result
		}
		x.gateway.Logger.WarnContext(ctx, "replica failed before its reply began",
			"model", x.owner.model.Name, "replica", d.Replica, "request", x.id, "attempt", tries, "error", result.failed)
		switch {
		case errors.Is(result.failed, errGoingDown):
			goingDown().write(x.w)
			result.outcome = scale.Refused
			return result
		case tries == maxTries || !x.owner.post(event{kind: failed, call: x.call}):
			unreachable().write(x.w)
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
	select {
	case d := <-x.call.dispatch:
		return d, nil
	case <-ctx.Done():
		return dispatch{}, ctx.Err()
	case <-x.owner.stopped:
		return dispatch{}, errNotRunning
	}
}

// settle tells the owner how the exchange ended, once.
func (x *exchange) settle(r result) {
	if x.settled {
		return
	}
	x.settled = true
	end := time.Now()
	c := x.call
	c.begin, c.end = r.begin, end
	c.served = scale.Served{
		Outcome: r.outcome, Held: r.held, Woke: r.woke, Streamed: r.streamed,
		Total: end.Sub(c.request.At), OutputTokens: r.tokens,
	}
	if !r.begin.IsZero() {
		c.served.TTFT = r.begin.Sub(c.request.At)
	}
	x.owner.post(event{kind: ended, call: c})
}

// read takes in the body and what it asks for.
func (x *exchange) read() *refusal {
	if e := x.r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return &refusal{
			status: http.StatusUnsupportedMediaType, kind: invalidRequest, code: "body_encoded",
			message: "Bodies with a Content-Encoding are not accepted.", last: true,
		}
	}
	if f := x.readBody(); f != nil {
		return f
	}
	var err error
	switch x.hints, err = inspect(x.body); {
	case errors.Is(err, errDuplicate):
		return badRequest("duplicate_key", "A key occurs twice in one object of the body.")
	case errors.Is(err, errNoModel):
		f := badRequest("model_missing", "The body must name the model as a string.")
		f.param = "model"
		return f
	case err != nil:
		return badRequest("body_not_json", "The body must be one JSON object.")
	}
	if x.r.URL.RawQuery != "" {
		for _, name := range x.r.URL.Query()["model"] {
			if name != x.hints.model {
				return badRequest("model_ambiguous", "The query names another model than the body.")
			}
		}
	}
	if x.owner = x.gateway.byName[x.hints.model]; x.owner == nil {
		return notServed(x.hints.model, x.gateway.names())
	}
	return nil
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
			body = slices.Grow(body, len(body))
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
