package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/penstock/penstock/internal/scale"
)

// ask puts a question to the handler and returns its status and body.
func ask(c *Console, url string) (int, string) {
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8081"+url, nil)
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func of(f *fleet) *Console {
	return &Console{Listen: "127.0.0.1:8081", Fleet: f, History: f, Bill: bill, Logger: slog.New(slog.DiscardHandler)}
}

// golden compares with a file of testdata; UPDATE=1 writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func indented(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(text), "", "  "); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return b.String()
}

// within returns lines that are wider than a terminal.
func tooWide(text string) []string {
	var wide []string
	for line := range strings.Lines(text) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > width {
			wide = append(wide, line)
		}
	}
	return wide
}

func TestStatusAndItsText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		code, body := ask(of(busyFleet(time.Now())), "/api/v1/status")
		if code != http.StatusOK {
			t.Fatalf("%d %s", code, body)
		}
		golden(t, "status.json", indented(t, body))
		var s Status
		if err := json.Unmarshal([]byte(body), &s); err != nil {
			t.Fatal(err)
		}
		text := s.Text(time.UTC)
		golden(t, "status.txt", text)
		if wide := tooWide(text); len(wide) > 0 {
			t.Errorf("wider than %d: %q", width, wide)
		}
	})
}

func TestExplainNowAndItsText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := of(busyFleet(time.Now()))
		for _, name := range []string{"chat", "vision", "code-32b"} {
			code, body := ask(c, "/api/v1/explain?model="+name)
			if code != http.StatusOK {
				t.Fatalf("%d %s", code, body)
			}
			var e Explanation
			if err := json.Unmarshal([]byte(body), &e); err != nil {
				t.Fatal(err)
			}
			if name == "chat" {
				golden(t, "explain-chat.json", indented(t, body))
			}
			text := e.Text(time.UTC)
			golden(t, "explain-"+name+".txt", text)
			if wide := tooWide(text); len(wide) > 0 {
				t.Errorf("wider than %d: %q", width, wide)
			}
		}
	})
}

func TestExplainThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := busyFleet(time.Now())
		for i := range 5 {
			at := f.snapshot.Now.Add(time.Duration(i-9) * time.Minute)
			r := scale.Record{At: at, Snapshot: f.snapshot, Decision: f.decision}
			r.Snapshot.Now, r.Decision.At = at, at
			f.records = append(f.records, r)
		}
		gone := f.records[4]
		gone.Snapshot.Models = []scale.ModelState{{Model: model("gone")}}
		f.records = append(f.records, gone)
		c := of(f)
		if code, body := ask(c, "/api/v1/explain?model=gone&at=-1m"); code != http.StatusOK {
			t.Errorf("a model that is no longer configured: %d %s", code, body)
		}
		for asked, wantAge := range map[string]float64{
			"-6m":                         1, // records are of a second before each minute
			"-5m30s":                      31,
			"-1h":                         -1, // before the first
			"1999-12-31T23:52:30Z":        31,
			"2000-01-01T00:00:00%2B00:00": 301,
		} {
			code, body := ask(c, "/api/v1/explain?model=chat-lora-legal&at="+asked)
			var e Explanation
			if err := json.Unmarshal([]byte(body), &e); err != nil {
				t.Fatal(err)
			}
			switch {
			case wantAge < 0:
				if code != http.StatusNotFound || !strings.Contains(body, "nothing_then") {
					t.Errorf("at %s: %d %s", asked, code, body)
				}
			case code != http.StatusOK || e.Age != wantAge || e.Model != "chat":
				t.Errorf("at %s: %d, the decision of %s is %v s old, want %v", asked, code, e.Model, e.Age, wantAge)
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := busyFleet(time.Now())
		c := of(f)
		fresh := of(&fleet{})
		alone := of(f)
		alone.History = nil
		for name, q := range map[string]struct {
			console *Console
			url     string
			status  int
			says    string
		}{
			"an unknown model, with the nearest": {c, "/api/v1/explain?model=chta", 404, `There is no model \"chta\". Nearest: chat.`},
			"a model like nothing":               {c, "/api/v1/explain?model=zzzzzzzzzzzz", 404, `There is no model \"zzzzzzzzzzzz\"."`},
			"part of a name":                     {c, "/api/v1/explain?model=legal", 404, "chat-lora-legal"},
			"an unknown model, in the past":      {c, "/api/v1/explain?model=chta&at=-1m", 404, "Nearest: chat."},
			"no model":                           {c, "/api/v1/explain", 400, "Say which model"},
			"no time":                            {c, "/api/v1/explain?model=chat&at=yesterday", 400, "is no time"},
			"the future":                         {c, "/api/v1/explain?model=chat&at=5m", 400, "-5m for five minutes ago"},
			"no limit":                           {c, "/api/v1/decisions?limit=0", 400, "from 1 to 500"},
			"too many":                           {c, "/api/v1/decisions?limit=501", 400, "from 1 to 500"},
			"decisions of an unknown model":      {c, "/api/v1/decisions?model=embedd", 404, "Nearest: embed."},
			"a path that is not there":           {c, "/api/v2/status", 404, "Ask /api/v1/status"},
			"before the first tick: status":      {fresh, "/api/v1/status", 503, "only just started"},
			"before the first tick: explain":     {fresh, "/api/v1/explain?model=chat", 503, "only just started"},
			"no journal: the past":               {alone, "/api/v1/explain?model=chat&at=-1m", 404, "keeps no journal"},
			"no journal: decisions":              {alone, "/api/v1/decisions", 404, "keeps no journal"},
		} {
			status, body := ask(q.console, q.url)
			if status != q.status || !strings.Contains(body, q.says) {
				t.Errorf("%s: %d %s\nwant %d and %q", name, status, body, q.status, q.says)
			}
			var f Failure
			if err := json.Unmarshal([]byte(body), &f); err != nil || f.Error.Code == "" || f.Error.Message == "" {
				t.Errorf("%s: not a Failure: %s", name, body)
			}
		}
	})
}

func TestDecisionsNewestFirstAndFaultsBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := busyFleet(time.Now())
		for i := range 3 {
			r := scale.Record{At: time.Now().Add(time.Duration(i-3) * time.Minute), Snapshot: f.snapshot, Decision: f.decision}
			f.records = append(f.records, r)
		}
		f.fault = errTorn
		_, body := ask(of(f), "/api/v1/decisions?model=chat&since=-150s&limit=9")
		var got Decisions
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		var ages []string
		for _, d := range got.Decisions {
			if d.Model != "chat" {
				t.Errorf("a decision of %q", d.Model)
			}
			ages = append(ages, time.Since(d.At).String())
		}
		if diff := cmp.Diff([]string{"1m0s", "2m0s"}, ages); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{errTorn.Error()}, got.Faults); diff != "" {
			t.Errorf("faults (-want +got):\n%s", diff)
		}
		// With nothing readable it is an error that names the row.
		code, body := ask(of(f), "/api/v1/decisions?model=chat&since=-1s")
		if code != http.StatusInternalServerError || !strings.Contains(body, "decision 4 of chat is damaged") {
			t.Errorf("%d %s", code, body)
		}
	})
}

func TestMetrics(t *testing.T) {
	others := prometheus.NewRegistry()
	others.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "penstock_of_another"}, func() float64 { return 7 }))
	synctest.Test(t, func(t *testing.T) {
		c := of(busyFleet(time.Now()))
		c.Gatherer = others
		code, body := ask(c, "/metrics")
		if code != http.StatusOK {
			t.Fatalf("%d %s", code, body)
		}
		golden(t, "metrics.txt", body)
	})
	if code, body := ask(of(&fleet{}), "/metrics"); code != http.StatusOK || strings.Contains(body, "penstock_replicas") {
		t.Errorf("before the first tick: %d %s", code, body)
	}
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if code, body := ask(of(&fleet{}), "/healthz"); code != http.StatusOK {
			t.Errorf("before the first tick: %d %s", code, body)
		}
		c := of(busyFleet(time.Now()))
		if code, body := ask(c, "/healthz"); code != http.StatusOK || body != `{"ok":true,"tick_age_seconds":1}`+"\n" {
			t.Errorf("%d %s", code, body)
		}
		time.Sleep(31 * time.Second)
		if code, body := ask(c, "/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "32 s ago") {
			t.Errorf("%d %s", code, body)
		}
	})
}

func TestOnlyItsOwnHostAndOnlyReads(t *testing.T) {
	for _, c := range []struct {
		listen, host, method string
		want                 int
	}{
		{"127.0.0.1:8081", "127.0.0.1:8081", "GET", 200},
		{"127.0.0.1:8081", "127.0.0.1", "GET", 200},
		{"127.0.0.1:8081", "localhost:9999", "GET", 200}, // a forwarded port
		{"127.0.0.1:8081", "LOCALHOST:8081", "GET", 200},
		{"127.0.0.1:8081", "[::1]:8081", "GET", 200},
		{"127.0.0.1:8081", "[::1]", "GET", 200},
		{"127.0.0.1:8081", "127.8.8.8:8081", "GET", 200},
		{"127.0.0.1:8081", "evil.example:8081", "GET", 403},
		{"127.0.0.1:8081", "localhost.evil.example", "GET", 403},
		{"127.0.0.1:8081", "127.0.0.1.nip.io:8081", "GET", 403},
		{"127.0.0.1:8081", "10.0.0.5:8081", "GET", 403},
		{"127.0.0.1:8081", "", "GET", 403},
		{"127.0.0.1:8081", "[::1", "GET", 200},
		{"gpu-box:8081", "gpu-box:8081", "GET", 200},
		{"gpu-box:8081", "other-box:8081", "GET", 403},
		{"0.0.0.0:8081", "10.0.0.5:8081", "GET", 200},
		{"0.0.0.0:8081", "evil.example:8081", "GET", 403},
		{":8081", "10.0.0.5:8081", "GET", 200},
		{":8081", "evil.example", "GET", 403},
		{"[::]:8081", "[fe80::1]:8081", "GET", 200},
		{"127.0.0.1:8081", "127.0.0.1:8081", "HEAD", 200},
		{"127.0.0.1:8081", "127.0.0.1:8081", "POST", 405},
		{"127.0.0.1:8081", "127.0.0.1:8081", "PUT", 405},
		{"127.0.0.1:8081", "127.0.0.1:8081", "DELETE", 405},
		{"127.0.0.1:8081", "127.0.0.1:8081", "OPTIONS", 405},
		{"127.0.0.1:8081", "127.0.0.1:8081", "TRACE", 405},
		{"127.0.0.1:8081", "evil.example", "POST", 403},
	} {
		console := of(busyFleet(time.Now()))
		console.Listen = c.listen
		for _, path := range []string{"/api/v1/status", "/metrics", "/healthz"} {
			r := httptest.NewRequest(c.method, "http://127.0.0.1"+path, nil)
			r.Host = c.host
			w := httptest.NewRecorder()
			console.Handler().ServeHTTP(w, r)
			if w.Code != c.want {
				t.Errorf("%s %s of %q on %s: %d, want %d", c.method, path, c.host, c.listen, w.Code, c.want)
			}
			if w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s %s: a browser may guess its type", c.method, path)
			}
		}
	}
}

func TestServesUntilToldAndLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- of(busyFleet(time.Now())).Serve(ctx, listener) }()

	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		r, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://%s/api/v1/status", listener.Addr()), nil)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(reply.Body)
		reply.Body.Close()
		if err != nil || reply.StatusCode != http.StatusOK || (len(text) == 0) != (method == http.MethodHead) {
			t.Errorf("%s: %d, %d bytes, %v", method, reply.StatusCode, len(text), err)
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestRunSaysWhereItCouldNotListen(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := of(&fleet{})
	c.Listen = taken.Addr().String()
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), c.Listen) {
		t.Errorf("got %v", err)
	}
}

func TestTooManyReadersAreTurnedAway(t *testing.T) {
	slots := make(chan struct{}, 1)
	slots <- struct{}{}
	_, err := bounded(slots, func(*http.Request) (any, error) { t.Error("let in"); return nil, nil })(nil)
	if err == nil || !strings.Contains(err.Error(), "Ask again") {
		t.Errorf("got %v", err)
	}
	<-slots
	if _, err := bounded(slots, func(*http.Request) (any, error) { return 1, nil })(nil); err != nil || len(slots) != 0 {
		t.Errorf("%v, %d slots taken", err, len(slots))
	}
}

func TestLongNamesFitTheTerminal(t *testing.T) {
	f := &fleet{ticked: true}
	m, p, c := chat(time.Now())
	m.Model.Name = "meta-llama/Llama-3.1-8B-Instruct"
	c.Target.Model, p.Allocations[0].Target.Model = m.Model.Name, m.Model.Name
	f.add(m, p, c)
	_, body := ask(of(f), "/api/v1/status")
	var s Status
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	text := s.Text(time.UTC)
	if wide := tooWide(text); len(wide) > 0 {
		t.Errorf("wider than %d: %q", width, wide)
	}
	if !strings.Contains(text, m.Model.Name) {
		t.Error("the whole name is nowhere")
	}
}

func TestWordsForNumbers(t *testing.T) {
	for share, want := range map[float64]string{1: "100 %", 0.99: "99 %", 0.9831: "98.31 %", 0.99999: "99.99 %", 0: "0 %", 0.5: "50 %"} {
		if got := percent(share); got != want {
			t.Errorf("percent(%v) = %s, want %s", share, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		812 * time.Millisecond: "812 ms", 2100 * time.Millisecond: "2.1 s", 58 * time.Second: "58 s",
		12 * time.Minute: "12 min", 3 * time.Hour: "3 h", 120 * time.Hour: "5 d",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestTheConditionsThatNeedAWord(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		change func(*scale.ModelState, *scale.Decision)
		want   Condition
		why    string
	}{
		"as it is": {func(*scale.ModelState, *scale.Decision) {}, Meeting, "99.92 %"},
		"an alert burns": {func(m *scale.ModelState, d *scale.Decision) {
			d.Alerts = []scale.Alert{{Model: "embed", Text: "spends its budget 14 times too fast"}}
		}, Missing, "14 times"},
		"another's alert": {func(m *scale.ModelState, d *scale.Decision) { d.Alerts = []scale.Alert{{Model: "chat"}} }, Meeting, ""},
		"overdrawn":       {func(_ *scale.ModelState, d *scale.Decision) { d.Budgets[0].Bad, d.Budgets[0].Remaining = 9000, -7.3 }, Missing, "91.73 %"},
		"the held wait too long": {func(m *scale.ModelState, d *scale.Decision) {
			m.Demand.Held, m.Demand.HeldFor = scale.Observe(2, now), scale.Observe(0.5, now)
		}, Missing, "waited 500 ms, over its limit of 300 ms"},
		"slow": {func(m *scale.ModelState, d *scale.Decision) {
			m.Replicas[0].Load.Latency.Service = time.Second
		}, Missing, "latency 1.0 s, over its limit of 300 ms"},
		"no traffic was ever measured": {func(m *scale.ModelState, d *scale.Decision) { m.Demand = scale.Demand{} }, NoData, "never measured"},
		"one variant can not serve it": {func(m *scale.ModelState, d *scale.Decision) {
			d.Plans[0].Reasons = []scale.Reason{{Code: scale.ReasonInfeasible, Text: "l4 misses 300 ms"}}
		}, Meeting, ""},
		"nothing can serve it": {func(m *scale.ModelState, d *scale.Decision) {
			d.Plans[0].Allocations[0].Infeasible = true
			d.Changes[0].Reasons = []scale.Reason{{Code: scale.ReasonInfeasible, Text: "no variant meets 300 ms"}}
		}, Missing, "no variant"},
		"boots fail and nothing serves": {func(m *scale.ModelState, d *scale.Decision) {
			m.Replicas = nil
			d.Changes[0].Reasons = []scale.Reason{{Code: scale.ReasonBootFailures, Text: "5 boots failed in a row"}}
		}, Missing, "5 boots"},
		"boots fail beside what serves": {func(m *scale.ModelState, d *scale.Decision) {
			d.Changes[0].Reasons = []scale.Reason{{Code: scale.ReasonBootFailures, Text: "5 boots failed in a row"}}
		}, Meeting, ""},
		"asked for, and nothing started yet": {func(m *scale.ModelState, d *scale.Decision) {
			m.Replicas = nil
			m.Demand.Held = scale.Observe(1, now)
		}, Loading, "a replica is to start, 1 request waits"},
		"asked for, and nothing may start": {func(m *scale.ModelState, d *scale.Decision) {
			m.Replicas = nil
			m.Demand.Held = scale.Observe(2, now)
			d.Plans[0].Allocations[0].Replicas = 1
			d.Changes[0].From, d.Changes[0].Want, d.Changes[0].To = 0, 1, 0
			d.Changes[0].Reasons = []scale.Reason{{Code: scale.ReasonNoSlot, Text: "1 nvidia-l4 needed, 0 free"}}
		}, Missing, "2 requests wait and no replica may start: 1 nvidia-l4 needed, 0 free"},
		"the last one drains": {func(m *scale.ModelState, d *scale.Decision) {
			m.Replicas = replicas("embed", now, scale.Draining)
			d.Plans[0].Allocations[0].Replicas, d.Changes[0].Want, d.Changes[0].To = 0, 0, 0
		}, Asleep, ""},
		"before the first request": {func(m *scale.ModelState, d *scale.Decision) {
			d.Budgets[0] = scale.Budget{Model: "embed", Remaining: 1}
		}, Meeting, "no request has ended yet"},
	} {
		m, p, change := embedder(now)
		p.Model = "embed"
		d := scale.Decision{
			Plans: []scale.Plan{p}, Changes: []scale.Change{change},
			Budgets: []scale.Budget{{Model: "embed", Good: 99920, Bad: 80, Remaining: 0.92}},
		}
		c.change(&m, &d)
		if s := modelStatus(m, d, now); s.Condition != c.want || !strings.Contains(s.Why, c.why) {
			t.Errorf("%s: %s, %q; want %s, %q", name, s.Condition, s.Why, c.want, c.why)
		}
	}
}

// A journalled NaN or infinity must not take the answer away.
func TestNumbersThatJSONLacks(t *testing.T) {
	f := busyFleet(time.Now())
	nan := 0.0
	nan /= nan
	f.decision.Plans[0].Required, f.decision.Plans[0].Allocations[0].PerReplica = nan, nan
	f.decision.Forecasts[0].Upper = 1 / (nan - nan)
	f.snapshot.Models[0].Demand.Arrivals.Value = nan
	for _, url := range []string{"/api/v1/status", "/api/v1/explain?model=chat"} {
		if code, body := ask(of(f), url); code != http.StatusOK {
			t.Errorf("%s: %d %s", url, code, body)
		}
	}
}

// TestExplainNamesTheLastChange: the tick that somebody asks about is seconds
// ago, and every tick since has kept what it did.
func TestExplainNamesTheLastChange(t *testing.T) {
	f := busyFleet(time.Now())
	change := scale.Change{Target: target("chat"), From: 0, To: 1, Reasons: []scale.Reason{{Code: scale.ReasonInterruption, Text: "1 of 1 will be taken away: replaced now"}}}
	c := &Console{Fleet: f, Bill: bill, History: changes{f, scale.Decision{At: time.Now().Add(-time.Minute), Changes: []scale.Change{change}}}}
	code, body := ask(c, "/api/v1/explain?model=chat")
	var e Explanation
	if err := json.Unmarshal([]byte(body), &e); err != nil || code != http.StatusOK {
		t.Fatalf("%d, %v: %s", code, err, body)
	}
	if e.LastChange == nil || e.LastChange.Headline != "0 to 1 on a100, wanted 0" {
		t.Errorf("last change: %+v", e.LastChange)
	}
	if text := e.Text(time.UTC); !strings.Contains(text, "Last") || !strings.Contains(text, "[interruption]") {
		t.Errorf("the text does not tell it:\n%s", text)
	}
}

// changes is a History in which one decision did something.
type changes struct {
	*fleet
	decision scale.Decision
}

func (c changes) Decisions(context.Context, string, time.Time, int) ([]scale.Decision, error) {
	return []scale.Decision{{At: time.Now()}, c.decision}, nil
}
