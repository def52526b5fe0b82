// Package console answers for a running Penstock over HTTP: how things stand,
// why they do, a page for browsers that shows it, and Prometheus metrics of it.
// It reads only: no request to it changes anything of the fleet, or takes a path
// or a URL.
//
//	GET /                                           the page; also /model, /decisions, /decision, /replicas
//	GET /api/v1/status[?model=NAME]                 Status
//	GET /api/v1/fleet                               FleetView
//	GET /api/v1/events[?model=NAME]                 server-sent events: FleetView, ModelEvent
//	GET /api/v1/series[?model=&since=&until=]       SeriesView
//	GET /api/v1/explain?model=NAME[&at=TIME]        Explanation
//	GET /api/v1/decisions[?model=&since=&limit=&acted=true]    Decisions, newest first
//	GET /api/v1/replicas[?model=NAME]               ReplicaList
//	GET /api/v1/log?replica=ID[&lines=]             Log
//	GET /metrics                                    Prometheus text
//	GET /healthz                                    200 while the loop ticks
//
// A TIME is RFC 3339 or a duration before now such as -5m. With a Token, all but
// the login page, the page's files and /healthz want it.
package console

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/penstock/penstock/internal/scale"
)

// Fleet is the running fleet. Its methods are called concurrently and must not
// block for long; what they return is not changed by either side.
type Fleet interface {
	// Snapshot returns the newest tick, and false before the first.
	Snapshot() (scale.Snapshot, scale.Decision, bool)
	// Lifetimes returns every paid life so far, living ones included.
	Lifetimes() []scale.Lifetime
}

// History is what was decided before. Its methods are called concurrently.
type History interface {
	// DecisionAt returns the newest record at or before t that speaks of the
	// model, and false where there is none.
	DecisionAt(ctx context.Context, model string, t time.Time) (scale.Record, bool, error)
	// Decisions returns the decisions since then that were news, newest first,
	// each cut down to one model; an empty model means all. It may return some
	// beside an error.
	Decisions(ctx context.Context, model string, since time.Time, limit int) ([]scale.Decision, error)
}

// Console serves the API of one Penstock.
type Console struct {
	Listen  string  // host:port
	Fleet   Fleet   // required
	History History // nil: only the present can be explained
	Past    Past    // nil: charts show what this process has seen, of a day at most
	Logs    Logs    // nil: no replica's output is shown
	// Journal, if not nil, returns what is not well with the journal; nil for
	// nothing.
	Journal func() *JournalView
	// Token, if not empty, is what askers must show: a browser at the login page,
	// others as Authorization: Bearer.
	Token    string
	Bill     func(lifetimes []scale.Lifetime, now time.Time) []scale.Charge
	Gatherer prometheus.Gatherer // metrics of others; nil: only the console's own
	Logger   *slog.Logger

	feed     feed
	acts     acts
	site     site
	attempts attempts
}

// Bounds on what one asker may cost.
const (
	headerTimeout = 5 * time.Second
	answerTimeout = 30 * time.Second
	maxHeader     = 16 << 10
	maxReading    = 8 // questions to History, Past and Logs at once
	worthPacking  = 2 << 10
	maxScrapes    = 4
	maxDecisions  = 500
	defaultLimit  = 20
)

// Run listens on Listen and serves until ctx ends.
func (c *Console) Run(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("console: listen on %s: %w", c.Listen, err)
	}
	return c.Serve(ctx, listener)
}

// Serve serves on a listener, which it closes, until ctx ends; answers under
// way are finished.
func (c *Console) Serve(ctx context.Context, listener net.Listener) error {
	ending := make(chan struct{})
	c.feed.ending = ending
	server := &http.Server{
		Handler:           c.Handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
	}
	server.RegisterOnShutdown(sync.OnceFunc(func() { close(ending) })) // streams have no end of their own
	c.Logger.InfoContext(ctx, "console listens", "address", listener.Addr().String())
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.watch(watching)
	}()
	defer func() {
		stop()
		<-watched
	}()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("console: serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	// Answers are short; one that hangs is cut off.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), headerTimeout)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("console: serve %s: %w", listener.Addr(), err)
	}
	return nil
}

// Handler returns the page and the API.
func (c *Console) Handler() http.Handler {
	own := prometheus.NewRegistry()
	own.MustRegister(collector{c})
	gatherers := prometheus.Gatherers{own}
	if c.Gatherer != nil {
		gatherers = append(gatherers, c.Gatherer)
	}
	reading := make(chan struct{}, maxReading)

	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/status", c.answer(c.status))
	mux.HandleFunc("/api/v1/fleet", c.answer(c.fleetView))
	mux.HandleFunc("/api/v1/events", c.events)
	mux.HandleFunc("/api/v1/series", c.answer(bounded(reading, c.series)))
	mux.HandleFunc("/api/v1/explain", c.answer(bounded(reading, c.explain)))
	mux.HandleFunc("/api/v1/decisions", c.answer(bounded(reading, c.decisions)))
	mux.HandleFunc("/api/v1/replicas", c.answer(c.replicaList))
	mux.HandleFunc("/api/v1/log", c.answer(bounded(reading, c.log)))
	mux.Handle("/metrics", promhttp.HandlerFor(gatherers, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, Timeout: answerTimeout / 2,
	}))
	for _, address := range pages() {
		mux.HandleFunc(strings.TrimSuffix(address, "/")+"/{$}", c.page("index.html"))
		if address != "/" {
			mux.HandleFunc(address, c.page("index.html"))
		}
	}
	mux.HandleFunc("/", c.answer(func(r *http.Request) (any, error) {
		return nil, refusal{http.StatusNotFound, "not_found", fmt.Sprintf(
			"There is no %.100q here. Ask /api/v1/status, /api/v1/explain?model=NAME, /api/v1/decisions, /metrics or /healthz.", r.URL.Path)}
	}))

	open := http.NewServeMux() // what needs no token
	open.HandleFunc("/healthz", c.answer(c.health))
	open.HandleFunc("/assets/", c.asset)
	open.HandleFunc("/favicon.ico", c.page("favicon.svg"))
	open.HandleFunc("GET /login", c.page("login.html"))
	open.HandleFunc("POST /login", c.login)
	open.HandleFunc("POST /logout", logout)
	open.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if !c.admitted(r) {
			c.locked(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
	return c.guard(open)
}

// refusal is an error that the asker is told.
type refusal struct {
	status  int
	code    string
	message string
}

func (r refusal) Error() string { return r.message }

// guard lets only reads pass that were meant for this listener. A browser that
// was lured here by a name that an attacker's DNS points at us (rebinding)
// sends that name as Host. With a token that name is of no use: the cookie is
// not sent to it.
func (c *Console) guard(next http.Handler) http.Handler {
	listen, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		listen = c.Listen
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		session := r.Method == http.MethodPost && (r.URL.Path == "/login" || r.URL.Path == "/logout") && c.Token != ""
		navigates := r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Method == http.MethodGet
		switch {
		case c.Token == "" && !meantFor(listen, r.Host):
			c.refuse(w, r, refusal{
				http.StatusForbidden, "wrong_host",
				fmt.Sprintf("The console answers to its own address only, not to %.100q.", r.Host),
			})
		case r.Method != http.MethodGet && r.Method != http.MethodHead && !session:
			w.Header().Set("Allow", "GET, HEAD")
			c.refuse(w, r, refusal{http.StatusMethodNotAllowed, "read_only", "The console only reads: use GET."})
		case !sameSite(r) && !navigates:
			c.refuse(w, r, refusal{http.StatusForbidden, "cross_site", "The console answers to its own page only, not to another site's."})
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// meantFor says whether a Host header names a listener on host: by that name,
// as loopback, or, where it listens on all addresses, by any literal address.
func meantFor(listen, host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	if name == "" {
		return false
	}
	if strings.EqualFold(name, "localhost") || strings.EqualFold(name, listen) {
		return true
	}
	address, err := netip.ParseAddr(name)
	if err != nil {
		return false
	}
	everywhere, err := netip.ParseAddr(listen)
	return address.IsLoopback() || listen == "" || err == nil && everywhere.IsUnspecified()
}

// bounded lets only so many askers in at once.
func bounded(slots chan struct{}, ask func(*http.Request) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			return ask(r)
		default:
			return nil, refusal{http.StatusServiceUnavailable, "busy", fmt.Sprintf("%d questions are being answered. Ask again in a second.", cap(slots))}
		}
	}
}

// answer turns a question into a handler that answers with JSON.
func (c *Console) answer(ask func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		reply, err := ask(r)
		var told refusal
		switch {
		case errors.As(err, &told):
			c.refuse(w, r, told)
		case err != nil:
			c.Logger.ErrorContext(r.Context(), "console could not answer", "path", r.URL.Path, "error", err)
			c.refuse(w, r, refusal{http.StatusInternalServerError, "failed", "The answer could not be read; the log of penstock says why."})
		default:
			c.write(w, r, http.StatusOK, reply)
		}
	}
}

// Failure is the body of every answer that is none.
type Failure struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func (c *Console) refuse(w http.ResponseWriter, r *http.Request, why refusal) {
	var f Failure
	f.Error.Code, f.Error.Message = why.code, why.message
	c.write(w, r, why.status, f)
}

func (c *Console) write(w http.ResponseWriter, r *http.Request, status int, reply any) {
	text, err := json.Marshal(reply)
	if err != nil {
		c.Logger.ErrorContext(r.Context(), "console could not encode its answer", "path", r.URL.Path, "error", err)
		status, text = http.StatusInternalServerError, []byte(`{"error":{"code":"failed","message":"The answer could not be encoded."}}`)
	}
	text = append(text, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if len(text) > worthPacking && accepts(r) {
		if small := packed(text, gzip.BestSpeed); small != nil {
			h.Set("Content-Encoding", "gzip")
			text = small
		}
	}
	h.Add("Vary", "Accept-Encoding")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(text) // an asker who went away needs no answer
	}
}

// Health is the answer of /healthz.
type Health struct {
	OK      bool    `json:"ok"`
	TickAge float64 `json:"tick_age_seconds"` // -1 before the first
}

// staleAfter is how many ticks, but at least half a minute, may be missing
// before the loop is taken for stuck.
const staleAfter = 30

func (c *Console) health(*http.Request) (any, error) {
	snapshot, _, ok := c.Fleet.Snapshot()
	if !ok {
		return Health{OK: true, TickAge: -1}, nil
	}
	age := time.Since(snapshot.Now)
	if age > max(30*time.Second, staleAfter*snapshot.Tick) {
		return nil, refusal{http.StatusServiceUnavailable, "stuck", fmt.Sprintf("The last tick was %s ago: the loop does not tick.", span(age))}
	}
	return Health{OK: true, TickAge: seconds(age)}, nil
}

// now returns the newest tick.
func (c *Console) now() (scale.Snapshot, scale.Decision, error) {
	snapshot, decision, ok := c.Fleet.Snapshot()
	if !ok {
		return snapshot, decision, refusal{http.StatusServiceUnavailable, "starting", "Penstock has only just started and has not ticked yet. Ask again in a second."}
	}
	return snapshot, decision, nil
}
