package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

const (
	testSeed = 99
	testWant = 3
)

func data(json string) string { return "data: " + json + "\n\n" }

func piece(text string) string {
	return data(fmt.Sprintf(`{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":%q},"finish_reason":null}]}`, text))
}

func token(i int) string { return piece(engine.Token(testSeed, i)) }

const (
	role   = `data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n"
	length = `data: {"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"length"}]}` + "\n\n"
	usage  = `data: {"id":"c1","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}` + "\n\n"
	done   = "data: [DONE]\n\n"
)

func whole() string { return role + token(0) + token(1) + token(2) + length + usage + done }

func check(t *testing.T, from io.Reader) (*checker, scale.Outcome) {
	t.Helper()
	c := &checker{emulated: new(atomic.Bool), verify: true, seed: testSeed, want: testWant}
	return c, c.settle(t.Context(), c.read(bufio.NewReaderSize(from, 1024)))
}

func TestAReplyIsJudgedByAllOfItsBytes(t *testing.T) {
	long := piece(strings.Repeat("x", 3000))
	for what, tc := range map[string]struct {
		stream string
		want   scale.Outcome
		detail string
	}{
		"all tokens, a finish, usage and [DONE]": {whole(), scale.OK, ""},
		"the last token with the finish": {
			role + token(0) + token(1) + data(fmt.Sprintf(`{"id":"c1","choices":[{"index":0,"delta":{"content":%q},"finish_reason":"length"}]}`, engine.Token(testSeed, 2))) + done, scale.OK, "",
		},
		"several tokens in a chunk":           {role + piece(engine.Token(testSeed, 0)+engine.Token(testSeed, 1)) + token(2) + length + done, scale.OK, ""},
		"heartbeats, CRLF, other fields":      {": ping\r\n\r\nevent: x\r\nid: 7\r\n" + strings.ReplaceAll(whole(), "\n", "\r\n"), scale.OK, ""},
		"no blank after the colon":            {strings.ReplaceAll(whole(), "data: ", "data:"), scale.OK, ""},
		"an unusual chunk between usual ones": {role + token(0) + data(fmt.Sprintf(`{"choices":[{"delta":{"content":"\u0020%s"}}],"id":"c1"}`, engine.Token(testSeed, 1)[1:])) + token(2) + length + done, scale.OK, ""},

		"a token of another reply":   {role + token(0) + piece(engine.Token(testSeed+1, 1)) + token(2) + length + done, scale.Corrupted, "token 1 is"},
		"a repeated token":           {role + token(0) + token(0) + token(1) + length + done, scale.Corrupted, "token 1 is"},
		"a token left out":           {role + token(0) + token(2) + length + done, scale.Corrupted, "token 1 is"},
		"half a token":               {role + token(0) + piece(engine.Token(testSeed, 1)[:4]) + length + done, scale.Corrupted, "token 1 is"},
		"a success too short":        {role + token(0) + token(1) + length + done, scale.Corrupted, "a success of 2 tokens, 3 were asked for"},
		"a success too long":         {role + token(0) + token(1) + token(2) + token(3) + length + done, scale.Corrupted, "a success of 4 tokens"},
		"a long foreign chunk":       {role + token(0) + long + done, scale.Corrupted, "token 1 is"},
		"chunks of two replies":      {role + token(0) + strings.ReplaceAll(token(1), "c1", "c2") + token(2) + length + done, scale.Corrupted, `chunks of "c1" and "c2"`},
		"a second choice":            {role + strings.ReplaceAll(token(0), `"index":0`, `"index":1`) + done, scale.Corrupted, "a choice of index 1"},
		"bytes after [DONE]":         {whole() + token(3), scale.Corrupted, "bytes after [DONE]"},
		"another reply after [DONE]": {whole() + "HTTP/1.1 200 OK\n", scale.Corrupted, "bytes after [DONE]"},
		"no finish":                  {role + token(0) + token(1) + token(2) + done, scale.Corrupted, "without finish_reason"},
		"another finish":             {role + token(0) + token(1) + token(2) + strings.Replace(length, "length", "stop", 1) + done, scale.Corrupted, `finish_reason "stop"`},
		"content after the finish":   {role + token(0) + token(1) + length + token(2) + done, scale.Corrupted, "content after finish_reason"},
		"usage of another reply":     {role + token(0) + token(1) + token(2) + length + strings.Replace(usage, `"completion_tokens":3`, `"completion_tokens":4`, 1) + done, scale.Corrupted, "usage says 4"},
		"torn JSON":                  {role + data(`{"id":"c1","choices":[{"ind`) + done, scale.Corrupted, "no JSON"},
		"two events run together":    {role + strings.TrimSuffix(token(0), "\n") + token(1) + token(2) + length + done, scale.Corrupted, "two data lines"},
		"no event stream at all":     {"Internal Server Error\n", scale.Corrupted, "none of an event stream"},

		"a clean end without [DONE]":   {role + token(0), scale.Lost, "clean end without [DONE] after 1 pieces"},
		"a clean end after the finish": {role + token(0) + token(1) + token(2) + length, scale.Lost, "clean end"},
		"an empty reply":               {"", scale.Lost, "after 0 pieces"},
		"[DONE] that is not ended":     {strings.TrimSuffix(whole(), "\n"), scale.Lost, "clean end"},
		"[DONE] that is cut":           {strings.TrimSuffix(whole(), "E]\n\n"), scale.Lost, "clean end"},

		"an error event":                   {role + token(0) + data(`{"error":{"message":"replica died","code":"replica_lost"}}`), scale.Interrupted, "replica_lost: replica died"},
		"an error event, then [DONE]":      {role + data(`{"error":{"message":"gone","code":500}}`) + done, scale.Interrupted, "500: gone"},
		"a foreign token before the error": {role + token(1) + data(`{"error":{"message":"replica died"}}`), scale.Corrupted, "token 0 is"},
		"a deadline after heartbeats":      {": ping\n\n" + data(`{"error":{"message":"held too long","code":"hold_deadline"}}`), scale.Expired, "held too long"},
		"drained after heartbeats":         {": ping\n\n" + data(`{"error":{"message":"draining","code":"draining"}}`), scale.Refused, "draining"},
	} {
		t.Run(what, func(t *testing.T) {
			for how, from := range map[string]io.Reader{
				"at once":      strings.NewReader(tc.stream),
				"byte by byte": iotest.OneByteReader(strings.NewReader(tc.stream)),
			} {
				c, got := check(t, from)
				if got != tc.want || !strings.Contains(c.detail, tc.detail) || (tc.detail == "") != (c.detail == "") {
					t.Errorf("%s: %v (%s), want %v (%s)", how, got, c.detail, tc.want, tc.detail)
				}
			}
		})
	}
}

func TestAResetIsLostUnlessAnErrorWasSaid(t *testing.T) {
	reset := iotest.ErrReader(errors.New("connection reset"))
	said := data(`{"error":{"message":"replica died","code":"replica_lost"}}`)
	for stream, want := range map[string]scale.Outcome{
		"":                    scale.Lost,
		role + token(0):       scale.Lost,
		role + said:           scale.Interrupted,
		role + said + "data:": scale.Interrupted,
		whole():               scale.OK, // it has all it asked for
	} {
		c, got := check(t, io.MultiReader(strings.NewReader(stream), reset))
		if got != want {
			t.Errorf("%q, then a reset: %v (%s), want %v", stream, got, c.detail, want)
		}
	}
}

// Whatever is done to a whole reply, it is no success, or it says the same.
func TestNoSingleByteChangePassesForAnotherReply(t *testing.T) {
	reply := whole()
	for i := range len(reply) {
		changed := []byte(reply)
		changed[i] ^= 0x01
		c, got := check(t, strings.NewReader(string(changed)))
		if got == scale.OK && c.tokens != testWant {
			t.Errorf("byte %d changed: ok with %d tokens", i, c.tokens)
		}
		if cut, got := check(t, strings.NewReader(reply[:i])); got == scale.OK {
			t.Errorf("cut after %d bytes: ok with %d tokens", i, cut.tokens)
		}
	}
}

func TestUnverifiedRepliesAreHeldToTheProtocol(t *testing.T) {
	c := &checker{emulated: new(atomic.Bool), want: 100}
	stream := role + piece("Hello,") + piece(` "you"`) + piece("ü") + strings.Replace(length, "length", "stop", 1) + usage + done
	if got := c.settle(t.Context(), c.read(bufio.NewReader(strings.NewReader(stream)))); got != scale.OK || c.outputTokens() != 3 {
		t.Errorf("%v (%s) with %d tokens, want ok with 3", got, c.detail, c.outputTokens())
	}
}

func TestALineWithoutEndIsBounded(t *testing.T) {
	c, got := check(t, io.MultiReader(strings.NewReader("data: "), endless{}))
	if got != scale.Lost || !strings.Contains(c.detail, "longer than") {
		t.Errorf("%v (%s)", got, c.detail)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func FuzzChecker(f *testing.F) {
	f.Add([]byte(whole()), uint8(1))
	f.Add([]byte(role+data(`{"error":{"message":"x","code":null}}`)), uint8(7))
	f.Add([]byte(": ping\r\n\r\ndata:[DONE]\r\n\r\n"), uint8(3))
	f.Fuzz(func(t *testing.T, stream []byte, chop uint8) {
		once := &checker{emulated: new(atomic.Bool), verify: true, seed: testSeed, want: testWant}
		first := once.settle(context.Background(), once.read(bufio.NewReader(strings.NewReader(string(stream)))))
		// However the bytes are split, the reply is the same.
		split := &checker{emulated: new(atomic.Bool), verify: true, seed: testSeed, want: testWant}
		from := &chopped{data: stream, size: int(chop)%40 + 1}
		second := split.settle(context.Background(), split.read(bufio.NewReaderSize(from, 16)))
		if first != second || once.detail != split.detail || once.tokens != split.tokens {
			t.Errorf("whole: %v (%s), split: %v (%s)", first, once.detail, second, split.detail)
		}
		if first == scale.OK && once.tokens != testWant {
			t.Errorf("ok with %d tokens", once.tokens)
		}
	})
}

type chopped struct {
	data []byte
	size int
}

func (c *chopped) Read(p []byte) (int, error) {
	n := copy(p, c.data[:min(c.size, len(c.data))])
	if c.data = c.data[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func BenchmarkEvent(b *testing.B) {
	c := &checker{emulated: new(atomic.Bool), verify: true, seed: testSeed, want: b.N}
	c.line([]byte(strings.TrimSuffix(role, "\n\n")))
	c.line(nil)
	before := strings.TrimSuffix(token(0), engine.Token(testSeed, 0)+`"},"finish_reason":null}]}`+"\n\n")
	stream := &tokens{before: before, after: `"},"finish_reason":null}]}` + "\n\n", left: b.N}
	b.ReportAllocs()
	b.ResetTimer()
	if err := c.read(bufio.NewReaderSize(stream, bufferSize)); err != nil || c.fault != "" || c.tokens != b.N {
		b.Fatal(err, c.fault, c.tokens)
	}
}

// tokens is a stream of so many usual chunks.
type tokens struct {
	before, after string
	sent, left    int
	event, rest   []byte
}

func (s *tokens) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(s.rest) == 0 {
			if s.left == 0 {
				return n, io.EOF
			}
			s.left--
			s.event = append(s.event[:0], s.before...)
			s.event = engine.AppendToken(s.event, testSeed, s.sent)
			s.event = append(s.event, s.after...)
			s.rest = s.event
			s.sent++
		}
		k := copy(p[n:], s.rest)
		s.rest = s.rest[k:]
		n += k
	}
	return n, nil
}
