package gateway

import (
	"bytes"
	"net/http"
	"strconv"
)

const (
	lineHead = 32      // of a line, enough to tell "event: response.incomplete" from others
	tailSize = 2 << 10 // of a reply, where engines put usage
)

// meter watches a reply go by: it counts the events of a stream, knows whether
// the one came that ends it, and keeps the end of the reply, where usage stands.
type meter struct {
	shape     shape
	events    bool // an event stream
	judged    bool // whose end can be told from a breaking off
	needsDone bool // whose protocol says how it ends
	done      bool // it did
	last      bool // the event that is being read ends a stream of responses
	failed    bool // and says that it went wrong
	count     int  // data events but [DONE]
	head      []byte
	length    int  // of the line so far
	blank     bool // between events
	tail      []byte
}

func newMeter(of shape, reply *http.Response, room *buffer) meter {
	m := meter{shape: of, events: isEvents(reply.Header), blank: true, tail: room.tail[:0]}
	m.judged = m.events && reply.StatusCode == http.StatusOK && reply.Header.Get("Content-Encoding") == ""
	m.needsDone = m.judged && (of == chat || of == completion)
	m.head = room.head[:0]
	return m
}

// see takes in bytes of the reply, split anyhow.
func (m *meter) see(p []byte) {
	m.keep(p)
	if !m.events {
		return
	}
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		m.head = append(m.head, part[:min(len(part), lineHead-len(m.head))]...)
		m.length += len(part)
		if end < 0 {
			m.blank = m.blank && m.length == 0
			return
		}
		m.line()
		p = p[end+1:]
	}
}

// line takes in that a line ended.
func (m *meter) line() {
	head := bytes.TrimSuffix(m.head, []byte("\r"))
	m.blank = len(head) == 0
	if data, ok := bytes.CutPrefix(head, []byte("data:")); ok {
		if string(bytes.TrimPrefix(data, []byte(" "))) == "[DONE]" {
			m.done = true
		} else {
			m.count++
		}
	}
	if m.shape == responses && m.judged {
		m.response(head)
	}
	m.head, m.length = m.head[:0], 0
}

// response takes in a line of a stream of responses. It ends with an event that
// says how it went; engines that name no events are not judged.
func (m *meter) response(head []byte) {
	if m.blank {
		m.done = m.done || m.last
		m.last = false
		return
	}
	name, ok := bytes.CutPrefix(head, []byte("event:"))
	if !ok {
		return
	}
	m.needsDone = true
	switch string(bytes.TrimPrefix(name, []byte(" "))) {
	case "response.completed", "response.incomplete":
		m.last = true
	case "response.failed", "error":
		m.last, m.failed = true, true
	}
}

// gap returns what must stand before an event of our own.
func (m *meter) gap() []byte {
	switch {
	case m.length > 0:
		return []byte("\n\n")
	case !m.blank:
		return []byte("\n")
	default:
		return nil
	}
}

// keep holds on to the last tailSize bytes.
func (m *meter) keep(p []byte) {
	if len(p) >= tailSize {
		m.tail = append(m.tail[:0], p[len(p)-tailSize:]...)
		return
	}
	if over := len(m.tail) + len(p) - tailSize; over > 0 {
		m.tail = m.tail[:copy(m.tail, m.tail[over:])]
	}
	m.tail = append(m.tail, p...)
}

// tokens returns the output tokens: as the engine counts them where it says
// so, else one per event. Chat streams begin with an event that has none.
// predicted_n is llama.cpp's count, which it gives without being asked to.
func (m *meter) tokens() int {
	for _, key := range []string{`"completion_tokens"`, `"output_tokens"`, `"predicted_n"`} {
		if n, ok := numberAfter(m.tail, key); ok {
			return n
		}
	}
	if m.shape == chat {
		return max(0, m.count-1)
	}
	return m.count
}

// numberAfter returns the number that follows the last occurrence of a JSON
// key. Within a string the quotes would be escaped, so it is a key.
func numberAfter(text []byte, key string) (int, bool) {
	at := bytes.LastIndex(text, []byte(key))
	if at < 0 {
		return 0, false
	}
	rest := bytes.TrimLeft(text[at+len(key):], ": \t\r\n")
	digits := 0
	for digits < len(rest) && digits < 10 && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	n, err := strconv.Atoi(string(rest[:digits]))
	return n, err == nil
}
