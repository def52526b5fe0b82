package engine_test

import (
	"hash/fnv"
	"regexp"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/engine"
)

func TestSeedIsFNV1a(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prompt := rapid.String().Draw(t, "prompt")
		hash := fnv.New64a()
		hash.Write([]byte(prompt))
		if got := engine.Seed(prompt); got != hash.Sum64() {
			t.Fatalf("seed of %q is %d, FNV-1a is %d", prompt, got, hash.Sum64())
		}
	})
}

func TestTokensTellSeedAndIndexApart(t *testing.T) {
	shape := regexp.MustCompile(`^ [a-z2-7]{8}$`)
	seen := map[string]bool{}
	for seed := range uint64(100) {
		for index := range 100 {
			token := engine.Token(seed, index)
			if !shape.MatchString(token) || len(token) != engine.TokenBytes {
				t.Fatalf("token %q", token)
			}
			if seen[token] {
				t.Fatalf("token %q of seed %d and index %d is not new", token, seed, index)
			}
			seen[token] = true
		}
	}
	// Generators in other processes verify these replies: the function is a contract.
	if got, want := engine.Token(engine.Seed("abc def"), 1), " cx2mofzd"; got != want {
		t.Errorf("the token is %q, want %q", got, want)
	}
}
