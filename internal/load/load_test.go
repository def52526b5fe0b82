package load_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/load"
	"github.com/penstock/penstock/internal/scale"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipes is a network in memory, so that a test's time can be virtual.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

func (*pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.conns <- server
	return client, nil
}

// bench is a server in memory and a generator pointed at it.
func bench(t *testing.T, handler http.HandlerFunc) *load.Generator {
	t.Helper()
	network := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: handler}
	stopped := make(chan struct{})
	go func() { _ = server.Serve(network); close(stopped) }()
	client := load.NewClient()
	client.Transport.(*http.Transport).DialContext = network.dial
	t.Cleanup(func() {
		client.CloseIdleConnections()
		_ = server.Close()
		<-stopped
	})
	return &load.Generator{
		Target: "http://server", Client: client, Start: time.Unix(0, 0),
		Models: []load.Model{{Name: "m", Emulated: true, SLO: scale.SLO{TTFT: time.Second, TPOT: 50 * time.Millisecond, MaxHold: time.Minute}}},
		Grace:  10 * time.Second, Stall: 2 * time.Minute,
	}
}

// arrive makes a request of five prompt and ten output tokens at each offset.
func arrive(offsets ...time.Duration) func(func(scale.Request, error) bool) {
	return func(yield func(scale.Request, error) bool) {
		for i, at := range offsets {
			if !yield(scale.Request{ID: scale.RequestID(i + 1), At: time.Unix(0, 0).Add(at), PromptTokens: 5, OutputTokens: 10}, nil) {
				return
			}
		}
	}
}

// asked is what a request's body says.
type asked struct {
	ctx       context.Context //nolint:containedctx // of the request that this is
	Model     string          `json:"model"`
	MaxTokens int             `json:"max_tokens"`
	Stream    bool            `json:"stream"`
	Options   struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	Messages []struct{ Role, Content string } `json:"messages"`
}

func read(t *testing.T, r *http.Request) asked {
	t.Helper()
	a := asked{ctx: r.Context()}
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &a) != nil || len(a.Messages) != 1 {
		t.Errorf("body %.80q: error %v", body, err)
	}
	return a
}

// pause lets time pass, unless the client is gone.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// reply writes a verified stream: the first token after ttft, then one each
// tpot. It stops before token stop.
func reply(w http.ResponseWriter, a asked, ttft, tpot time.Duration, stop int) {
	ctx := a.ctx
	w.Header().Set("Content-Type", "text/event-stream")
	seed := engine.Seed(a.Messages[0].Content)
	pause(ctx, ttft)
	for i := range min(stop, a.MaxTokens) {
		if i > 0 {
			pause(ctx, tpot)
		}
		finish := "null"
		if i == a.MaxTokens-1 {
			finish = `"length"`
		}
		fmt.Fprintf(w, "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"finish_reason\":%s}]}\n\n", engine.Token(seed, i), finish)
		w.(http.Flusher).Flush()
	}
	if stop >= a.MaxTokens {
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	}
}

func run(t *testing.T, g *load.Generator) load.Report {
	t.Helper()
	report, err := g.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestARequestGoesOutAtItsTimeHoweverSlowTheServerIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var came []time.Duration
		began := time.Now()
		g := bench(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			came = append(came, time.Since(began))
			mu.Unlock()
			reply(w, read(t, r), time.Minute, 0, 10) // far slower than the arrivals
		})
		offsets := []time.Duration{0, 100 * time.Millisecond, 100 * time.Millisecond, 7 * time.Second, 90 * time.Second}
		g.Requests = arrive(offsets...)
		report := run(t, g)
		slices.Sort(came)
		if d := cmp.Diff(offsets, came); d != "" {
			t.Error(d)
		}
		if report.Lag.Max > time.Microsecond || !report.KeptUp() {
			t.Errorf("lag %+v where time is exact", report.Lag)
		}
		if report.Duration != 150*time.Second {
			t.Errorf("took %v, want 2m30s", report.Duration)
		}
	})
}

func TestAnExchangeIsMeasuredFromTheClientsSide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bench(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/chat/completions" || r.Method != http.MethodPost || r.ProtoMajor != 1 {
				t.Errorf("%s %s %s", r.Method, r.URL.Path, r.Proto)
			}
			a := read(t, r)
			if a.Model != "m" || a.MaxTokens != 10 || !a.Stream || !a.Options.IncludeUsage || len(strings.Fields(a.Messages[0].Content)) != 5 || len(a.Messages[0].Content) != 19 {
				t.Errorf("asked %+v", a)
			}
			reply(w, a, 300*time.Millisecond, 20*time.Millisecond, 10)
		})
		g.Requests = arrive(0)
		r := run(t, g)
		near := func(what string, got, want time.Duration) {
			if got < want || got > want+want/500 { // three significant figures
				t.Errorf("%s %v, want %v", what, got, want)
			}
		}
		near("TTFT", r.TTFT.P50, 300*time.Millisecond)
		near("TPOT", r.TPOT.P99, 20*time.Millisecond)
		near("E2E", r.E2E.Max, 480*time.Millisecond)
		if r.Requests != 1 || r.Outcomes[scale.OK] != 1 || r.Good != 1 || r.Judged != 1 || r.Verified != 1 || r.Woke != 0 {
			t.Errorf("report %+v", r)
		}
	})
}

func TestEveryEndHasItsOutcome(t *testing.T) {
	say := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	part := func(then http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			reply(w, read(t, r), 0, 0, 4)
			then(w, r)
		}
	}
	abort := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	refusal := `{"error":{"message":"1,000 requests are already waiting","code":"queue_full"}}`
	for what, tc := range map[string]struct {
		handler http.HandlerFunc
		want    scale.Outcome
		detail  string
	}{
		"queue full":           {say(429, refusal), scale.Refused, "429: queue_full: 1,000 requests are already waiting"},
		"too large":            {say(413, ""), scale.Refused, "413: "},
		"draining":             {say(503, ""), scale.Refused, "503: "},
		"held too long":        {say(504, ""), scale.Expired, "504: "},
		"the upstream's fault": {say(500, "boom"), scale.Failed, "500: boom"},
		"an unknown model":     {say(404, ""), scale.Failed, "404: "},
		"a redirect":           {say(302, ""), scale.Failed, "302: "},
		"no stream":            {say(200, "{}"), scale.Corrupted, "a stream was asked for"},
		"no answer":            {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, scale.Lost, "no answer: "},
		"reset after the headers": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, scale.Lost, "cut short after 0 pieces"},
		"reset mid-stream":       {part(abort), scale.Lost, "cut short after 4 pieces"},
		"a clean end mid-stream": {part(func(http.ResponseWriter, *http.Request) {}), scale.Lost, "a clean end without [DONE] after 4 pieces"},
		"an error event and a reset": {part(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "data: {\"error\":{\"code\":\"replica_lost\",\"message\":\"it died\"}}\n\n")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}), scale.Interrupted, "replica_lost: it died"},
		"a success without its last tokens": {part(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n")
		}), scale.Corrupted, "a success of 4 tokens, 10 were asked for"},
		"silence":            {func(_ http.ResponseWriter, r *http.Request) { _, _ = io.ReadAll(r.Body); <-r.Context().Done() }, scale.Lost, "no byte came for too long"},
		"silence mid-stream": {part(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), scale.Lost, "no byte came for too long"},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := bench(t, tc.handler)
				g.Requests = arrive(0)
				r := run(t, g)
				want := load.Outcomes{}
				want[tc.want] = 1
				if r.Outcomes != want || r.Good != 0 || r.Judged != 1 {
					t.Errorf("outcomes %v, good %d of %d; want one %v", r.Outcomes, r.Good, r.Judged, tc.want)
				}
				if len(r.Examples) != 1 || r.Examples[0].Outcome != tc.want || !strings.HasPrefix(r.Examples[0].Detail, tc.detail) {
					t.Errorf("examples %+v, want %q", r.Examples, tc.detail)
				}
			})
		})
	}
}

// A gateway that has yet to see a replica can not say that it is emulated; the
// replies themselves do.
func TestEmulatedRepliesAreToldByTheirFirstToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := map[string]time.Duration{"baa": time.Minute, "caa": 0, "daa": 0} // requests 1, 2 and 3
		g := bench(t, func(w http.ResponseWriter, r *http.Request) {
			a := read(t, r)
			id := a.Messages[0].Content[:3]
			if id != "caa" {
				a.Messages[0].Content = "another prompt"
			}
			reply(w, a, 0, slow[id], 10)
		})
		g.Models[0].Emulated = false
		g.Requests = arrive(0, 10*time.Second, 20*time.Second)
		r := run(t, g)
		// The first is under way with another's tokens when the second shows
		// what they should be; the third is known to be wrong from the start.
		if r.Outcomes[scale.OK] != 1 || r.Outcomes[scale.Corrupted] != 2 || r.Verified != 1 {
			t.Errorf("outcomes %v, %d verified: %v", r.Outcomes, r.Verified, r.Examples)
		}
	})
}

func TestALongStreamIsNotASilentOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bench(t, func(w http.ResponseWriter, r *http.Request) {
			reply(w, read(t, r), time.Minute, time.Minute, 10)
		})
		g.Requests = arrive(0)
		if r := run(t, g); r.Outcomes[scale.OK] != 1 {
			t.Errorf("outcomes %v: %v", r.Outcomes, r.Examples)
		}
	})
}

func TestGoodIsAsTheModelPromises(t *testing.T) {
	for what, tc := range map[string]struct {
		ttft, tpot time.Duration
		held, woke string
		good       int
	}{
		"within both":                               {time.Second - time.Millisecond, 50 * time.Millisecond, "", "", 1},
		"first token late":                          {time.Second + time.Millisecond, 0, "", "", 0},
		"tokens late":                               {0, 51 * time.Millisecond, "", "", 0},
		"held counts into the first token":          {1500 * time.Millisecond, 0, "1000", "", 0},
		"a wake is judged by the hold and the rest": {20 * time.Second, 0, "19500.5", "true", 1},
		"a wake may not leave the replica slow":     {20 * time.Second, 0, "18000", "true", 0},
		"a wake may not be held beyond the longest": {61 * time.Second, 0, "60500", "true", 0},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := bench(t, func(w http.ResponseWriter, r *http.Request) {
					if tc.held != "" {
						w.Header().Set(load.HeaderHeld, tc.held)
					}
					if tc.woke != "" {
						w.Header().Set(load.HeaderWoke, tc.woke)
					}
					reply(w, read(t, r), tc.ttft, tc.tpot, 10)
				})
				g.Requests = arrive(0)
				if r := run(t, g); r.Outcomes[scale.OK] != 1 || r.Good != tc.good || (r.Woke == 1) != (tc.woke == "true") {
					t.Errorf("outcomes %v, good %d, woke %d; want good %d", r.Outcomes, r.Good, r.Woke, tc.good)
				}
			})
		})
	}
}

func TestAnInterruptedRunGivesGraceThenCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bench(t, func(w http.ResponseWriter, r *http.Request) {
			reply(w, read(t, r), 8*time.Second, 0, 10)
		})
		g.Grace = 5 * time.Second
		g.Requests = arrive(0, 5*time.Second, 9*time.Second, 20*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		r, err := g.Run(ctx)
		// The first is done at 8 s, the second at 13 s, within grace; the third
		// would be at 17 s; the fourth is never sent.
		want := load.Outcomes{}
		want[scale.OK], want[scale.Cancelled] = 2, 1
		if err != nil || r.Outcomes != want || r.Requests != 3 || r.Judged != 2 || r.Duration != 15*time.Second {
			t.Errorf("error %v, outcomes %v, judged %d, took %v", err, r.Outcomes, r.Judged, r.Duration)
		}
	})
}

func TestABrokenSeriesEndsArrivalsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bench(t, func(w http.ResponseWriter, r *http.Request) { reply(w, read(t, r), time.Second, 0, 10) })
		torn := errors.New("torn")
		g.Requests = func(yield func(scale.Request, error) bool) {
			_ = yield(scale.Request{ID: 1, At: time.Unix(0, 0), OutputTokens: 1}, nil) && yield(scale.Request{}, torn)
		}
		r, err := g.Run(t.Context())
		if !errors.Is(err, torn) || r.Outcomes[scale.OK] != 1 {
			t.Errorf("error %v, outcomes %v", err, r.Outcomes)
		}
	})
}

func TestEachRequestGoesToItsModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		got := map[string]int{}
		g := bench(t, func(w http.ResponseWriter, r *http.Request) {
			a := read(t, r)
			mu.Lock()
			got[a.Model]++
			mu.Unlock()
			reply(w, a, 0, 0, 10)
		})
		g.Models = append(g.Models, load.Model{Name: "n", Emulated: true})
		names := []string{"", "m", "n", "n"}
		g.Requests = func(yield func(scale.Request, error) bool) {
			for i, name := range names {
				if !yield(scale.Request{ID: scale.RequestID(i + 1), At: time.Unix(0, 0), Model: name, OutputTokens: 1}, nil) {
					return
				}
			}
		}
		run(t, g)
		if d := cmp.Diff(map[string]int{"m": 2, "n": 2}, got); d != "" {
			t.Error(d)
		}
		g.Requests = func(yield func(scale.Request, error) bool) {
			yield(scale.Request{ID: 1, At: time.Unix(0, 0), Model: "o"}, nil)
		}
		if _, err := g.Run(t.Context()); err == nil || !strings.Contains(err.Error(), `model "o"`) {
			t.Errorf("an unknown model: error %v", err)
		}
	})
}

func TestPromptsDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		seen := map[uint64]int{}
		g := bench(t, func(w http.ResponseWriter, r *http.Request) {
			a := read(t, r)
			mu.Lock()
			seen[engine.Seed(a.Messages[0].Content)]++
			mu.Unlock()
			reply(w, a, 0, 0, 10)
		})
		// One after the other: hundreds of connections at once in one bubble crash
		// the race detector itself now and then (tsan_rtl.cpp, slot_locked).
		at := make([]time.Duration, 300)
		for i := range at {
			at[i] = time.Duration(i) * time.Millisecond
		}
		g.Requests = arrive(at...)
		if r := run(t, g); r.Outcomes[scale.OK] != 300 || len(seen) != 300 {
			t.Errorf("%d requests had %d seeds; outcomes %v", r.Requests, len(seen), r.Outcomes)
		}
	})
}

func TestProgressTellsEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bench(t, func(w http.ResponseWriter, r *http.Request) {
			reply(w, read(t, r), 1500*time.Millisecond, 0, 10)
		})
		var got []string
		g.Progress = func(p load.Progress) {
			got = append(got, fmt.Sprintf("%v %d/%d %.0f/s good %d of %d %v", p.Elapsed, p.Ended, p.Started, p.Arriving, p.Good, p.Judged, p.Draining))
		}
		g.Requests = arrive(0, 0, 2500*time.Millisecond)
		run(t, g)
		want := []string{"1s 0/2 2/s good 0 of 0 false", "2s 2/2 0/s good 0 of 2 false", "3s 2/3 1/s good 0 of 2 true", "4s 3/3 0/s good 0 of 3 true"}
		if d := cmp.Diff(want[:3], got[:3]); d != "" {
			t.Error(d)
		}
	})
}

func TestConnectionsAreUsedAgainWhileFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		served := map[net.Conn]int{}
		var conn net.Conn
		g := bench(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			served[conn]++
			count := served[conn]
			mu.Unlock()
			if count == 2 {
				http.Error(w, "no", http.StatusTooManyRequests) // is read to its end as well
				return
			}
			reply(w, read(t, r), 0, 0, 10)
		})
		transport := g.Client.Transport.(*http.Transport)
		dial := transport.DialContext
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			conn = c
			return c, err
		}
		g.Requests = arrive(0, 5*time.Second, 10*time.Second, time.Minute)
		r := run(t, g)
		if len(served) != 2 || served[conn] != 1 || r.Outcomes[scale.OK] != 3 {
			t.Errorf("connections %v, outcomes %v; want one for the first three requests and a fresh one for the last", served, r.Outcomes)
		}
	})
}

// Over a real network a reset is one.
func TestOverTCP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := read(t, r)
		if strings.HasPrefix(a.Messages[0].Content, "daa") { // the fourth request
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 999\r\n\r\n: ping\n\n")
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
			return
		}
		reply(w, a, 0, 0, 10)
	}))
	defer server.Close()
	g := &load.Generator{
		Target: server.URL, Client: load.NewClient(), Start: time.Unix(0, 0), Stall: time.Minute,
		Models: []load.Model{{Name: "m", Emulated: true}}, Requests: arrive(make([]time.Duration, 200)...),
	}
	r := run(t, g)
	want := load.Outcomes{}
	want[scale.OK], want[scale.Lost] = 199, 1
	if r.Outcomes != want || r.Verified != 199 {
		t.Errorf("outcomes %v, %d verified: %v", r.Outcomes, r.Verified, r.Examples)
	}
}
