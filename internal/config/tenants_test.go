package config

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
)

const goodKey = "pk_SECRETSECRETSECRETSECRET01"

// fleet is the minimal file with a FleetPolicy of these tenants, whose first
// stands on line 21.
func fleet(tenants string) string {
	return minimal + "---\napiVersion: penstock.dev/v1alpha1\nkind: FleetPolicy\nmetadata: {name: f}\nspec:\n  tenants:\n" + tenants
}

func TestTenantFaultsSayWhereAndWhat(t *testing.T) {
	t.Setenv("WEAK_KEY", "SECRET")
	for name, c := range map[string]struct{ tenants, want string }{
		"no keys":              {"  - {name: a}", "p.yaml:21 spec.tenants[0].keys is missing."},
		"an empty list":        {"  - {name: a, keys: []}", "p.yaml:21 spec.tenants[0].keys is empty: a tenant is known by a key. `penstock key new` makes one."},
		"a key itself":         {"  - {name: a, keys: [" + goodKey + "]}", "p.yaml:21 spec.tenants[0].keys[0] is wrong: it is no reference to a key: write sha256:… as `penstock key new` prints it, file:PATH or env:NAME; a key itself has no place in this file."},
		"a key and no list":    {"  - {name: a, keys: " + goodKey + "}", "p.yaml:21 spec.tenants[0].keys is no list, where a list is wanted."},
		"half a digest":        {"  - {name: a, keys: ['sha256:SECRET']}", "p.yaml:21 spec.tenants[0].keys[0] is wrong: it is no reference to a key: write sha256:… as `penstock key new` prints it, file:PATH or env:NAME; a key itself has no place in this file."},
		"no such variable":     {"  - {name: a, keys: ['env:NO_SUCH']}", "p.yaml:21 spec.tenants[0].keys[0] names the variable NO_SUCH of the environment, which is not set."},
		"a weak key":           {"  - {name: a, keys: ['env:WEAK_KEY']}", "p.yaml:21 spec.tenants[0].keys[0] refers to a key of 6 characters. A key has 20 or more, all of them printable ASCII without blanks: take one that `penstock key new` makes."},
		"no such file":         {"  - {name: a, keys: ['file:/no/such']}", "p.yaml:21 spec.tenants[0].keys[0] could not be read: open /no/such: no such file or directory."},
		"no tenant":            {"    []", "p.yaml:20 spec.tenants is empty: it would ask for keys that nobody has. Name a tenant, or leave it out."},
		"a name twice":         {"  - {name: a, keys: ['" + digestA + "']}\n  - {name: a, keys: ['" + digestB + "']}", `p.yaml:22 spec.tenants[1].name is "a" again: each tenant needs a name of its own.`},
		"a name of metrics":    {"  - {name: other, keys: ['" + digestA + "']}", `p.yaml:21 spec.tenants[0].name is "other". Use letters, digits, dashes, dots and underscores, and not the word other.`},
		"a name with a blank":  {"  - {name: a b, keys: ['" + digestA + "']}", `p.yaml:21 spec.tenants[0].name is "a b". Use letters, digits, dashes, dots and underscores, and not the word other.`},
		"a key of two":         {"  - {name: a, keys: ['" + digestA + "']}\n  - {name: b, keys: ['" + digestA + "']}", "p.yaml:22 spec.tenants[1].keys[0] is a key that a has already. A key belongs to one tenant, and is named once."},
		"an unknown model":     {"  - {name: a, keys: ['" + digestA + "'], models: [org/chatt]}", `p.yaml:21 spec.tenants[0].models[0] is "org/chatt", which is no model of this file. Did you mean org/chat?`},
		"no model":             {"  - {name: a, keys: ['" + digestA + "'], models: []}", "p.yaml:21 spec.tenants[0].models is empty: the tenant could use nothing. Name a model, or leave it out for all."},
		"a limit of none":      {"  - {name: a, keys: ['" + digestA + "'], limits: {maxInFlight: 0}}", "p.yaml:21 spec.tenants[0].limits.maxInFlight is 0. Set it above 0, or leave it out for no limit."},
		"a burst of nothing":   {"  - {name: a, keys: ['" + digestA + "'], limits: {requestBurst: 3}}", "p.yaml:21 spec.tenants[0].limits.requestBurst has no effect without requestsPerSecond."},
		"tokens of nothing":    {"  - {name: a, keys: ['" + digestA + "'], limits: {tokenBurst: 3}}", "p.yaml:21 spec.tenants[0].limits.tokenBurst has no effect without tokensPerMinute."},
		"a word near to keys":  {"  - {name: a, key: [" + goodKey + "]}", "p.yaml:21 spec.tenants[0].key is no known key. Did you mean keys?"},
		"a mapping for a list": {"  - {name: a, keys: {x: " + goodKey + "}}", "p.yaml:21 spec.tenants[0].keys is no list, where a list is wanted."},
	} {
		t.Run(name, func(t *testing.T) {
			loaded, err := Parse("p.yaml", []byte(fleet(c.tenants)))
			if err == nil {
				_, err = loaded.ReadKeys()
			}
			if !slices.ContainsFunc(FaultsOf(err), func(f Fault) bool { return f.String() == c.want }) {
				t.Errorf("got\n%v\nwant among them\n%s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "SECRET") {
				t.Errorf("the fault repeats the key: %v", err)
			}
		})
	}
}

// Keys come from digests, files and the environment, and only their digests
// stay.
func TestKeysAreReadFromWhereTheyAre(t *testing.T) {
	dir := t.TempDir()
	second := strings.Replace(goodKey, "01", "02", 1)
	third := strings.Replace(goodKey, "01", "03", 1)
	if err := os.WriteFile(filepath.Join(dir, "keys"), []byte("# the old one\n"+goodKey+"\n\n  "+second+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ACME_KEY", third)
	c, err := Parse(filepath.Join(dir, "p.yaml"), []byte(fleet("  - {name: acme, keys: ['file:keys', 'env:ACME_KEY', '"+digestA+"'], models: [chat]}")))
	if err != nil {
		t.Fatal(err)
	}
	var want []scale.KeyDigest
	for _, key := range []string{goodKey, second, third} {
		want = append(want, sha256.Sum256([]byte(key)))
	}
	tenants, err := c.ReadKeys()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, tenants[0].Keys[:3]); diff != "" || tenants[0].Keys[3].String() != digestA {
		t.Errorf("%s %v", diff, tenants[0].Keys)
	}
	if !slices.Equal(c.Tenants[0].Models, []string{"org/chat"}) {
		t.Errorf("models %v", c.Tenants[0].Models)
	}
	for _, run := range c.Runs {
		if !slices.Equal(run.Without, []string{"ACME_KEY"}) {
			t.Errorf("replicas inherit all but %q", run.Without)
		}
	}
	if text := fmt.Sprintf("%+v %+v", c, tenants); strings.Contains(text, "SECRET") {
		t.Errorf("a key stayed: %s", text)
	}
	if !strings.Contains(fleet(""), "tenants") || c.Fleet.Limits != (scale.Limits{}) {
		t.Error("the fleet's limits changed")
	}
}

// With keys the gateway may be reached by others.
func TestKeysOpenTheGatewaysPort(t *testing.T) {
	tenant := "  - {name: a, keys: ['" + digestA + "']}\n"
	c, err := Parse("p.yaml", []byte(fleet(tenant)+server("  listen: 0.0.0.0:8080")))
	if err != nil || c.Server.Listen != "0.0.0.0:8080" {
		t.Errorf("%v, %v", c.Server.Listen, err)
	}
}
