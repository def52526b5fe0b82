package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/penstock/penstock/internal/scale"
)

// The Open Inference Protocol over gRPC. Calls are passed on as the HTTP/2
// requests that they are: of a message only the model's name is read, so that
// no engine's extension of the protocol is in the way.
const (
	rpcService = "/inference.GRPCInferenceService/"
	rpcHealth  = "/grpc.health.v1.Health/Check"
	rpcType    = "application/grpc"
	rpcPrefix  = 5 // bytes before each message: compressed or not, and its length
)

var (
	errCompressed  = errors.New("a compressed message can not be looked into")
	errTooLarge    = errors.New("a message is larger than what is accepted")
	errBadMessage  = errors.New("a message is not in the plain form of protocol buffers")
	errOtherModel  = errors.New("a message names another model than the first of its stream")
	errManyAsked   = errors.New("a call of one message has more")
	errNoStatus    = errors.New("the call ended without a status")
	errBadMessages = errors.New("the client's messages can not be passed on")
)

// isRPC says whether a request is a gRPC call.
func isRPC(r *http.Request) bool {
	kind := r.Header.Get("Content-Type")
	return r.ProtoMajor > 1 && (kind == rpcType || kind == rpcType+"+proto")
}

// rpc serves a call. Whether a server lives or is ready is about the gateway; a
// model is ready also while it sleeps, because a call is held until a replica
// is there.
func (x *exchange) rpc(ctx context.Context) {
	method, found := strings.CutPrefix(x.r.URL.Path, rpcService)
	x.shape, x.w.route = remote, x.r.URL.Path
	switch {
	case x.r.Method != http.MethodPost:
		x.gateway.reject(x.w, x.r, notFound())
	case x.r.URL.Path == rpcHealth, found && (method == "ServerLive" || method == "ServerReady"):
		x.answer([]byte{1 << 3, 1}) // field 1 is true, or SERVING
	case found && method == "ServerMetadata":
		x.answer(append([]byte{1<<3 | 2, byte(len(ownOwner))}, ownOwner...)) // field 1 is the name
	case found && method == "ModelReady":
		if f := x.read(); f != nil {
			x.gateway.reject(x.w, x.r, f)
			return
		}
		x.answer([]byte{1 << 3, 1})
	case found && (method == "ModelInfer" || method == "ModelMetadata" || method == "ModelConfig"):
		x.run(ctx)
	case found && method == "ModelStreamInfer":
		x.streams = true
		defer x.endTape()
		x.run(ctx)
	default:
		x.w.route = ""
		x.gateway.reject(x.w, x.r, notFound())
	}
}

// answer ends a call well with a message of our own.
func (x *exchange) answer(message []byte) {
	h := x.w.Header()
	h.Set("Content-Type", rpcType)
	h.Set(http.TrailerPrefix+"Grpc-Status", "0")
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	_, _ = x.w.Write(append(frame, message...)) // a client that left needs no answer
}

// readCall takes in the one message of a call, or the first of a stream.
func (x *exchange) readCall() *refusal {
	if x.streams {
		return x.readStream()
	}
	if f := x.readBody(); f != nil {
		return f
	}
	name, rest, err := nextModel(x.body)
	if err == nil && len(rest) > 0 {
		err = errManyAsked
	}
	if err != nil {
		return badMessage(err)
	}
	x.hints.model = name
	return nil
}

// badMessage says what is wrong with a message.
func badMessage(err error) *refusal {
	switch {
	case errors.Is(err, errNoModel):
		return badRequest("model_missing", "The message must name the model.")
	case errors.Is(err, errCompressed):
		return &refusal{status: http.StatusUnsupportedMediaType, code: "body_encoded", message: "Compressed messages are not accepted."}
	case errors.Is(err, errTooLarge):
		return &refusal{status: http.StatusRequestEntityTooLarge, code: "body_too_large", message: "The message is larger than what is accepted."}
	case errors.Is(err, errOtherModel):
		return badRequest("model_ambiguous", "A message names another model than the first of its stream.")
	case errors.Is(err, errManyAsked):
		return badRequest("body_unreadable", "A call of one message has more.")
	case errors.Is(err, errBadMessage):
		return badRequest("body_unreadable", "The message could not be read, or names its model twice.")
	default:
		return unread(err)
	}
}

// nextModel returns the model of the message at the beginning of data, and what
// follows it.
func nextModel(data []byte) (name string, rest []byte, err error) {
	if len(data) < rpcPrefix {
		return "", nil, io.ErrUnexpectedEOF
	}
	if data[0] != 0 {
		return "", nil, errCompressed
	}
	size := int64(binary.BigEndian.Uint32(data[1:]))
	if int64(len(data)-rpcPrefix) < size {
		return "", nil, io.ErrUnexpectedEOF
	}
	name, err = messageModel(data[rpcPrefix : rpcPrefix+size])
	return name, data[rpcPrefix+size:], err
}

// The wire types of protocol buffers that are in use.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// messageModel returns field 1, where every request of the protocol has the
// model's name. Of two such fields readers take the last, but not all readers
// of the wire are alike, so a second one is an error, and so is anything that
// only lenient ones take: groups, or numbers longer than they need to be.
func messageModel(message []byte) (string, error) {
	name, seen := "", false
	for len(message) > 0 {
		tag, n := uvarint(message)
		if n <= 0 || tag>>3 == 0 || tag>>3 >= 1<<29 || tag == 1<<3|wireBytes && seen || tag>>3 == 1 && tag&7 != wireBytes {
			return "", errBadMessage
		}
		message = message[n:]
		var size uint64
		switch tag & 7 {
		case wireVarint:
			_, n = binary.Uvarint(message)
			if n <= 0 {
				return "", errBadMessage
			}
			size = uint64(n)
		case wireFixed64:
			size = 8
		case wireFixed32:
			size = 4
		case wireBytes:
			if size, n = uvarint(message); n <= 0 {
				return "", errBadMessage
			}
			message = message[n:]
		default:
			return "", errBadMessage
		}
		if size > uint64(len(message)) {
			return "", errBadMessage
		}
		if tag == 1<<3|wireBytes {
			name, seen = string(message[:size]), true
		}
		message = message[size:]
	}
	if name == "" {
		return "", errNoModel
	}
	return name, nil
}

// uvarint is binary.Uvarint for what is written in as few bytes as it can be.
func uvarint(b []byte) (uint64, int) {
	value, n := binary.Uvarint(b)
	if n > 1 && b[n-1] == 0 {
		return 0, -n
	}
	return value, n
}

// finishCall judges a call of which something was passed on. Its status comes
// in the trailer. One that was cut short ends with a status of ours.
func (y *relay) finishCall(ctx context.Context, out *result, err error) {
	trailer, status := y.reply.Trailer, y.reply.Trailer.Get("Grpc-Status")
	if status == "" {
		status = y.reply.Header.Get("Grpc-Status") // without a message there is no trailer
	}
	switch {
	case y.r.Context().Err() != nil:
		out.outcome, out.abort = scale.Cancelled, true
		return
	case errors.Is(err, io.EOF) && status != "":
		dropHops(trailer)
		for name, values := range trailer {
			y.w.Header()[http.TrailerPrefix+name] = values
		}
		out.outcome = scale.Failed
		if status == "0" {
			out.outcome = scale.OK
		}
		return
	case errors.Is(err, io.EOF):
		err = errNoStatus
	}
	err = why(ctx, err)
	f := lost(err)
	out.outcome = scale.Interrupted
	if errors.Is(err, errBadMessages) {
		f, out.outcome = y.tape.fault(), scale.Cancelled
	} else {
		y.lament(ctx, err)
	}
	for name, value := range f.rpcStatus() {
		y.w.Header().Set(http.TrailerPrefix+name, value)
	}
}

// writeRPC answers a call with the refusal.
func (f *refusal) writeRPC(w *visit) {
	h := w.Header()
	h.Set("Content-Type", rpcType)
	h.Del("Content-Length")
	for name, value := range f.rpcStatus() {
		h.Set(name, value)
	}
	w.WriteHeader(http.StatusOK)
}

// rpcStatus is the refusal as gRPC says it.
func (f *refusal) rpcStatus() map[string]string {
	pushback := "-1" // do not try again
	if f.retry {
		pushback = strconv.FormatInt(f.after.Milliseconds(), 10)
	}
	return map[string]string{
		"Grpc-Status": strconv.Itoa(f.rpcCode()), "Grpc-Message": rpcText(f.message), "Grpc-Retry-Pushback-Ms": pushback,
	}
}

// rpcCode is the gRPC status code for the HTTP status of a refusal.
func (f *refusal) rpcCode() int {
	switch f.status {
	case http.StatusBadRequest:
		return 3 // INVALID_ARGUMENT
	case http.StatusUnauthorized:
		return 16 // UNAUTHENTICATED
	case http.StatusForbidden:
		return 7 // PERMISSION_DENIED
	case http.StatusNotFound:
		if f.code == "not_found" {
			return 12 // UNIMPLEMENTED
		}
		return 5 // NOT_FOUND
	case http.StatusUnsupportedMediaType, http.StatusMethodNotAllowed:
		return 12 // UNIMPLEMENTED
	case http.StatusRequestEntityTooLarge, http.StatusTooManyRequests:
		return 8 // RESOURCE_EXHAUSTED
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return 4 // DEADLINE_EXCEEDED
	default:
		return 14 // UNAVAILABLE
	}
}

// rpcText is a message as a header may carry it.
func rpcText(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
