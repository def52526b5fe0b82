package emulator

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestALateMachineIsMentionedButNotForEachIteration(t *testing.T) {
	log := new(bytes.Buffer)
	s := &Server{Model: "m", Logger: slog.New(slog.NewTextHandler(log, nil))}
	o := s.parts().owner
	o.ends = time.Unix(1_000_000, 0)
	for after, want := range []struct {
		lag   time.Duration
		at    time.Duration
		lines int
	}{
		{lag: time.Millisecond, at: 0, lines: 0},
		{lag: 300 * time.Millisecond, at: time.Second, lines: 1},
		{lag: 900 * time.Millisecond, at: 2 * time.Second, lines: 1},
		{lag: 300 * time.Millisecond, at: 12 * time.Second, lines: 2},
	} {
		now := time.Unix(1_000_000, 0).Add(want.at)
		o.ends = now.Add(-want.lag)
		o.late(t.Context(), now)
		if got := strings.Count(log.String(), "too slow"); got != want.lines {
			t.Errorf("after step %d the log has %d warnings, want %d:\n%s", after, got, want.lines, log)
		}
	}
}
