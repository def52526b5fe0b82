package gateway

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// read takes in the body and, where it names the model, what it asks for.
func (x *exchange) read() *refusal {
	if x.shape == opaque {
		return x.readOpaque()
	}
	if x.shape == remote {
		if f := x.readCall(); f != nil {
			return f
		}
		f := x.find()
		if f == nil && x.owner.model.SLO.Tokens() {
			x.hints.promptTokens = len(x.body) / bytesPerToken
		}
		return f
	}
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
	if x.shape == upload {
		x.hints, err = inspectForm(x.r.Header, x.body)
	} else {
		x.hints, err = x.gateway.inspect(x.body)
	}
	if err != nil {
		return misread(err)
	}
	if f := x.readQuery(); f != nil {
		return f
	}
	return x.find()
}

// readQuery holds the query against the body.
func (x *exchange) readQuery() *refusal {
	if x.r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil {
		return badRequest("query_unreadable", "The query could not be read.")
	}
	for _, name := range query["model"] {
		if name != x.hints.model {
			return badRequest("model_ambiguous", "The query names another model than the body.")
		}
	}
	return nil
}

// find looks up the model that was named.
func (x *exchange) find() *refusal {
	host := x.owner
	var f *refusal
	if x.owner, f = x.gateway.find(x.w.tenant, x.hints.model); f != nil {
		return f
	}
	if host != nil && host != x.owner {
		return otherHost()
	}
	return nil
}

// misread says what is wrong with a body.
func misread(err error) *refusal {
	switch {
	case errors.Is(err, errDuplicate):
		return badRequest("duplicate_key", "A key occurs twice in one object of the body.")
	case errors.Is(err, errNoModel):
		f := badRequest("model_missing", "The body must name the model as a string.")
		f.param = "model"
		return f
	case errors.Is(err, errNoForm):
		return badRequest("body_not_form", "The body must be a multipart form in its plain form.")
	default:
		return badRequest("body_not_json", "The body must be one JSON object.")
	}
}

// readOpaque takes in a body that is not looked into. A method whose body has
// no meaning must have none: servers that do not read it would take it for the
// next request on the connection.
func (x *exchange) readOpaque() *refusal {
	if f := x.readBody(); f != nil {
		return f
	}
	switch x.r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
	default:
		if len(x.body) > 0 {
			f := badRequest("body_unexpected", "A "+x.r.Method+" can not have a body here.")
			f.last = true
			return f
		}
	}
	if x.owner.model.SLO.Tokens() {
		x.hints.promptTokens = len(x.body) / bytesPerToken
	}
	return nil
}

// undelivered says whether a request that failed reached no replica.
func undelivered(err error) bool {
	var failure *net.OpError
	return errors.As(err, &failure) && failure.Op == "dial"
}
