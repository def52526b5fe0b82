package config

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/api/v1alpha1"
	"github.com/penstock/penstock/internal/scale"
)

// Defaults and bounds of a Signal.
const (
	defaultSignalEvery = 15 * time.Second
	defaultSignalFresh = 4 // times every
	shortestSignal     = time.Second
	longestSignal      = time.Hour
)

// Prometheus says where a Prometheus is and how it is asked.
type Prometheus struct {
	// Where it is, with the path where there is one, such as
	// http://localhost:9090.
	URL string `json:"url"`

	// PEM file of the authorities that its certificate is held against, relative
	// to the file. Default: the system's.
	// +optional
	CAFile string `json:"caFile,omitempty"`

	// File with a bearer token, relative to the file; it is read anew each time.
	// +optional
	TokenFile string `json:"tokenFile,omitempty"`

	// Environment variable with a bearer token.
	// +optional
	TokenEnv string `json:"tokenEnv,omitempty"`
}

// Figure says where a BusinessSignal is read.
type Figure struct {
	Model    string // scale.Model.Name
	Name     string // scale.BusinessSignal.Name
	Endpoint Endpoint
	PromQL   string        // asked of a Prometheus at the Endpoint; "" where it answers a JSON document
	Path     []string      // of names and indices, to the number in the document
	Every    time.Duration // between readings
	FreshFor time.Duration
}

// Endpoint is a server that is asked for figures.
type Endpoint struct {
	URL       string
	CAFile    string // absolute; "" for the system's authorities
	TokenFile string // absolute; "" for none
	TokenEnv  string // the variable that Token is of; "" for none
	Token     string
}

// checkSignals turns a model's signals into values, and what says where they
// are read.
func (f *file) checkSignals(m modelObject, prometheus Endpoint) []scale.BusinessSignal {
	var all []scale.BusinessSignal
	for i, s := range m.Spec.Signals {
		at := fmt.Sprintf("spec.signals[%d]", i)
		switch {
		case s.Name == "" && m.has(join(at, "name")):
			m.fault(join(at, "name"), "is empty.")
		case s.Name != "" && !variantNamePattern.MatchString(s.Name):
			m.fault(join(at, "name"), "is %q. Use at most 63 lower-case letters, digits and dashes.", s.Name)
		case slices.ContainsFunc(all, func(other scale.BusinessSignal) bool { return other.Name == s.Name }):
			m.fault(join(at, "name"), "is %q again: each signal needs a name of its own.", s.Name)
		}
		if !(s.PerReplica > 0) && m.has(join(at, "perReplica")) || math.IsInf(s.PerReplica, 1) {
			m.fault(join(at, "perReplica"), "is %v. Set it above 0: what one replica is enough for.", s.PerReplica)
		}
		every := m.positive(join(at, "every"), s.Every, defaultSignalEvery)
		if every < shortestSignal || every > longestSignal {
			m.fault(join(at, "every"), "is %s. Set it between 1s and 1h.", text(s.Every))
		}
		fresh := m.positive(join(at, "freshFor"), s.FreshFor, defaultSignalFresh*every)
		if fresh < 2*every {
			m.fault(join(at, "freshFor"), "is %s, less than twice the time between readings (%s): one that fails would make it unknown. Raise it, or read more often.",
				text(s.FreshFor), text(v1alpha1.Duration(every)))
		}
		figure := f.checkSource(m, s, at)
		if s.PromQL != "" {
			figure.PromQL, figure.Endpoint = s.PromQL, prometheus
		}
		figure.Model, figure.Name, figure.Every, figure.FreshFor = m.Spec.Model, s.Name, every, fresh
		f.figures = append(f.figures, figure)
		all = append(all, scale.BusinessSignal{Name: s.Name, PerReplica: s.PerReplica, FreshFor: fresh})
	}
	slices.SortFunc(all, func(a, b scale.BusinessSignal) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// checkSource says where one signal is read.
func (f *file) checkSource(m modelObject, s v1alpha1.Signal, at string) Figure {
	switch {
	case s.HTTP != nil && s.PromQL != "":
		m.fault(join(at, "promql"), "stands beside http: a signal has one source. Leave one of them out.")
	case s.HTTP != nil:
		path, err := jsonPath(s.HTTP.JSONPath)
		if err != nil {
			m.fault(join(at, "http.jsonPath"), "is %q: %v. Write it like shop.carts[0].open, or /shop/carts/0/open.", s.HTTP.JSONPath, err)
		}
		h := *s.HTTP
		return Figure{Path: path, Endpoint: f.checkEndpoint(m.object, join(at, "http"), Prometheus{h.URL, h.CAFile, h.TokenFile, h.TokenEnv})}
	case s.PromQL == "":
		m.fault(at, "has no source. Give promql: a query, or http: {url: …, jsonPath: …}.")
	case f.server.Spec.Prometheus == nil:
		m.fault(join(at, "promql"), "needs a Prometheus to ask. Name it: a %s with spec: {prometheus: {url: http://localhost:9090}}.", KindServerConfig)
	}
	return Figure{}
}

// checkPrometheus returns the Prometheus that the server names; the zero
// Endpoint where it names none.
func (f *file) checkPrometheus() Endpoint {
	if f.server.Spec.Prometheus == nil {
		return Endpoint{}
	}
	return f.checkEndpoint(f.server.object, "spec.prometheus", *f.server.Spec.Prometheus)
}

// checkEndpoint refuses what is no URL of a server, and what would show a secret
// to others.
func (f *file) checkEndpoint(o *object, at string, p Prometheus) Endpoint {
	u, err := url.Parse(p.URL)
	switch {
	case p.URL == "" && !o.has(join(at, "url")): // noted as missing
		return Endpoint{}
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		o.fault(join(at, "url"), "is no URL of a server. Write it like http://localhost:9090.")
		return Endpoint{}
	case u.User != nil:
		o.fault(join(at, "url"), "holds a user or a password, which logs would show. Give a token by tokenFile or tokenEnv.")
	case u.Scheme == "http" && p.CAFile != "":
		o.fault(join(at, "caFile"), "has no meaning without TLS. Use https in url, or leave it out.")
	}
	if p.TokenFile != "" && p.TokenEnv != "" {
		o.fault(join(at, "tokenEnv"), "stands beside tokenFile: there is one token. Leave one of them out.")
	}
	if secret := p.TokenFile != "" || p.TokenEnv != ""; secret && u.Scheme == "http" && !loopback(u.Hostname()) {
		o.fault(join(at, "url"), "is plain http to another machine, and the token would pass in the clear. Use https.")
	}
	return f.endpoint(p)
}

func (f *file) endpoint(p Prometheus) Endpoint {
	e := Endpoint{URL: p.URL, TokenEnv: p.TokenEnv}
	beside := filepath.Dir(f.absolute)
	if p.CAFile != "" {
		e.CAFile = within(beside, p.CAFile)
	}
	if p.TokenFile != "" {
		e.TokenFile = within(beside, p.TokenFile)
	}
	if p.TokenEnv != "" {
		e.Token = os.Getenv(p.TokenEnv)
	}
	return e
}

// loopback says whether a host is this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// stepPattern is one step of a path: a name, an index or a quoted name.
var stepPattern = regexp.MustCompile(`^(?:\.?([^.\[\]{}'"\s]+)|\[(\d{1,9})\]|\['([^']*)'\])`)

// jsonPath splits a path into its steps. It is a JSON pointer (RFC 6901) when it
// begins with a slash.
func jsonPath(path string) ([]string, error) {
	if pointer, is := strings.CutPrefix(path, "/"); is {
		steps := strings.Split(pointer, "/")
		for i, step := range steps {
			steps[i] = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
		}
		return steps, nil
	}
	var steps []string
	rest := strings.TrimPrefix(path, "$")
	for rest != "" {
		found := stepPattern.FindStringSubmatch(rest)
		if found == nil {
			return nil, fmt.Errorf("%q is no step of a path", rest)
		}
		steps = append(steps, found[1]+found[2]+found[3])
		rest = rest[len(found[0]):]
	}
	return steps, nil
}
