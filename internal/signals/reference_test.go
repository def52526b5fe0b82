package signals_test

//go:generate env UPDATE=1 go test -count=1 -run ^TestReference .

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/signals"
)

// TestReferenceIsUpToDate holds the tables of docs/reference/signals.md against
// the dialects. UPDATE=1 writes them anew.
func TestReferenceIsUpToDate(t *testing.T) {
	t.Parallel()
	const page, begin, end = "../../docs/reference/signals.md", "<!-- generated: go generate ./internal/signals -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(text), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no %q or no %q", page, begin, end)
	}
	want := head + begin + tables() + end + tail
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("%s is out of date, run make generate (-want +got):\n%s", page, diff)
	}
}

// tables are the engines by signal, and a table of names for each.
func tables() string {
	var b strings.Builder
	signalsOf := map[string]map[scale.Signal][]string{}
	b.WriteString("\n| signal | unit |")
	for _, e := range signals.Engines() {
		fmt.Fprintf(&b, " %s |", e.Name)
		signalsOf[e.Name] = map[scale.Signal][]string{}
		for _, r := range e.Reads {
			signalsOf[e.Name][r.Signal] = r.Sources
		}
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(signals.Engines())) + "\n")
	for _, signal := range scale.Signals() {
		fmt.Fprintf(&b, "| `%s` | %s |", signal, signal.Unit())
		for _, e := range signals.Engines() {
			if signalsOf[e.Name][signal] != nil {
				b.WriteString(" ✓ |")
			} else {
				b.WriteString(" |")
			}
		}
		b.WriteByte('\n')
	}
	for _, e := range signals.Engines() {
		fmt.Fprintf(&b, "\n### %s: `%s`\n\nSpeaks of %s.\n\n| signal | metric |\n|---|---|\n", e.Title, e.Name, e.Scope)
		for _, r := range e.Reads {
			fmt.Fprintf(&b, "| `%s` | `%s` |\n", r.Signal, strings.Join(r.Sources, "`, else `"))
		}
	}
	return b.String() + "\n"
}
