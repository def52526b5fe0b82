package engine_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// visit is a request at a desk, as a reference sees it.
type visit struct {
	key              engine.Key
	arrival, service time.Duration
	gone             time.Duration // when it is aborted, at the latest
}

// visits returns what happens to them at a number of places: who comes first
// goes first to the place that is free first.
func visits(list []visit, places int) (events []engine.Event, busy time.Duration) {
	free := make([]time.Duration, places)
	var spans [][2]time.Duration
	for _, v := range list {
		slices.Sort(free)
		start := max(free[0], v.arrival)
		if v.gone <= start {
			continue
		}
		end := min(start+v.service, v.gone)
		free[0] = end
		spans = append(spans, [2]time.Duration{start, end})
		if start+v.service <= v.gone {
			events = append(events, engine.Event{At: end, Key: v.key, Kind: engine.FirstToken}, engine.Event{At: end, Key: v.key, Kind: engine.LastToken})
		}
	}
	until := time.Duration(0)
	for _, s := range spans { // they start in order
		busy += max(0, s[1]-max(s[0], until))
		until = max(until, s[1])
	}
	slices.SortStableFunc(events, func(a, b engine.Event) int { return int(a.At - b.At) })
	return events, busy
}

func TestAServiceTimeIsServedInOrderAtSoManyPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		profile := service(t)
		profile.Service.Mean = time.Duration(rapid.IntRange(1, 100).Draw(t, "mean"))
		s := engine.NewStepper(profile)
		var list []visit
		var got []engine.Event
		now := time.Duration(0)
		advance := func(to time.Duration) {
			for next := s.Next(); next <= to; next = s.Next() {
				events := s.Advance(next)
				if len(events) == 0 || events[0].At != next {
					t.Fatalf("next was %v, and %v came", next, events)
				}
				got = append(got, events...)
			}
			now = to
		}
		for range rapid.IntRange(1, 50).Draw(t, "actions") {
			advance(now + time.Duration(rapid.IntRange(0, 60).Draw(t, "pause")))
			if len(list) > 0 && rapid.IntRange(0, 3).Draw(t, "abort") == 0 {
				v := &list[rapid.IntRange(0, len(list)-1).Draw(t, "whom")]
				if s.Abort(v.key, now) {
					v.gone = now
				}
				continue
			}
			v := visit{key: engine.Key(len(list)), arrival: now, gone: engine.Never, service: time.Duration(rapid.IntRange(0, 200).Draw(t, "service"))}
			if err := s.Add(engine.Work{Key: v.key, PromptTokens: 1, OutputTokens: 1, Service: v.service}, now); err != nil {
				t.Fatal(err)
			}
			if v.service == 0 {
				v.service = profile.Service.Mean
			}
			list = append(list, v)
		}
		advance(now + 1e6)
		want, busy := visits(list, profile.Service.Concurrency)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if got, want := s.State(now), (engine.State{Busy: busy, Tokens: len(got) / 2}); got != want || s.Next() != engine.Never {
			t.Fatalf("in the end it stands at %+v, want %+v", got, want)
		}
	})
}

func TestAServiceInProgressIsCounted(t *testing.T) {
	s := engine.NewStepper(scale.Profile{Service: scale.ServiceTime{Mean: time.Second, Concurrency: 2}})
	for k := range engine.Key(3) {
		if err := s.Add(engine.Work{Key: k, PromptTokens: 1, OutputTokens: 5}, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := s.State(1500*time.Millisecond), (engine.State{Running: 2, Waiting: 1, Busy: 500 * time.Millisecond}); got != want {
		t.Errorf("at half of the first two it stands at %+v, want %+v", got, want)
	}
	if got, want := s.State(2500*time.Millisecond), (engine.State{Running: 1, Busy: 1500 * time.Millisecond, Tokens: 10}); got != want {
		t.Errorf("at half of the third it stands at %+v, want %+v", got, want)
	}
	if got := s.Advance(2500 * time.Millisecond); len(got) != 4 || got[3] != (engine.Event{At: 2 * time.Second, Key: 1, Kind: engine.LastToken}) {
		t.Errorf("two of three ended, and it told %+v", got)
	}
	if s.Abort(1, 2600*time.Millisecond) || !s.Abort(2, 2600*time.Millisecond) {
		t.Error("only the third may still be aborted")
	}
	if err := s.Add(engine.Work{Key: 1, PromptTokens: 1, OutputTokens: 1, Service: -1}, 3*time.Second); err == nil {
		t.Error("a negative service time was accepted")
	}
}
