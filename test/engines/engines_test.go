// Package engines_test holds Penstock against real model servers. It knows
// Penstock as its users do, from outside: the binary, its commands, HTTP, the
// processes. `make test-engines` installs the servers and runs it.
package engines_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// engineCase is one thing that must hold with one engine. Its name begins with
// the engine's.
type engineCase struct {
	name string
	run  func(stage)
}

// installation is what install.sh made, and the binary under test.
type installation struct {
	folder   string // of install.sh
	penstock string
}

// stage is what a case plays on.
type stage struct {
	t *testing.T
	installation
}

// TestEngines runs every case and prints a line for each, and the sum.
func TestEngines(t *testing.T) {
	folder := os.Getenv("PENSTOCK_ENGINES")
	if folder == "" {
		t.Skip("PENSTOCK_ENGINES does not name the folder of install.sh: make test-engines does")
	}
	in := installation{folder: folder, penstock: build(t)}
	passed, failed, skipped := 0, 0, 0
	for _, c := range llamaCases() {
		began, ran, leftOut := time.Now(), false, false
		ok := t.Run(c.name, func(t *testing.T) {
			ran = true
			defer func() { leftOut = t.Skipped() }()
			c.run(stage{t, in})
		})
		if !ran { // -run asks for others
			continue
		}
		word := "ok  "
		switch {
		case !ok:
			word = "FAIL"
			failed++
		case leftOut:
			word = "skip"
			skipped++
		default:
			passed++
		}
		fmt.Fprintf(os.Stdout, "%s %5.1f s  %s\n", word, time.Since(began).Seconds(), c.name)
	}
	fmt.Fprintf(os.Stdout, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
}

// build makes the binary from the tree that this test is in.
func build(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "penstock")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", file, "./cmd/penstock")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build penstock: %v\n%s", err, out)
	}
	return file
}

// command runs a program to its end and returns what it printed.
func command(t *testing.T, name string, args ...string) (stdout string, err error) {
	t.Helper()
	const longest = 2 * time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, errs.String())
	}
	return out.String(), err
}

// until polls a condition that some process is about to make true.
func until(t *testing.T, what string, longest time.Duration, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(longest)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, longest)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
