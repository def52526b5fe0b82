package clients_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOpenAPI has schemathesis hold docs/reference/openapi.yaml against a running
// penstock: each path is asked with what it takes and with what it does not, and
// every answer must be one that the document knows, and no fault of the server.
func TestOpenAPI(t *testing.T) {
	tool := filepath.Join(os.Getenv("PENSTOCK_CLIENTS"), "python", "bin", "schemathesis")
	if _, err := os.Stat(tool); os.Getenv("PENSTOCK_CLIENTS") == "" || err != nil {
		t.Skip("schemathesis is not there: run make test-openapi, which installs it")
	}
	g := start(t)
	text, err := os.ReadFile("../../docs/reference/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// The document knows no model; here is one, whose replies are short.
	document := strings.ReplaceAll(string(text), "model: {type: string}\n        stream", "model: {type: string, enum: [quick]}\n        stream")
	if document == string(text) {
		t.Fatal("the document's requests have no model any more")
	}
	file := filepath.Join(g.dir, "openapi.yaml")
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		// What stands in a request besides the model's name is the engine's to refuse.
		"gateway": {"--url", g.url, "--include-tag", "gateway", "--header", "Authorization: Bearer " + key, "--exclude-checks", "negative_data_rejection"},
		"console": {"--url", g.console, "--include-tag", "console", "--exclude-checks", "positive_data_acceptance"}, // a span may end before it begins
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, tool, append([]string{
				"run", file, "--max-examples", "20", "--seed", "1", "--generation-deterministic", "--request-timeout", "40",
				"--phases", "examples,coverage,fuzzing",
			}, args...)...)
			cmd.Dir = g.dir // it leaves files where it runs
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}
