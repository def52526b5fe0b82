package gateway

import (
	"context"
	"net/http"
	"strings"
)

// inferencePath is the prefix of a model's paths in the Open Inference
// Protocol.
const inferencePath = "/v2/models/"

// openInference serves the Open Inference Protocol over HTTP (KServe's v2 with
// Triton's extensions): the path names the model, and no body is looked into.
// A model that it serves is ready also while it
// sleeps, because a request is held until a replica is there. Paths that change
// what a server has loaded are not passed on.
func (x *exchange) openInference(ctx context.Context) {
	g, p := x.gateway, x.r.URL.Path
	if p == "/v2" {
		x.w.route = p
		if g.allow(x.w, x.r, http.MethodGet, http.MethodHead) {
			writeJSON(x.w, x.r, serverCard{Name: ownOwner, Version: "2", Extensions: []string{}})
		}
		return
	}
	rest, found := strings.CutPrefix(p, inferencePath)
	name, verb := splitModel(rest)
	if !found || name == "" {
		g.reject(x.w, x.r, notFound())
		return
	}
	host := x.owner
	var f *refusal
	if x.owner, f = g.find(x.w.tenant, name); f != nil {
		g.reject(x.w, x.r, f)
		return
	}
	if host != nil && host != x.owner {
		g.reject(x.w, x.r, otherHost())
		return
	}
	x.shape, x.w.route = opaque, strings.TrimSuffix(inferencePath+"*/"+verb, "/")
	switch verb {
	case "infer", "generate", "generate_stream":
		if g.allow(x.w, x.r, http.MethodPost) {
			x.run(ctx)
		}
	case "ready":
		if g.allow(x.w, x.r, http.MethodGet, http.MethodHead) {
			x.w.WriteHeader(http.StatusOK)
		}
	default: // metadata, config: only a replica knows
		if g.allow(x.w, x.r, http.MethodGet, http.MethodHead) {
			x.run(ctx)
		}
	}
}

// serverCard is the server metadata of the Open Inference Protocol.
type serverCard struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Extensions []string `json:"extensions"`
}

// splitModel takes what follows /v2/models/ apart: NAME[/versions/V][/VERB].
// A name may hold slashes.
func splitModel(rest string) (name, verb string) {
	name = rest
	if at := strings.LastIndexByte(name, '/'); at >= 0 {
		switch last := name[at+1:]; last {
		case "infer", "generate", "generate_stream", "ready", "config":
			name, verb = name[:at], last
		}
	}
	if at := strings.LastIndexByte(name, '/'); at >= 0 {
		if before, versioned := strings.CutSuffix(name[:at], "/versions"); versioned {
			name = before
		}
	}
	return name, verb
}

// isOpenInference says whether a request speaks the Open Inference Protocol.
func isOpenInference(r *http.Request) bool {
	return r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/") && openAI(r.URL.Path) == 0
}
