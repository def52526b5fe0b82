package slo

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var objective = scale.SLO{Objective: 0.99, Window: 28 * 24 * time.Hour}

// run serves so many good and bad requests a minute for some minutes.
func run(s State, from time.Time, minutes int, good, bad float64) (State, time.Time) {
	now := from
	for range minutes {
		s = s.Observe(now, s.Good+good, s.Bad+bad)
		now = now.Add(time.Minute)
	}
	return s, now
}

func TestABlipDoesNotPage(t *testing.T) {
	s, now := run(State{}, start, 120, 100, 0)
	s, now = run(s, now, 2, 50, 50) // two minutes at half
	if got := s.Alerts(now, "chat", objective); got != nil {
		t.Errorf("two bad minutes in two hours: %+v", got)
	}
}

func TestAFastBurnPagesAndEndsSoonAfter(t *testing.T) {
	s, now := run(State{}, start, 120, 100, 0)
	s, now = run(s, now, 20, 40, 60)
	got := s.Alerts(now, "chat", objective)
	if len(got) != 1 || got[0].Severity != scale.Page || got[0].BurnRate < 14.4 {
		t.Fatalf("20 minutes at 60 %% bad: %+v", got)
	}
	s, now = run(s, now, 30, 100, 0)
	for _, a := range s.Alerts(now, "chat", objective) {
		if a.Over == time.Hour {
			t.Errorf("still pages by the hour after half a good one: %+v", a)
		}
	}
}

func TestBudgetCountsTheWholeWindow(t *testing.T) {
	s, now := run(State{}, start, 100, 99, 1)
	b := s.Budget(now, "chat", objective)
	if at, ok := b.Attainment(); !ok || math.Abs(at-0.99) > 1e-9 || math.Abs(b.Remaining) > 1e-9 || b.Good+b.Bad != 10_000 {
		t.Errorf("exactly at the objective: %+v", b)
	}
	if b := (State{}).Budget(start, "chat", objective); b.Good+b.Bad != 0 || b.Remaining != 1 {
		t.Errorf("no requests: %+v", b)
	}
}

func TestAnObjectiveOfAllAllowsNone(t *testing.T) {
	all := scale.SLO{Objective: 1, Window: time.Hour}
	if b := (State{}).Observe(start, 1000, 0).Budget(start, "chat", all); b.Remaining != 1 {
		t.Errorf("none bad: %+v", b)
	}
	if b := (State{}).Observe(start, 1000, 1).Budget(start, "chat", all); b.Remaining != 0 {
		t.Errorf("one bad: %+v", b)
	}
}

func TestARestartedGatewayStartsAtZero(t *testing.T) {
	s := State{}.Observe(start, 100, 10)
	s = s.Observe(start.Add(time.Second), 5, 0)
	if good, bad := s.Sum(start.Add(time.Second), time.Hour); good != 105 || bad != 10 {
		t.Errorf("good %v, bad %v; want 105 and 10", good, bad)
	}
}

func TestOneBadRequestInAQuietHourDoesNotPage(t *testing.T) {
	s := State{}.Observe(start, 0, 1)
	if got := s.Alerts(start, "chat", objective); got != nil {
		t.Errorf("one request: %+v", got)
	}
}

func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s State
		now := start
		var good, bad float64
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 7200).Draw(t, "gap")) * time.Second)
			good += float64(rapid.IntRange(0, 50).Draw(t, "good"))
			bad += float64(rapid.IntRange(0, 5).Draw(t, "bad"))
			before, count := s.Fine.Open, len(s.Fine.Closed)
			next := s.Observe(now, good, bad)
			if s.Fine.Open != before || len(s.Fine.Closed) != count {
				t.Fatal("Observe changed its receiver")
			}
			s = next
		}
		if fineCount, coarseCount := len(s.Fine.Closed), len(s.Coarse.Closed); fineCount > int(fineSpan/fine)+1 || coarseCount > int(coarseSpan/coarse)+1 {
			t.Fatalf("unbounded: %d fine, %d coarse", fineCount, coarseCount)
		}
		b := s.Budget(now, "chat", objective)
		if at, _ := b.Attainment(); at < 0 || at > 1 || b.Remaining > 1 {
			t.Fatalf("%+v", b)
		}
	})
}
