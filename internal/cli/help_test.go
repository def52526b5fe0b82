package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// TestHelp holds what every command says of itself. UPDATE=1 rewrites it.
func TestHelp(t *testing.T) {
	for _, command := range []string{
		"", "demo", "serve", "gateway", "status", "top", "explain", "load", "simulate", "replay", "bench", "bench scaling", "bench gateway", "bench reaction", "emulate", "validate", "signals", "schema", "key", "key new", "key hash", "notice", "version",
	} {
		t.Run(command, func(t *testing.T) {
			var out bytes.Buffer
			if code := Main(t.Context(), append(strings.Fields(command), "--help"), Streams{Out: &out, Err: &out}); code != exitOK {
				t.Fatalf("exit code %d:\n%s", code, &out)
			}
			for line := range strings.Lines(out.String()) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 110 {
					t.Errorf("%d characters wide: %q", n, line)
				}
			}
			if command != "" && command != "bench" && command != "key" && !strings.Contains(out.String(), "Example:") && !strings.Contains(out.String(), "Examples:") {
				t.Error("there is no example")
			}
			file := filepath.Join("testdata", "help", strings.ReplaceAll("penstock "+command, " ", "_")+".txt")
			if os.Getenv("UPDATE") != "" {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAskedWronglyIsTwo(t *testing.T) {
	for what, args := range map[string][]string{
		"an unknown command": {"srve"},
		"an unknown flag":    {"serve", "--fast"},
		"no file":            {"serve"},
		"a missing file":     {"serve", "-f", "/does/not/exist.yaml"},
	} {
		t.Run(what, func(t *testing.T) {
			var out, talk bytes.Buffer
			if code := Main(t.Context(), args, Streams{Out: &out, Err: &talk}); code != exitUsage {
				t.Errorf("exit code %d: %s", code, &talk)
			}
			if !strings.HasPrefix(talk.String(), "penstock: ") || out.Len() > 0 {
				t.Errorf("standard error %q, standard output %q", &talk, &out)
			}
		})
	}
}
