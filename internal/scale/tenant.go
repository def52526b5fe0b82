package scale

import "encoding/hex"

// Tenant is somebody who may ask: known by API keys, attributed in metrics,
// logs and bills, and held to limits of its own.
type Tenant struct {
	Name     string
	Owner    Owner
	Keys     []KeyDigest // never empty
	Priority int         // of its requests among those that wait: higher first
	Weight   int         // its share beside other tenants that wait, of equal priority; 0 is 1
	Models   []string    // by Model.Name, what it may see and use; nil for all
	Limits   TenantLimits
}

// TenantLimits bound what one Tenant may ask of all models together. Zero
// means no limit.
type TenantLimits struct {
	RequestsPerSecond float64
	RequestBurst      int     // requests at once after a rest; only meaningful with RequestsPerSecond
	TokensPerMinute   float64 // prompt tokens, as estimated on arrival, and output tokens, as they came
	TokenBurst        int     // tokens at once after a rest; only meaningful with TokensPerMinute
	MaxInFlight       int     // requests at once, held ones included
}

// KeyDigest is the SHA-256 of an API key. Keys are long and random, so that
// their digests may be written down.
type KeyDigest [32]byte

func (d KeyDigest) String() string { return "sha256:" + hex.EncodeToString(d[:]) }

// Use is what one Tenant asked of one Model in a span, and got.
type Use struct {
	Requests     int // that arrived
	PromptTokens int // of those, estimated
	OutputTokens int // of replies that ended well
}
