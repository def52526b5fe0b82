package gateway

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/penstock/penstock/internal/admission"
)

// refusal is an answer of our own in place of a replica's: an OpenAI-shaped
// error, and the headers that tell official clients whether to try again. They
// retry 408, 409, 429 and every 5xx by themselves unless x-should-retry says
// otherwise. Its text holds nothing internal: no address, no upstream text.
type refusal struct {
	status  int
	kind    string
	code    string
	message string
	param   string
	retry   bool          // x-should-retry
	after   time.Duration // Retry-After and, for those who know it, Retry-After-Ms; 0 for none
	last    bool          // Connection: close
}

// The kinds of errors, by OpenAI's words.
const (
	invalidRequest = "invalid_request_error"
	rateLimit      = "rate_limit_error"
	serverError    = "server_error"
)

// errorBody is the form of an error, alone or in an event.
type errorBody struct {
	Error errorFields `json:"error"`
}

type errorFields struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    string  `json:"code"`
}

func (f *refusal) body() []byte {
	fields := errorFields{Message: f.message, Type: f.kind, Code: f.code}
	if f.param != "" {
		fields.Param = &f.param
	}
	body, err := json.Marshal(errorBody{fields})
	if err != nil { // a model's name that is no UTF-8
		fields.Message = http.StatusText(f.status)
		body, _ = json.Marshal(errorBody{fields})
	}
	return body
}

// plainBody is the form of an error in the Open Inference Protocol, whose
// clients show the text as it is.
func (f *refusal) plainBody() []byte {
	body, err := json.Marshal(plainError{Error: f.message, Code: f.code})
	if err != nil {
		body, _ = json.Marshal(plainError{Error: http.StatusText(f.status), Code: f.code})
	}
	return body
}

type plainError struct {
	Error string `json:"error"`
	Code  string `json:"code"`
}

// write answers a request with the refusal, in the form of what was asked.
func (f *refusal) write(w *visit, r *http.Request) {
	w.code = f.code
	if w.beats {
		f.writeEvent(w, w.shape)
		return
	}
	if isRPC(r) {
		f.writeRPC(w)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Should-Retry", strconv.FormatBool(f.retry))
	if f.after > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(f.after.Seconds()))))
		h.Set("Retry-After-Ms", strconv.FormatInt(int64(math.Ceil(f.after.Seconds()*1000)), 10))
	}
	if f.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer") // RFC 9110 11.6.1 asks for it
	}
	if f.last {
		h.Set("Connection", "close")
	}
	body := f.body()
	if isOpenInference(r) {
		body = f.plainBody()
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(f.status)
	_, _ = w.Write(body) // a client that left needs no answer
}

func badRequest(code, message string) *refusal {
	return &refusal{status: http.StatusBadRequest, kind: invalidRequest, code: code, message: message}
}

func unauthorized(code, message string) *refusal {
	return &refusal{status: http.StatusUnauthorized, kind: invalidRequest, code: code, message: message}
}

// rateLimited says which limit of its own a tenant has reached. Where it takes
// longer than clients obey Retry-After they are told not to come back by
// themselves.
func rateLimited(what string, wait time.Duration) *refusal {
	return &refusal{
		status: http.StatusTooManyRequests, kind: rateLimit, code: "rate_limited",
		message: fmt.Sprintf("%s. Ask again in %s.", what, roundUp(wait)),
		retry:   wait <= longestObeyed, after: wait,
	}
}

func goingDown() *refusal {
	return &refusal{
		status: http.StatusServiceUnavailable, kind: serverError, code: "draining",
		message: "The gateway is shutting down. Send the request again.",
		retry:   true, after: time.Second, last: true,
	}
}

func unreachable() *refusal {
	return &refusal{
		status: http.StatusBadGateway, kind: serverError, code: "replica_unreachable",
		message: "The replicas that were tried failed before a reply began. Send the request again.",
		retry:   true, after: time.Second,
	}
}

// unknownFate answers what must not be sent a second time.
func unknownFate() *refusal {
	return &refusal{
		status: http.StatusBadGateway, kind: serverError, code: "replica_unreachable",
		message: "The replica failed before its reply began. Whether it acted on the request is not known, so it was not sent to another.",
	}
}

// otherHost answers a request whose host belongs to another model than the one
// it names.
func otherHost() *refusal {
	return badRequest("model_ambiguous", "The host belongs to another model than the one that is named.")
}

func bodyTooLarge(limit int64) *refusal {
	return &refusal{
		status: http.StatusRequestEntityTooLarge, kind: invalidRequest, code: "body_too_large", last: true,
		message: fmt.Sprintf("The body is larger than the %d bytes that are accepted.", limit),
	}
}

func bodyTooSlow() *refusal {
	return &refusal{
		status: http.StatusRequestTimeout, kind: invalidRequest, code: "body_too_slow", retry: true, last: true,
		message: "The body came too slowly.",
	}
}

// notServed says which models are: the few that there are, or the nearest.
func notServed(asked string, served []string) *refusal {
	const shown = 5
	slices.SortFunc(served, func(a, b string) int {
		if d := distance(asked, a) - distance(asked, b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	nearest := served[:min(shown, len(served))]
	asked = asked[:min(len(asked), 200)]
	return &refusal{
		status: http.StatusNotFound, kind: invalidRequest, code: "model_not_found", param: "model",
		message: fmt.Sprintf("The model %q is not served here. Try %s.", asked, strings.Join(nearest, ", ")),
	}
}

// distance is how unlike two names are: the letters that are not in a common
// beginning or end.
func distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	shorter := min(len(a), len(b))
	head := 0
	for head < shorter && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < shorter-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	return max(len(a), len(b)) - head - tail
}

// refused turns what admission said into an answer.
func refused(model string, d dispatch) *refusal {
	if d.Kind == admission.Expire {
		return &refusal{
			status: http.StatusGatewayTimeout, kind: serverError, code: "hold_deadline",
			message: fmt.Sprintf("No replica of %s became free within the %s that a request may wait.", model, roundUp(d.Held)),
		}
	}
	switch d.Why {
	case admission.GoingDown:
		return goingDown()
	case admission.TooManyHeld, admission.TooManyBytes:
	}
	after := time.Duration(math.Ceil(d.room.Seconds())) * time.Second
	what := fmt.Sprintf("%d requests are already waiting for %s", d.waiting, model)
	if d.Why == admission.TooManyBytes {
		what = fmt.Sprintf("The requests that already wait for %s leave no room for one of this size", model)
	}
	return &refusal{
		status: http.StatusTooManyRequests, kind: rateLimit, code: "queue_full",
		message: fmt.Sprintf("%s. It should have room in %s.", what, after), retry: true, after: after,
	}
}

func roundUp(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(time.Second)
	}
	return d.Round(time.Millisecond)
}
