package cli

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/config"
)

// A new key is printed once with the line to paste, and that line is accepted.
func TestANewKeyComesWithItsLineForTheFile(t *testing.T) {
	var out bytes.Buffer
	if code := Main(t.Context(), []string{"key", "new"}, Streams{Out: &out, Err: &out}); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &out)
	}
	key := regexp.MustCompile(`(?m)^  (pk_[A-Z2-7]{26})$`).FindStringSubmatch(out.String())
	line := regexp.MustCompile(`(?m)^  - (sha256:[0-9a-f]{64})  # (pk_….{4})$`).FindStringSubmatch(out.String())
	if key == nil || line == nil {
		t.Fatalf("printed %s", &out)
	}
	if strings.Count(out.String(), key[1]) != 1 || line[1] != hashKey(key[1]) || line[2] != "pk_…"+key[1][25:] {
		t.Errorf("printed %s", &out)
	}
	file := tenantFile("[" + line[1] + "]")
	c, err := config.Parse("p.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if tenants, err := c.ReadKeys(); err != nil || tenants[0].Keys[0].String() != line[1] {
		t.Errorf("%+v, %v", tenants, err)
	}

	out.Reset()
	if code := Main(t.Context(), []string{"key", "hash"}, Streams{In: strings.NewReader(key[1] + "\n"), Out: &out, Err: &out}); code != exitOK || !strings.Contains(out.String(), line[1]) || strings.Contains(out.String(), key[1]) {
		t.Errorf("hash: exit code %d: %s", code, &out)
	}
	out.Reset()
	if code := Main(t.Context(), []string{"key", "hash"}, Streams{In: strings.NewReader("hunter2\n"), Out: &out, Err: &out}); code != exitUsage || strings.Contains(out.String(), "hunter2") {
		t.Errorf("hash of a weak one: exit code %d: %s", code, &out)
	}
}

func TestKeysAreNeverTheSame(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		var out bytes.Buffer
		if code := Main(t.Context(), []string{"key", "new", "--json"}, Streams{Out: &out, Err: &out}); code != exitOK {
			t.Fatal(out.String())
		}
		var k hashedKey
		if err := json.Unmarshal(out.Bytes(), &k); err != nil || k.Hash != hashKey(k.Key) || seen[k.Key] {
			t.Fatalf("%+v, %v", k, err)
		}
		seen[k.Key] = true
	}
}

// tenantFile is a whole configuration with one tenant of these keys.
func tenantFile(keys string) string {
	return `apiVersion: penstock.dev/v1alpha1
kind: InferenceAutoscaler
metadata: {name: chat}
spec:
  model: org/chat
  slo: {ttft: 2s, tpot: 100ms}
  variants: [{name: a100, accelerator: {type: nvidia-a100-80gb}, profile: {name: 8b-a100}, run: {command: [engine, "{{port}}"]}}]
---
apiVersion: penstock.dev/v1alpha1
kind: FleetPolicy
metadata: {name: default}
spec:
  tenants: [{name: acme, keys: ` + keys + `}]
`
}
