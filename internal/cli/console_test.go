package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/console"
	"github.com/penstock/penstock/internal/scale"
)

// oneModel is a fleet of one model that meets its SLO, with a journal that
// holds the decision of an hour ago.
type oneModel struct {
	at time.Time
}

func (f oneModel) Snapshot() (scale.Snapshot, scale.Decision, bool) {
	r := f.record(f.at)
	return r.Snapshot, r.Decision, true
}

func (f oneModel) Lifetimes() []scale.Lifetime {
	return []scale.Lifetime{{Replica: "chat-1", Target: f.target(), PricePerHour: 2.1, Created: f.at.Add(-time.Hour)}}
}

func (f oneModel) DecisionAt(_ context.Context, _ string, t time.Time) (scale.Record, bool, error) {
	at := f.at.Add(-time.Hour)
	return f.record(at), !t.Before(at), nil
}

func (f oneModel) Decisions(context.Context, string, time.Time, int) ([]scale.Decision, error) {
	return nil, nil
}

func (oneModel) target() scale.ScaleTarget {
	return scale.ScaleTarget{Model: "chat", Variant: "a100", Capacity: scale.OnDemand}
}

func (f oneModel) record(at time.Time) scale.Record {
	return scale.Record{
		At: at,
		Snapshot: scale.Snapshot{Now: at, Tick: time.Second, Models: []scale.ModelState{{
			Model:    scale.Model{Name: "chat", Mode: scale.Auto, SLO: scale.SLO{TTFT: 800 * time.Millisecond, TPOT: 50 * time.Millisecond, Objective: 0.99}},
			Demand:   scale.Demand{Arrivals: scale.Observe(4, at), Good: scale.Observe(100, at), Bad: scale.Observe(0, at)},
			Replicas: []scale.Replica{{ID: "chat-1", Target: f.target(), Phase: scale.Ready, Created: at, Since: at}},
		}}},
		Decision: scale.Decision{
			At:    at,
			Plans: []scale.Plan{{Model: "chat", Allocations: []scale.Allocation{{Target: f.target(), Replicas: 1, BatchLimit: 32, PerReplica: 5, CostPerHour: 2.1}}}},
			Changes: []scale.Change{{Target: f.target(), From: 1, Want: 1, To: 1, Reasons: []scale.Reason{
				{Code: scale.ReasonSteady, Text: "demand is 4.0 requests/s; one serves 5.0"},
			}}},
		},
	}
}

// serveConsole starts a console and returns its URL.
func serveConsole(t *testing.T) string {
	t.Helper()
	fleet := oneModel{at: time.Now()}
	c := console.Console{Listen: "127.0.0.1:0", Fleet: fleet, History: fleet, Logger: slog.New(slog.DiscardHandler)}
	server := httptest.NewServer(c.Handler())
	t.Cleanup(server.Close)
	return server.URL
}

// penstock runs a command line and returns what it printed and its exit code.
func penstock(t *testing.T, args ...string) (out, talk string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = Main(t.Context(), args, Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	return stdout.String(), stderr.String(), code
}

// nobody is an address at which nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestStatusOfARunningPenstock(t *testing.T) {
	server := serveConsole(t)
	out, talk, code := penstock(t, "status", "--server", server)
	if code != exitOK || talk != "" || !strings.HasPrefix(out, "chat meets its objective.\n$2.10/h now") || !strings.Contains(out, "● meeting") {
		t.Errorf("exit %d\n%s%s", code, out, talk)
	}
	if strings.Contains(out, "\x1b") {
		t.Error("control sequences where there is no terminal")
	}
	out, _, code = penstock(t, "status", "--server", strings.TrimPrefix(server, "http://"), "--json")
	var s console.Status
	if err := json.Unmarshal([]byte(out), &s); code != exitOK || err != nil || len(s.Models) != 1 || s.Models[0].Replicas.Ready != 1 {
		t.Errorf("exit %d, %v\n%s", code, err, out)
	}
}

func TestExplainOfARunningPenstock(t *testing.T) {
	server := serveConsole(t)
	out, talk, code := penstock(t, "explain", "chat", "--server", server)
	if code != exitOK || talk != "" || !strings.Contains(out, "Because    demand is 4.0 requests/s; one serves 5.0 [steady]\n") {
		t.Errorf("exit %d\n%s%s", code, out, talk)
	}
	for _, at := range [][]string{{"--at", "-5m"}, {"--at=-5m"}, {"--at", "5m"}, {"--at", time.Now().Add(-5 * time.Minute).Format(time.RFC3339)}} {
		out, talk, code := penstock(t, append([]string{"explain", "chat", "--server", server, "--json"}, at...)...)
		var e console.Explanation
		if err := json.Unmarshal([]byte(out), &e); code != exitOK || err != nil || e.Age < 54*60 || e.Age > 56*60 {
			t.Errorf("%q: exit %d, %v, decided %v s before\n%s", at, code, err, e.Age, talk)
		}
	}
}

func TestWhatTheAskerIsToldWhenItFails(t *testing.T) {
	server, empty := serveConsole(t), nobody(t)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	t.Cleanup(other.Close)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"nothing runs: status":  {[]string{"status", "--server", empty}, exitFailed, "nothing answers at http://" + empty + ": start `penstock serve -f penstock.yaml`, or pass --server URL"},
		"nothing runs: explain": {[]string{"explain", "chat", "--server", empty}, exitFailed, "nothing answers at"},
		"nothing runs: watch":   {[]string{"status", "--watch", "--server", empty}, exitFailed, "nothing answers at"},
		"something else runs":   {[]string{"status", "--server", other.URL}, exitFailed, "not as a penstock console"},
		"no time between":       {[]string{"status", "--watch", "--every", "0s", "--server", server}, exitUsage, "--every"},
		"no URL":                {[]string{"status", "--server", "ftp://x"}, exitUsage, "is no URL"},
		"an unknown model":      {[]string{"explain", "chatt", "--server", server}, exitFailed, `There is no model "chatt". Nearest: chat.`},
		"no model":              {[]string{"explain", "--server", server}, exitUsage, "<model>"},
		"no time":               {[]string{"explain", "chat", "--server", server, "--at", "yesterday"}, exitUsage, "is no time"},
		"an empty --at":         {[]string{"explain", "chat", "--server", server, "--at"}, exitUsage, "--at"},
		"before the journal":    {[]string{"explain", "chat", "--server", server, "--at", "-2h"}, exitFailed, "The journal holds nothing of chat"},
	} {
		out, talk, code := penstock(t, c.args...)
		if code != c.code || !strings.Contains(talk, c.says) || strings.Contains(out, "{") {
			t.Errorf("%s: exit %d, want %d and %q\n%s%s", name, code, c.code, c.says, out, talk)
		}
	}
}

func TestAMomentAsItIsWritten(t *testing.T) {
	zone := time.FixedZone("", 2*60*60)
	now := time.Date(2026, 3, 2, 9, 46, 0, 0, zone)
	for written, want := range map[string]string{
		"":                          "",
		"-5m":                       "-5m0s",
		"90s":                       "-1m30s",
		"0s":                        "-0s",
		"2026-03-02T09:46:00Z":      "2026-03-02T09:46:00Z",
		"2026-03-02T09:46:00+01:00": "2026-03-02T09:46:00+01:00",
		"2026-03-01T10:00":          "2026-03-01T10:00:00+02:00",
		"2026-03-01 10:00:07":       "2026-03-01T10:00:07+02:00",
		"2026-03-01":                "2026-03-01T00:00:00+02:00",
		"09:45":                     "2026-03-02T09:45:00+02:00",
		"09:46:30":                  "2026-03-01T09:46:30+02:00", // has not come today
	} {
		if got, err := moment(written).query(now); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", written, got, err, want)
		}
	}
	if _, err := moment("soon").query(now); err == nil {
		t.Error("soon is a time?")
	}
}

// watcher is an output that cancels once it was written to often enough.
type watcher struct {
	text   bytes.Buffer
	writes int
	cancel context.CancelFunc
}

func (w *watcher) Write(text []byte) (int, error) {
	if w.writes--; w.writes == 0 {
		w.cancel()
	}
	return w.text.Write(text)
}

func TestWatchShowsItAgainUntilInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &watcher{writes: 3, cancel: cancel}
	code := Main(ctx, []string{"status", "--watch", "--every", "1ms", "--json", "--server", serveConsole(t)}, Streams{Out: out, Err: io.Discard})
	if n := strings.Count(out.text.String(), `"sentence"`); code != exitOK || n != 3 {
		t.Errorf("exit %d, shown %d times", code, n)
	}
}

func TestHelpOfWhatAsks(t *testing.T) {
	for _, command := range []string{"status", "explain"} {
		got, _, code := penstock(t, command, "--help")
		if code != exitOK {
			t.Errorf("exit %d", code)
		}
		path := filepath.Join("testdata", "help-"+command+".txt")
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
}
