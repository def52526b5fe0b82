package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/scale"
)

// TestProxyBehaviours is what a proxy has to keep to, by RFC 9110 and 9112: the
// facts that the tests of Go's net/http/httputil (BSD licence) hold its
// ReverseProxy to, for this gateway. Where it does otherwise on purpose the row
// says so.
func TestProxyBehaviours(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for name, c := range map[string]struct {
		send  string // request line and header lines, without Host, and body
		reply string // of the replica

		up, notUp     []string // lines that its request has, or has not
		down, notDown []string // lines that the reply to the client has, or has not
	}{
		"hop-by-hop headers stay on their hop": {
			send: "GET /detect HTTP/1.1\r\nConnection: X-Mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: timeout=9\r\nTE: deflate\r\nTrailer: X\r\nProxy-Connection: y\r\nProxy-Authorization: z\r\nX-End: 1\r\n\r\n", reply: ok,
			up: []string{"X-End: 1"}, notUp: []string{"X-Mine", "Keep-Alive", "Te:", "Trailer", "Proxy-", "Connection"},
		},
		"also those that several Connection headers name": {
			send: "GET /detect HTTP/1.1\r\nConnection: , X-A ,\r\nConnection:\r\nConnection: x-b\r\nX-A: 1\r\nX-B: 2\r\n\r\n", reply: ok, notUp: []string{"X-A", "X-B", "Connection"},
		},
		"and those of a reply": {
			send: "GET /detect HTTP/1.1\r\n\r\n", reply: "HTTP/1.1 200 OK\r\nConnection: X-Mine\r\nX-Mine: 1\r\nProxy-Authenticate: y\r\nUpgrade: z\r\nKeep-Alive: 5\r\nX-End: 1\r\nContent-Length: 2\r\n\r\nok",
			down: []string{"X-End: 1"}, notDown: []string{"X-Mine", "Proxy-Authenticate", "Upgrade", "Keep-Alive"},
		},
		"what is said of the client is not believed, and nothing is said of it": {
			send: "GET /detect HTTP/1.1\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: h\r\nX-Forwarded-Proto: https\r\nForwarded: for=1.2.3.4\r\n\r\n", reply: ok, notUp: []string{"Forwarded"},
		},
		"the query goes on as it came": {
			send: "GET /detect?a=b&c=%20+&d&&=e&a=2&f=/?%C3%A9 HTTP/1.1\r\n\r\n", reply: ok, up: []string{"GET /detect?a=b&c=%20+&d&&=e&a=2&f=/?%C3%A9 HTTP/1.1"},
		},
		"a query with a bare question mark": {send: "GET /detect? HTTP/1.1\r\n\r\n", reply: ok, up: []string{"GET /detect HTTP/1.1"}},
		"no user agent stays none":          {send: "GET /detect HTTP/1.1\r\n\r\n", reply: ok, notUp: []string{"User-Agent"}},
		"a user agent goes on":              {send: "GET /detect HTTP/1.1\r\nUser-Agent: me/1\r\n\r\n", reply: ok, up: []string{"User-Agent: me/1"}},
		"a GET has no body":                 {send: "GET /detect HTTP/1.1\r\n\r\n", reply: ok, notUp: []string{"Content-Length", "Transfer-Encoding"}},
		"a POST without a body says so":     {send: "POST /detect HTTP/1.1\r\nContent-Length: 0\r\n\r\n", reply: ok, up: []string{"Content-Length: 0"}},
		"a chunked body goes on with its length": {
			send: "POST /detect HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", reply: ok, up: []string{"Content-Length: 3", "abc"}, notUp: []string{"Transfer-Encoding"},
		},
		"a request's trailer ends here": {
			send: "POST /detect HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n", reply: ok, notUp: []string{"X-T"},
		},
		"the replica's host is the replica's": {send: "GET /detect HTTP/1.1\r\n\r\n", reply: ok, notUp: []string{"Host: client"}},
		"several values keep their order":     {send: "GET /detect HTTP/1.1\r\nX-V: 2\r\nX-V: 1\r\n\r\n", reply: ok, up: []string{"X-V: 2\r\nX-V: 1"}},
		"cookies of a reply keep theirs": {
			send: "GET /detect HTTP/1.1\r\n\r\n", reply: "HTTP/1.1 200 OK\r\nSet-Cookie: b=1\r\nSet-Cookie: a=2\r\nContent-Length: 0\r\n\r\n", down: []string{"Set-Cookie: b=1\r\nSet-Cookie: a=2"},
		},
		"compression is not asked for": {send: "GET /detect HTTP/1.1\r\nAccept-Encoding: gzip\r\n\r\n", reply: ok, notUp: []string{"Accept-Encoding"}},
		"what is compressed stays so": {
			send: "GET /detect HTTP/1.1\r\n\r\n", reply: "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nzip", down: []string{"Content-Encoding: gzip", "Content-Length: 3", "\r\n\r\nzip"},
		},
		"100-continue is answered here": {
			send: "POST /detect HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", reply: ok, notUp: []string{"Expect"}, down: []string{"HTTP/1.1 100 Continue", "HTTP/1.1 200 OK"},
		},
		"interim replies stay here, with their headers": {
			send: "GET /detect HTTP/1.1\r\n\r\n", reply: "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok, down: []string{"HTTP/1.1 200 OK"}, notDown: []string{"103", "102", "Link"},
		},
		"an upgrade is not passed on": {
			send: "GET /detect HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", reply: ok, notUp: []string{"Upgrade", "Connection"}, down: []string{"200 OK"},
		},
		"a replica that upgrades all the same is no success": {
			send: "GET /detect HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", reply: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", down: []string{"HTTP/1.1 502"},
		},
		"204 has no body":                      {send: "GET /detect HTTP/1.1\r\n\r\n", reply: "HTTP/1.1 204 No Content\r\nX-End: 1\r\n\r\n", down: []string{"HTTP/1.1 204", "X-End: 1"}, notDown: []string{"Content-Length", "Transfer-Encoding"}},
		"304 has no body":                      {send: "GET /detect HTTP/1.1\r\n\r\n", reply: "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", down: []string{"HTTP/1.1 304", "Etag: \"a\""}},
		"206 goes on":                          {send: "GET /detect HTTP/1.1\r\nRange: bytes=0-1\r\n\r\n", reply: "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nok", up: []string{"Range: bytes=0-1"}, down: []string{"HTTP/1.1 206", "Content-Range: bytes 0-1/9"}},
		"a redirect is the client's to follow": {send: "GET /detect HTTP/1.1\r\n\r\n", reply: "HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n", down: []string{"HTTP/1.1 302", "Location: http://elsewhere/"}},
		"HEAD has a length and no body":        {send: "HEAD /detect HTTP/1.1\r\n\r\n", reply: "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n", up: []string{"HEAD /detect"}, down: []string{"Content-Length: 42"}},
		"an error's body goes on":              {send: "GET /detect HTTP/1.1\r\n\r\n", reply: "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", down: []string{"HTTP/1.1 500", "oops"}},
		"a reply's date is its own":            {send: "GET /detect HTTP/1.1\r\n\r\n", reply: "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n", down: []string{"Date: Thu, 01 Jan 1970 00:00:00 GMT"}},
		"no type is guessed where none was given": {
			send: "GET /detect HTTP/1.1\r\n\r\n", reply: "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", notDown: []string{"text/html"},
		},
		"a reply's trailer ends here, as what it has is not looked into": {
			send: "GET /detect HTTP/1.1\r\n\r\n", reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n", down: []string{"ok"}, notDown: []string{"X-T"},
		},
		"X-Penstock headers are ours alone": {
			send: "GET /detect HTTP/1.1\r\nX-Penstock-Held-Ms: 9\r\n\r\n", reply: "HTTP/1.1 200 OK\r\nX-Penstock-Woke: true\r\nContent-Length: 0\r\n\r\n", notUp: []string{"X-Penstock"}, notDown: []string{"X-Penstock"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, twoModels)
			asked := make(chan string, 4)
			address := textUpstream(t, asked, c.reply)
			r.Route(otherName, []scale.Route{route("a", address, 4), route("b", address, 4)})
			line, rest, _ := strings.Cut(c.send, "\r\n")
			got, err := r.exchangeText(line + "\r\nHost: client\r\n" + rest)
			if err != nil {
				t.Fatal(err)
			}
			up := <-asked
			for what, text := range map[string]string{"the replica": up, "the client": got} {
				has, hasNot := c.up, c.notUp
				if what == "the client" {
					has, hasNot = c.down, c.notDown
				}
				for _, part := range has {
					if !strings.Contains(text, part) {
						t.Errorf("%s does not see %q in %q", what, part, text)
					}
				}
				for _, part := range hasNot {
					if strings.Contains(text, part) {
						t.Errorf("%s sees %q in %q", what, part, text)
					}
				}
			}
		})
	}
}

// textUpstream is a replica that hands over each request as text and answers
// with text.
func textUpstream(t *testing.T, asked chan<- string, reply string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if text := readText(conn); !strings.HasPrefix(text, "GET /v1/models") {
				select {
				case asked <- text:
				default:
				}
				_, _ = io.WriteString(conn, reply)
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-ended
	})
	return listener.Addr().String()
}

// readText reads one request with a length as it stands on the wire.
func readText(conn net.Conn) string {
	var text strings.Builder
	from, size := bufio.NewReader(conn), 0
	for {
		line, err := from.ReadString('\n')
		text.WriteString(line)
		_, _ = fmt.Sscanf(line, "Content-Length: %d", &size)
		if err != nil || line == "\r\n" {
			break
		}
	}
	_, _ = io.CopyN(&text, from, int64(size))
	return text.String()
}

// exchangeText sends a request and returns the reply as text.
func (r *rig) exchangeText(request string) (string, error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request+"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	text, err := io.ReadAll(conn)
	got := string(text)
	// The reply to the second request is not of interest.
	if at := strings.LastIndex(got, "HTTP/1.1 200 OK"); at > 0 && strings.Contains(got[at:], "Connection: close") {
		got = got[:at]
	}
	return got, err
}
