// Package gateway is the HTTP data plane: OpenAI-compatible paths in front of
// a model's replicas. It holds what can not be served yet, sends each request
// to one replica, relays the reply byte for byte, and measures what happened.
// What happens to a request is decided by package admission; one goroutine per
// model owns that state machine.
//
// The promises, each with its tests:
//
//   - A reply that began is finished, or ends with an error event (for event
//     streams) and an aborted connection. Common clients take a clean end
//     without [DONE] for success, so a stream that upstream ends that way is
//     treated as cut short, too.
//   - A request is sent again, once and to another replica, only while no byte
//     of a reply has gone to the client. The first byte of a reply's body is
//     awaited before its header is passed on, so that a replica which dies
//     between the two costs the client nothing.
//   - A client that goes away cancels its request upstream at once.
//   - Nothing is buffered of a stream, and 16 KiB of another reply. A request's
//     body is, within a bound: it must be there for a second attempt.
//
// Client headers reach the replica but for hop-by-hop ones, X-Forwarded-*,
// X-Penstock-*, Accept-Encoding (replies are measured, so they come
// uncompressed) and Authorization, which is forwarded as it came only where
// Gateway.ForwardAuthorization says so. Upgrades are not taken up.
package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock/penstock/internal/scale"
)

const (
	dialTimeout = 3 * time.Second
	idleTimeout = 90 * time.Second
	// readHeaderTimeout closes connections that send their header slowly;
	// without it 500 of 500 slowloris connections stayed open.
	readHeaderTimeout = 5 * time.Second
	maxHeaderBytes    = 32 << 10
	maxReplyHeader    = 64 << 10
	maxStreams        = 100 // per HTTP/2 connection
	connBuffer        = 16 << 10
	cutGrace          = 5 * time.Second // for handlers to end what Drain cut
)

// Limits bound what the Gateway keeps in memory. Zero means none at all.
type Limits struct {
	MaxHeld      int   // requests, for each model
	MaxHeldBytes int   // bytes of their bodies, for each model
	MaxBody      int64 // bytes of one request's body
}

// Gateway serves Models. Run must be running for requests to be answered;
// every method is safe for concurrent use.
type Gateway struct {
	Models []scale.Model
	Limits Limits
	// Wake is called while requests of a model are held, a few times a second at
	// most: no replica is Ready, or all are full. It must not block. May be nil.
	Wake func(model string)
	// ForwardAuthorization sends the client's Authorization header to replicas.
	// Off by default: a key for the gateway is none of a model server's business.
	ForwardAuthorization bool
	// Certificate has the Server speak TLS: serve it with ServeTLS. May be nil.
	Certificate *Certificate
	// Tenants are those who may ask. With none nobody is told apart, and whoever
	// reaches the port may use the models.
	Tenants    []scale.Tenant
	Registerer prometheus.Registerer // of the penstock_* metrics; nil for none
	Logger     *slog.Logger
	AccessLog  *slog.Logger // gets one line for each request; nil for none

	heartbeat     time.Duration // shorter in tests; 0 for heartbeatEvery
	once          sync.Once
	fault         error             // why the metrics could not be registered
	owners        []*owner          // in the order of Models
	byName        map[string]*owner // aliases included
	prefixes      map[string]*owner // by path
	hosts         map[string]*owner
	transport     *http.Transport
	callTransport *http.Transport // of gRPC
	metrics       *metrics
	keys          keyring
	door          door
	buffers       sync.Pool // of *buffer
	inspectors    sync.Pool // of *inspector
	boot          string    // makes request IDs differ between runs
	requests      atomic.Uint64
	started       time.Time
}

// errNotRunning says that Run has ended.
var errNotRunning = errors.New("the gateway does not run")

// prepare makes what the fields describe; every method calls it first.
func (g *Gateway) prepare() {
	g.once.Do(func() {
		var boot [6]byte
		_, _ = rand.Read(boot[:]) // never fails
		g.boot, g.started = hex.EncodeToString(boot[:]), time.Now()
		g.metrics, g.fault = newMetrics(g.Registerer)
		g.keys = newKeyring(g.Tenants, g.metrics)
		g.transport, g.callTransport = newTransport(), newCallTransport()
		g.buffers.New, g.inspectors.New = newBuffer, newInspector
		g.byName, g.prefixes, g.hosts = map[string]*owner{}, map[string]*owner{}, map[string]*owner{}
		for _, m := range g.Models {
			o := newOwner(g, m)
			g.owners = append(g.owners, o)
			g.index(m, o)
		}
	})
}

func newDialer() *net.Dialer { return &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second} }

// newTransport returns the upstream side. A connection that an engine closed
// while it was idle (uvicorn does after 5 s) is found out by the transport,
// which then tries a new one: outbound marks requests as safe for that.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:            dialLine(newDialer()),
		MaxIdleConnsPerHost:    1024,
		IdleConnTimeout:        idleTimeout,
		DisableCompression:     true,
		ReadBufferSize:         connBuffer,
		WriteBufferSize:        connBuffer,
		MaxResponseHeaderBytes: maxReplyHeader,
	}
}

// Run owns the state of every model until ctx ends. Requests that are still
// held then are answered with 503: Drain first, to let those in flight finish.
func (g *Gateway) Run(ctx context.Context) error {
	g.prepare()
	if g.fault != nil {
		return fmt.Errorf("register the gateway's metrics: %w", g.fault)
	}
	var running sync.WaitGroup
	for _, o := range g.owners {
		running.Go(func() { o.run(ctx) })
		running.Go(func() { o.learn(ctx) })
	}
	if g.Certificate != nil {
		running.Go(func() { g.Certificate.watch(ctx) })
	}
	running.Wait()
	g.transport.CloseIdleConnections()
	g.callTransport.CloseIdleConnections()
	return nil
}

// Server returns an HTTP server for the Handler with the settings that an open
// port needs: HTTP/1.1 and HTTP/2 (by ALPN over TLS, with prior knowledge
// without), bounded headers, and no patience with those who send them slowly.
// The caller serves and closes it.
func (g *Gateway) Server() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler:           g.Handler(),
		ReadHeaderTimeout: readHeaderTimeout, // also that of a TLS handshake
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		Protocols:         protocols,
		ErrorLog:          slog.NewLogLogger(g.Logger.Handler(), slog.LevelDebug),
	}
	if g.Certificate != nil {
		server.TLSConfig = g.Certificate.config()
	}
	return server
}

// Route replaces what is known of a model's replicas. When it has returned, a
// replica that is Draining or absent is sent nothing new. What is at a replica
// stays there, unless its phase is Gone: then it is given up, to be sent
// elsewhere if no byte has gone to the client.
func (g *Gateway) Route(model string, routes []scale.Route) {
	if o := g.owner(model); o != nil {
		o.ask(event{kind: routed, routes: append([]scale.Route(nil), routes...)})
	}
}

// Traffic returns what was measured of a model since the previous call.
func (g *Gateway) Traffic(model string, now time.Time) scale.Traffic {
	if o := g.owner(model); o != nil {
		return o.ask(event{kind: measured, now: now}).traffic
	}
	return scale.Traffic{}
}

// InFlight returns how many requests are at a replica now.
func (g *Gateway) InFlight(model string, replica scale.ReplicaID) int {
	if o := g.owner(model); o != nil {
		return o.ask(event{kind: counted, replica: replica}).inFlight
	}
	return 0
}

// Begun returns how many replies of a replica have begun: those that cannot be
// sent elsewhere any more.
func (g *Gateway) Begun(model string, replica scale.ReplicaID) int {
	if o := g.owner(model); o != nil {
		return o.ask(event{kind: counted, replica: replica}).begun
	}
	return 0
}

func (g *Gateway) owner(model string) *owner {
	g.prepare()
	return g.byName[model]
}

// Drain refuses new requests with 503, answers those that are held with the
// same, and waits for those in flight. When ctx ends first, what is left ends
// with an error event and an aborted connection, and Drain says how many.
func (g *Gateway) Drain(ctx context.Context) error {
	g.prepare()
	empty := g.door.shut()
	for _, o := range g.owners {
		o.ask(event{kind: drained})
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
	}
	left := g.door.count()
	for _, o := range g.owners {
		o.ask(event{kind: cutAll})
	}
	grace := time.NewTimer(cutGrace)
	defer grace.Stop()
	select {
	case <-empty:
	case <-grace.C:
	}
	return fmt.Errorf("drain the gateway: %d requests cut short: %w", left, ctx.Err())
}

// door counts the requests inside and can be shut.
type door struct {
	mu     sync.Mutex
	inside int
	closed bool
	empty  chan struct{} // closed when shut and nobody is inside
}

// enter says whether a request may come in; then leave must follow.
func (d *door) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.inside++
	return true
}

func (d *door) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inside--
	if d.closed && d.inside == 0 {
		close(d.empty)
	}
}

func (d *door) shut() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.closed, d.empty = true, make(chan struct{})
		if d.inside == 0 {
			close(d.empty)
		}
	}
	return d.empty
}

func (d *door) isShut() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

func (d *door) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inside
}
