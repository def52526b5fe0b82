package gateway

import (
	"fmt"
	"strings"
)

// hidden is a request that a payload tries to smuggle past the gateway.
const hidden = "POST /v1/completions HTTP/1.1\r\nHost: evil\r\nX-Hidden: yes\r\nContent-Length: 2\r\n\r\n{}"

// completion1 is a request in parts: a request line, further header lines, each
// ended, and a body.
func completion1(line, header, body string) string {
	return line + "Host: x\r\nContent-Type: application/json\r\n" + header + "\r\n" + body
}

// payloads are raw HTTP/1 requests over which parsers are known to differ:
// framing, request lines, hosts, headers.
func payloads() []string {
	const post = "POST /v1/completions HTTP/1.1\r\n"
	body := chatBody("")
	sized := fmt.Sprintf("Content-Length: %d\r\n", len(body))
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	var all []string
	add := func(p ...string) { all = append(all, p...) }
	// Framing: what each server takes for the end of a body.
	for _, te := range []string{
		"Transfer-Encoding: chunked\r\n", "Transfer-Encoding:chunked\r\n", "transfer-encoding: CHUNKED\r\n", "Transfer-Encoding: \tchunked\r\n", "Transfer-Encoding: chunked \r\n",
		"Transfer-Encoding: xchunked\r\n", "Transfer-Encoding: chunkedx\r\n", "Transfer-Encoding: chunked, identity\r\n", "Transfer-Encoding: identity, chunked\r\n", "Transfer-Encoding: identity\r\n",
		"Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding: chunked, chunked\r\n", "Transfer-Encoding: chunked;q=1\r\n", "Transfer-Encoding: \"chunked\"\r\n", "Transfer-Encoding: 'chunked'\r\n",
		"Transfer-Encoding:\vchunked\r\n", "Transfer-Encoding: \x00chunked\r\n", "Transfer-Encoding: chunked\x00\r\n", "Transfer-Encoding : chunked\r\n", "Transfer-Encoding\t: chunked\r\n", " Transfer-Encoding: chunked\r\n",
		"Transfer_Encoding: chunked\r\n", "Transfer-Encoding:\r\n chunked\r\n", "X: y\r\n Transfer-Encoding: chunked\r\n", "X: y\nTransfer-Encoding: chunked\r\n", "X: y\rTransfer-Encoding: chunked\r\n",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
		"Transfer-Encoding:\r\n", "Transfer-Encoding: ,chunked\r\n", "Transfer-Encoding: chunked,\r\n", "Transfer-Encodin\xc4\xa1: chunked\r\n", "Transfer-Encoding: ch\xc3\xbcnked\r\n", "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
	} {
		add(completion1(post, te, chunked)+hidden, completion1(post, te+sized, body)+hidden, completion1(post, "Content-Length: 4\r\n"+te, chunked)+hidden, completion1(post, te+"Content-Length: 0\r\n", chunked)+hidden)
	}
	for _, cl := range []string{
		"%d", "+%d", "-%d", " %d", "%d ", "0%d", "0x%x", "%d,%[1]d", "%d, %[1]d", "%d, 0", "%d\r\nContent-Length: %[1]d", "%d\r\nContent-Length: 0", "0\r\nContent-Length: %d", "%d;", "%d.0", "%de0", "%d_0", "\"%d\"",
		"%d\x00", "\x00%d", "%d\v", "%d\r\n 0", "%d\n", "１%d", "99999999999999999999%d", "-1", "", " ", "%d\r\nContent_Length: 0", "%d\r\nContent-Length : 0", "%d\r\nContent-Length\t: 0", "%d\r\n Content-Length: 0", "1%d",
	} {
		value := cl
		if strings.Contains(cl, "%") {
			value = fmt.Sprintf(cl, len(body))
		}
		add(completion1(post, "Content-Length: "+value+"\r\n", body)+hidden, completion1(post, "Connection: Content-Length\r\nContent-Length: "+value+"\r\n", body)+hidden)
	}
	for _, chunk := range []string{
		"%x;ext=1\r\n%s\r\n0\r\n\r\n", "%x;ext=\"\r\n\"\r\n%s\r\n0\r\n\r\n", "%x;\r\n%s\r\n0\r\n\r\n", "%x ;a\r\n%s\r\n0\r\n\r\n", "%x\n%s\n0\n\n", "%x\r\n%s\n0\r\n\r\n", "%x\n%s\r\n0\r\n\r\n", "%x;a\n%s\r\n0\r\n\r\n", "%x\r%s\r\n0\r\n\r\n",
		"0x%x\r\n%s\r\n0\r\n\r\n", "+%x\r\n%s\r\n0\r\n\r\n", "-%x\r\n%s\r\n0\r\n\r\n", " %x\r\n%s\r\n0\r\n\r\n", "%x \r\n%s\r\n0\r\n\r\n", "\t%x\r\n%s\r\n0\r\n\r\n", "000000%x\r\n%s\r\n0\r\n\r\n", "00000000000000000%x\r\n%s\r\n0\r\n\r\n",
		"10000000000000%x\r\n%s\r\n0\r\n\r\n", "%x\r\n%s0\r\n\r\n", "%x\r\n%sXX0\r\n\r\n", "%x\r\n%s\r\n00\r\n\r\n", "%x\r\n%s\r\n0\r\nX: y\r\n\r\n", "%x\r\n%s\r\n0\r\nContent-Length: 5\r\n\r\n", "%x\r\n%s\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"%x\r\n%s\r\n0\r\nHost: evil\r\n\r\n", "%x\r\n%s\r\n0\r\n X\r\n\r\n", "%x\r\n%s\r\n0\r\n\n", "%x\r\n%s\r\n0\n\r\n", "%x\r\n%s\r\n0;\r\n\r\n", "%x\r\n%s\r\n\r\n", "%x\r\n%s\r\n-0\r\n\r\n", "%x\r\n%s\r\n0\x00\r\n\r\n", "\r\n%x\r\n%s\r\n0\r\n\r\n", "%x\r\n%s\r\n0\r\n",
	} {
		framed := fmt.Sprintf(chunk, len(body), body)
		add(completion1(post, "Transfer-Encoding: chunked\r\n", framed)+hidden, completion1(post, "Transfer-Encoding: chunked\r\nTrailer: Host, X\r\n", framed)+hidden)
	}
	for n := 1; n <= 3; n++ {
		add(completion1(post, fmt.Sprintf("Content-Length: %d\r\n", len(body)+n), body)+hidden, completion1(post, fmt.Sprintf("Content-Length: %d\r\n", len(body)-n), body)+hidden)
	}
	add(completion1(post, "", body)+hidden, completion1(post, "Transfer-Encoding: chunked\r\n", "3000000\r\n"+body))
	for _, line := range requestLines() {
		add(completion1(line, sized, body)+hidden, completion1(line, "Transfer-Encoding: chunked\r\n", chunked)+hidden)
	}
	for _, header := range headerLines() {
		add(post + "Host: x\r\n" + header + sized + "\r\n" + body + hidden)
		add(post + "Host: x\r\n" + sized + header + "\r\n" + body + hidden)
	}
	for _, host := range []string{"", "Host:\r\n", "Host: x\r\nHost: x\r\n", "Host: x\r\nHost: evil\r\n", "Host: evil@x\r\n", "Host: x/evil\r\n", "Host: x:80:80\r\n", "Host: x:port\r\n", "Host: x y\r\n", "Host: x,evil\r\n", "Host: x\\evil\r\n", "Host: x#\r\n", "Host: x?\r\n", "Host: [::1\r\n", "Host: x\x00\r\n", "Host: \xff\r\n", "Host : x\r\n", " Host: x\r\n", "Host:\r\n x\r\n", "host: x\r\nHOST: y\r\n", "Host: http://x/\r\n", "Host: x%0d%0aX: y\r\n", "Host: 127.0.0.1:1\r\n"} {
		add(post + host + sized + "\r\n" + body + hidden)
	}
	return all
}

// requestLines are ways to write the first line.
func requestLines() []string {
	const path = "/v1/completions"
	var all []string
	for _, target := range []string{
		path, "//v1/completions", "/v1//completions", path + "/", "/v1/./completions", "/v1/x/../completions", "/../v1/completions", "/v1/completions/..", "/v1/completions/../admin", "/v1%2fcompletions", "/v1/completion%73", "/v1/completions%00", "/v1/completions%0d%0aX:%20y",
		"/v1/completions%20HTTP/1.1", `/v1\completions`, "/v1/completions;x=1", "/v1/completions#x", "/v1/completions?", "/v1/completions?a=b", "/v1/completions?model=other", "/v1/completions?%6dodel=other", "/v1/completions?a;model=other", "/v1/completions??model=other", "/v1/completions?a=%zz",
		"http://x/v1/completions", "http://evil/v1/completions", "https://x/v1/completions", "HTTP://x/v1/completions", "http:/v1/completions", "http://x@evil/v1/completions", "//x/v1/completions", "x:80", "*", "v1/completions", "", "/V1/Completions", "/v1/completions\x00", "/v1/completions\t", "/v1/compl\xc3\xa9tions", "/v1/completions\\..\\x", "/v1/\x7fcompletions", "/%2e%2e/v1/completions", "/v1/completions/%2e%2e/x", "/" + strings.Repeat("a", 40_000),
	} {
		all = append(all, "POST "+target+" HTTP/1.1\r\n")
	}
	return append(all,
		"post /v1/completions HTTP/1.1\r\n", "POST  /v1/completions HTTP/1.1\r\n", "POST /v1/completions  HTTP/1.1\r\n", "POST\t/v1/completions\tHTTP/1.1\r\n", " POST /v1/completions HTTP/1.1\r\n", "\r\nPOST /v1/completions HTTP/1.1\r\n", "\nPOST /v1/completions HTTP/1.1\r\n", "POST /v1/completions HTTP/1.1\n",
		"POST /v1/completions HTTP/1.1 \r\n", "POST /v1/completions HTTP/1.0\r\n", "POST /v1/completions HTTP/1.2\r\n", "POST /v1/completions HTTP/2.0\r\n", "POST /v1/completions HTTP/0.9\r\n", "POST /v1/completions\r\n", "POST /v1/completions http/1.1\r\n", "POST /v1/completions HTTP/1\r\n", "POST /v1/completions HTTP/01.1\r\n", "POST /v1/completions HTTP/1.10\r\n", "POST /v1/completions XTTP/1.1\r\n",
		"GET /v1/completions HTTP/1.1\r\n", "PUT /v1/completions HTTP/1.1\r\n", "HEAD /v1/completions HTTP/1.1\r\n", "OPTIONS * HTTP/1.1\r\n", "CONNECT x:80 HTTP/1.1\r\n", "TRACE /v1/completions HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "P\x00ST /v1/completions HTTP/1.1\r\n", "PO ST /v1/completions HTTP/1.1\r\n", "POST /v1/comp letions HTTP/1.1\r\n", "POST /v1/completions\rX HTTP/1.1\r\n", "POST /v1/completions HTTP/1.1\rX: y\r\n",
	)
}

// headerLines are lines that a header may hold beside the usual ones.
func headerLines() []string {
	return []string{
		"X: y\r\n z\r\n", "X: y\r\n\tz\r\n", "X: y\nZ: w\r\n", "X: y\rZ: w\r\n", "X : y\r\n", "X\t: y\r\n", "X\r\n", ": y\r\n", "X y\r\n", "\x00: y\r\n", "X: \x00\r\n", "X: \x01\r\n", "X: \xff\xfe\r\n", "X\xff: y\r\n", "X(: y\r\n", "X_Y: z\r\n", "X-Penstock-Tenant: me\r\n", "X_Penstock_Tenant: me\r\n", "X-Forwarded-For: 1.2.3.4\r\n", "Forwarded: for=1.2.3.4\r\n", "X-Request-Id: mine\r\n", "X-Request-Id: a\r\nX-Request-Id: b\r\n", "X-Request-Id: a\r\n b\r\n",
		"Connection: close, X-Request-Id\r\n", "Connection: Host\r\n", "Connection: Content-Type\r\n", "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n", "Upgrade: h2c\r\n", "Expect: 100-continue\r\n", "Expect: 100-continue\r\nExpect: 100-continue\r\n", "Expect: 200-ok\r\n", "Expect: 100-Continue, x\r\n", "TE: trailers, deflate\r\n", "Te: chunked\r\n", "Trailer: Content-Length\r\n", "Proxy-Connection: keep-alive\r\n", "Keep-Alive: timeout=5\r\n", "Proxy-Authorization: Basic eDp5\r\n",
		"Content-Type: application/json\r\nContent-Type: text/plain\r\n", "Content-Encoding: gzip\r\n", "Content-Encoding: identity\r\n", "Content-Encoding: \r\n", "Range: bytes=0-0\r\n", "If-None-Match: *\r\n", "Max-Forwards: 0\r\n", "X-HTTP-Method-Override: DELETE\r\n", "X-Original-URL: /admin\r\n", "X-Rewrite-URL: /admin\r\n", "Via: 1.1 x\r\n", "Authorization: Bearer x\r\n", "Authorization: Bearer x\r\nAuthorization: Bearer y\r\n", "Cookie: a=b; c=\"d\r\n", "Idempotency-Key: x\r\n", "Content-Length : 0\r\n", "Content-Length\x00: 0\r\n", strings.Repeat("X: y\r\n", 500), "X: " + strings.Repeat("y", 30_000) + "\r\n", strings.Repeat("X: y\r\n", 9_000), "\r\n \r\n",
	}
}
