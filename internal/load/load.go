// Package load asks a server for what a series of requests says, at the times
// that it says, and tells what became of every one of them. It is an open
// loop: a request goes out at its time whether or not earlier ones were
// answered, so that a slow server can not make its own load lighter. Every
// reply is read to its end and checked.
package load

import (
	"context"
	"fmt"
	"iter"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Generator is one run of load. Its fields are not changed while it runs.
type Generator struct {
	Target   string                          // base URL of the server, without a path
	Models   []Model                         // where a request that names no model goes to the first
	Requests iter.Seq2[scale.Request, error] // in order of arrival
	Start    time.Time                       // the instant of the series at which the run begins
	Total    int                             // requests in the series, for Progress; 0 when not known
	Span     time.Duration                   // Start → last arrival, for Progress; 0 when not known
	Seed     uint64                          // of the prompts' texts
	Grace    time.Duration                   // how long requests in flight may go on once the context has ended
	Stall    time.Duration                   // a request that gets no byte for so long counts as lost; must exceed any hold
	Client   *http.Client                    // see NewClient
	Progress func(Progress)                  // called about once a second from one goroutine; may be nil
	Manners  func(scale.Request) Manners     // how the client of a request behaves; called from many goroutines; nil for well
	Ended    func(Ended)                     // called for each request that ended, from one goroutine; may be nil
}

// Manners is how a client behaves that does not read its reply as it comes.
type Manners struct {
	Leave int           // goes away at so many bytes of a reply; 0 for not
	Pause time.Duration // waits so long before each read; 0 for not
	Await time.Duration // goes away when no reply has begun by then; 0 for not
}

// Ended is how one request ended.
type Ended struct {
	ID      scale.RequestID
	Outcome scale.Outcome
	Held    time.Duration // as the gateway says
	Sent    time.Time
	Took    time.Duration
	Left    time.Time // when its client went away by its Manners; zero for not
	Detail  string    // why the outcome is what it is
}

// Model is a model under load.
type Model struct {
	Name     string
	Alias    bool      // another name of a model that is listed, too
	SLO      scale.SLO // what a good reply is
	Emulated bool      // whether replies are known to be those of package engine, so that each token is checked; else the first reply that begins like one tells
}

// Progress is how far a run is.
type Progress struct {
	Elapsed  time.Duration
	Span     time.Duration // as in Generator
	Total    int           // as in Generator
	Started  int
	Ended    int
	Arriving float64 // requests/s started since the last Progress
	Outcomes Outcomes
	Good     int
	Judged   int
	Draining bool // all have started, or the run was interrupted
}

// NewClient returns a client as a Generator needs it: HTTP/1.1, a connection
// for each stream, nothing decoded, no redirect followed, and no request sent
// twice (http.Transport repeats a POST only if not a byte of it was written).
// Idle connections are dropped sooner than servers drop them, lest a request
// meets a closing connection.
func NewClient() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			Protocols:           protocols,
			DisableCompression:  true,
			MaxIdleConnsPerHost: 1 << 16,
			IdleConnTimeout:     20 * time.Second,
			ReadBufferSize:      8 << 10,
			WriteBufferSize:     32 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Run sends every request at its time and returns when the last has ended.
// When ctx ends no further request starts; those in flight have Grace to end
// and are then cancelled. The Report is what is known in any case; the error
// is the series' own.
func (g *Generator) Run(ctx context.Context) (Report, error) {
	flight, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	run := &run{
		Generator: g,
		began:     time.Now(),
		results:   make(chan result, 4096),
		models:    make(map[string]*target, len(g.Models)),
		readers:   newReaders(),
	}
	for _, m := range g.Models {
		t := &target{Model: m}
		t.emulated.Store(m.Emulated)
		run.models[m.Name] = t
	}
	var tally *tally
	var collector sync.WaitGroup
	collector.Go(func() { tally = run.collect() })

	err := run.arrivals(ctx, flight)
	run.draining.Store(true)
	ended := make(chan struct{})
	go func() { run.requests.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		grace := time.NewTimer(g.Grace)
		select {
		case <-ended:
		case <-grace.C:
			cancel()
			<-ended
		}
		grace.Stop()
	}
	close(run.results)
	collector.Wait()
	g.Client.CloseIdleConnections()
	return tally.report(time.Since(run.began)), err
}

// run is the state of one Run.
type run struct {
	*Generator
	began    time.Time
	models   map[string]*target
	results  chan result
	requests sync.WaitGroup
	started  atomic.Int64
	draining atomic.Bool
	readers  *readers
}

// arrivals starts each request at its time. It waits for nothing but time.
func (r *run) arrivals(ctx, flight context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for request, err := range r.Requests {
		if err != nil {
			return fmt.Errorf("read the next arrival: %w", err)
		}
		model, ok := r.model(request.Model)
		if !ok {
			return fmt.Errorf("request %d asks for model %q, which is not among those under load", request.ID, request.Model)
		}
		due := r.began.Add(request.At.Sub(r.Start))
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		r.started.Add(1)
		r.requests.Go(func() { r.results <- r.send(flight, model, request, due) })
	}
	return nil
}

// target is a model and what its replies have shown.
type target struct {
	Model
	emulated atomic.Bool
}

func (r *run) model(name string) (*target, bool) {
	if name == "" || len(r.Models) == 1 {
		name = r.Models[0].Name
	}
	m, ok := r.models[name]
	return m, ok
}

// collect owns all counts. It ends when the results do.
func (r *run) collect() *tally {
	t := newTally()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	before, last := 0, r.began
	for {
		select {
		case result, ok := <-r.results:
			if !ok {
				return t
			}
			t.add(result)
			if r.Ended != nil {
				r.Ended(result.ended())
			}
		case now := <-tick.C:
			if r.Progress == nil {
				continue
			}
			started := int(r.started.Load())
			r.Progress(Progress{
				Elapsed: now.Sub(r.began), Span: r.Span, Total: r.Total,
				Started: started, Ended: t.outcomes.Sum(),
				Arriving: float64(started-before) / now.Sub(last).Seconds(),
				Outcomes: t.outcomes, Good: t.good, Judged: t.judged,
				Draining: r.draining.Load(),
			})
			before, last = started, now
		}
	}
}
