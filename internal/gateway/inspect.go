package gateway

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/penstock/penstock/internal/scale"
)

// hints are what the gateway reads of a request's body, and no more.
type hints struct {
	model        string
	stream       bool
	limit        int // output tokens that the client allows; 0 for no limit
	promptTokens int // estimated
	prefix       uint64
}

// bytesPerToken turns the size of a prompt into tokens, roughly: for English
// text and usual vocabularies it is near 4.
const bytesPerToken = 4

var (
	errNoObject  = errors.New("the body is not one JSON object")
	errDuplicate = errors.New("a key occurs twice in one JSON object of the body")
	errNoModel   = errors.New("the body names no model")
)

// inspector reads bodies, one after another: what its decoder has learned to
// have room for serves the next one, which saves a sixth of what the garbage
// collector sees of a request.
type inspector struct {
	from    bytes.Buffer
	decoder jsontext.Decoder
}

func newInspector() any { return new(inspector) }

func (i *inspector) open(body []byte) {
	i.from = *bytes.NewBuffer(body)
	i.decoder.Reset(&i.from, jsontext.AllowInvalidUTF8(true))
}

// inspect returns the hints of one body, by an inspector that nobody uses.
func (g *Gateway) inspect(body []byte) (hints, error) {
	i := g.inspectors.Get().(*inspector)
	defer g.inspectors.Put(i)
	return i.inspect(body)
}

// inspect reads the model, the stream flag and the token hints. A body that
// two parsers could understand differently (a key twice, bytes after the
// object) is an error: what is authorised must be what is served. Text is not
// held to be valid UTF-8; what engines think of it is theirs to say.
func (i *inspector) inspect(body []byte) (hints, error) {
	i.open(body)
	defer i.open(nil) // which lets go of it
	var h hints
	d := &i.decoder
	if d.PeekKind() != '{' {
		return h, errNoObject
	}
	_, err := d.ReadToken()
	for err == nil && d.PeekKind() == '"' {
		err = h.member(d, body)
	}
	if err == nil {
		_, err = d.ReadToken() // the closing brace
	}
	if err == nil {
		if _, err = d.ReadToken(); errors.Is(err, io.EOF) {
			err = nil
		} else {
			err = errNoObject
		}
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return h, errDuplicate
	case errors.Is(err, errNoModel):
		return h, err
	case err != nil:
		return h, errNoObject
	case h.model == "":
		return h, errNoModel
	}
	return h, nil
}

// member reads one name and its value.
func (h *hints) member(d *jsontext.Decoder, body []byte) error {
	name, err := d.ReadValue()
	if err != nil {
		return err
	}
	name, err = plain(name)
	if err != nil {
		return err
	}
	switch string(name) {
	case "model":
		if d.PeekKind() != '"' {
			return errNoModel
		}
		token, err := d.ReadToken()
		h.model = token.String()
		if err == nil && strings.ContainsRune(h.model, utf8.RuneError) {
			return errNoObject // readers differ over text that is none
		}
		return err
	case "stream":
		h.stream = d.PeekKind() == 't'
	case "max_tokens", "max_completion_tokens", "max_output_tokens":
		if d.PeekKind() == '0' {
			value, err := d.ReadValue()
			if n, parsed := strconv.Atoi(string(value)); parsed == nil && n > 0 {
				h.limit = max(h.limit, min(n, maxTokens))
			}
			return err
		}
	case "messages", "prompt", "input":
		before := d.InputOffset()
		err := d.SkipValue()
		h.promptTokens += int(d.InputOffset()-before) / bytesPerToken
		if h.prefix == 0 {
			h.prefix = prefixOf(body[before:d.InputOffset()])
		}
		return err
	}
	if len(name) == len("model") && bytes.EqualFold(name, []byte("model")) {
		return errDuplicate // Go's encoding/json takes it for the same key
	}
	return d.SkipValue()
}

// prefixOf returns the hash of how a prompt begins, 0 for a short one. The text
// of its JSON serves: a client writes the same thing the same way.
func prefixOf(prompt []byte) uint64 {
	const size = scale.PrefixTokens * bytesPerToken
	if len(prompt) < size {
		return 0
	}
	return max(1, xxhash.Sum64(prompt[:size]))
}

// plain returns the text of a JSON string.
func plain(quoted jsontext.Value) ([]byte, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	return jsontext.AppendUnquote(nil, quoted)
}

// maxTokens bounds what a client's limit may claim, so that sums can not run
// over.
const maxTokens = 1 << 24
