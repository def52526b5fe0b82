package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runValidate runs a command and returns what it printed and its exit code.
func runValidate(t *testing.T, args ...string) (out, talk string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = Main(t.Context(), args, Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	return stdout.String(), stderr.String(), code
}

func TestValidateShowsWhatAFileComesTo(t *testing.T) {
	out, talk, code := runValidate(t, "validate", "-f", "../../examples/emulated/penstock.yaml")
	want := `emulated/llama-3.1-8b-instruct: ttft 1s, tpot 50ms for 99% of requests over 28d, held for up to 2m; 0 to 16 replicas
  a100: 1 × nvidia-a100-80gb on-demand at $2.00/h a replica; profile 8b-a100
        memory 80.0 GB × 0.90 − 16.1 GB weights = 55.9 GB for KV cache ÷ 131072 bytes/token = 426483 tokens
`
	if out != want || talk != "" || code != exitOK {
		t.Errorf("exit %d\n%s\n%s\nwant\n%s", code, out, talk, want)
	}
}

func TestValidateTellsEveryFaultAndExitsWithTwo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.yaml")
	text := "apiVersion: penstock.dev/v1alpha1\nkind: FleetPolicy\nmetadata: {name: x}\nspec: {limits: {upPerMinutes: 3}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, talk, code := runValidate(t, "validate", "-f", file)
	want := file + " holds no InferenceAutoscaler: there is nothing to serve.\n" + file + ":4 spec.limits.upPerMinutes is no known key. Did you mean upPerMinute?\n"
	if out != want || talk != "penstock: "+file+" has 2 faults\n" || code != exitUsage {
		t.Errorf("exit %d\n%s\n%s\nwant\n%s", code, out, talk, want)
	}
	out, _, code = runValidate(t, "validate", "-f", file, "--json")
	var v validation
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	if code != exitUsage || v.Valid || len(v.Faults) != 2 || v.Faults[1].Line != 4 || v.Faults[1].Path != "spec.limits.upPerMinutes" {
		t.Errorf("exit %d, %+v", code, v)
	}
}

func TestValidateWithoutAFileIsAskedWrongly(t *testing.T) {
	_, talk, code := runValidate(t, "validate", "-f", filepath.Join(t.TempDir(), "none.yaml"))
	if code != exitUsage || !strings.Contains(talk, "none.yaml") {
		t.Errorf("exit %d: %s", code, talk)
	}
}

func TestValidateJSONHasTheArithmetic(t *testing.T) {
	out, _, code := runValidate(t, "validate", "-f", "../../examples/emulated/two-models.yaml", "--json")
	var v validation
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != exitOK {
		t.Fatalf("exit %d: %v", code, err)
	}
	if !v.Valid || len(v.Models) != 2 || v.Models[1].Variants[1].KVTokens != 426483 || v.Models[1].Variants[1].PricePerHour != 3.40 {
		t.Errorf("got %+v", v)
	}
}

func TestSchemaIsJSON(t *testing.T) {
	long, _, _ := runValidate(t, "schema")
	line, _, code := runValidate(t, "schema", "--json")
	if code != exitOK || strings.Count(line, "\n") != 1 || strings.Count(long, "\n") < 100 {
		t.Errorf("exit %d, %d and %d lines", code, strings.Count(long, "\n"), strings.Count(line, "\n"))
	}
	for _, text := range []string{long, line} {
		var schema struct {
			OneOf []any `json:"oneOf"`
		}
		if err := json.Unmarshal([]byte(text), &schema); err != nil || len(schema.OneOf) != 4 {
			t.Errorf("got %d kinds: %v", len(schema.OneOf), err)
		}
	}
}
