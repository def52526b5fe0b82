package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
)

const withPrometheus = `---
apiVersion: penstock.dev/v1alpha1
kind: ServerConfig
spec: {prometheus: {url: "http://localhost:9090"}}
`

func TestSignalsBecomeValuesAndWhereTheyAreRead(t *testing.T) {
	t.Setenv("CARTS_TOKEN", "secret")
	text := minimal + `  signals:
  - {name: open-carts, promql: sum(shop_open_carts), perReplica: 400}
  - name: backlog
    http: {url: "https://shop.example/api", jsonPath: "jobs[0].waiting", caFile: ca.pem, tokenEnv: CARTS_TOKEN}
    perReplica: 0.5
    every: 1m
    freshFor: 10m
` + withPrometheus
	c, err := Parse("/etc/penstock/p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	signals := []scale.BusinessSignal{
		{Name: "backlog", PerReplica: 0.5, FreshFor: 10 * time.Minute},
		{Name: "open-carts", PerReplica: 400, FreshFor: time.Minute},
	}
	figures := []Figure{
		{
			Model: "org/chat", Name: "backlog", Path: []string{"jobs", "0", "waiting"}, Every: time.Minute, FreshFor: 10 * time.Minute,
			Endpoint: Endpoint{URL: "https://shop.example/api", CAFile: "/etc/penstock/ca.pem", TokenEnv: "CARTS_TOKEN", Token: "secret"},
		},
		{
			Model: "org/chat", Name: "open-carts", PromQL: "sum(shop_open_carts)", Every: 15 * time.Second, FreshFor: time.Minute,
			Endpoint: Endpoint{URL: "http://localhost:9090"},
		},
	}
	if diff := cmp.Diff(signals, c.Models[0].Signals); diff != "" {
		t.Errorf("signals (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(figures, c.Figures); diff != "" {
		t.Errorf("where they are read (-want +got):\n%s", diff)
	}
}

func TestFaultsOfSignals(t *testing.T) {
	for name, c := range map[string]struct{ signal, want string }{
		"no source":                     {`{name: a, perReplica: 1}`, `spec.signals[0] has no source. Give promql: a query, or http: {url: …, jsonPath: …}.`},
		"two sources":                   {`{name: a, perReplica: 1, promql: q, http: {url: "http://localhost"}}`, `spec.signals[0].promql stands beside http: a signal has one source. Leave one of them out.`},
		"no replica is enough":          {`{name: a, perReplica: 0, promql: q}`, `spec.signals[0].perReplica is 0. Set it above 0: what one replica is enough for.`},
		"nothing said of what is":       {`{name: a, promql: q}`, `spec.signals[0].perReplica is missing.`},
		"a name that is none":           {`{name: Open Carts, perReplica: 1, promql: q}`, `spec.signals[0].name is "Open Carts". Use at most 63 lower-case letters, digits and dashes.`},
		"too often":                     {`{name: a, perReplica: 1, promql: q, every: 100ms}`, `spec.signals[0].every is 100ms. Set it between 1s and 1h.`},
		"stale between readings":        {`{name: a, perReplica: 1, promql: q, every: 1m, freshFor: 90s}`, `spec.signals[0].freshFor is 1m30s, less than twice the time between readings (1m): one that fails would make it unknown. Raise it, or read more often.`},
		"an unknown key":                {`{name: a, perReplica: 1, promQL: q}`, `spec.signals[0].promQL is no known key. Did you mean promql?`},
		"no URL":                        {`{name: a, perReplica: 1, http: {url: "localhost:9090"}}`, `spec.signals[0].http.url is no URL of a server. Write it like http://localhost:9090.`},
		"a file":                        {`{name: a, perReplica: 1, http: {url: "file:///etc/passwd"}}`, `spec.signals[0].http.url is no URL of a server. Write it like http://localhost:9090.`},
		"a password":                    {`{name: a, perReplica: 1, http: {url: "https://me:secret@shop"}}`, `spec.signals[0].http.url holds a user or a password, which logs would show. Give a token by tokenFile or tokenEnv.`},
		"a token in the clear":          {`{name: a, perReplica: 1, http: {url: "http://shop", tokenFile: t}}`, `spec.signals[0].http.url is plain http to another machine, and the token would pass in the clear. Use https.`},
		"two tokens":                    {`{name: a, perReplica: 1, http: {url: "https://shop", tokenFile: t, tokenEnv: T}}`, `spec.signals[0].http.tokenEnv stands beside tokenFile: there is one token. Leave one of them out.`},
		"authorities without TLS":       {`{name: a, perReplica: 1, http: {url: "http://localhost", caFile: t}}`, `spec.signals[0].http.caFile has no meaning without TLS. Use https in url, or leave it out.`},
		"a path that is none":           {`{name: a, perReplica: 1, http: {url: "http://localhost", jsonPath: "a[b"}}`, `spec.signals[0].http.jsonPath is "a[b": "[b" is no step of a path. Write it like shop.carts[0].open, or /shop/carts/0/open.`},
		"a token to one's own is right": {`{name: a, perReplica: 1, http: {url: "http://127.0.0.1:1", tokenFile: t}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("p.yaml", []byte(minimal+"  signals: ["+c.signal+"]\n"+withPrometheus))
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(fmt.Sprint(err), "p.yaml:15 "+c.want)):
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
	_, err := Parse("p.yaml", []byte(minimal+"  signals: [{name: a, perReplica: 1, promql: q}, {name: a, perReplica: 1, promql: q}]\n"))
	for _, want := range []string{
		"spec.signals[0].promql needs a Prometheus to ask. Name it: a ServerConfig with spec: {prometheus: {url: http://localhost:9090}}.",
		`spec.signals[1].name is "a" again: each signal needs a name of its own.`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestPathsIntoJSON(t *testing.T) {
	for path, want := range map[string][]string{
		"": nil, "$": nil, "a": {"a"}, "a.b[0].c": {"a", "b", "0", "c"}, "$.a": {"a"}, "$[0][1]": {"0", "1"}, "['a.b'].c": {"a.b", "c"},
		"/a/0/b": {"a", "0", "b"}, "/a~1b/c~0d": {"a/b", "c~d"}, "/": {""},
	} {
		got, err := jsonPath(path)
		if err != nil {
			t.Errorf("%q: %v", path, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", path, diff)
		}
	}
	for _, path := range []string{"a.", "a..b", "a[", "a[-1]", "a[x]", "a b", "{.a}", "a]b", "['a"} {
		if got, err := jsonPath(path); err == nil {
			t.Errorf("%q is taken for %q", path, got)
		}
	}
}
