package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// pipes is a listener whose connections are in memory, so that time is virtual
// around them.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

// patientRig is a gateway and a replica in virtual time.
type patientRig struct {
	*testing.T
	gateway *Gateway
	front   *pipes
}

// patient has a story happen in virtual time.
func patient(t *testing.T, replica http.HandlerFunc, story func(p patientRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := &Gateway{
			Models: []scale.Model{{Name: modelName, SLO: scale.SLO{TTFT: time.Second, TPOT: time.Second, MaxHold: time.Minute}}},
			Limits: Limits{MaxHeld: 10, MaxHeldBytes: 1 << 20, MaxBody: 1 << 20}, Logger: slog.New(slog.DiscardHandler),
		}
		front, back := newPipes(), newPipes()
		g.prepare()
		g.transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return back.dial(), nil }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 3)
		server, upstream := g.Server(), &http.Server{Handler: replica}
		go func() { done <- g.Run(ctx) }()
		go func() { done <- server.Serve(front) }()
		go func() { done <- upstream.Serve(back) }()
		g.Route(modelName, []scale.Route{route("a", "replica:1", 1)})
		defer func() {
			server.Close()
			cancel()
			upstream.Close()
			for range 3 {
				<-done
			}
		}()
		story(patientRig{T: t, gateway: g, front: front})
	})
}

// Who sends a body too slowly is told so, and a header, cut off.
func TestSlowSenders(t *testing.T) {
	patient(t, func(http.ResponseWriter, *http.Request) {}, func(p patientRig) {
		began := time.Now()
		conn := p.front.dial()
		fmt.Fprintf(conn, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n{")
		reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || reply.StatusCode != http.StatusRequestTimeout || !reply.Close {
			p.Errorf("%+v, %v", reply, err)
		}
		if took := time.Since(began); took != 11*time.Second { // 10 s, and 1 s at 64 KiB/s
			p.Errorf("answered after %v", took)
		}
		began = time.Now()
		conn = p.front.dial()
		fmt.Fprintf(conn, "POST /v1/completions HTTP/1.1\r\nHo")
		io.Copy(io.Discard, conn)
		if took := time.Since(began); took != readHeaderTimeout {
			p.Errorf("cut off after %v", took)
		}
	})
}

// A client that takes nothing of its reply gives up its slot in the end; one
// that takes its time, but takes, does not.
func TestSlowReaders(t *testing.T) {
	replica := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 20 {
			io.WriteString(w, "data: 1\n\n")
			http.NewResponseController(w).Flush()
		}
		io.WriteString(w, "data: [DONE]\n\n")
	}
	patient(t, replica, func(p patientRig) {
		body := chatBody("")
		request := fmt.Sprintf("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		conn := p.front.dial()
		io.WriteString(conn, request)
		time.Sleep(writeStall - time.Second)
		if n := p.gateway.InFlight(modelName, "a"); n != 1 {
			p.Errorf("%d in flight before the time is up", n)
		}
		time.Sleep(2 * time.Second)
		if n := p.gateway.InFlight(modelName, "a"); n != 0 {
			p.Errorf("%d in flight after it", n)
		}
		conn = p.front.dial()
		io.WriteString(conn, request)
		slow := bufio.NewReader(conn)
		for range 2 { // also on the same connection, long after the first reply's deadline
			reply, err := http.ReadResponse(slow, nil)
			if err != nil {
				p.Fatal(err)
			}
			lines := 0
			for buf := bufio.NewReader(reply.Body); ; lines++ {
				time.Sleep(writeStall / 8)
				if _, err := buf.ReadString('\n'); err != nil {
					break
				}
			}
			if lines != 42 {
				p.Errorf("%d lines came", lines)
			}
			io.WriteString(conn, request)
		}
		conn.Close()

		conn = p.front.dial() // a refusal, long after the deadline of the reply before it
		io.WriteString(conn, request)
		slow = bufio.NewReader(conn)
		if reply, err := http.ReadResponse(slow, nil); err != nil {
			p.Error(err)
		} else {
			io.Copy(io.Discard, reply.Body)
		}
		time.Sleep(writeStall + 10*time.Second)
		fmt.Fprintf(conn, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
		if reply, err := http.ReadResponse(slow, nil); err != nil || reply.StatusCode != http.StatusNotFound {
			p.Errorf("%+v, %v", reply, err)
		}
		conn.Close()
	})
}

// A hold may outlast every deadline for what came before it.
func TestLongHold(t *testing.T) {
	patient(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }, func(p patientRig) {
		p.gateway.Route(modelName, nil)
		body := chatBody("")
		conn := p.front.dial()
		defer conn.Close()
		fmt.Fprintf(conn, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		time.Sleep(50 * time.Second)
		p.gateway.Route(modelName, []scale.Route{route("a", "replica:1", 1)})
		reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || reply.StatusCode != http.StatusOK || reply.Header.Get("X-Penstock-Held-Ms") != "50000" {
			p.Errorf("%+v, %v", reply, err)
		}
	})
}
