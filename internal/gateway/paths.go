package gateway

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/penstock/penstock/internal/scale"
)

// shape is how a request names its model, and what its reply looks like.
type shape int

const (
	chat       shape = iota + 1 // JSON names the model; a stream ends with [DONE], its first event has no token
	completion                  // the same, and each event has a token
	responses                   // JSON names the model; a stream ends with an event that says how it went
	named                       // JSON names the model
	upload                      // a multipart form names the model
	opaque                      // path or host name the model; the body is not read
	remote                      // a gRPC call: its messages name the model
)

// openAI returns the shape of a path of OpenAI's API, or of those that engines
// serve beside it with the model in the body; 0 for another path.
func openAI(path string) shape {
	switch path {
	case "/v1/chat/completions":
		return chat
	case "/v1/completions":
		return completion
	case "/v1/responses":
		return responses
	case "/v1/embeddings", "/v1/rerank", "/v2/rerank", "/rerank", "/v1/score", "/v1/moderations",
		"/v1/audio/speech", "/v1/images/generations":
		return named
	case "/v1/audio/transcriptions", "/v1/audio/translations":
		return upload
	default:
		return 0
	}
}

// dispatch tells the paths apart.
func (g *Gateway) dispatch(w *visit, r *http.Request) {
	p := r.URL.Path
	x := exchange{gateway: g, w: w, r: r, control: http.NewResponseController(w), id: w.id, owner: g.hosts[hostname(r.Host)]}
	name, one := strings.CutPrefix(p, "/v1/models/")
	switch x.shape = openAI(p); {
	case isRPC(r):
		x.rpc(r.Context())
	case x.shape != 0:
		w.route = p
		if g.allow(w, r, http.MethodPost) {
			x.run(r.Context())
		}
	case p == "/v1/models" || one:
		w.route = "/v1/models"
		switch {
		case !g.allow(w, r, http.MethodGet, http.MethodHead):
		case one:
			g.oneModel(w, r, name)
		default:
			g.listModels(w, r)
		}
	case p == "/v2" || strings.HasPrefix(p, "/v2/"):
		x.openInference(r.Context())
	default:
		x.generic(r.Context())
	}
}

// generic serves a path or host that the configuration gives to a model. What
// is sent there is not looked into.
func (x *exchange) generic(ctx context.Context) {
	if x.owner == nil {
		x.owner = x.gateway.prefixed(x.r.URL.Path)
	}
	if x.owner == nil {
		x.gateway.reject(x.w, x.r, notFound())
		return
	}
	if !x.gateway.allow(x.w, x.r, http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions) {
		return
	}
	x.w.route = configuredRoute
	x.shape = opaque
	x.once = x.r.Method == http.MethodPost || x.r.Method == http.MethodPatch
	x.run(ctx)
}

// configuredRoute is what the access log calls a path that the configuration
// gives to a model: what stands in it is the model's business.
const configuredRoute = "*"

// prefixed returns the owner of the longest configured prefix of a path.
func (g *Gateway) prefixed(path string) *owner {
	for p := path; p != "" && len(g.prefixes) > 0; p = p[:strings.LastIndexByte(p, '/')] {
		if o := g.prefixes[p]; o != nil {
			return o
		}
	}
	return nil
}

// hostname is a Host header without its port, in lower case.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(host)
}

// allow refuses other methods than these.
func (g *Gateway) allow(w *visit, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	g.reject(w, r, &refusal{
		status: http.StatusMethodNotAllowed, kind: invalidRequest, code: "method_not_allowed",
		message: "This path takes " + methods[0] + ".",
	})
	return false
}

func notFound() *refusal {
	return &refusal{
		status: http.StatusNotFound, kind: invalidRequest, code: "not_found", message: "There is nothing at this path.",
	}
}

// index notes by which names, prefixes and hosts a model is asked for.
func (g *Gateway) index(m scale.Model, o *owner) {
	for _, name := range append([]string{m.Name}, m.Aliases...) {
		g.byName[name] = o
	}
	for _, p := range m.Paths {
		g.prefixes[p] = o
	}
	for _, host := range m.Hosts {
		g.hosts[host] = o
	}
}
