package gateway

import (
	"bytes"
	"net/http"
	"strconv"
)

const (
	lineHead = 16      // of a line, enough to tell "data: [DONE]" from others
	tailSize = 2 << 10 // of a reply, where engines put usage
)

// meter watches a reply go by: it counts the events of a stream, knows whether
// [DONE] came, and keeps the end of the reply, where usage stands.
type meter struct {
	events    bool // an event stream
	needsDone bool // whose protocol ends it with [DONE]
	chat      bool
	done      bool
	count     int // data events but [DONE]
	head      []byte
	length    int  // of the line so far
	blank     bool // between events
	tail      []byte
}

func newMeter(path string, reply *http.Response) meter {
	m := meter{events: isEvents(reply.Header), chat: path == "/v1/chat/completions", blank: true}
	m.needsDone = m.events && reply.StatusCode == http.StatusOK && reply.Header.Get("Content-Encoding") == "" &&
		(m.chat || path == "/v1/completions")
	m.head = make([]byte, 0, lineHead)
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
	m.head, m.length = m.head[:0], 0
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
func (m *meter) tokens() int {
	for _, key := range []string{`"completion_tokens"`, `"output_tokens"`} {
		if n, ok := numberAfter(m.tail, key); ok {
			return n
		}
	}
	if m.chat {
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
