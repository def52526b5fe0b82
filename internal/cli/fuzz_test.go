package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/adversary"
)

func TestSeedsArePlayedAndSummedUp(t *testing.T) {
	args := []string{"simulate", "--fuzz", "--seed", "3", "--seeds", "2", "--for", "3m", "--workers", "1"}
	var out, talk bytes.Buffer
	if code := Main(t.Context(), append(args, "--json"), Streams{Out: &out, Err: &talk}); code != exitOK {
		t.Fatalf("exit code %d: %s%s", code, &talk, &out)
	}
	var found adversary.Summary
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		t.Fatal(err)
	}
	if found.Seeds != 2 || found.Requests == 0 || found.Events <= found.Requests || found.Ticks == 0 || found.Hours <= 0 || len(found.Found) > 0 || len(found.Reached) == 0 {
		t.Errorf("%+v", found)
	}
	out.Reset()
	if code := Main(t.Context(), args, Streams{Out: &out, Err: &talk}); code != exitOK || !strings.Contains(out.String(), "No law was broken") {
		t.Errorf("exit code %d: %s", code, &out)
	}
}

func TestFuzzAskedWronglyExitsWith2(t *testing.T) {
	for want, args := range map[string][]string{
		"are of --fuzz, which is missing": {"--seed", "3"},
		"it takes no --trace":             {"--fuzz", "--trace", "x.csv"},
		"seeds begin at 1":                {"--fuzz", "--seeds", "0"},
		`it has no fault "crush"`:         {"--fuzz", "--seed", "3", "--without", "crush"},
		"nothing of it may be negative":   {"--fuzz", "--for=-3m"},
	} {
		var out, talk bytes.Buffer
		if code := Main(t.Context(), append([]string{"simulate"}, args...), Streams{Out: &out, Err: &talk}); code != exitUsage || !strings.Contains(talk.String(), want) {
			t.Errorf("%v: exit code %d: %s", args, code, &talk)
		}
	}
}

// TestTheCommandThatRepeatsIsUnderstood: what a violation comes with is read as
// the Cut that it was made of.
func TestTheCommandThatRepeatsIsUnderstood(t *testing.T) {
	cut := adversary.Cut{Without: []string{"crash", "nan.1"}, For: 3*time.Minute + 21*time.Second, Models: 2, Variants: 1, Rate: 0.0625}
	c := adversary.Case{Seed: 18446744073709551615, Cut: cut}
	var cmds commands
	parser, err := kong.New(&cmds)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(strings.Fields(c.Command())[1:]); err != nil {
		t.Fatalf("%s: %v", c.Command(), err)
	}
	if s := &cmds.Simulate; !s.Fuzz || s.Seed != c.Seed || cmp.Diff(cut, s.cut()) != "" {
		t.Errorf("%s is read as %+v", c.Command(), s.fuzzFlags)
	}
}

func TestAViolationIsToldAndFails(t *testing.T) {
	found := adversary.Summary{Seeds: 1, Found: []adversary.Found{{
		Seed: 9, Law: adversary.Maximum, What: "P8 maximum at 3m: too many", Words: "3m of it\n", Command: "penstock simulate --fuzz --seed 9", Shrunk: true,
	}}}
	text := fuzzText(found)
	for _, want := range []string{"P8 maximum", "too many", "3m of it", "penstock simulate --fuzz --seed 9"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %s", want, text)
		}
	}
	unreached := adversary.Summary{Seeds: 1000, Unreached: []string{"reason demand"}}
	for what, s := range map[string]adversary.Summary{"a violation": found, "what a thousand seeds never reached": unreached} {
		if err := fuzzVerdict(s); !errors.Is(err, statusError(exitFailed)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := fuzzVerdict(adversary.Summary{Seeds: 999, Unreached: unreached.Unreached}); err != nil {
		t.Errorf("too few seeds to reach all: %v", err)
	}
}
