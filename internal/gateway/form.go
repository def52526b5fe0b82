package gateway

import (
	"bytes"
	"errors"
	"mime"
	"net/http"
	"regexp"
	"strings"
)

// errNoForm says that a body is no multipart form that everybody reads alike.
var errNoForm = errors.New("the body is not one multipart form in its plain form")

const maxParts = 100

// dispositionPattern is what browsers and HTTP clients write: a name, perhaps
// a file's name, nothing escaped.
var dispositionPattern = regexp.MustCompile(`^form-data; ?name="([^"\\%\r\n]*)"(; ?filename="[^"\\\r\n]*")?(; ?filename\*=[^"; \r\n]+)?$`)

// inspectForm reads the model of a multipart form (RFC 7578), as audio uploads
// are. Readers of forms differ over what stands before the first delimiter and
// after the last, over line ends and over escapes, so all of that is an error:
// the form must have one reading.
func inspectForm(header http.Header, body []byte) (hints, error) {
	var h hints
	kind, parameters, err := mime.ParseMediaType(header.Get("Content-Type"))
	delimiter := "--" + parameters["boundary"]
	if err != nil || kind != "multipart/form-data" || len(header["Content-Type"]) != 1 || !plainBoundary(parameters["boundary"]) {
		return h, errNoForm
	}
	rest, found := bytes.CutPrefix(body, []byte(delimiter))
	if !found || bytes.Count(body, []byte("\n"+delimiter)) != bytes.Count(body, []byte("\r\n"+delimiter)) ||
		bytes.Count(body, []byte("\r"+delimiter)) != 0 {
		return h, errNoForm
	}
	names := map[string]bool{}
	for {
		if end := string(rest); end == "--" || end == "--\r\n" {
			break
		}
		part, ok := bytes.CutPrefix(rest, []byte("\r\n"))
		if !ok || len(names) == maxParts {
			return h, errNoForm
		}
		part, rest, ok = bytes.Cut(part, []byte("\r\n"+delimiter))
		if !ok {
			return h, errNoForm
		}
		name, value, ok := readPart(part)
		switch {
		case !ok:
			return h, errNoForm
		case names[name] && !strings.HasSuffix(name, "[]"):
			return h, errDuplicate
		case name == "model":
			h.model = string(value)
		case name == "stream":
			h.stream = string(value) == "true"
		}
		names[name] = true
	}
	if h.model == "" {
		return h, errNoModel
	}
	return h, nil
}

// readPart returns name and content of a part. A model that comes as a file is
// no text to all readers.
func readPart(part []byte) (name string, value []byte, ok bool) {
	head, value, ok := bytes.Cut(part, []byte("\r\n\r\n"))
	if !ok {
		return "", nil, false
	}
	named, file := false, false
	for line := range strings.SplitSeq(string(head), "\r\n") {
		field, content, ok := strings.Cut(line, ":")
		if !ok || strings.ContainsAny(line, "\r\n\x00") || strings.ContainsAny(field, " \t") {
			return "", nil, false
		}
		switch strings.ToLower(field) {
		case "content-disposition":
			match := dispositionPattern.FindStringSubmatch(strings.Trim(content, " \t"))
			if match == nil || named {
				return "", nil, false
			}
			named, name, file = true, match[1], match[2] != "" || match[3] != ""
		case "content-transfer-encoding":
			return "", nil, false
		}
	}
	return name, value, named && (name != "model" || !file)
}

// plainBoundary says whether a boundary is of the letters that need no quotes,
// and of the length that RFC 2046 allows.
func plainBoundary(b string) bool {
	return b != "" && len(b) <= 70 && strings.IndexFunc(b, func(c rune) bool {
		return c != '-' && c != '_' && c != '.' && c != '\'' && c != '+' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
	}) < 0
}
