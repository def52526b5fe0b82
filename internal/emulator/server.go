package emulator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// Server is one emulated model server. Its fields are not changed after the
// first call of a method. Run, or Serve, is called once.
type Server struct {
	Profile      scale.Profile // what it takes in time and memory; the truth here
	Model        string        // the name that it serves
	Aliases      []string      // more names for the same, such as LoRA adapters
	LoadDelay    time.Duration // from the start until it serves
	DrainTimeout time.Duration // how long requests in flight may go on after the end of the context; 0 cuts them off at once
	Logger       *slog.Logger

	once sync.Once
	core *core
}

// core is what a Server is made of once it is used.
type core struct {
	owner   *owner
	metrics *metrics
	prefix  string // of the ids of replies
	replies atomic.Uint64
	loaded  atomic.Bool
	started time.Time
}

// shutdownGrace is how long connections may take to end after their requests
// have.
const shutdownGrace = time.Second

// parts makes the parts of the server on first use, so that a Server is a
// plain literal.
func (s *Server) parts() *core {
	s.once.Do(func() {
		m := newMetrics(s.Profile, s.Model)
		s.core = &core{
			owner: &owner{
				engine:   engine.New(s.Profile),
				metrics:  m,
				logger:   s.Logger,
				drain:    s.DrainTimeout,
				arrivals: make(chan *query),
				aborts:   make(chan *query),
				gone:     make(chan struct{}),
				queries:  map[scale.RequestID]*query{},
			},
			metrics: m,
			prefix:  rand.Text(),
			started: time.Now(),
		}
	})
	return s.core
}

// Serve serves at a TCP address ("127.0.0.1:9000"; port 0 is any free one, and
// the log says which) until the context ends. Connections are refused until
// the load delay is over.
func (s *Server) Serve(ctx context.Context, address string) error {
	s.announce(ctx)
	socket, err := reserve(ctx, address)
	if err != nil {
		return fmt.Errorf("bind %s: %w", address, err)
	}
	defer socket.close()
	s.Logger.InfoContext(ctx, "loading", "address", socket.address, "takes", s.LoadDelay)
	if !wait(ctx, s.LoadDelay) {
		return nil
	}
	listener, err := socket.listen()
	if err != nil {
		return fmt.Errorf("listen on %s: %w", socket.address, err)
	}
	s.Logger.InfoContext(ctx, "serving", "address", listener.Addr().String())

	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second}
	running, stop := context.WithCancel(ctx)
	defer stop()
	served, ran := make(chan error, 1), make(chan struct{})
	go func() { served <- server.Serve(listener) }()
	go func() {
		defer close(ran)
		s.serveLoaded(running)
	}()

	select {
	case <-ctx.Done():
		s.Logger.InfoContext(ctx, "stopping", "drain_timeout", s.DrainTimeout)
	case err = <-served:
		stop()
		<-ran
		return fmt.Errorf("serve %s: %w", socket.address, err)
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.DrainTimeout+shutdownGrace)
	defer cancel()
	err = server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close() // a client does not read what it is sent
	}
	<-ran
	if served := <-served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("shut down %s: %w", socket.address, err)
	}
	return nil
}

// Run lets the load delay pass and then drives the engine until the context
// ends. With a Handler served by somebody else it is the whole server; such a
// server accepts connections while it loads and answers 503.
func (s *Server) Run(ctx context.Context) error {
	s.announce(ctx)
	if !wait(ctx, s.LoadDelay) {
		close(s.parts().owner.gone)
		return nil
	}
	s.serveLoaded(ctx)
	return nil
}

// Handler is the HTTP API.
func (s *Server) Handler() http.Handler {
	s.parts()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, chat) })
	mux.HandleFunc("POST /v1/completions", func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, completion) })
	mux.HandleFunc("GET /v1/models", s.models)
	mux.HandleFunc("GET /health", s.health)
	mux.HandleFunc("GET /version", version)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.core.metrics.registry, promhttp.HandlerOpts{DisableCompression: true}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, &fault{status: http.StatusNotFound, message: "Not Found: " + r.Method + " " + r.URL.Path})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Penstock-Emulated", "true")
		if id := r.Header.Get("X-Request-Id"); id != "" {
			w.Header().Set("X-Request-Id", id)
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) announce(ctx context.Context) {
	s.Logger.InfoContext(ctx, "emulated engine: no model is loaded, replies are made up",
		"model", s.Model, "profile", s.Profile.Name)
}

func (s *Server) serveLoaded(ctx context.Context) {
	s.parts().loaded.Store(true)
	s.parts().owner.run(ctx)
}

// wait is false when the context ended first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
