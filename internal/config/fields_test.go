package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/api/v1alpha1"
	"github.com/penstock/penstock/internal/scale"
)

// tree is an object of a file before it is written.
type tree = map[string]any

// base returns one object of each kind, as little in them as may be.
func base() map[string]tree {
	objects := map[string]tree{}
	for kind, spec := range map[string]tree{
		v1alpha1.KindInferenceAutoscaler: {
			"model": "org/model",
			"slo":   tree{"ttft": "2s", "tpot": "100ms"},
			"variants": []any{tree{
				"name":        "v",
				"accelerator": tree{"type": "nvidia-a100-80gb"},
				"profile":     tree{"weights": "16GB", "kvBytesPerToken": 131072},
				"run":         tree{"command": []any{"engine", "--port", "{{port}}"}},
			}},
		},
		KindServerConfig:         {"prometheus": tree{"url": "https://prometheus"}},
		v1alpha1.KindFleetPolicy: {},
		v1alpha1.KindPriceList:   {"prices": []any{tree{"accelerator": "nvidia-a100-80gb", "onDemand": 3.0, "spot": 1.0}}},
	} {
		objects[kind] = tree{"apiVersion": v1alpha1.APIVersion, "kind": kind, "metadata": tree{"name": "object"}, "spec": spec}
	}
	return objects
}

// put sets the value at a path, making what is missing on the way. A nil value
// removes it.
func put(in any, path string, value any) any {
	head, rest, _ := strings.Cut(path, ".")
	name, index, list := strings.Cut(strings.TrimSuffix(head, "]"), "[")
	object, _ := in.(tree)
	if object == nil {
		object = tree{}
	}
	if list {
		items, _ := object[name].([]any)
		i, _ := strconv.Atoi(index)
		for len(items) <= i {
			items = append(items, nil)
		}
		if rest == "" {
			items[i] = value
		} else {
			items[i] = put(items[i], rest, value)
		}
		object[name] = items
		return object
	}
	switch {
	case rest != "":
		object[name] = put(object[name], rest, value)
	case value == nil:
		delete(object, name)
	default:
		object[name] = value
	}
	return object
}

// write renders objects as a file, one a line, in the order of their kinds.
func write(t *testing.T, objects map[string]tree) []byte {
	t.Helper()
	var b strings.Builder
	for _, kind := range kindNames() {
		line, err := json.Marshal(objects[kind])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "---\n%s\n", line)
	}
	return []byte(b.String())
}

// fieldCase sets one field to two values.
type fieldCase struct {
	a, b any
	with tree // set in both, by path; the kind is that of the field
}

const (
	variant0  = "spec.variants[0]"
	schedule0 = "spec.schedules[0]"
	signal0   = "spec.signals[0]"
	point0    = variant0 + ".profile.linear[0]"
	tenant0   = "spec.tenants[0]"
	digestA   = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB   = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func tenanted() tree { return tree{tenant0: tree{"name": "acme", "keys": []any{digestA}}} }

func limited() tree {
	return tree{tenant0: tree{
		"name": "acme", "keys": []any{digestA}, "limits": tree{"requestsPerSecond": 1, "tokensPerMinute": 100},
	}}
}

func noTokens() tree {
	return tree{
		"spec.slo": tree{"latency": "20s"}, variant0 + ".profile": tree{"service": tree{"mean": "2s"}},
	}
}

func measured() tree {
	return tree{variant0 + ".profile.linear": []any{tree{"tokens": 1, "time": "9ms"}, tree{"tokens": 512, "time": "30ms"}}}
}

func scheduled() tree {
	return tree{
		"spec.schedules": []any{tree{"name": "day", "start": "0 8 * * *", "duration": "2h"}},
		"spec.warmFloor": tree{"during": "day"},
	}
}

func asked() tree {
	return tree{signal0: tree{"name": "carts", "promql": "a", "perReplica": 400}}
}

func fetched() tree {
	return tree{signal0: tree{"name": "carts", "http": tree{"url": "https://a"}, "perReplica": 400}}
}

// fieldCases has a row for every field that a file may hold, by kind and path.
func fieldCases() map[string]map[string]fieldCase {
	return map[string]map[string]fieldCase{
		v1alpha1.KindInferenceAutoscaler: {
			"metadata.name":                           {a: "a", b: "b"},
			"spec.model":                              {a: "a", b: "b"},
			"spec.aliases":                            {a: nil, b: []any{"c"}},
			"spec.paths":                              {a: nil, b: []any{"/detect"}},
			"spec.heartbeats":                         {a: false, b: true},
			"spec.hosts":                              {a: nil, b: []any{"detect.example.com"}},
			"spec.priority":                           {a: 0, b: 100},
			"spec.owner.businessUnit":                 {a: nil, b: "sales"},
			"spec.slo.ttft":                           {a: "2s", b: "3s"},
			"spec.slo.tpot":                           {a: "100ms", b: "200ms"},
			"spec.slo.latency":                        {a: "20s", b: "30s", with: noTokens()},
			"spec.slo.objective":                      {a: "99%", b: "95%"},
			"spec.slo.window":                         {a: "28d", b: "7d"},
			"spec.slo.maxHold":                        {a: "2m", b: "3m"},
			variant0 + ".name":                        {a: "v", b: "w"},
			variant0 + ".accelerator.type":            {a: "nvidia-a100-80gb", b: "nvidia-h100-80gb"},
			variant0 + ".accelerator.count":           {a: 1, b: 2},
			variant0 + ".accelerator.memory":          {a: nil, b: "40GB"},
			variant0 + ".accelerator.bandwidth":       {a: nil, b: "1555GB"},
			variant0 + ".accelerator.tflops":          {a: nil, b: 100},
			variant0 + ".profile.name":                {a: "8b-a100", b: "8b-h100", with: tree{variant0 + ".profile": nil, variant0 + ".accelerator": nil}},
			variant0 + ".profile.weights":             {a: "16GB", b: "8GB"},
			variant0 + ".profile.kvBytesPerToken":     {a: 131072, b: 65536},
			variant0 + ".profile.billionParameters":   {a: nil, b: 3.3},
			variant0 + ".profile.memoryUtilisation":   {a: "90%", b: "80%"},
			variant0 + ".profile.prefillChunk":        {a: 2048, b: 512},
			variant0 + ".profile.maxBatch":            {a: 256, b: 64},
			variant0 + ".profile.overhead":            {a: "3ms", b: "4ms"},
			variant0 + ".profile.linear":              {a: nil, b: measured()[variant0+".profile.linear"]},
			point0 + ".tokens":                        {a: 1, b: 2, with: measured()},
			point0 + ".time":                          {a: "9ms", b: "10ms", with: measured()},
			variant0 + ".profile.service.mean":        {a: "2s", b: "3s", with: noTokens()},
			variant0 + ".profile.service.cv":          {a: 0.5, b: 0.0, with: noTokens()},
			variant0 + ".profile.service.concurrency": {a: 1, b: 8, with: noTokens()},
			variant0 + ".coldStart":                   {a: "60s", b: "20s"},
			variant0 + ".capacity":                    {a: "onDemand", b: "spot"},
			variant0 + ".run.command":                 {a: []any{"a", "{{port}}"}, b: []any{"b", "{{port}}"}},
			variant0 + ".run.env":                     {a: nil, b: tree{"KEY": "value"}},
			variant0 + ".run.dir":                     {a: nil, b: "below"},
			variant0 + ".run.ready":                   {a: "/health", b: "/ready"},
			variant0 + ".run.metrics":                 {a: "/metrics", b: "/v1/metrics"},
			variant0 + ".run.readyTimeout":            {a: "10m", b: "5m"},
			variant0 + ".run.drainTimeout":            {a: "10m", b: "90s"},
			variant0 + ".run.grace":                   {a: "30s", b: "5s"},
			variant0 + ".replicas.max":                {a: 8, b: 4},
			"spec.replicas.min":                       {a: 0, b: 1},
			"spec.replicas.max":                       {a: 8, b: 4},
			"spec.warmFloor.replicas":                 {a: 1, b: 2},
			"spec.warmFloor.capacity":                 {a: "onDemand", b: "spot", with: tree{"spec.warmFloor": tree{}, "spec.variants[1]": tree{"name": "s", "capacity": "spot", "accelerator": tree{"type": "nvidia-a100-80gb"}, "profile": tree{"name": "8b-a100"}, "run": tree{"command": []any{"{{port}}"}}}}},
			"spec.warmFloor.during":                   {a: nil, b: "day", with: tree{schedule0: tree{"name": "day", "start": "0 8 * * *", "duration": "2h", "min": 1}}},
			"spec.scaleToZero.after":                  {a: "15m", b: "1m"},
			"spec.scaleToZero.disabled":               {a: false, b: true},
			"spec.scaleDownWindow":                    {a: nil, b: "1m"},
			schedule0 + ".name":                       {a: "day", b: "night", with: tree{schedule0: tree{"start": "0 8 * * *", "duration": "2h", "min": 1}}},
			schedule0 + ".start":                      {a: "0 8 * * *", b: "0 9 * * *", with: scheduled()},
			schedule0 + ".duration":                   {a: "2h", b: "3h", with: scheduled()},
			schedule0 + ".timeZone":                   {a: "UTC", b: "Europe/Berlin", with: scheduled()},
			schedule0 + ".min":                        {a: 0, b: 2, with: scheduled()},
			signal0 + ".name":                         {a: "carts", b: "sessions", with: asked()},
			signal0 + ".promql":                       {a: "a", b: "b", with: asked()},
			signal0 + ".perReplica":                   {a: 400, b: 0.5, with: asked()},
			signal0 + ".every":                        {a: "15s", b: "30s", with: asked()},
			signal0 + ".freshFor":                     {a: "1m", b: "2m", with: asked()},
			signal0 + ".http.url":                     {a: "https://a", b: "https://b", with: fetched()},
			signal0 + ".http.jsonPath":                {a: nil, b: "a.b[0]", with: fetched()},
			signal0 + ".http.caFile":                  {a: nil, b: "ca.pem", with: fetched()},
			signal0 + ".http.tokenFile":               {a: nil, b: "token", with: fetched()},
			signal0 + ".http.tokenEnv":                {a: nil, b: "TOKEN", with: fetched()},
			"spec.limits.upPerMinute":                 {a: nil, b: 10},
			"spec.limits.downPerMinute":               {a: nil, b: 4},
			"spec.limits.costPerHour":                 {a: nil, b: 12.5},
			"spec.mode":                               {a: "auto", b: "advise"},
		},
		KindServerConfig: {
			"spec.listen":               {a: "127.0.0.1:8080", b: "127.0.0.1:9000"},
			"spec.tls.certFile":         {a: "a.pem", b: "b.pem", with: tree{"spec.tls.keyFile": "k.pem"}},
			"spec.tls.keyFile":          {a: "a.pem", b: "b.pem", with: tree{"spec.tls.certFile": "c.pem"}},
			"spec.console":              {a: "127.0.0.1:8081", b: "127.0.0.1:9001"},
			"spec.consoleTokenFile":     {a: "a.token", b: "b.token"},
			"spec.insecureListen":       {a: false, b: true, with: tree{"spec.listen": "0.0.0.0:8080"}},
			"spec.gpus":                 {a: "auto", b: []any{tree{"type": "nvidia-a100-80gb", "count": 4}}},
			"spec.stateDir":             {a: "x", b: "y"},
			"spec.store.path":           {a: "a.db", b: "b.db"},
			"spec.store.postgres":       {a: nil, b: "postgres://penstock@db/penstock"},
			"spec.store.passwordFile":   {a: nil, b: "secret", with: tree{"spec.store.postgres": "host=db user=penstock"}},
			"spec.store.keep":           {a: "168h", b: "24h"},
			"spec.store.maxBytes":       {a: "500MB", b: "1GB"},
			"spec.hold.maxRequests":     {a: 10000, b: 100},
			"spec.hold.maxBytes":        {a: "256MiB", b: "64MiB"},
			"spec.maxBody":              {a: "32MiB", b: "1MiB"},
			"spec.drainTimeout":         {a: "60s", b: "5m"},
			"spec.tick":                 {a: "1s", b: "2s"},
			"spec.prometheus.url":       {a: "https://a", b: "https://b"},
			"spec.prometheus.caFile":    {a: nil, b: "ca.pem"},
			"spec.prometheus.tokenFile": {a: nil, b: "token"},
			"spec.prometheus.tokenEnv":  {a: nil, b: "TOKEN"},
			"spec.accessLog":            {a: "none", b: "access.log"},
			"spec.gateways.listen":      {a: nil, b: "127.0.0.1:8082"},
			"spec.gateways.tokenFile":   {a: "a.token", b: "b.token", with: tree{"spec.gateways.listen": "127.0.0.1:8082"}},
		},
		v1alpha1.KindFleetPolicy: {
			"spec.limits.upPerMinute":   {a: nil, b: 10},
			"spec.limits.downPerMinute": {a: nil, b: 4},
			"spec.limits.costPerHour":   {a: nil, b: 12.5},

			tenant0 + ".name":                     {a: "acme", b: "other-inc", with: tenanted()},
			tenant0 + ".businessUnit":             {a: nil, b: "sales", with: tenanted()},
			tenant0 + ".keys":                     {a: []any{digestA}, b: []any{digestB}, with: tenanted()},
			tenant0 + ".models":                   {a: nil, b: []any{"org/model"}, with: tenanted()},
			tenant0 + ".priority":                 {a: 0, b: 10, with: tenanted()},
			tenant0 + ".weight":                   {a: 1, b: 3, with: tenanted()},
			tenant0 + ".limits.requestsPerSecond": {a: nil, b: 2.5, with: tenanted()},
			tenant0 + ".limits.requestBurst":      {a: nil, b: 9, with: limited()},
			tenant0 + ".limits.tokensPerMinute":   {a: nil, b: 5000, with: tenanted()},
			tenant0 + ".limits.tokenBurst":        {a: nil, b: 9, with: limited()},
			tenant0 + ".limits.maxInFlight":       {a: nil, b: 9, with: tenanted()},
		},
		v1alpha1.KindPriceList: {
			"spec.prices[0].accelerator": {a: "nvidia-a100-80gb", b: "nvidia-l4"},
			"spec.prices[0].onDemand":    {a: 3.0, b: 4.0},
			"spec.prices[0].spot":        {a: nil, b: 1.0},
		},
	}
}

// load reads a file of objects in which one field is set.
func (c fieldCase) load(t *testing.T, kind, path string, value any) (Config, error) {
	t.Helper()
	objects := base()
	for at, v := range c.with {
		put(objects[kind], at, v)
	}
	if path == variant0+".profile.name" {
		put(objects[kind], variant0+".accelerator.type", map[any]string{"8b-h100": "nvidia-h100-80gb"}[value])
		if value == "8b-a100" {
			put(objects[kind], variant0+".accelerator.type", "nvidia-a100-80gb")
		}
	}
	put(objects[kind], path, value)
	return Parse("/dir/penstock.yaml", write(t, objects))
}

func equateConfig() cmp.Options {
	return cmp.Options{cmp.Comparer(func(a, b scale.Schedule) bool {
		return a.Name == b.Name && a.Start == b.Start && a.Duration == b.Duration && a.Min == b.Min && a.Location.String() == b.Location.String()
	})}
}

// Dead configuration is a defect: every field changes what Load returns.
func TestEveryFieldHasAnEffect(t *testing.T) {
	for kind, cases := range fieldCases() {
		for path, c := range cases {
			t.Run(kind+" "+path, func(t *testing.T) {
				a, err := c.load(t, kind, path, c.a)
				if path != "spec.insecureListen" && err != nil {
					t.Fatal(err)
				}
				b, err := c.load(t, kind, path, c.b)
				if err != nil {
					t.Fatal(err)
				}
				if cmp.Equal(a, b, equateConfig()) {
					t.Errorf("%v and %v make the same Config", c.a, c.b)
				}
			})
		}
	}
}

// leaves lists the paths of a struct's fields that hold values, with their
// markers.
func (s source) leaves(path, name string) map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, f := range s[name].fields {
		if f.name == "" || path == "" && (f.name == "metadata") {
			continue
		}
		at := join(path, f.name)
		_, inner, list := s.describe(f.typ)
		if list && inner != "" {
			at += "[0]"
		}
		if inner == "" {
			all[at] = f.markers
			continue
		}
		maps.Copy(all, s.leaves(at, inner))
	}
	return all
}

func TestNoFieldIsWithoutATest(t *testing.T) {
	s := parseTypes(t, "../../api/v1alpha1", ".")
	for kind, cases := range fieldCases() {
		known := slices.Collect(maps.Keys(cases))
		for _, path := range slices.Sorted(maps.Keys(s.leaves("", kind))) {
			if !slices.Contains(known, path) {
				t.Errorf("%s %s is in the schema, and no test shows what it changes", kind, path)
			}
		}
	}
}

// A default that is written makes the same Config as one that is left out.
func TestWrittenDefaultsAreTheDefaults(t *testing.T) {
	s := parseTypes(t, "../../api/v1alpha1", ".")
	count := 0
	for kind, cases := range fieldCases() {
		for path, markers := range s.leaves("", kind) {
			marker, found := markers["default"]
			if !found {
				continue
			}
			count++
			t.Run(kind+" "+path, func(t *testing.T) {
				c := cases[path]
				if path == "spec.insecureListen" {
					c.with = nil
				}
				if strings.HasPrefix(path, "spec.warmFloor") {
					c.with = tree{"spec.warmFloor": tree{}}
				}
				written, err := c.load(t, kind, path, scalarOf(marker))
				if err != nil {
					t.Fatal(err)
				}
				left, err := c.load(t, kind, path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(left, written, equateConfig()); diff != "" {
					t.Errorf("default %s (-left out +written):\n%s", marker, diff)
				}
			})
		}
	}
	if count < 20 {
		t.Errorf("found only %d defaults", count)
	}
}
