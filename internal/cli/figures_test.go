package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/console"
	"github.com/penstock/penstock/internal/scale"
)

// TestAFigureCallsForReplicasAndHoldsThemWhenItIsGone serves a model that nobody
// asks, with a figure that calls for two replicas, then can not be read any more,
// then calls for none. One request then goes past the gateway, and is seen.
func TestAFigureCallsForReplicasAndHoldsThemWhenItIsGone(t *testing.T) {
	var carts atomic.Int64 // below zero: it is out of order
	carts.Store(700)
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := carts.Load(); n >= 0 && r.Header.Get("Authorization") == "Bearer let-me-in" {
			fmt.Fprintf(w, `{"shop": {"carts": [{"open": %d}]}}`, n)
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(shop.Close)
	dir := t.TempDir()
	file := filepath.Join(dir, "penstock.yaml")
	text := fmt.Sprintf(quick, filepath.Join(dir, "state"), file) +
		"  signals: [{name: open-carts, perReplica: 400, every: 1s, freshFor: 2s, http: {url: " + shop.URL + ", jsonPath: \"shop.carts[0].open\", tokenEnv: SHOP_TOKEN}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SHOP_TOKEN", "let-me-in")
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	m := serveMachine(t, cfg)
	model := func() scale.ModelState {
		latest, _ := m.loop.Latest()
		if len(latest.Snapshot.Models) == 0 {
			return scale.ModelState{}
		}
		return latest.Snapshot.Models[0]
	}
	ready := func() (replicas []scale.Replica) {
		for _, r := range model().Replicas {
			if r.Phase == scale.Ready {
				replicas = append(replicas, r)
			}
		}
		return replicas
	}
	why := func(code scale.ReasonCode) bool {
		latest, _ := m.loop.Latest()
		for _, c := range latest.Decision.Changes {
			for _, r := range c.Reasons {
				if r.Code == code {
					return true
				}
			}
		}
		return false
	}
	until(t, "two replicas for 700 carts", 30*time.Second, func() bool { return len(ready()) == 2 && why(scale.ReasonSignal) })

	until(t, "what an engine says", 10*time.Second, func() bool { return ready()[0].Load.Engine.Name == "vllm" && ready()[0].Load.Running.Known() })
	askPast(t, ready()[0].Address)
	until(t, "a request that came past the gateway", 20*time.Second, func() bool {
		return len(ready()) > 0 && (ready()[0].Load.Engine.TTFT.Known() || ready()[len(ready())-1].Load.Engine.TTFT.Known())
	})
	status := statusOf(t, m)
	if s := status.Models[0].Signals; len(s) != 1 || s[0].Name != "open-carts" || s[0].Value == nil || s[0].Value.Value != 700 || !s[0].Fresh {
		t.Errorf("status says of signals %+v", s)
	}

	carts.Store(-1)
	until(t, "a hold for want of the figure", 20*time.Second, func() bool { return why(scale.ReasonStaleSignals) })
	held := time.Now()
	until(t, "three seconds of it, longer than an idle model stays awake", 20*time.Second, func() bool {
		if len(ready()) != 2 {
			t.Fatalf("%d replicas while the figure is not known, want 2", len(ready()))
		}
		return time.Since(held) > 3*time.Second
	})

	carts.Store(0)
	until(t, "sleep when the figure calls for none", 30*time.Second, func() bool { return len(model().Replicas) == 0 })
}

// askPast sends one request straight to a replica.
func askPast(t *testing.T, address string) {
	t.Helper()
	body := strings.NewReader(`{"model": "quick", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10}`)
	resp, err := http.Post("http://"+address+"/v1/chat/completions", "application/json", body) //nolint:forbidigo // as whoever goes past the gateway
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if reply, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v: %s", resp.StatusCode, err, reply)
	}
}

// statusOf asks the console.
func statusOf(t *testing.T, m *machine) console.Status {
	t.Helper()
	resp, err := http.Get(m.consoleURL() + "/api/v1/status") //nolint:forbidigo // a test's own question
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var status console.Status
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
		t.Fatal(err)
	}
	return status
}

func TestATokenThatIsNotSetIsSaidAtTheStart(t *testing.T) {
	c := config.Config{Figures: []config.Figure{{Model: "m", Name: "carts", Endpoint: config.Endpoint{URL: "https://a", TokenEnv: "NOT_SET_ANYWHERE"}}}}
	_, err := openFigures(c, logger(io.Discard, 0))
	if err == nil || err.Error() != "signal carts of m: the environment variable NOT_SET_ANYWHERE, which holds its token, is not set" {
		t.Errorf("got %v", err)
	}
}
