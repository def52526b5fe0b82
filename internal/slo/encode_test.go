package slo

import (
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCountsComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s State
		now, good, bad := time.Unix(1_700_000_000, 0).UTC(), 0.0, 0.0
		for range rapid.IntRange(0, 200).Draw(t, "ticks") {
			now = now.Add(time.Duration(rapid.IntRange(1, 7200).Draw(t, "seconds")) * time.Second)
			good += float64(rapid.IntRange(0, 1e6).Draw(t, "good"))
			bad += rapid.Float64Range(0, 3).Draw(t, "bad")
			s = s.Observe(now, good, bad)
		}
		text, err := cbor.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back State
		if err := cbor.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, back); diff != "" {
			t.Fatalf("what was written and what was read (-+):\n%s", diff)
		}
	})
}

func TestCountsCutShortAreRefused(t *testing.T) {
	for _, text := range []string{"\x80", "\x00", "\x02\x01"} {
		var c Counts
		if err := c.UnmarshalBinary([]byte(text)); err == nil {
			t.Errorf("%q was read as %+v", text, c)
		}
	}
}

// TestAMonthIsSmall: what is remembered of a busy Model stays within a few
// kilobytes.
func TestAMonthIsSmall(t *testing.T) {
	var s State
	now := time.Unix(1_700_000_000, 0).UTC()
	for i := range 31 * 24 * 60 {
		s = s.Observe(now.Add(time.Duration(i)*time.Minute), float64(i*3000), float64(i*7))
	}
	text, err := cbor.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 24_000 {
		t.Errorf("a month takes %d bytes", len(text))
	}
}
