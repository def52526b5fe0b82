package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/config"
)

func TestTheConsolesTokenIsMadeOnceAndForThisUser(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	s := config.Server{StateDir: state, ConsoleToken: filepath.Join(state, "console.token")}
	first, err := consoleToken(s)
	if err != nil || len(first) < leastToken {
		t.Fatalf("%q, %v", first, err)
	}
	info, err := os.Stat(s.ConsoleToken)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if second, err := consoleToken(s); err != nil || second != first {
		t.Errorf("at the next start: %q, %v; want %q", second, err, first)
	}
	if none, err := consoleToken(config.Server{StateDir: state}); none != "" || err != nil {
		t.Errorf("where none is asked for: %q, %v", none, err)
	}
}

func TestATokenOfOnesOwnIsRefusedWhereItIsNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	for text, says := range map[string]string{
		"short\n": "16 or more", "": "16 or more", "two words, which is one too many\n": "one word", "a-token-that-is-long-enough\n": "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		token, err := consoleToken(config.Server{StateDir: "/nowhere", ConsoleToken: file})
		if says == "" && (err != nil || token != strings.TrimSpace(text)) || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%q: %q, %v; want %q", text, token, err, says)
		}
	}
	// One that was named and is not there is said and not made.
	if _, err := consoleToken(config.Server{StateDir: "/nowhere", ConsoleToken: file + ".not"}); err == nil {
		t.Error("a file that is not there")
	}
}
