package signals

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Bounds on one reading of a figure.
const (
	maxDocument   = 1 << 20 // bytes
	figureTimeout = 5 * time.Second
	// complainEvery is how often a figure that can not be read is told of.
	complainEvery = 5 * time.Minute
)

// Source is where a business signal is read.
type Source struct {
	Model    string
	Name     string
	Endpoint Endpoint
	PromQL   string        // asked of a Prometheus; "" where the Endpoint answers a JSON document
	Path     []string      // of names and indices, to the number in the document
	Every    time.Duration // between readings
	FreshFor time.Duration // how old its data may be
}

// Endpoint is a server that is asked for figures. Redirects are not followed.
type Endpoint struct {
	URL       string
	CAFile    string // PEM file of authorities; "" for the system's
	TokenFile string // with a bearer token, read anew each time; "" for none
	Token     string // bearer token; "" for none
}

// Figures reads business signals, each at its own pace. It is made with
// OpenFigures. Latest may be called whenever.
type Figures struct {
	sources []reading
	logger  *slog.Logger

	mu     sync.Mutex
	latest map[string]map[string]scale.Observation // by model and name
}

// reading is a Source with its client.
type reading struct {
	Source
	client *http.Client
}

// OpenFigures reads the authorities of the Sources' servers.
func OpenFigures(sources []Source, logger *slog.Logger) (*Figures, error) {
	f := &Figures{logger: logger, latest: map[string]map[string]scale.Observation{}}
	for _, s := range sources {
		client, err := s.Endpoint.client()
		if err != nil {
			return nil, fmt.Errorf("signal %s of %s: %w", s.Name, s.Model, err)
		}
		f.sources = append(f.sources, reading{s, client})
	}
	return f, nil
}

// client is one that goes to the Endpoint and nowhere else.
func (e Endpoint) client() (*http.Client, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: 2 * time.Minute, ForceAttemptHTTP2: true}
	if e.CAFile != "" {
		pem, err := os.ReadFile(e.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read its authorities: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", e.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// bearer returns the token; "" for none.
func (e Endpoint) bearer() (string, error) {
	if e.TokenFile == "" {
		return e.Token, nil
	}
	text, err := os.ReadFile(e.TokenFile)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, "\r\n") {
		return "", fmt.Errorf("%s holds no token: one line is wanted", e.TokenFile)
	}
	return token, nil
}

// Latest returns what was last read of each of a model's signals, sorted by
// name. What was never read is left out; how old the rest is tells its time.
func (f *Figures) Latest(model string) []scale.Figure {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []scale.Figure
	for name, o := range f.latest[model] {
		all = append(all, scale.Figure{Name: name, Observation: o})
	}
	slices.SortFunc(all, func(a, b scale.Figure) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Run reads every Source, at once and then every Every, until ctx ends.
func (f *Figures) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, s := range f.sources {
		all.Go(func() {
			defer s.client.CloseIdleConnections()
			f.follow(ctx, s)
		})
	}
	all.Wait()
	return nil
}

// follow reads one Source again and again.
func (f *Figures) follow(ctx context.Context, s reading) {
	log := f.logger.With("model", s.Model, "signal", s.Name)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var told time.Time // that it is not read; zero while it is
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		value, err := s.read(ctx, began)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && began.Sub(told) >= complainEvery:
			log.WarnContext(ctx, "signal not read", "error", err)
			told = began
		case err == nil && !told.IsZero():
			log.InfoContext(ctx, "signal read again", "value", value)
			told = time.Time{}
		}
		if err == nil {
			f.put(s.Source, scale.Observe(value, began))
		}
		timer.Reset(s.Every - time.Duration(jitter*rand.Float64()*float64(s.Every)))
	}
}

func (f *Figures) put(s Source, o scale.Observation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.latest[s.Model] == nil {
		f.latest[s.Model] = map[string]scale.Observation{}
	}
	f.latest[s.Model][s.Name] = o
}

// read reads the figure as it is at an instant. One below zero calls for
// nothing that could be, and is none.
func (s reading) read(ctx context.Context, at time.Time) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, min(figureTimeout, s.Every))
	defer cancel()
	token, err := s.Endpoint.bearer()
	if err != nil {
		return 0, err
	}
	var value float64
	if s.PromQL != "" {
		value, err = History{URL: s.Endpoint.URL, Client: s.client, Token: token}.Instant(ctx, s.PromQL, at, s.FreshFor)
	} else {
		value, err = s.fetch(ctx, token)
	}
	if err == nil && value < 0 {
		err = fmt.Errorf("it reads %v, below zero", value)
	}
	return value, err
}

// fetch reads a number out of a JSON document.
func (s reading) fetch(ctx context.Context, token string) (float64, error) {
	value, err := s.document(ctx, token)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", redacted(s.Endpoint.URL), err)
	}
	return value, nil
}

func (s reading) document(ctx context.Context, token string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint.URL, http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, withoutURL(err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return 0, fmt.Errorf("it wants to know who asks (status %d): give a token that may read it", resp.StatusCode)
	case resp.StatusCode/100 == 3:
		return 0, fmt.Errorf("it sends elsewhere (status %d): give the URL to which it leads", resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return 0, fmt.Errorf("status %d", resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return 0, fmt.Errorf("read body: %w", err)
	}
	if len(text) > maxDocument {
		return 0, fmt.Errorf("the document exceeds %d bytes", maxDocument)
	}
	return number(text, s.Path)
}

// number finds the number at a path in a JSON document. Text that is a number
// counts as one.
func number(text []byte, path []string) (float64, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return 0, fmt.Errorf("it is no JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return 0, errors.New("it is no JSON: something follows the document")
	}
	for i, step := range path {
		at := "/" + strings.Join(path[:i+1], "/")
		switch inner := value.(type) {
		case map[string]any:
			next, found := inner[step]
			if !found {
				return 0, fmt.Errorf("it has no %s", at)
			}
			value = next
		case []any:
			index, err := strconv.ParseUint(step, 10, 31)
			if err != nil || index >= uint64(len(inner)) {
				return 0, fmt.Errorf("it has no %s: the list there has %d items", at, len(inner))
			}
			value = inner[index]
		default:
			return 0, fmt.Errorf("it has no %s: there is no object or list to look into", at)
		}
	}
	var digits string
	switch leaf := value.(type) {
	case json.Number:
		digits = leaf.String()
	case string:
		digits = leaf
	default:
		return 0, fmt.Errorf("at /%s is no number", strings.Join(path, "/"))
	}
	parsed, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.IsNaN(parsed) || math.IsInf(parsed, 0) {
		return 0, fmt.Errorf("at /%s is %.40q, which is no number", strings.Join(path, "/"), digits)
	}
	return parsed, nil
}
