package cli

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// guardArguments, when set, makes the test binary stand in for penstock guard:
// a guard takes over its process, so that it must have one of its own.
const guardArguments = "PENSTOCK_TEST_GUARD"

func TestGuardReturnsTheStatusOfItsCommand(t *testing.T) {
	t.Parallel()
	if line := os.Getenv(guardArguments); line != "" {
		os.Exit(Main(context.Background(), append([]string{"guard", "--"}, strings.Split(line, "|")...),
			Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}
	tests := map[string]struct {
		command string // words separated by bars
		status  int
		says    string
	}{
		"its flags are its own": {"echo|--help|-f|--|x", 0, "--help -f -- x\n"},
		"a status":              {"sh|-c|exit 42", 42, ""},
		"a signal":              {"sh|-c|kill -9 $$", 128 + 9, ""},
		"no such program":       {"no-such-program-anywhere", 127, "penstock: guard: find command"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hold, lifeline, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer hold.Close()
			defer lifeline.Close()
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestGuardReturnsTheStatusOfItsCommand$")
			cmd.Env = append(cmd.Environ(), guardArguments+"="+tc.command, "GORACE=atexit_sleep_ms=0")
			cmd.ExtraFiles = []*os.File{hold}
			out, _ := cmd.CombinedOutput() // the status says it
			if code := cmd.ProcessState.ExitCode(); code != tc.status || !strings.Contains(string(out), tc.says) {
				t.Errorf("exit status %d, want %d; output %q, want %q in it", code, tc.status, out, tc.says)
			}
		})
	}
}
