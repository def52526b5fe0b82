package gateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// badStream is what a bad engine sends: parts written one by one to a
// connection that is then closed, or reset.
type badStream struct {
	parts []string
	reset bool
	body  string // what the client may be given of it
	whole bool   // and takes for whole
	path  string
}

const (
	chats = "/v1/chat/completions"
	done  = "data: [DONE]\n\n"
)

// badStreams are 60 and more replies of bad engines.
func badStreams() map[string]badStream {
	all := map[string]badStream{}
	heads := map[string]func(body string) []string{
		"chunked": func(body string) []string { return []string{streamHead, chunkOf(body), "0\r\n\r\n"} },
		"until the end": func(body string) []string {
			return []string{"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n", body}
		},
		"with a length": func(body string) []string {
			return []string{fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n", len(body)), body}
		},
		"as HTTP/1.0": func(body string) []string {
			return []string{"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", body}
		},
	}
	bodies := map[string]struct {
		text  string
		whole bool
	}{
		"LF":                                {"data: 1\n\n" + done, true},
		"CRLF":                              {"data: 1\r\n\r\ndata: [DONE]\r\n\r\n", true},
		"mixed line ends":                   {"data: 1\r\n\ndata: 2\n\r\ndata: [DONE]\n\r\n", true},
		"CR alone":                          {"data: 1\r\rdata: [DONE]\r\r", false}, // nobody's client reads these
		"no line end at the end":            {"data: 1\n\ndata: [DONE]", false},
		"one line end at the end":           {"data: 1\n\ndata: [DONE]\n", true},
		"no [DONE]":                         {"data: 1\n\n", false},
		"[DONE] early":                      {done + "data: 2\n\n", true},
		"[DONE] twice":                      {"data: 1\n\n" + done + done, true},
		"[DONE] with a space after it":      {"data: [DONE] \n\n", false},
		"[done]":                            {"data: [done]\n\n", false},
		"[DONE] in a comment":               {": data: [DONE]\n\n", false},
		"[DONE] in a text":                  {"data: {\"t\":\"data: [DONE]\"}\n\n", false},
		"an error inside":                   {"data: {\"error\":{\"message\":\"x\"}}\n\n", false},
		"an error and [DONE]":               {"data: {\"error\":{\"message\":\"x\"}}\n\n" + done, true},
		"no event at all but [DONE]":        {done, true},
		"comments alone":                    {": ping\n\n: ping\n\n", false},
		"binary":                            {"\x00\xff\xfe\x00\n\n" + done, true},
		"bytes that are no UTF-8":           {"data: \xc3\x28\xed\xa0\x80\n\n" + done, true},
		"a byte order mark":                 {"\ufeffdata: 1\n\n" + done, true},
		"HTML":                              {"<html>oops</html>", false},
		"a large event":                     {"data: " + strings.Repeat("x", 10<<20) + "\n\n" + done, true},
		"a large event that ends too early": {"data: " + strings.Repeat("x", 1<<20), false},
		"half an event":                     {"data: 1\n\ndata: 2", false},
		"many empty lines":                  {strings.Repeat("\n", 1000) + done, true},
	}
	for kind, head := range heads {
		for name, b := range bodies {
			all[name+", "+kind] = badStream{parts: head(b.text), body: b.text, whole: b.whole, path: chats}
		}
	}
	split := streamHead
	var bytewise []string
	text := "data: \"né 日本 😀\"\r\n\r\n" + done
	for i := range len(text) {
		bytewise = append(bytewise, chunkOf(text[i:i+1]))
	}
	all["each byte by itself"] = badStream{parts: append(append([]string{split}, bytewise...), "0\r\n\r\n"), body: text, whole: true, path: chats}
	zipped := zip("data: 1\n\n" + done)
	all["gzip that nobody asked for"] = badStream{parts: []string{"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", chunkOf(zipped), "0\r\n\r\n"}, body: zipped, whole: true, path: chats}
	all["gzip that breaks off"] = badStream{parts: []string{"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", chunkOf(zipped[:10])}, body: zipped[:10], path: chats}
	all["1xx first"] = badStream{parts: []string{"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n", streamHead, chunkOf(done), "0\r\n\r\n"}, body: done, whole: true, path: chats}
	all["1xx without end"] = badStream{parts: []string{strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1000)}, path: chats}
	all["trailers"] = badStream{parts: []string{"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n", chunkOf(done), "0\r\nX-T: 1\r\nX-Penstock-T: 2\r\n\r\n"}, body: done, whole: true, path: chats}
	for name, parts := range map[string][]string{
		"a header and a reset":                {streamHead},
		"an event and a reset":                {streamHead, chunkOf("data: 1\n\n")},
		"half a chunk and a reset":            {streamHead, "ff\r\ndata: 1\n\n"},
		"a bad chunk":                         {streamHead, chunkOf("data: 1\n\n"), "zz\r\n"},
		"a chunk with a bare LF":              {streamHead, chunkOf("data: 1\n\n"), "3\n"},
		"a negative chunk":                    {streamHead, chunkOf("data: 1\n\n"), "-3\r\nabc\r\n"},
		"a chunk of 2^63":                     {streamHead, chunkOf("data: 1\n\n"), "8000000000000000\r\n"},
		"a second reply":                      {streamHead, chunkOf("data: 1\n\n"), "HTTP/1.1 200 OK\r\n\r\n"},
		"less than its length":                {"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 100\r\n\r\n", "data: 1\n\n"},
		"two lengths":                         {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "data: 1\n\n"},
		"no HTTP":                             {"hello\r\n\r\n"},
		"a header that is too large":          {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100_000) + "\r\n\r\n"},
		"half a header":                       {"HTTP/1.1 200 OK\r\nContent-Type: text"},
		"a header with a NUL":                 {"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n"},
		"101":                                 {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "data: 1\n\n"},
		"a status of no class":                {"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n"},
		"an empty stream":                     {streamHead, "0\r\n\r\n"},
		"a whole reply with half its trailer": {streamHead, chunkOf("data: 1\n\n"), "0\r\nX-T"},
	} {
		all[name] = badStream{parts: parts, body: "data: 1\n\n", path: chats, reset: strings.Contains(name, "reset")}
	}
	return all
}

func zip(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// Whatever an engine sends, its client gets the same bytes and a clean end, or
// a part of them and then an error event or an error, or an error alone; and
// never waits for ever.
func TestBadStreamsAreWholeOrEndWithAnError(t *testing.T) {
	all := badStreams()
	if len(all) < 60 {
		t.Fatalf("only %d streams", len(all))
	}
	r := newRig(t, nil)
	whole, broken := 0, 0
	for name, b := range all {
		t.Run(name, func(t *testing.T) {
			address := rawUpstream(t, func(_ int, conn net.Conn) {
				for _, part := range b.parts {
					if _, err := io.WriteString(conn, part); err != nil {
						return
					}
				}
				if b.reset {
					_ = conn.(*net.TCPConn).SetLinger(0)
				}
			})
			r.routes(address, address) // a second try does not wait
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			reply, err := r.post(ctx, b.path, echoBody("x", 1))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(reply.Body)
			reply.Body.Close()
			switch text := string(got); {
			case errors.Is(err, context.DeadlineExceeded):
				t.Fatal("it hangs")
			case b.whole && (err != nil || text != b.body):
				t.Errorf("not whole: %d of %d bytes, %v", len(text), len(b.body), err)
			case b.whole:
				whole++
				return
			case reply.StatusCode != http.StatusOK:
				if err != nil || reply.StatusCode < http.StatusInternalServerError {
					t.Errorf("%d %.200q, %v", reply.StatusCode, text, err)
				}
			case err == nil:
				t.Errorf("taken for whole: %.200q", text)
			case reply.Header.Get("Content-Encoding") == "" && !strings.Contains(text, `"code":"replica_lost"`):
				t.Errorf("no error event in %.300q", text)
			case !strings.HasPrefix(b.body, strings.TrimRight(beforeOurs(text), "\n")):
				t.Errorf("%.300q is no part of what came", text)
			}
			broken++
		})
	}
	t.Logf("event streams: %d, %d whole and byte for byte, %d ended with an error", len(all), whole, broken)
}

// beforeOurs is what came of a stream before our error event.
func beforeOurs(text string) string {
	if at := strings.LastIndex(text, "data: {\"error\""); at >= 0 {
		return text[:at]
	}
	return text
}
