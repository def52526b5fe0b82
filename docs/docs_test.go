// Package docs_test holds the project's pages against the code: what they tell
// to type exists, what they tell to write is accepted, their links lead.
package docs_test

import (
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/cli"
	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
)

// TestDocsNameEveryReason holds docs/reference/reasons.md against package scale.
func TestDocsNameEveryReason(t *testing.T) {
	text := read(t, "docs/reference/reasons.md")
	var got, want []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| \\S").FindAllStringSubmatch(text, -1) {
		got = append(got, row[1])
	}
	for _, code := range scale.ReasonCodes() {
		want = append(want, code.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("documented %q\nwant       %q", got, want)
	}
}

// TestDocsLinksLead: every relative link of every page leads to a file.
func TestDocsLinksLead(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)
	for _, page := range pages(t) {
		for _, l := range link.FindAllStringSubmatch(read(t, page), -1) {
			if _, err := fs.Stat(os.DirFS(".."), path.Join(path.Dir(page), l[1])); err != nil {
				t.Errorf("%s: the link to %s leads nowhere: %v", page, l[1], err)
			}
		}
	}
}

// TestDocsNameCommandsThatExist: what a page tells to type is understood. A
// line that begins with `penstock` or `make` in a block of code is a command.
func TestDocsNameCommandsThatExist(t *testing.T) {
	command := regexp.MustCompile(`(?m)^(?:\S*/)?(penstock|make) ([a-z-]+(?: [a-z]+)?)\b[^\n#]*`)
	flag := regexp.MustCompile(`\s(--[a-z-]+|-[a-z])\b`)
	targets := read(t, "Makefile")
	found := 0
	for _, page := range pages(t) {
		for _, block := range blocks(read(t, page), "sh") {
			for _, c := range command.FindAllStringSubmatch(block, -1) {
				found++
				if c[1] == "make" {
					if !strings.Contains(targets, "\n"+strings.Fields(c[2])[0]+":") {
						t.Errorf("%s: make has no target %q", page, c[2])
					}
					continue
				}
				help := helpOf(t, c[2])
				for _, f := range flag.FindAllStringSubmatch(c[0], -1) {
					if !strings.Contains(help, f[1]) {
						t.Errorf("%s: %q: there is no flag %s", page, c[0], f[1])
					}
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("found only %d commands in the docs: looked in the wrong place", found)
	}
}

// helpOf returns the help of a penstock command; an unknown one fails the test.
func helpOf(t *testing.T, command string) string {
	t.Helper()
	var out strings.Builder
	if code := cli.Main(t.Context(), append(strings.Fields(command), "--help"), cli.Streams{In: strings.NewReader(""), Out: &out, Err: io.Discard}); code != 0 {
		t.Errorf("penstock %s --help: exit code %d", command, code)
	}
	return out.String()
}

// TestDocsConfigurationsHold: a whole object in a block of YAML is accepted.
func TestDocsConfigurationsHold(t *testing.T) {
	found := 0
	for _, page := range pages(t) {
		for _, block := range blocks(read(t, page), "yaml") {
			if !strings.HasPrefix(block, "apiVersion:") {
				continue
			}
			found++
			if _, err := config.Parse(page, []byte(block)); err != nil {
				t.Errorf("%s: %v\n%s", page, err, block)
			}
		}
	}
	if found == 0 {
		t.Error("found no configuration in the docs: looked in the wrong place")
	}
}

// blocks returns the fenced blocks of a page in one language.
func blocks(page, language string) []string {
	var out []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(page, -1) {
		out = append(out, m[1])
	}
	return out
}

// pages returns every page of the project, as paths from its root.
func pages(t *testing.T) []string {
	t.Helper()
	var out []string
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if name != "." && (strings.HasPrefix(path.Base(name), ".") || path.Base(name) == "testdata") {
				return fs.SkipDir
			}
		case path.Ext(name) == ".md":
			out = append(out, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(out, "README.md") {
		t.Fatal("no README.md found: looked in the wrong place")
	}
	return out
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := fs.ReadFile(os.DirFS(".."), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
