package signals_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/signals"
)

// said is a log that tests read.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// follow reads sources until the test ends.
func follow(t *testing.T, sources ...signals.Source) (*signals.Figures, *said) {
	t.Helper()
	log := &said{}
	f, err := signals.OpenFigures(sources, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f, log
}

func TestAFigureIsReadOutOfJSON(t *testing.T) {
	t.Parallel()
	const document = `{"shop": {"carts": [{"open": 1834, "age": "12.5", "name": "a", "none": null}], "a.b": {"": 7}, "debt": -3, "1": 2}}`
	tests := map[string]struct {
		path []string
		want float64
		why  string
	}{
		"an object, a list, a number": {path: []string{"shop", "carts", "0", "open"}, want: 1834},
		"text that is a number":       {path: []string{"shop", "carts", "0", "age"}, want: 12.5},
		"a name with a dot":           {path: []string{"shop", "a.b", ""}, want: 7},
		"a name that looks an index":  {path: []string{"shop", "1"}, want: 2},
		"text that is none":           {path: []string{"shop", "carts", "0", "name"}, why: `at /shop/carts/0/name is \"a\", which is no number`},
		"null":                        {path: []string{"shop", "carts", "0", "none"}, why: "at /shop/carts/0/none is no number"},
		"an object":                   {path: []string{"shop"}, why: "at /shop is no number"},
		"a name that is not":          {path: []string{"shop", "cart"}, why: "it has no /shop/cart"},
		"an index beyond the list":    {path: []string{"shop", "carts", "1"}, why: "it has no /shop/carts/1: the list there has 1 items"},
		"a name in a list":            {path: []string{"shop", "carts", "open"}, why: "it has no /shop/carts/open"},
		"into a number":               {path: []string{"shop", "debt", "0"}, why: "it has no /shop/debt/0: there is no object or list to look into"},
		"below zero":                  {path: []string{"shop", "debt"}, why: "it reads -3, below zero"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, document) }))
	t.Cleanup(server.Close)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, log := follow(t, signals.Source{Model: "shop", Name: "carts", Endpoint: signals.Endpoint{URL: server.URL}, Path: tc.path, Every: time.Hour})
			before := time.Now()
			eventually(t, 20*time.Second, "a reading", func() bool { return len(f.Latest("shop")) > 0 || log.String() != "" })
			got := f.Latest("shop")
			if tc.why != "" {
				if len(got) > 0 || !strings.Contains(log.String(), tc.why) {
					t.Errorf("figures %+v, log %s\nwant %s", got, log, tc.why)
				}
				return
			}
			if len(got) != 1 || got[0].Name != "carts" || got[0].Value != tc.want || time.Since(got[0].At) > time.Since(before)+time.Minute {
				t.Errorf("figures %+v, want %v; log %s", got, tc.want, log)
			}
		})
	}
}

func TestAServerOfFiguresIsNotTrusted(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/number", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, " 7\n") })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/number", http.StatusFound) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, strings.Repeat(" ", 10_000)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") })
	mux.HandleFunc("/two", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "1 2") })
	mux.HandleFunc("/secret", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for path, why := range map[string]string{
		"/moved": "status 302", "/endless": "exceeds 1048576 bytes", "/silent": "deadline", "/page": "it is no JSON", "/two": "something follows",
		"/secret": "wants to know who asks", "/absent": "status 404",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			every := time.Hour
			if path == "/silent" {
				every = 100 * time.Millisecond // which bounds a reading, too
			}
			f, log := follow(t, signals.Source{Model: "m", Name: "n", Endpoint: signals.Endpoint{URL: server.URL + path}, Every: every})
			eventually(t, 20*time.Second, "a word", func() bool { return log.String() != "" })
			if !strings.Contains(log.String(), why) || len(f.Latest("m")) > 0 {
				t.Errorf("figures %+v, log %s\nwant %s", f.Latest("m"), log, why)
			}
		})
	}
}

// TestAFigureBehindTLSAndAToken reads one from a server with a certificate of
// its own authority, whose token changes.
func TestAFigureBehindTLSAndAToken(t *testing.T) {
	t.Parallel()
	var wanted atomic.Value
	wanted.Store("one")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token := wanted.Load().(string); r.Header.Get("Authorization") != "Bearer "+token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(w, `{"queue": 12}`)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	dir := t.TempDir()
	authority, token := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(authority, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	write(token, "one\n")
	source := signals.Source{Model: "m", Name: "queue", Path: []string{"queue"}, Every: time.Second}
	source.Endpoint = signals.Endpoint{URL: server.URL, CAFile: authority, TokenFile: token}
	f, log := follow(t, source)
	newest := func() scale.Observation {
		if all := f.Latest("m"); len(all) == 1 {
			return all[0].Observation
		}
		return scale.Observation{}
	}
	eventually(t, 20*time.Second, "12", func() bool { return newest().Value == 12 })
	wanted.Store("two")
	eventually(t, 20*time.Second, "a refusal", func() bool { return strings.Contains(log.String(), "status 401") })
	stale := newest()
	write(token, "two\n")
	eventually(t, 20*time.Second, "a reading with the new token", func() bool { return newest().At.After(stale.At) })
	if !strings.Contains(log.String(), "signal read again") || strings.Contains(log.String(), "Bearer") || strings.Contains(log.String(), "one\\n") {
		t.Errorf("log %s", log)
	}
	stranger, distrust := follow(t, signals.Source{Model: "m", Name: "queue", Every: time.Hour, Endpoint: signals.Endpoint{URL: server.URL}})
	eventually(t, 20*time.Second, "distrust", func() bool { return strings.Contains(distrust.String(), "certificate") })
	if len(stranger.Latest("m")) > 0 {
		t.Error("a server whose certificate nobody vouches for was believed")
	}
}

func TestAuthoritiesThatAreNoneAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, []byte("none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{empty: "holds no certificate", empty + "x": "no such file"} {
		_, err := signals.OpenFigures([]signals.Source{{Model: "m", Name: "n", Endpoint: signals.Endpoint{URL: "https://a", CAFile: file}}}, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), "signal n of m: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
