package toll

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock/penstock/internal/gateway"
	"github.com/penstock/penstock/internal/scale"
)

// hop copies bytes both ways, blindly.
type hop struct{ target string }

func (h *hop) run(ctx context.Context, ready func(string)) error {
	return accept(ctx, ready, func(ctx context.Context, client net.Conn) {
		up, err := (&net.Dialer{}).DialContext(ctx, "tcp", h.target)
		if err != nil {
			return
		}
		cut := context.AfterFunc(ctx, func() { _ = up.Close() })
		defer cut()
		var copying sync.WaitGroup
		copying.Go(func() {
			_, _ = io.Copy(up, client) // how a connection ends does not matter
			_ = up.Close()
		})
		_, _ = io.Copy(client, up)
		_ = client.Close()
		copying.Wait()
	})
}

func (*hop) obey(context.Context, order) (any, error) { return nil, errUnknown }

// reverse is httputil.ReverseProxy.
type reverse struct {
	target string
	tuned  bool
}

func (p *reverse) run(ctx context.Context, ready func(string)) error {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: p.target})
	if p.tuned {
		proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 2048, DisableCompression: true, ReadBufferSize: wireBuffer, WriteBufferSize: wireBuffer}
		proxy.BufferPool = &buffers{}
		proxy.FlushInterval = -1
	}
	return serve(ctx, ready, &http.Server{Handler: proxy, ReadHeaderTimeout: time.Minute})
}

func (*reverse) obey(context.Context, order) (any, error) { return nil, errUnknown }

// buffers is a pool for ReverseProxy.
type buffers struct{ pool sync.Pool }

// Get returns a buffer.
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[wireBuffer]byte); ok {
		return p[:]
	}
	return make([]byte, wireBuffer)
}

// Put takes one back.
func (b *buffers) Put(p []byte) { b.pool.Put((*[wireBuffer]byte)(p)) }

// serve runs an HTTP server until ctx ends.
func serve(ctx context.Context, ready func(string), server *http.Server) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	closed := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer closed()
	ready(listener.Addr().String())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// gate is Penstock's gateway as penstock serve has it, without its loop.
type gate struct {
	gateway *gateway.Gateway
	profile *os.File
}

// maxHeld and what goes with it let a gate hold what a Plan asks for.
const (
	maxHeld      = 1 << 20
	maxHeldBytes = 1 << 32
	maxBody      = 32 << 20
)

func newGate() *gate {
	return &gate{gateway: &gateway.Gateway{
		Models: []scale.Model{{
			Name: Model, SLO: scale.SLO{TTFT: time.Second, TPOT: time.Second, Objective: 0.99, MaxHold: 10 * time.Minute},
		}},
		Limits:     gateway.Limits{MaxHeld: maxHeld, MaxHeldBytes: maxHeldBytes, MaxBody: maxBody},
		Registerer: prometheus.NewRegistry(),
		Logger:     slog.New(slog.DiscardHandler),
	}}
}

func (g *gate) run(ctx context.Context, ready func(string)) error {
	ended := make(chan error, 1)
	go func() { ended <- g.gateway.Run(ctx) }()
	err := serve(ctx, ready, g.gateway.Server())
	return errors.Join(err, <-ended)
}

func (g *gate) obey(ctx context.Context, o order) (any, error) {
	switch o.Do {
	case doRoute:
		g.gateway.Route(Model, []scale.Route{{
			Replica: scale.Replica{
				ID: "upstream", Target: scale.ScaleTarget{Model: Model, Variant: "any", Capacity: scale.OnDemand},
				Phase: scale.Ready, Address: o.Target,
			},
			BatchLimit: o.Count,
		}})
		return struct{}{}, ctx.Err()
	case doHeld:
		return int(g.gateway.Traffic(Model, time.Now()).Demand.Held.Value), nil
	case doProfile:
		return struct{}{}, g.profiling(o.File)
	default:
		return nil, errUnknown
	}
}

// profiling begins a profile, or ends the one that was begun.
func (g *gate) profiling(file string) (err error) {
	if file == "" {
		pprof.StopCPUProfile()
		return g.profile.Close()
	}
	if g.profile, err = os.Create(file); err != nil {
		return err
	}
	return pprof.StartCPUProfile(g.profile)
}
