package gateway

import (
	"context"
	"net"
	"net/http/httptrace"
	"sync"
	"time"
)

// lingerFor bounds how long a request that was given up keeps its place at a
// replica that does not hang up.
const lingerFor = time.Second

// lineUp is a connection to a replica. While exchanges use it, its closing only
// says to the replica that nobody listens any more; the connection is given up
// when the replica has hung up, too. A request keeps its place until then: with
// the place free at once, a client that asks and resets without pause would
// have a replica work at more than its limit.
type lineUp struct {
	*net.TCPConn
	mu    sync.Mutex
	users int
	shut  bool
}

// dialLine makes connections that linger.
func dialLine(dialer *net.Dialer) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			return &lineUp{TCPConn: tcp}, nil
		}
		return conn, nil
	}
}

// Read returns nothing to the transport once it has closed the connection.
func (l *lineUp) Read(p []byte) (int, error) {
	l.mu.Lock()
	shut := l.shut
	l.mu.Unlock()
	if shut {
		return 0, net.ErrClosed
	}
	return l.TCPConn.Read(p)
}

// Close is the transport's.
func (l *lineUp) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.shut:
		return nil
	case l.users == 0:
		return l.TCPConn.Close()
	}
	l.shut = true
	_ = l.TCPConn.SetReadDeadline(time.Unix(1, 0)) // has the transport's Read return
	return l.TCPConn.CloseWrite()
}

func (l *lineUp) join() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users++
}

// leave gives the connection up if it was closed meanwhile: when the replica has
// hung up, or when it has been waited for that long.
func (l *lineUp) leave(wait time.Duration) {
	l.mu.Lock()
	l.users--
	last := l.shut && l.users == 0
	l.mu.Unlock()
	if !last {
		return
	}
	_ = l.TCPConn.SetReadDeadline(time.Now().Add(wait))
	var rest [4 << 10]byte
	for {
		if _, err := l.TCPConn.Read(rest[:]); err != nil {
			break
		}
	}
	_ = l.TCPConn.Close()
}

// lines are the connections that an attempt has used: one, or more when the
// transport found some stale.
type lines struct {
	mu   sync.Mutex
	used []*lineUp
}

// watch notes the connections of requests with the returned context.
func (l *lines) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		line, ok := info.Conn.(*lineUp)
		if !ok {
			return
		}
		line.join()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.used = append(l.used, line)
	}})
}

func (l *lines) leave(wait time.Duration) {
	l.mu.Lock()
	used := l.used
	l.mu.Unlock()
	for _, line := range used {
		line.leave(wait)
	}
}
