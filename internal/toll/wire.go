package toll

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
)

// wire is one HTTP/1.1 connection of the client. It costs a fraction of what
// net/http's does, so that the cores which client and proxy share are the
// proxy's. After a fault it must be closed: what comes later would be taken for
// the next request's reply.
type wire struct {
	conn net.Conn
	from *bufio.Reader
}

const wireBuffer = 16 << 10

func dial(ctx context.Context, target string) (*wire, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", target, err)
	}
	return &wire{conn: conn, from: bufio.NewReaderSize(conn, wireBuffer)}, nil
}

// request returns the bytes of a request with a body of so many bytes.
func request(body int, fields string) []byte {
	const head, tail = `{"model":"` + Model + `","messages":[{"role":"user","content":"`, `"}],"max_tokens":100}`
	text := bytes.Repeat([]byte("some words, "), body/12+1)[:max(0, body-len(head)-len(tail))]
	size := len(head) + len(text) + len(tail)
	out := fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: toll\r\nUser-Agent: toll\r\nContent-Type: application/json\r\n"+
		"Accept: application/json\r\nAuthorization: Bearer none\r\n%sContent-Length: %d\r\n\r\n%s", fields, size, head)
	return append(append(out, text...), tail...)
}

// Model is the name that is asked for.
const Model = "toll/model"

// exchange sends a request and reads its reply to the end, which must be a
// success.
func (w *wire) exchange(request []byte) error {
	if _, err := w.conn.Write(request); err != nil {
		return fmt.Errorf("send a request: %w", err)
	}
	return w.read()
}

func (w *wire) read() error {
	body, err := w.begin()
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return fmt.Errorf("read a reply: %w", err)
	}
	if rest, ok := body.(*io.LimitedReader); ok && rest.N > 0 {
		return fmt.Errorf("a reply ended %d bytes early: %w", rest.N, io.ErrUnexpectedEOF)
	}
	return nil
}

// begin reads the head of a reply and returns its body.
func (w *wire) begin() (io.Reader, error) {
	length, chunked := int64(-1), false
	first, err := readHead(w.from, func(name, value []byte) error {
		var err error
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			length, err = strconv.ParseInt(string(value), 10, 64)
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = string(value) == "chunked"
		}
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the head of a reply: %w", err)
	case first != "HTTP/1.1 200 OK":
		return nil, fmt.Errorf("the reply is %q", first)
	case chunked:
		return httputil.NewChunkedReader(w.from), nil
	case length < 0:
		return nil, errNoLength
	}
	return io.LimitReader(w.from, length), nil
}

var errNoLength = errors.New("the message has no length")

// readHead reads up to the empty line and shows each field.
func readHead(from *bufio.Reader, field func(name, value []byte) error) (first string, err error) {
	line, err := readLine(from)
	if err != nil {
		return "", err
	}
	first = string(line)
	for {
		if line, err = readLine(from); err != nil || len(line) == 0 {
			return first, err
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		if err := field(name, bytes.TrimSpace(value)); err != nil {
			return first, fmt.Errorf("field %s: %w", name, err)
		}
	}
}

func readLine(from *bufio.Reader) ([]byte, error) {
	line, err := from.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}), nil
}
