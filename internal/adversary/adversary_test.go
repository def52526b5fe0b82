package adversary

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
)

// TestSeeds plays the kept seeds and then a thousand others, and fails where a
// law is broken, or where something was never reached. PENSTOCK_SEEDS is another
// number. With the race detector, under which all takes ten times as long, and
// with -short it plays the first minutes of a few.
func TestSeeds(t *testing.T) {
	kept, err := Kept()
	if err != nil {
		t.Fatal(err)
	}
	campaign := Campaign{Kept: kept, Seeds: enoughSeeds, Shrink: 3}
	if testing.Short() || raceDetector {
		campaign = Campaign{Seeds: 8, Cut: Cut{For: 2 * time.Minute}, Shrink: 3}
	}
	if text := os.Getenv("PENSTOCK_SEEDS"); text != "" {
		if campaign.Seeds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	s, err := campaign.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range s.Found {
		t.Errorf("seed %d: %s\n%s\nAgain: %s", f.Seed, f.What, f.Words, f.Command)
	}
	if s.Incomplete() {
		t.Errorf("%d seeds never reached %s", s.Seeds, strings.Join(s.Unreached, ", "))
	}
	t.Logf("%d seeds, %.0f simulated hours, %d requests, %d events, %d ticks, %.0f s", s.Seeds, s.Hours, s.Requests, s.Events, s.Ticks, s.Seconds)
}

// short is the beginning of a Case.
func short(t *testing.T, seed uint64) Case {
	t.Helper()
	c, err := Draw(seed).Apply(Cut{For: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestOneSeedHasOneHistory, to the last byte of its journal.
func TestOneSeedHasOneHistory(t *testing.T) {
	hashes := map[string]bool{}
	for seed := range uint64(6) {
		var reports [2]Report
		for i := range reports {
			var err error
			if reports[i], err = short(t, seed).Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(reports[0], reports[1]); diff != "" {
			t.Errorf("seed %d: %s", seed, diff)
		}
		hashes[reports[0].Hash] = true
	}
	if len(hashes) != 6 {
		t.Errorf("%d histories of 6 seeds", len(hashes))
	}
}

// TestACutLeavesTheRestAsItWas: a shorter Case begins as the longer one does.
func TestACutLeavesTheRestAsItWas(t *testing.T) {
	whole := Draw(10)
	cut, err := whole.Apply(Cut{Models: 1, Variants: 1, For: time.Minute, Without: []string{whole.Faults[0].Kind.String()}})
	if err != nil {
		t.Fatal(err)
	}
	if len(cut.Models) != 1 || len(cut.Models[0].Model.Variants) != 1 || cut.Span != time.Minute || len(cut.Faults) >= len(whole.Faults) {
		t.Errorf("%s", cut.Words())
	}
	if diff := cmp.Diff(whole.Models[0].Traffic, cut.Models[0].Traffic, cmp.AllowUnexported(Traffic{})); diff != "" {
		t.Error(diff)
	}
	for _, c := range []Case{whole, cut} {
		source, err := c.source(func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		var first scale.Request
		for first.Model != "m1" {
			if first, err = source.Next(); err != nil {
				t.Fatal(err)
			}
		}
		first.ID = 0
		if c.Cut.None() {
			whole.Begin = first.At
		} else if !first.At.Equal(whole.Begin) && first.At.Before(cut.Begin.Add(time.Minute)) {
			t.Errorf("the first request is at %v, and at %v where the case is cut", whole.Begin, first.At)
		}
	}
	for _, bad := range []Cut{{Without: []string{"crash.9"}}, {For: -1}, {Rate: -1}, {Models: -1}} {
		if _, err := whole.Apply(bad); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}

// greedy is a planted fault: a Governor that starts one replica more than may be
// whenever a model has two.
func greedy(d scale.Decision) scale.Decision {
	d.Changes = slices.Clone(d.Changes)
	for i := range d.Changes {
		if c := &d.Changes[i]; c.From >= 2 && !c.DryRun {
			c.To += 20
		}
	}
	return d
}

// TestAPlantedFaultIsFoundAndMadeSmall: with a broken governor some seeds break
// a law, what is left of them is small, and what the command says plays the same
// again.
func TestAPlantedFaultIsFoundAndMadeSmall(t *testing.T) {
	plant := func(c Case) Case {
		c.tamper = greedy
		return c
	}
	s, err := Campaign{First: 20, Seeds: 8, Shrink: 2, adjust: plant}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Found) < 3 {
		t.Fatalf("%d of 8 seeds found the fault", len(s.Found))
	}
	for _, f := range s.Found[:2] {
		whole := Draw(f.Seed)
		cut := parse(t, f.Command)
		again, err := whole.Apply(cut)
		if err != nil {
			t.Fatal(err)
		}
		r, err := plant(again).Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.Violation == nil || r.Violation.String() != f.What {
			t.Errorf("%s does not repeat %s, but finds %v", f.Command, f.What, r.Violation)
		}
		if again.Span >= whole.Span || len(again.Faults) > 1 || len(again.Models) > len(whole.Models) || !f.Shrunk {
			t.Errorf("seed %d was not made small: %s", f.Seed, f.Words)
		}
	}
}

// parse reads the flags of a command.
func parse(t *testing.T, command string) Cut {
	t.Helper()
	words := strings.Fields(strings.TrimPrefix(command, "penstock simulate --fuzz"))
	var cut Cut
	for i := 0; i < len(words); i += 2 {
		var err error
		switch words[i] {
		case "--seed":
		case "--without":
			cut.Without = strings.Split(words[i+1], ",")
		case "--for":
			cut.For, err = time.ParseDuration(words[i+1])
		case "--models":
			cut.Models, err = strconv.Atoi(words[i+1])
		case "--variants":
			cut.Variants, err = strconv.Atoi(words[i+1])
		case "--rate":
			cut.Rate, err = strconv.ParseFloat(words[i+1], 64)
		default:
			t.Fatalf("what is %q?", words[i])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return cut
}

func TestEveryKindIsNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Kinds() {
		if got, ok := kindOf(k.String()); !ok || got != k || seen[k.String()] {
			t.Errorf("%d is %q, which is %d", k, k, got)
		}
		seen[k.String()] = true
	}
	if len(Kinds()) != int(Burst) || len(Laws()) != int(LoopWorks) {
		t.Errorf("%d kinds, %d laws", len(Kinds()), len(Laws()))
	}
}
