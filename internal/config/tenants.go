package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/penstock/penstock/api/v1alpha1"
	"github.com/penstock/penstock/internal/scale"
)

const (
	// shortestKey is how many characters a key has at least: one that can be
	// guessed can be guessed from its digest, too.
	shortestKey = 20
	maxKeyFile  = 1 << 20
)

var tenantNamePattern = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9_.]{0,62}$`)

// keyed says whether requests need a key.
func (f *file) keyed() bool {
	for _, p := range f.fleets {
		if len(p.Spec.Tenants) > 0 {
			return true
		}
	}
	return false
}

// keyVariables are the names of the environment's variables that hold keys.
func (f *file) keyVariables() []string {
	var names []string
	for _, p := range f.fleets {
		for _, t := range p.Spec.Tenants {
			for _, key := range t.Keys {
				if name, found := strings.CutPrefix(string(key), "env:"); found {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// checkTenants turns the tenants of the FleetPolicy into values.
func (f *file) checkTenants(models []scale.Model) []scale.Tenant {
	var all []scale.Tenant
	names := map[string]bool{}
	claimed := map[scale.KeyDigest]string{} // by whom
	for _, p := range f.fleets {
		if len(p.Spec.Tenants) == 0 && p.has("spec.tenants") {
			p.fault("spec.tenants", "is empty: it would ask for keys that nobody has. Name a tenant, or leave it out.")
		}
		for i, written := range p.Spec.Tenants {
			at := fmt.Sprintf("spec.tenants[%d]", i)
			t := scale.Tenant{
				Name: written.Name, Owner: scale.Owner{BusinessUnit: written.BusinessUnit}, Priority: int(written.Priority),
				Weight: p.atLeastOne(join(at, "weight"), int(written.Weight), 1),
				Models: p.checkTenantModels(written.Models, join(at, "models"), models), Limits: p.checkTenantLimits(written.Limits, join(at, "limits")),
			}
			switch {
			case t.Name == "" && !p.has(join(at, "name")): // noted as missing
			case t.Name == "other" || !tenantNamePattern.MatchString(t.Name):
				p.fault(join(at, "name"), "is %q. Use letters, digits, dashes, dots and underscores, and not the word other.", t.Name)
			case names[t.Name]:
				p.fault(join(at, "name"), "is %q again: each tenant needs a name of its own.", t.Name)
			}
			names[t.Name] = true
			t.Keys = f.checkKeys(p.object, written.Keys, join(at, "keys"))
			for _, digest := range t.Keys {
				if by, taken := claimed[digest]; taken {
					p.fault(join(at, "keys"), "holds a key that %s has already. A key belongs to one tenant, and is named once.", by)
				}
				claimed[digest] = t.Name
			}
			all = append(all, t)
		}
	}
	return all
}

// checkKeys resolves references to keys into digests.
func (f *file) checkKeys(o *object, keys []v1alpha1.KeyReference, path string) []scale.KeyDigest {
	if len(keys) == 0 && o.has(path) {
		o.fault(path, "is empty: a tenant is known by a key. `penstock key new` makes one.")
	}
	var digests []scale.KeyDigest
	for i, key := range keys {
		at := fmt.Sprintf("%s[%d]", path, i)
		kind, rest, _ := strings.Cut(string(key), ":")
		switch kind {
		case "sha256":
			var d scale.KeyDigest
			_, _ = hex.Decode(d[:], []byte(rest)) // its form was checked
			digests = append(digests, d)
		case "env":
			text := os.Getenv(rest)
			if text == "" {
				o.fault(at, "names the variable %s of the environment, which is not set.", rest)
				continue
			}
			digests = append(digests, o.digest(at, text)...)
		case "file":
			lines, err := readKeys(within(filepath.Dir(f.absolute), rest))
			if err != nil {
				o.fault(at, "could not be read: %v.", err)
				continue
			}
			for _, line := range lines {
				digests = append(digests, o.digest(at, line)...)
			}
		}
	}
	return digests
}

// digest returns the digest of one key, none for one that is weak. The fault
// does not say the key.
func (o *object) digest(path, key string) []scale.KeyDigest {
	if len(key) < shortestKey || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		o.fault(path, "refers to a key of %d characters. A key has %d or more, all of them printable ASCII without blanks: take one that `penstock key new` makes.", len(key), shortestKey)
		return nil
	}
	return []scale.KeyDigest{sha256.Sum256([]byte(key))}
}

// readKeys reads a file of keys, one a line; empty lines and those that begin
// with # are left out.
func readKeys(path string) ([]string, error) {
	from, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = from.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(from, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxKeyFile)
	}
	var keys []string
	for line := range bytes.Lines(text) {
		if key := strings.TrimSpace(string(line)); key != "" && key[0] != '#' {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New(path + " holds no key")
	}
	return keys, nil
}

// checkTenantModels turns names of models into those of scale.Model.
func (p fleetObject) checkTenantModels(names []string, path string, models []scale.Model) []string {
	if len(names) == 0 && p.has(path) {
		p.fault(path, "is empty: the tenant could use nothing. Name a model, or leave it out for all.")
	}
	served, known := map[string]string{}, []string{}
	for _, m := range models {
		for _, name := range append([]string{m.Name}, m.Aliases...) {
			served[name] = m.Name
			known = append(known, name)
		}
	}
	var out []string
	for i, name := range names {
		model, found := served[name]
		if !found {
			p.fault(fmt.Sprintf("%s[%d]", path, i), "is %q, which is no model of this file. %s", name, didYouMean(name, sorted(known)))
			continue
		}
		out = append(out, model)
	}
	return out
}

// checkTenantLimits turns limits into values. A written zero is refused: it
// reads like a prohibition and would mean no limit.
func (p fleetObject) checkTenantLimits(l v1alpha1.TenantLimits, path string) scale.TenantLimits {
	for name, value := range map[string]float64{
		"requestsPerSecond": l.RequestsPerSecond, "requestBurst": float64(l.RequestBurst),
		"tokensPerMinute": float64(l.TokensPerMinute), "tokenBurst": float64(l.TokenBurst), "maxInFlight": float64(l.MaxInFlight),
	} {
		if at := join(path, name); value <= 0 && p.has(at) {
			p.fault(at, "is %v. Set it above 0, or leave it out for no limit.", value)
		}
	}
	if l.RequestBurst > 0 && l.RequestsPerSecond == 0 {
		p.fault(join(path, "requestBurst"), "has no effect without requestsPerSecond.")
	}
	if l.TokenBurst > 0 && l.TokensPerMinute == 0 {
		p.fault(join(path, "tokenBurst"), "has no effect without tokensPerMinute.")
	}
	return scale.TenantLimits{
		RequestsPerSecond: l.RequestsPerSecond, RequestBurst: orDefault(int(l.RequestBurst), int(math.Ceil(min(l.RequestsPerSecond, 1e9)))),
		TokensPerMinute: float64(l.TokensPerMinute), TokenBurst: orDefault(int(l.TokenBurst), int(l.TokensPerMinute)),
		MaxInFlight: int(l.MaxInFlight),
	}
}
