package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const (
	// maxLabels bounds the tenants that metrics tell apart; the rest are otherLabel.
	maxLabels  = 1000
	otherLabel = "other"
	// longestObeyed is the longest Retry-After that OpenAI's clients obey; after a
	// longer one they come back at their own, far shorter pace.
	longestObeyed = 60 * time.Second
	// inFlightPause is when to ask again for a place that some reply's end frees.
	inFlightPause = time.Second
)

// tenant is a scale.Tenant and what it has used of its limits.
type tenant struct {
	scale.Tenant
	models map[string]bool // what it may use, by Model.Name; nil for all
	gauges tenantGauges

	mu       sync.Mutex
	requests bucket
	tokens   bucket
	inFlight int
}

// keyring knows tenants by the digests of their keys. The digest is held once
// more, to be compared in constant time: nothing about a key can be learned from
// how long it takes to refuse another.
type keyring map[scale.KeyDigest]struct {
	digest scale.KeyDigest
	tenant *tenant
}

func newKeyring(tenants []scale.Tenant, m *metrics) keyring {
	k := keyring{}
	for i, t := range tenants {
		label := t.Name
		if i >= maxLabels {
			label = otherLabel
		}
		own := &tenant{
			Tenant: t, gauges: m.ofTenant(label),
			requests: newBucket(t.Limits.RequestsPerSecond, t.Limits.RequestBurst),
			tokens:   newBucket(t.Limits.TokensPerMinute/60, t.Limits.TokenBurst),
		}
		if t.Models != nil {
			own.models = map[string]bool{}
			for _, name := range t.Models {
				own.models[name] = true
			}
		}
		for _, d := range t.Keys {
			e := k[d]
			e.digest, e.tenant = d, own
			k[d] = e
		}
	}
	return k
}

// find returns whose key it is, or nil.
func (k keyring) find(key string) *tenant {
	digest := scale.KeyDigest(sha256.Sum256([]byte(key)))
	e := k[digest]
	if subtle.ConstantTimeCompare(e.digest[:], digest[:]) != 1 {
		return nil
	}
	return e.tenant
}

// authenticate finds out who asks. Where there are no tenants nobody is told
// apart, and the tenant is nil.
func (k keyring) authenticate(h http.Header) (*tenant, *refusal) {
	if len(k) == 0 {
		return nil, nil
	}
	fields := h["Authorization"]
	if len(fields) == 0 {
		return nil, unauthorized("api_key_missing", "An API key is needed. Send it in the header Authorization: Bearer KEY.")
	}
	scheme, key, _ := strings.Cut(fields[0], " ")
	if len(fields) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return nil, unauthorized("api_key_malformed", "The API key must come in one header Authorization: Bearer KEY.")
	}
	if t := k.find(strings.Trim(key, " ")); t != nil {
		return t, nil
	}
	return nil, unauthorized("invalid_api_key", "The API key is not known here.")
}

// sees says whether the tenant may know of a model and use it.
func (t *tenant) sees(model string) bool { return t == nil || t.models == nil || t.models[model] }

// name is what scale.Request.Tenant says.
func (t *tenant) name() string {
	if t == nil {
		return ""
	}
	return t.Name
}

// enter lets a request in, which must leave, or says why not.
func (t *tenant) enter(now time.Time) *refusal {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if most := t.Limits.MaxInFlight; most > 0 && t.inFlight >= most {
		return rateLimited(fmt.Sprintf("%d requests of %s are under way, as many as may be", t.inFlight, t.Name), inFlightPause)
	}
	if wait := t.requests.wait(1, now); wait > 0 {
		return rateLimited(fmt.Sprintf("%s may make %g requests a second", t.Name, t.Limits.RequestsPerSecond), wait)
	}
	t.requests.take(1)
	t.inFlight++
	return nil
}

// charge takes the tokens of a prompt, or says when there will be as many.
func (t *tenant) charge(prompt int, now time.Time) *refusal {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if wait := t.tokens.wait(float64(prompt), now); wait > 0 {
		return rateLimited(fmt.Sprintf("%s may use %.0f tokens a minute", t.Name, t.Limits.TokensPerMinute), wait)
	}
	t.tokens.take(float64(prompt))
	t.gauges.prompt.Add(float64(prompt))
	return nil
}

// leave takes in how a request that entered ended.
func (t *tenant) leave(s scale.Served) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inFlight--
	t.tokens.take(float64(s.OutputTokens))
	t.gauges.output.Add(float64(s.OutputTokens))
}

// bucket is a token bucket. It may go into debt: what a reply costs is known
// when it has come.
type bucket struct {
	rate  float64 // per second; 0 for no limit
	size  float64
	level float64
	at    time.Time // of level
}

func newBucket(rate float64, size int) bucket {
	return bucket{rate: rate, size: float64(size), level: float64(size)}
}

// wait returns how long it takes until n can be taken, 0 for not at all. What
// is larger than the bucket may be taken from a full one.
func (b *bucket) wait(n float64, now time.Time) time.Duration {
	if b.rate <= 0 {
		return 0
	}
	if !b.at.IsZero() {
		b.level = min(b.size, b.level+b.rate*max(0, now.Sub(b.at).Seconds()))
	}
	b.at = now
	missing := min(n, b.size) - b.level
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing / b.rate * float64(time.Second))
}

func (b *bucket) take(n float64) { b.level -= n }
