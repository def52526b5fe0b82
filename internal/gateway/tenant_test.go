package gateway

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/penstock/penstock/internal/scale"
)

const (
	acmeKey  = "pk_ACMEACMEACMEACMEACMEACME01"
	otherKey = "pk_OTHEROTHEROTHEROTHEROTH02"
)

func digest(key string) scale.KeyDigest { return sha256.Sum256([]byte(key)) }

// newTenantRig is a gateway with two models and two tenants, of which the
// second sees the second model only.
func newTenantRig(t *testing.T, limits scale.TenantLimits, more func(*Gateway)) *rig {
	t.Helper()
	return newRig(t, func(g *Gateway) {
		small := g.Models[0]
		small.Name, small.Aliases = "small", []string{"tiny"}
		g.Models = append(g.Models, small)
		g.Tenants = []scale.Tenant{
			{Name: "acme", Keys: []scale.KeyDigest{digest(acmeKey)}, Priority: 7, Limits: limits},
			{Name: "other-inc", Keys: []scale.KeyDigest{digest(otherKey)}, Models: []string{"small"}},
		}
		if more != nil {
			more(g)
		}
	})
}

// as sends a body with an Authorization header, "" for none, and reads the reply.
func (r *rig) as(authorization, method, path, body string) (*http.Response, string) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	reply, err := r.client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply, string(text)
}

// CVE-2026-42208 of LiteLLM was an injection on the error path of its key check.
// Whatever stands in the header, the answer is the same and holds none of it.
func TestWithoutAKnownKeyNothingIsServed(t *testing.T) {
	r := newTenantRig(t, scale.TenantLimits{}, nil)
	r.routes(upstream(t, func(http.ResponseWriter, *http.Request) { t.Error("a request without a key reached a replica") }))
	for name, c := range map[string]struct{ authorization, code string }{
		"no key":               {"", "api_key_missing"},
		"another key":          {"Bearer pk_NOBODYNOBODYNOBODYNOBODY", "invalid_api_key"},
		"the key with a tail":  {"Bearer " + acmeKey + "x", "invalid_api_key"},
		"half a key":           {"Bearer " + acmeKey[:12], "invalid_api_key"},
		"an empty key":         {"Bearer ", "invalid_api_key"},
		"another scheme":       {"Basic " + acmeKey, "api_key_malformed"},
		"a key without scheme": {acmeKey, "api_key_malformed"},
		"the digest":           {"Bearer " + digest(acmeKey).String(), "invalid_api_key"},
		"SQL":                  {"Bearer ' OR 1=1; DROP TABLE keys; --", "invalid_api_key"},
	} {
		for _, target := range []string{"/v1/models", "/v1/models/small", "/metrics", "/v1/chat/completions"} {
			t.Run(name+" "+target, func(t *testing.T) {
				method := http.MethodGet
				if target == "/v1/chat/completions" {
					method = http.MethodPost
				}
				reply, body := r.as(c.authorization, method, target, "not even JSON")
				if reply.StatusCode != http.StatusUnauthorized || !strings.Contains(body, `"code":"`+c.code+`"`) || !strings.Contains(body, `"type":"invalid_request_error"`) {
					t.Errorf("%d %s, want 401 %s", reply.StatusCode, body, c.code)
				}
				if reply.Header.Get("X-Should-Retry") != "false" || reply.Header.Get("WWW-Authenticate") != "Bearer" || reply.Header.Get("X-Request-Id") == "" {
					t.Errorf("header %v", reply.Header)
				}
				_, key, _ := strings.Cut(c.authorization, " ")
				if said := body + fmt.Sprint(reply.Header); key != "" && strings.Contains(said, key) {
					t.Errorf("the answer echoes the key: %s", said)
				}
			})
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if reply, _ := r.as("", http.MethodGet, path, ""); reply.StatusCode != http.StatusOK {
			t.Errorf("%s without a key: %d", path, reply.StatusCode)
		}
	}
}

func TestTwoAuthorizationHeadersAreRefused(t *testing.T) {
	r := newTenantRig(t, scale.TenantLimits{}, nil)
	reply, _ := r.raw(t, "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+acmeKey+"\r\nAuthorization: Bearer "+otherKey+"\r\n\r\n")
	if reply.StatusCode != http.StatusUnauthorized {
		t.Errorf("%d", reply.StatusCode)
	}
}

func TestATenantSeesItsOwnModelsOnly(t *testing.T) {
	r := newTenantRig(t, scale.TenantLimits{}, nil)
	for key, want := range map[string][]string{acmeKey: {modelName, "legal", "small", "tiny"}, otherKey: {"small", "tiny"}} {
		_, body := r.as("Bearer "+key, http.MethodGet, "/v1/models", "")
		var got []string
		for _, part := range strings.Split(body, `{"id":"`)[1:] {
			id, _, _ := strings.Cut(part, `"`)
			got = append(got, id)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s sees %q, want %q", key, got, want)
		}
	}
	reply, body := r.as("bearer "+otherKey, http.MethodPost, "/v1/chat/completions", chatBody(""))
	if reply.StatusCode != http.StatusNotFound || strings.Contains(body, "legal") || !strings.Contains(body, "small") {
		t.Errorf("another's model: %d %s", reply.StatusCode, body)
	}
	reply, body = r.as("Bearer "+otherKey, http.MethodGet, "/v1/models/legal", "")
	if reply.StatusCode != http.StatusNotFound || !strings.Contains(body, "Try small, tiny") && !strings.Contains(body, "Try tiny, small") {
		t.Errorf("another's model: %d %s", reply.StatusCode, body)
	}
}

// A key never reaches a replica, and what was used is told to the loop and to
// metrics by tenant.
func TestUseIsAttributedToTheTenant(t *testing.T) {
	r := newTenantRig(t, scale.TenantLimits{}, nil)
	r.routes(upstream(t, func(w http.ResponseWriter, up *http.Request) {
		if up.Header.Get("Authorization") != "" {
			t.Error("the key was forwarded")
		}
		echoTokens(0)(w, up)
	}))
	for range 3 {
		if reply, body := r.as("Bearer "+acmeKey, http.MethodPost, "/v1/chat/completions", echoBody("mine", 6)); reply.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", reply.StatusCode, body)
		}
	}
	r.wantOutcome(scale.OK, 3)
	uses := r.Traffic(modelName, time.Now()).Uses
	prompt := len(`[{"role":"user","content":"mine"}]`) / bytesPerToken
	if diff := cmp.Diff(map[string]scale.Use{"acme": {Requests: 3, PromptTokens: 3 * prompt, OutputTokens: 15}}, uses); diff != "" {
		t.Error(diff)
	}
	if again := r.Traffic(modelName, time.Now()).Uses; again != nil {
		t.Errorf("told twice: %v", again)
	}
	if n := testutil.ToFloat64(r.metrics.tenantRequests.WithLabelValues("acme", "ok")); n != 3 {
		t.Errorf("%v requests counted", n)
	}
	if n := testutil.ToFloat64(r.metrics.tenantTokens.WithLabelValues("acme", "output")); n != 15 {
		t.Errorf("%v output tokens counted", n)
	}
}

// Whoever waits longest for a place goes by priority: what admission is told
// of a request is its tenant's.
func TestTheTenantsPriorityGoesWithItsRequests(t *testing.T) {
	r := newTenantRig(t, scale.TenantLimits{}, func(g *Gateway) { g.Tenants[1].Models = nil })
	order := make(chan string, 3)
	done := make(chan struct{}, 3)
	send := func(key, prompt string) {
		go func() {
			defer func() { done <- struct{}{} }()
			r.as("Bearer "+key, http.MethodPost, "/v1/chat/completions", echoBody(prompt, 1))
		}()
	}
	send(otherKey, "first")
	eventually(t, "the first is held", func() bool { return r.held() == 1 })
	send(acmeKey, "urgent") // of priority 7
	eventually(t, "both are held", func() bool { return r.held() == 2 })
	address := upstream(t, func(w http.ResponseWriter, up *http.Request) {
		body, _ := io.ReadAll(up.Body)
		prompt, _ := between(string(body), `"content":"`, `"`)
		order <- prompt
		io.WriteString(w, "{}")
	})
	r.Route(modelName, []scale.Route{route("one", address, 1)})
	<-done
	<-done
	if first := <-order; first != "urgent" {
		t.Errorf("%s went first", first)
	}
}

func TestLimitsOfATenantAnswer429(t *testing.T) {
	for name, c := range map[string]struct {
		limits         scale.TenantLimits
		passes         int
		says           string
		retry          string
		atLeast, below time.Duration
	}{
		"requests a second": {
			limits: scale.TenantLimits{RequestsPerSecond: 0.05, RequestBurst: 3}, passes: 3,
			says: "acme may make 0.05 requests a second. Ask again in ", retry: "true", atLeast: 15 * time.Second, below: 20*time.Second + time.Millisecond,
		},
		"tokens a minute": {
			limits: scale.TenantLimits{TokensPerMinute: 60, TokenBurst: 28}, passes: 2, // 10 of a prompt and 5 of output each: 2 are left
			says: "acme may use 60 tokens a minute. Ask again in ", retry: "true", atLeast: 4 * time.Second, below: 9 * time.Second,
		},
		"tokens a minute, far in debt": {
			limits: scale.TenantLimits{TokensPerMinute: 1, TokenBurst: 1}, passes: 1,
			says: "acme may use 1 tokens a minute. Ask again in 1", retry: "false", atLeast: 12 * time.Minute, below: 14 * time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTenantRig(t, c.limits, nil)
			r.routes(upstream(t, echoTokens(0)))
			ask := func() (*http.Response, string) {
				return r.as("Bearer "+acmeKey, http.MethodPost, "/v1/chat/completions", echoBody("word", 6))
			}
			for i := range c.passes {
				if reply, body := ask(); reply.StatusCode != http.StatusOK {
					t.Fatalf("request %d: %d %s", i, reply.StatusCode, body)
				}
			}
			eventually(t, "they are over", func() bool {
				return testutil.ToFloat64(r.metrics.tenantRequests.WithLabelValues("acme", "ok")) == float64(c.passes)
			})
			reply, body := ask()
			if reply.StatusCode != http.StatusTooManyRequests || !strings.Contains(body, c.says) || !strings.Contains(body, `"code":"rate_limited"`) {
				t.Fatalf("%d %s", reply.StatusCode, body)
			}
			millis, err := time.ParseDuration(reply.Header.Get("Retry-After-Ms") + "ms")
			seconds, err2 := time.ParseDuration(reply.Header.Get("Retry-After") + "s")
			if err != nil || err2 != nil || millis < c.atLeast || millis > c.below || seconds < millis || seconds-millis >= time.Second {
				t.Errorf("header %v", reply.Header)
			}
			if reply.Header.Get("X-Should-Retry") != c.retry {
				t.Errorf("header %v", reply.Header)
			}
			if n := testutil.ToFloat64(r.metrics.tenantRequests.WithLabelValues("acme", "refused")); n != 1 {
				t.Errorf("%v refusals counted", n)
			}
			if reply, body := r.as("Bearer "+otherKey, http.MethodPost, "/v1/chat/completions", `{"model":"nothing"}`); reply.StatusCode != http.StatusNotFound {
				t.Errorf("another tenant is refused, too: %d %s", reply.StatusCode, body)
			}
		})
	}
}

func TestATenantHasOnlySoManyInFlight(t *testing.T) {
	r := newTenantRig(t, scale.TenantLimits{MaxInFlight: 2}, nil)
	done := make(chan struct{}, 2)
	for range 2 {
		go func() {
			r.as("Bearer "+acmeKey, http.MethodPost, "/v1/chat/completions", chatBody(""))
			done <- struct{}{}
		}()
	}
	eventually(t, "two are held", func() bool { return r.held() == 2 })
	reply, body := r.as("Bearer "+acmeKey, http.MethodPost, "/v1/chat/completions", chatBody(""))
	if reply.StatusCode != http.StatusTooManyRequests || reply.Header.Get("Retry-After") != "1" || !strings.Contains(body, "2 requests of acme are under way") {
		t.Errorf("%d %v %s", reply.StatusCode, reply.Header, body)
	}
	r.routes(upstream(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }))
	<-done
	<-done
	if reply, body := r.as("Bearer "+acmeKey, http.MethodPost, "/v1/chat/completions", chatBody("")); reply.StatusCode != http.StatusOK {
		t.Errorf("after they ended: %d %s", reply.StatusCode, body)
	}
}

func TestABucketFillsAtItsRateAndMayGoIntoDebt(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := newBucket(2, 10)
	for _, step := range []struct {
		after time.Duration
		want  float64
		wait  time.Duration
		take  float64
	}{
		{0, 10, 0, 10},
		{0, 1, 500 * time.Millisecond, 0},
		{time.Second, 2, 0, 2},
		{time.Hour, 100, 0, 100}, // larger than the bucket: a full one lets it through, at the price of a debt
		{0, 1, 45*time.Second + 500*time.Millisecond, 0},
		{46 * time.Second, 1, 0, 1},
		{-time.Hour, 1, 0, 0}, // a clock that runs backwards takes nothing away: one is left
	} {
		now = now.Add(step.after)
		if wait := b.wait(step.want, now); wait != step.wait {
			t.Fatalf("%+v: waits %v", step, wait)
		}
		b.take(step.take)
	}
	if none := newBucket(0, 0); none.wait(1e9, now) != 0 {
		t.Error("no limit is one")
	}
}

// Metrics tell a thousand tenants apart and no more.
func TestTenantLabelsAreBounded(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := newMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	var tenants []scale.Tenant
	for i := range maxLabels + 50 {
		tenants = append(tenants, scale.Tenant{Name: fmt.Sprintf("t%04d", i), Keys: []scale.KeyDigest{digest(fmt.Sprint(i))}})
	}
	k := newKeyring(tenants, m)
	for i := range tenants {
		k.find(fmt.Sprint(i)).gauges.outcomes[scale.OK].Inc()
	}
	if n := testutil.ToFloat64(m.tenantRequests.WithLabelValues(otherLabel, "ok")); n != 50 {
		t.Errorf("%v requests of others", n)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		labels := map[string]bool{}
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				if l.GetName() == "tenant" {
					labels[l.GetValue()] = true
				}
			}
		}
		if len(labels) > maxLabels+1 {
			t.Errorf("%s tells %d tenants apart", f.GetName(), len(labels))
		}
	}
}

// An unknown key that looks like none of ours, and one that differs from a known
// one in its last letter, take the same time to refuse: within 5 % over 10,000
// tries of each, taken in turns. The machine may be busy, so it may try again.
func TestUnknownAndWrongKeysTakeTheSameTime(t *testing.T) {
	m, _ := newMetrics(nil)
	var tenants []scale.Tenant
	for i := range 1000 {
		tenants = append(tenants, scale.Tenant{Name: fmt.Sprint(i), Keys: []scale.KeyDigest{digest(fmt.Sprintf("pk_%026d", i))}})
	}
	k := newKeyring(tenants, m)
	keys := [2]string{fmt.Sprintf("pk_%025dx", 7), strings.Repeat("?", 29)}
	const tries = 10_000
	best := 1.0
	for range 10 {
		var took [2][]time.Duration
		for range tries {
			for i, key := range keys {
				at := time.Now()
				if k.find(key) != nil {
					t.Fatal("found")
				}
				took[i] = append(took[i], time.Since(at))
			}
		}
		wrong, unknown := median(took[0]).Seconds(), median(took[1]).Seconds()
		best = min(best, max(wrong/unknown, unknown/wrong)-1)
		if best <= 0.05 {
			return
		}
	}
	t.Errorf("they differ by %.1f %%", 100*best)
}

// However a model is named (body, form, path, host, the Open Inference
// Protocol), one that the tenant may not see does not exist for it.
func TestAHiddenModelIsHiddenOnEveryWay(t *testing.T) {
	r := newRig(t, func(g *Gateway) {
		twoModels(g)
		g.Tenants = []scale.Tenant{{Name: "acme", Keys: []scale.KeyDigest{digest(acmeKey)}, Models: []string{modelName}}}
	})
	hidden := newWitness(t, "hidden")
	r.Route(otherName, []scale.Route{route("o", hidden.address, 4)})
	for _, c := range []struct{ method, target, body, host string }{
		{http.MethodPost, "/v1/embeddings", `{"model":"detector"}`, ""},
		{http.MethodPost, "/v1/audio/transcriptions", "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ndetector\r\n--b--\r\n", ""},
		{http.MethodPost, "/v2/models/detector/infer", "{}", ""},
		{http.MethodGet, "/v2/models/detector/ready", "", ""},
		{http.MethodGet, "/v2/models/detector", "", ""},
		{http.MethodGet, "/v1/models/detector", "", ""},
		{http.MethodPost, "/detect/this", "{}", ""},
		{http.MethodPost, "/anything", "{}", otherHost1},
		{http.MethodPost, "/v1/embeddings", `{"model":"detector"}`, otherHost1},
	} {
		header := http.Header{"Authorization": {"Bearer " + acmeKey}, "Content-Type": {"application/json"}}
		if strings.Contains(c.target, "audio") {
			header.Set("Content-Type", "multipart/form-data; boundary=b")
		}
		if c.host != "" {
			header.Set("Host", c.host)
		}
		if status, body := r.do(t, c.method, c.target, c.body, header); status != http.StatusNotFound || strings.Contains(body, "Try detector") {
			t.Errorf("%+v: %d %s", c, status, body)
		}
	}
	if saw := hidden.take(); len(saw) > 0 {
		t.Errorf("it was reached: %q", saw)
	}
}
