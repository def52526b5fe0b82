package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/penstock/penstock/internal/load"
)

const (
	// unreached is how long a request may find no gateway that accepts it.
	unreached = 20 * time.Second
	askAgain  = 50 * time.Millisecond
)

// balance stands before the gateways as a load balancer does: it goes on to the
// next where one can not be reached, or refuses as it is going down. Whatever a
// gateway has accepted is that gateway's to answer.
type balance struct {
	base    http.RoundTripper
	hosts   []string
	next    atomic.Uint64
	refused atomic.Int64 // 503 of a gateway that goes down, sent to another
	dead    atomic.Int64 // connections refused
	closed  atomic.Int64 // connections closed as they were used, by a gateway that was ending

	mu     sync.Mutex
	ending map[string]bool // hosts of gateways that were told to end and are not back

	went sync.Map // by request: host of the gateway that it went to last
}

// RoundTrip sends a request to a gateway.
func (b *balance) RoundTrip(request *http.Request) (*http.Response, error) {
	deadline := time.Now().Add(unreached)
	for {
		host := b.hosts[b.next.Add(1)%uint64(len(b.hosts))]
		sent := time.Now()
		reply, err := b.send(request, host)
		switch {
		case err == nil && reply.StatusCode == http.StatusServiceUnavailable && reply.Header.Get("X-Should-Retry") == "true":
			b.refused.Add(1)
			if time.Now().After(deadline) {
				return reply, nil
			}
			_, _ = io.Copy(io.Discard, reply.Body)
			_ = reply.Body.Close()
		case err != nil && notConnected(err) && time.Now().Before(deadline):
			b.dead.Add(1)
		case err != nil && b.unread(host, sent, err) && time.Now().Before(deadline):
			b.closed.Add(1)
		default:
			return reply, err
		}
		if !pause(request.Context(), askAgain) {
			return nil, request.Context().Err()
		}
	}
}

func (b *balance) send(request *http.Request, host string) (*http.Response, error) {
	b.went.Store(request.Header.Get(load.HeaderRequest), host)
	copied := request.Clone(request.Context())
	copied.URL.Host, copied.Host = host, ""
	if request.GetBody != nil {
		body, err := request.GetBody()
		if err != nil {
			return nil, fmt.Errorf("send a request again: %w", err)
		}
		copied.Body = body
	}
	return b.base.RoundTrip(copied)
}

// notConnected says whether nobody can have read a byte of the request.
func notConnected(err error) bool {
	var failure *net.OpError
	return errors.As(err, &failure) && failure.Op == "dial"
}

// justNow is how soon after it was sent a request must fail to count as unread.
const justNow = 250 * time.Millisecond

// unread says whether a gateway that ends closed a connection just as a request
// went out by it, or before it took the connection from the kernel's queue. No
// server can end without that, and HTTP leaves it to the client to ask again
// (RFC 9112 9.3.1; OpenAI's clients do). What was refused, held or streamed by
// then was answered, or failed later than justNow.
func (b *balance) unread(host string, sent time.Time, err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ending[host] && time.Since(sent) < justNow &&
		(errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || strings.Contains(err.Error(), "server closed idle connection"))
}

// ends takes in that a gateway is told to end, or is back.
func (b *balance) ends(host string, now bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ending == nil {
		b.ending = map[string]bool{}
	}
	b.ending[host] = now
}

// pause is false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
