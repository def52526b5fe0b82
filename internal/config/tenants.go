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

// Tenant is a tenant as the file has it: its keys are not read yet, since only
// who serves needs them.
type Tenant struct {
	scale.Tenant // without Keys
	References   []Reference
}

// Reference is where a file refers to an API key.
type Reference struct {
	At Fault // without Text
	To v1alpha1.KeyReference
}

// ReadKeys returns the tenants with the digests of their keys, which it reads
// from where they are. Its error is FaultsError.
func (c Config) ReadKeys() ([]scale.Tenant, error) {
	var (
		all    []scale.Tenant
		faults FaultsError
	)
	claimed := map[scale.KeyDigest]string{} // by whom
	for _, written := range c.Tenants {
		t := written.Tenant
		for _, r := range written.References {
			digests, err := r.read(filepath.Dir(c.File))
			for _, d := range digests {
				if by, taken := claimed[d]; taken {
					err = fmt.Errorf("is a key that %s has already. A key belongs to one tenant, and is named once", by)
				}
				claimed[d] = t.Name
			}
			if err != nil {
				fault := r.At
				fault.Text = err.Error() + "."
				faults = append(faults, fault)
			}
			t.Keys = append(t.Keys, digests...)
		}
		all = append(all, t)
	}
	if len(faults) > 0 {
		return nil, faults.inOrder()
	}
	return all, nil
}

// read returns the digests of the keys that the reference leads to.
func (r Reference) read(beside string) ([]scale.KeyDigest, error) {
	kind, rest, _ := strings.Cut(string(r.To), ":")
	var keys []string
	switch kind {
	case "sha256":
		var d scale.KeyDigest
		_, err := hex.Decode(d[:], []byte(rest))
		return []scale.KeyDigest{d}, err
	case "env":
		if keys = []string{os.Getenv(rest)}; keys[0] == "" {
			return nil, fmt.Errorf("names the variable %s of the environment, which is not set", rest)
		}
	default:
		var err error
		if keys, err = readKeys(within(beside, rest)); err != nil {
			return nil, fmt.Errorf("could not be read: %w", err)
		}
	}
	var digests []scale.KeyDigest
	for _, key := range keys {
		if len(key) < shortestKey || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return nil, fmt.Errorf("refers to a key of %d characters. A key has %d or more, all of them printable ASCII without blanks: take one that `penstock key new` makes", len(key), shortestKey)
		}
		digests = append(digests, sha256.Sum256([]byte(key)))
	}
	return digests, nil
}

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
func (f *file) checkTenants(models []scale.Model) []Tenant {
	var all []Tenant
	names := map[string]bool{}
	for _, p := range f.fleets {
		if len(p.Spec.Tenants) == 0 && p.has("spec.tenants") {
			p.fault("spec.tenants", "is empty: it would ask for keys that nobody has. Name a tenant, or leave it out.")
		}
		for i, written := range p.Spec.Tenants {
			at := fmt.Sprintf("spec.tenants[%d]", i)
			t := Tenant{Tenant: scale.Tenant{
				Name: written.Name, Owner: scale.Owner{BusinessUnit: written.BusinessUnit}, Priority: int(written.Priority),
				Weight: p.atLeastOne(join(at, "weight"), int(written.Weight), 1),
				Models: p.checkTenantModels(written.Models, join(at, "models"), models), Limits: p.checkTenantLimits(written.Limits, join(at, "limits")),
			}}
			switch {
			case t.Name == "" && !p.has(join(at, "name")): // noted as missing
			case t.Name == "other" || !tenantNamePattern.MatchString(t.Name):
				p.fault(join(at, "name"), "is %q. Use letters, digits, dashes, dots and underscores, and not the word other.", t.Name)
			case names[t.Name]:
				p.fault(join(at, "name"), "is %q again: each tenant needs a name of its own.", t.Name)
			}
			names[t.Name] = true
			if len(written.Keys) == 0 && p.has(join(at, "keys")) {
				p.fault(join(at, "keys"), "is empty: a tenant is known by a key. `penstock key new` makes one.")
			}
			for i, key := range written.Keys {
				place := fmt.Sprintf("%s.keys[%d]", at, i)
				t.References = append(t.References, Reference{At: Fault{File: f.path, Line: p.lines[place], Path: place}, To: key})
			}
			all = append(all, t)
		}
	}
	return all
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
