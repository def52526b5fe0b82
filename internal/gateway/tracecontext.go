package gateway

import (
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strings"
)

// traceContext is what a request says of the trace it is part of, by W3C's
// Trace Context (https://www.w3.org/TR/trace-context/). The zero value is a
// request that is part of none: nothing is begun for it, so that an engine's
// own sampler decides.
type traceContext struct {
	id    string // 32 hexadecimal digits
	flags string // 2 of them
	fresh bool   // what came was invalid: id is ours, and tracestate is void
}

const (
	traceVersion = "00"
	traceLength  = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	knownFlags   = 0x03 // sampled, random: what is not known must not be passed on
)

// traceOf reads the header. An invalid one begins a new trace.
func traceOf(h http.Header) traceContext {
	fields := h["Traceparent"]
	if len(fields) == 0 {
		return traceContext{}
	}
	if c, ok := parseTrace(fields[0]); ok && len(fields) == 1 {
		return c
	}
	return traceContext{id: randomHex(16), flags: "00", fresh: true}
}

// parseTrace reads a traceparent. Of a version that is not known yet, what
// stands where ours does is taken for ours, as the specification asks.
func parseTrace(text string) (traceContext, bool) {
	if len(text) < traceLength || text[2] != '-' || text[35] != '-' || text[52] != '-' {
		return traceContext{}, false
	}
	version, id, parent, flags := text[:2], text[3:35], text[36:52], text[53:55]
	for _, part := range []string{version, id, parent, flags} {
		if strings.Trim(part, "0123456789abcdef") != "" {
			return traceContext{}, false
		}
	}
	rest := text[traceLength:]
	switch {
	case version == "ff", version == traceVersion && rest != "", rest != "" && rest[0] != '-':
		return traceContext{}, false
	case strings.Trim(id, "0") == "", strings.Trim(parent, "0") == "":
		return traceContext{}, false
	}
	raw, _ := hex.DecodeString(flags) // they are digits
	return traceContext{id: id, flags: hex.EncodeToString([]byte{raw[0] & knownFlags})}, true
}

// forward writes the headers for a replica: the same trace, a parent of our own.
func (c traceContext) forward(h http.Header) {
	if c.id == "" || c.fresh {
		delete(h, "Tracestate")
	}
	if c.id == "" {
		delete(h, "Traceparent")
		return
	}
	h["Traceparent"] = []string{traceVersion + "-" + c.id + "-" + randomHex(8) + "-" + c.flags}
}

// randomHex returns n random bytes, not all zero, as hexadecimal digits.
func randomHex(n int) string {
	raw := make([]byte, n)
	for i := range raw {
		raw[i] = byte(rand.Uint32())
	}
	raw[n-1] |= 1
	return hex.EncodeToString(raw)
}
