package emulator_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/emulator"
)

// process is a server on a socket of its own that is stopped as by SIGTERM.
type process struct {
	*started
	stop  context.CancelFunc
	ended chan error
}

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var logged = regexp.MustCompile(`address=(\S+)`)

func serve(t *testing.T, s *emulator.Server) *process {
	t.Helper()
	log := new(syncBuffer)
	s.Model, s.Logger = "org/m", slog.New(slog.NewTextHandler(log, nil))
	ctx, stop := context.WithCancel(context.Background())
	p := &process{started: &started{T: t}, stop: stop, ended: make(chan error, 1)}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	p.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	go func() { p.ended <- s.Serve(ctx, "127.0.0.1:0") }()
	t.Cleanup(func() {
		stop()
		transport.CloseIdleConnections()
	})
	p.until("bound", func() bool {
		match := logged.FindStringSubmatch(log.String())
		if match == nil {
			return false
		}
		p.url = "http://" + match[1]
		return true
	})
	if first, _, _ := strings.Cut(log.String(), "\n"); !strings.Contains(first, "emulated engine: no model is loaded") {
		t.Errorf("the first line of the log is %q", first)
	}
	return p
}

func (p *process) ready() {
	p.Helper()
	p.until("ready", func() bool {
		res, err := p.client.Get(p.url + "/health")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

func (p *process) end() {
	p.Helper()
	p.stop()
	select {
	case err := <-p.ended:
		if err != nil {
			p.Error(err)
		}
	case <-time.After(20 * time.Second):
		p.Fatal("it does not end")
	}
}

func TestConnectionsAreRefusedUntilItHasLoaded(t *testing.T) {
	p := serve(t, &emulator.Server{Profile: quick(), LoadDelay: 300 * time.Millisecond})
	host := strings.TrimPrefix(p.url, "http://")
	if conn, err := net.Dial("tcp", host); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("while it loads a connection gets %v, %v", conn, err)
	}
	p.ready()
	p.end()
}

func TestItsPortIsItsOwnWhileItLoads(t *testing.T) {
	p := serve(t, &emulator.Server{Profile: quick(), LoadDelay: time.Hour})
	host := strings.TrimPrefix(p.url, "http://")
	local, err := net.ResolveTCPAddr("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	dialer := net.Dialer{LocalAddr: local}
	if conn, err := dialer.Dial("tcp", other.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("another socket took the port: %v, %v", conn, err)
	}
	p.end()
}

func TestAnAddressThatIsTakenIsAnError(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s := &emulator.Server{Profile: quick(), Model: "m", Logger: slog.New(slog.DiscardHandler)}
	if err := s.Serve(t.Context(), other.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
	for _, address := range []string{"nowhere", "127.0.0.1:x", "127.0.0.1:99999", "no.such.host.invalid:1"} {
		if err := s.Serve(t.Context(), address); err == nil {
			t.Errorf("%s is no address, but it ended without an error", address)
		}
	}
}

func TestSIGTERMCutsOffWhatIsInFlight(t *testing.T) {
	p := serve(t, &emulator.Server{Profile: quick()})
	p.ready()
	body := p.open("abc def", 90000)
	p.end()
	if heard, err := listen(body); err == nil || heard.done || heard.finish != "" {
		t.Errorf("the stream that was cut off ended like a whole one after %d tokens: %v", len(heard.tokens), err)
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the end a connection gets %v, %v", conn, err)
	}
}

func TestWithADrainTimeoutSIGTERMLetsStreamsFinish(t *testing.T) {
	p := serve(t, &emulator.Server{Profile: quick(), DrainTimeout: time.Minute})
	p.ready()
	body := p.open("abc def", 500)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.end()
	}()
	// No new connection is taken meanwhile.
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	p.until("refusing", func() bool {
		res, err := fresh.Get(p.url + "/health")
		if err == nil {
			res.Body.Close()
		}
		return err != nil
	})
	heard, err := listen(body)
	if err != nil || !heard.done || verify(heard.tokens, "abc def", 500) != nil {
		t.Errorf("the stream ended after %d tokens, done %v: %v", len(heard.tokens), heard.done, err)
	}
	<-ended
}

func TestTheDrainTimeoutIsABound(t *testing.T) {
	p := serve(t, &emulator.Server{Profile: quick(), DrainTimeout: 50 * time.Millisecond})
	p.ready()
	body := p.open("abc def", 90000)
	p.end()
	if heard, err := listen(body); !errors.Is(err, io.ErrUnexpectedEOF) || heard.done {
		t.Errorf("after %d tokens, done %v: %v", len(heard.tokens), heard.done, err)
	}
}
