package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/penstock/penstock/internal/scale"
)

// floods is how many frames each attack sends.
func floods() int { return either(10_000, 1_000) }

// attacker speaks HTTP/2 frame by frame.
type attacker struct {
	*http2.Framer
	conn    net.Conn
	headers bytes.Buffer
	encoder *hpack.Encoder
	stream  uint32
	reader  sync.WaitGroup
}

// attack opens a connection with these settings. Until listen is called nothing
// of what comes back is read.
func (r *rig) attack(t *testing.T, settings ...http2.Setting) *attacker {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	a := &attacker{Framer: http2.NewFramer(conn, conn), conn: conn, stream: 1}
	a.AllowIllegalWrites, a.AllowIllegalReads = true, true
	a.encoder = hpack.NewEncoder(&a.headers)
	if err := a.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	return a
}

// listen reads and drops what comes back.
func (a *attacker) listen() { a.reader.Go(func() { _, _ = io.Copy(io.Discard, a.conn) }) }

func (a *attacker) close() {
	a.conn.Close()
	a.reader.Wait()
}

// block encodes the header of a request for the model.
func (a *attacker) block(more ...string) []byte {
	a.headers.Reset()
	fields := append([]string{
		":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/v1/chat/completions", "content-type", "application/json",
	}, more...)
	for i := 0; i < len(fields); i += 2 {
		_ = a.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return a.headers.Bytes()
}

// open begins a request on a new stream and, with a body, completes it.
func (a *attacker) open(body string) (uint32, error) {
	id := a.stream
	a.stream += 2
	err := a.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: a.block(), EndHeaders: true})
	if err == nil && body != "" {
		err = a.WriteData(id, true, []byte(body))
	}
	return id, err
}

// crowd is a replica that counts what it works on at once. It notices that its
// client left only some time after, as engines do.
type crowd struct {
	now, most, total atomic.Int64
}

func (c *crowd) serve(w http.ResponseWriter, r *http.Request) {
	now := c.now.Add(1)
	defer c.now.Add(-1)
	c.total.Add(1)
	for {
		most := c.most.Load()
		if now <= most || c.most.CompareAndSwap(most, now) {
			break
		}
	}
	_, _ = io.Copy(io.Discard, r.Body)
	if r.Header.Get("X-Good") == "" {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		time.Sleep(2 * time.Millisecond) // the iteration that it is in
		return
	}
	io.WriteString(w, `{"ok":true}`)
}

// behind is how many streams a reset comes after the stream it ends: far enough
// for requests to be at the replica by then, or on their way.
const behind = 20

// resetting is an attack that asks and has the stream reset, by itself or by the
// server, without pause.
func resetting(body string, reset func(a *attacker, id uint32) error) func(a *attacker, i int) error {
	return func(a *attacker, i int) error {
		if 3*i >= floods() {
			return io.EOF
		}
		id, err := a.open(body)
		if err != nil {
			return err
		}
		if i%10 == 0 {
			time.Sleep(time.Millisecond)
		}
		if i < behind {
			return nil
		}
		return reset(a, id-2*behind)
	}
}

// attacks are the floods that servers of HTTP/2 have fallen to. Each is called
// until it returns an error or has been called floods() times.
func attacks() map[string]func(a *attacker, i int) error {
	body := echoBody("x", 1)
	return map[string]func(a *attacker, i int) error{
		"rapid reset (CVE-2023-44487)": resetting(body, func(a *attacker, id uint32) error {
			return a.WriteRSTStream(id, http2.ErrCodeCancel)
		}),
		"rapid reset without a body": resetting("", func(a *attacker, id uint32) error {
			return a.WriteRSTStream(id, http2.ErrCodeCancel)
		}),
		"MadeYouReset by a window update of 0 (CVE-2025-8671)": resetting(body, func(a *attacker, id uint32) error {
			return a.WriteRawFrame(http2.FrameWindowUpdate, 0, id, make([]byte, 4))
		}),
		"MadeYouReset by a window too large": resetting(body, func(a *attacker, id uint32) error {
			return a.WriteWindowUpdate(id, 1<<31-1)
		}),
		"MadeYouReset by data after the end": resetting(body, func(a *attacker, id uint32) error {
			return a.WriteData(id, true, []byte("x"))
		}),
		"MadeYouReset by a header after the end": resetting(body, func(a *attacker, id uint32) error {
			return a.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: a.block(), EndHeaders: true, EndStream: true})
		}),
		"MadeYouReset by a stream that depends on itself": resetting(body, func(a *attacker, id uint32) error {
			return a.WritePriority(id, http2.PriorityParam{StreamDep: id})
		}),
		"MadeYouReset by a priority of wrong length": resetting(body, func(a *attacker, id uint32) error {
			return a.WriteRawFrame(http2.FramePriority, 0, id, make([]byte, 4))
		}),
		"CONTINUATION without end (CVE-2023-45288)": func(a *attacker, i int) error {
			if i == 0 {
				return a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: a.block()})
			}
			a.headers.Reset()
			_ = a.encoder.WriteField(hpack.HeaderField{Name: fmt.Sprint("x-", i), Value: strings.Repeat("y", 500)})
			return a.WriteContinuation(1, false, a.headers.Bytes())
		},
		"empty CONTINUATION without end": func(a *attacker, i int) error {
			if i == 0 {
				return a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: a.block()})
			}
			return a.WriteContinuation(1, false, nil)
		},
		"SETTINGS (CVE-2019-9515)": func(a *attacker, _ int) error {
			return a.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		},
		"PING (CVE-2019-9512)": func(a *attacker, _ int) error { return a.WritePing(false, [8]byte{1}) },
		"empty DATA (CVE-2019-9518)": func(a *attacker, i int) error {
			if i == 0 {
				_, err := a.open("")
				return err
			}
			return a.WriteData(1, false, nil)
		},
		"WINDOW_UPDATE":  func(a *attacker, _ int) error { return a.WriteWindowUpdate(0, 1) },
		"PRIORITY":       func(a *attacker, i int) error { return a.WritePriority(uint32(2*i+1), http2.PriorityParam{Weight: 1}) },
		"unknown frames": func(a *attacker, _ int) error { return a.WriteRawFrame(0xbe, 0, 0, []byte("what")) },
		"a header bomb (CVE-2026-47774)": func(a *attacker, i int) error {
			if i >= either(250, 25) {
				return io.EOF
			}
			id := a.stream
			a.stream += 2
			var many []string
			for range 240 {
				many = append(many, "x-bomb", strings.Repeat("b", 4000))
			}
			block := a.block(many...)
			first := min(len(block), 16<<10)
			if err := a.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:first], EndHeaders: first == len(block), EndStream: true}); err != nil {
				return err
			}
			for block = block[first:]; len(block) > 0; {
				n := min(len(block), 16<<10)
				if err := a.WriteContinuation(id, n == len(block), block[:n]); err != nil {
					return err
				}
				block = block[n:]
			}
			return nil
		},
	}
}

// However frames are sent, a replica never works on more than its limit, memory
// stays bounded, others are served meanwhile, and nothing stays behind.
func TestFloodsOfFrames(t *testing.T) {
	const limit = 4
	count, frames, reached, most := 0, 0, int64(0), int64(0)
	for name, send := range attacks() {
		for _, deaf := range []bool{false, true} {
			if deaf && strings.Contains(name, "eset") {
				continue // the answers to resets are few
			}
			t.Run(fmt.Sprintf("%s, deaf %v", name, deaf), func(t *testing.T) {
				r := newRig(t, nil)
				var c crowd
				r.Route(modelName, routesOf(limit, upstream(t, c.serve)))
				before := heap()
				a := r.attack(t)
				if !deaf {
					a.listen()
				}
				_ = a.conn.SetWriteDeadline(time.Now().Add(20 * time.Second))
				sent := 0
				for sent < floods() && send(a, sent) == nil {
					sent++
				}
				if grown := heap() - before; grown > 64<<20 {
					t.Errorf("the heap grew by %d MiB", grown>>20)
				}
				a.close()
				r.stillServes(t)
				eventually(t, "nothing is in flight", func() bool { return r.InFlight(modelName, "r0") == 0 && c.now.Load() == 0 })
				if most := c.most.Load(); most > limit {
					t.Errorf("%d at once at a replica whose limit is %d", most, limit)
				}
				count++
				frames += sent
				reached += c.total.Load()
				most = max(most, c.most.Load())
			})
		}
	}
	t.Logf("HTTP/2: %d floods, %d times a frame or a stream, %d requests reached a replica, at most %d of %d at once", count, frames, reached, most, limit)
}

// routesOf is one replica with a limit.
func routesOf(limit int, address string) []scale.Route {
	return []scale.Route{route("r0", address, limit)}
}

// stillServes asks as others do.
func (r *rig) stillServes(t *testing.T) {
	t.Helper()
	status, body := r.do(t, http.MethodPost, "/v1/completions", chatBody(""), http.Header{"X-Good": {"yes"}})
	if status != http.StatusOK || body != `{"ok":true}` {
		t.Errorf("another client got %d %s", status, body)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A client whose window stays shut gets no more than fits into buffers, and its
// going frees all that it held.
func TestClientsThatTakeNothing(t *testing.T) {
	r := newRig(t, nil)
	var sent, now atomic.Int64
	r.Route(modelName, routesOf(100, upstream(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("X-Good") != "" {
			io.WriteString(w, `{"ok":true}`)
			return
		}
		now.Add(1)
		defer now.Add(-1)
		w.Header().Set("Content-Type", "text/event-stream")
		for event := []byte("data: " + strings.Repeat("x", 8<<10) + "\n\n"); ; {
			n, err := w.Write(event)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})))
	a := r.attack(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	a.listen()
	for range 20 {
		if _, err := a.open(echoBody("x", 1)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are at the replica", func() bool { return now.Load() == 20 })
	r.stillServes(t)
	eventually(t, "they stall", func() bool {
		before := sent.Load()
		time.Sleep(50 * time.Millisecond)
		return sent.Load() == before
	})
	if each := sent.Load() / 20; each > 16<<20 {
		t.Errorf("%d MiB each were taken from the replica", each>>20)
	}
	a.close()
	eventually(t, "nothing is in flight", func() bool { return now.Load() == 0 && r.InFlight(modelName, "r0") == 0 })
}
