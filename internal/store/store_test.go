package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/penstock/penstock/internal/scale"
)

var start = time.Date(2026, 3, 2, 9, 0, 0, 113_000_000, time.UTC)

// sameLocation compares time zones by name: a decoded one is another pointer.
var sameLocation = cmp.Comparer(func(a, b *time.Location) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.String() == b.String()
})

func open(tb testing.TB, path string) *Store {
	tb.Helper()
	return openAt(tb, site{path: path})
}

func fresh(tb testing.TB) *Store {
	tb.Helper()
	return openAt(tb, onFileIn(tb))
}

// tick is a Record of so many models and replicas each; wanted is what each
// model's Plan asks for.
func tick(tb testing.TB, at time.Time, models, replicas, wanted int) scale.Record {
	tb.Helper()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		tb.Fatal(err)
	}
	r := scale.Record{At: at, Memory: []byte(fmt.Sprintf("memory before %d", at.UnixNano()))}
	r.Snapshot = scale.Snapshot{Now: at, Tick: time.Second, Offerings: []scale.Offering{
		{Accelerator: "nvidia-a100-80gb", Capacity: scale.OnDemand, PricePerHour: 2.1, Limited: true, Slots: 64},
	}}
	r.Decision.At = at
	for m := range models {
		name := fmt.Sprintf("model-%d", m)
		target := scale.ScaleTarget{Model: name, Variant: "a100", Capacity: scale.OnDemand}
		state := scale.ModelState{
			Model: scale.Model{
				Name: name, SLO: scale.SLO{TTFT: 800 * time.Millisecond, TPOT: 50 * time.Millisecond, Objective: 0.99},
				Schedules: []scale.Schedule{{Name: "office", Duration: time.Hour, Location: berlin, Min: 2}}, Mode: scale.Auto,
				Variants: []scale.Variant{{
					Name: "a100", Capacities: []scale.CapacityType{scale.OnDemand}, Max: 32,
					Profile: scale.Profile{Linear: []scale.LinearPoint{{Tokens: 1, Time: 11 * time.Millisecond}, {Tokens: 512, Time: 47 * time.Millisecond}}},
				}},
			},
			Demand: scale.Demand{Arrivals: scale.Observe(12.25, at.Add(-400*time.Millisecond)), Held: scale.Observe(3, at)},
		}
		for i := range replicas {
			load := 0.37 + float64(i)/100
			state.Replicas = append(state.Replicas, scale.Replica{
				ID: scale.ReplicaID(fmt.Sprintf("%s-%04d", name, i)), Target: target, Phase: scale.Ready,
				Created: at.Add(-time.Hour), Since: at.Add(-time.Minute), Address: fmt.Sprintf("127.0.0.1:%d", 30000+i),
				Load: scale.Load{
					InFlight: scale.Observe(float64(i%9), at), Running: scale.Observe(float64(i%7), at), KVCacheUsage: scale.Observe(load, at),
					Latency: scale.Latency{
						At: at, Requests: 4, Concurrency: 3.5 + load, TTFT: 212 * time.Millisecond, TPOT: 31 * time.Millisecond,
						Service: 4 * time.Second, PromptTokens: 900.5, OutputTokens: 180.25,
					},
				},
			})
		}
		r.Snapshot.Models = append(r.Snapshot.Models, state)
		r.Decision.Plans = append(r.Decision.Plans, scale.Plan{
			Model: name, Required: 41.5, CostPerHour: 2.1 * float64(wanted),
			Allocations: []scale.Allocation{{Target: target, Replicas: wanted, BatchLimit: 32}},
			Reasons:     []scale.Reason{{Code: scale.ReasonDemand, Text: "demand in 31 s is 12.3 req/s, one serves 4.1 within 800 ms"}},
		})
		r.Decision.Forecasts = append(r.Decision.Forecasts, scale.Forecast{Model: name, Horizon: 31 * time.Second, Mean: 12.25, Upper: 14})
		r.Decision.Changes = append(r.Decision.Changes, scale.Change{
			Target: target, From: wanted, Want: wanted, To: wanted, Reasons: []scale.Reason{{Code: scale.ReasonSteady, Text: "nothing to change"}},
		})
	}
	return r
}

func appendTick(tb testing.TB, s *Store, r scale.Record) {
	tb.Helper()
	if err := s.Append(context.Background(), r, []byte("memory after "+r.At.String())); err != nil {
		tb.Fatal(err)
	}
}

func records(tb testing.TB, s *Store) []scale.Record {
	tb.Helper()
	var all []scale.Record
	for r, err := range s.Records(context.Background(), time.Time{}, start.AddDate(50, 0, 0)) {
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func TestARecordComesBackAsItWas(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		t.Helper()
		defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
		s, err := p.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := tick(t, start, 3, 16, 5)
		want.Decision.Alerts = []scale.Alert{{Model: "model-0", Severity: scale.Page, BurnRate: math.Inf(1), Over: time.Hour}}
		want.Snapshot.Interruptions = []scale.Interruption{{Replica: "model-0-0003", Noticed: start, Deadline: start.Add(30 * time.Second), Source: "notice file"}}
		want.Snapshot.Models[0].LastFailure = `a "quoted" text of 007 and 1.50, \u0000 and é`
		appendTick(t, s, want)

		if diff := cmp.Diff([]scale.Record{want}, records(t, s), sameLocation); diff != "" {
			t.Errorf("Records (-want +got):\n%s", diff)
		}
		got, found, err := s.DecisionAt(context.Background(), "model-2", start.Add(time.Hour))
		if err != nil || !found {
			t.Fatalf("DecisionAt: found %t, %v", found, err)
		}
		if diff := cmp.Diff(want, got, sameLocation); diff != "" {
			t.Errorf("DecisionAt (-want +got):\n%s", diff)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestNumbersThatJSONLacksComeBack(t *testing.T) {
	c := newCodec()
	for _, want := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, 1e300, -0.1} {
		packed, err := c.encode(scale.Plan{Model: "chat", Required: want})
		if err != nil {
			t.Fatal(err)
		}
		var got scale.Plan
		if err := c.decode(packed, &got); err != nil {
			t.Fatal(err)
		}
		if got.Required != want && !(math.IsNaN(got.Required) && math.IsNaN(want)) {
			t.Errorf("got %v, want %v", got.Required, want)
		}
	}
}

func TestTheNewestMemoryIsKept(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		t.Helper()
		s := openAt(t, p)
		if memory, at, err := s.Memory(context.Background()); memory != nil || !at.IsZero() || err != nil {
			t.Fatalf("a new journal: memory %q of %v, %v", memory, at, err)
		}
		for i := range 10 {
			r := tick(t, start.Add(time.Duration(i)*time.Second), 1, 2, 5)
			if err := s.Append(context.Background(), r, []byte(fmt.Sprintf("memory %d", i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openAt(t, p)
		memory, at, err := s.Memory(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if string(memory) != "memory 9" || !at.Equal(start.Add(9*time.Second)) {
			t.Errorf("memory %q of %v", memory, at)
		}
		if n := len(records(t, s)); n != 10 {
			t.Errorf("%d records of ten ticks", n)
		}
	})
}

// What makes a tick worth a record.
func TestWhatIsNews(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*scale.Record)
		after  time.Duration
		news   bool
	}{
		"the same again": {},
		"only sentences and costs moved": {change: func(r *scale.Record) {
			r.Decision.Plans[0].Reasons[0].Text = "other"
			r.Decision.Plans[0].CostPerHour++
		}},
		"the batch limit moved by less than 1/8": {change: func(r *scale.Record) { r.Decision.Plans[0].Allocations[0].BatchLimit = 34 }},
		"the batch limit moved by 1/8":           {change: func(r *scale.Record) { r.Decision.Plans[0].Allocations[0].BatchLimit = 28 }, news: true},
		"another count is wanted":                {change: func(r *scale.Record) { r.Decision.Plans[0].Allocations[0].Replicas = 6 }, news: true},
		"another reason": {
			change: func(r *scale.Record) { r.Decision.Changes[0].Reasons[0].Code = scale.ReasonIdle }, news: true,
		},
		"a replica is drained": {change: func(r *scale.Record) { r.Decision.Changes[0].Drain = []scale.ReplicaID{"model-0-0001"} }, news: true},
		"an alert": {
			change: func(r *scale.Record) {
				r.Decision.Alerts = []scale.Alert{{Model: "model-0", Severity: scale.Page, BurnRate: 14.4}}
			},
			news: true,
		},
		"30 s have passed":        {after: 29 * time.Second, news: false},
		"the clock was set back":  {after: -time.Hour, news: false},
		"advised but not acted":   {change: func(r *scale.Record) { r.Decision.Changes[0].DryRun = true }, news: true},
		"a model was taken away":  {change: func(r *scale.Record) { r.Snapshot.Models = r.Snapshot.Models[:1] }, news: false},
		"another model's change":  {change: func(r *scale.Record) { r.Decision.Changes[1].To++ }, news: false},
		"the same act once again": {change: func(r *scale.Record) { r.Decision.Changes[0].To++ }, news: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := fresh(t)
			first := tick(t, start, 2, 2, 5)
			if name == "the same act once again" {
				c.change(&first)
			}
			appendTick(t, s, first)
			second := tick(t, start.Add(time.Second+c.after), 2, 2, 5)
			if c.change != nil {
				c.change(&second)
			}
			appendTick(t, s, second)
			all, err := s.Decisions(context.Background(), "model-0", time.Time{}, 10)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(all) == 2; got != c.news {
				t.Errorf("news of model-0: %t, want %t", got, c.news)
			}
		})
	}
}

func TestDecisionsAreFoundByModelAndTime(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		t.Helper()
		s := openAt(t, p)
		for i := range 20 {
			r := tick(t, start.Add(time.Duration(i)*time.Minute), 2, 2, 5)
			r.Decision.Plans[1].Allocations[0].Replicas = i // only model-1 decides anew
			appendTick(t, s, r)
		}
		ctx := context.Background()

		newest, err := s.Decisions(ctx, "model-1", start.Add(10*time.Minute), 3)
		if err != nil {
			t.Fatal(err)
		}
		var wanted []int
		for _, d := range newest {
			if len(d.Plans) != 1 || d.Plans[0].Model != "model-1" || len(d.Changes) != 1 || len(d.Forecasts) != 1 {
				t.Errorf("not cut down to model-1: %+v", d)
			}
			wanted = append(wanted, d.Plans[0].Allocations[0].Replicas)
		}
		if diff := cmp.Diff([]int{19, 18, 17}, wanted); diff != "" {
			t.Errorf("newest first (-want +got):\n%s", diff)
		}
		if old, err := s.Decisions(ctx, "model-0", time.Time{}, 100); err != nil || len(old) != 1 {
			t.Errorf("model-0 decided once, got %d, %v", len(old), err)
		}
		if all, err := s.Decisions(ctx, "", time.Time{}, 100); err != nil || len(all) != 21 {
			t.Errorf("all models: %d decisions, want 21, %v", len(all), err)
		}
		if late, err := s.Decisions(ctx, "", start.AddDate(1, 0, 0), 100); err != nil || len(late) != 0 {
			t.Errorf("the future: %d, %v", len(late), err)
		}

		r, found, err := s.DecisionAt(ctx, "model-1", start.Add(7*time.Minute+30*time.Second))
		if err != nil || !found {
			t.Fatalf("found %t, %v", found, err)
		}
		if got := r.Decision.Plans[1].Allocations[0].Replicas; got != 7 {
			t.Errorf("in force at 7:30 was the decision for %d replicas, want 7", got)
		}
		for name, ask := range map[string]struct {
			model string
			at    time.Time
		}{
			"before the first": {"model-1", start.Add(-time.Second)},
			"an unknown model": {"model-9", start.Add(time.Hour)},
			"the zero time":    {"model-1", time.Time{}},
		} {
			if _, found, err := s.DecisionAt(ctx, ask.model, ask.at); found || err != nil {
				t.Errorf("%s: found %t, %v", name, found, err)
			}
		}
	})
}

func TestLifetimesComeBackAndAreReplaced(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		t.Helper()
		s := openAt(t, p)
		ctx := context.Background()
		target := scale.ScaleTarget{Model: "chat", Variant: "a100", Capacity: scale.Spot}
		living := scale.Lifetime{Replica: "b", Target: target, PricePerHour: 2.1, Created: start.Add(time.Second), Busy: 3 * time.Second}
		ended := scale.Lifetime{
			Replica: "a", Target: target, PricePerHour: 0.7, Created: start, Ready: start.Add(20 * time.Second),
			Drained: start.Add(time.Minute), Ended: start.Add(2 * time.Minute),
		}
		for range 2 {
			if err := s.SaveLifetimes(ctx, []scale.Lifetime{living, ended}); err != nil {
				t.Fatal(err)
			}
		}
		living.Ready, living.Busy = start.Add(30*time.Second), 9*time.Second
		if err := s.SaveLifetimes(ctx, []scale.Lifetime{living}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openAt(t, p)
		for since, want := range map[time.Time][]scale.Lifetime{
			{}:                          {ended, living},
			start.Add(time.Minute):      {ended, living},
			start.Add(90 * time.Minute): {living},
		} {
			got, err := s.Lifetimes(ctx, since)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("since %v (-want +got):\n%s", since, diff)
			}
		}
	})
}

func TestFilesAreForThisUserAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "state")
	s := open(t, filepath.Join(dir, "journal.db"))
	appendTick(t, s, tick(t, start, 1, 1, 1))
	for name, want := range map[string]os.FileMode{
		".": 0o700, "journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600, "journal.db.lock": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
}

func TestAnyPathWillDo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%41é", "journal?mode=memory.db")
	s := open(t, path)
	appendTick(t, s, tick(t, start, 1, 1, 1))
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestACancelledAppendIsHeldUntilItIsFlushed(t *testing.T) {
	s := fresh(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Append(ctx, tick(t, start, 1, 1, 1), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n := len(records(t, s)); n != 0 {
		t.Errorf("%d records", n)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(records(t, s)); n != 1 {
		t.Errorf("%d records", n)
	}
}

func TestReadersAndTheWriterDoNotBlockEachOther(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		t.Helper()
		s := openAt(t, p)
		done := make(chan error, 3)
		for range 3 {
			go func() {
				for range 50 {
					if _, err := s.Decisions(context.Background(), "", time.Time{}, 100); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for i := range 100 {
			appendTick(t, s, tick(t, start.Add(time.Duration(i)*time.Minute), 2, 4, i))
		}
		for range 3 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// The promise is < 1 ms for three models of 16 replicas; quiet is what a
// tick costs that decides nothing new.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		name  string
		every bool // each tick is news
	}{{"news", true}, {"quiet", false}} {
		b.Run(c.name, func(b *testing.B) {
			s := fresh(b)
			r := tick(b, start, 3, 16, 5)
			r.Memory = noise(8000, 1)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r.At = start.Add(time.Duration(i) * time.Second)
				if c.every {
					r.Decision.Plans[0].Allocations[0].Replicas = i
				} else {
					r.At = start.Add(time.Duration(i) * time.Millisecond)
				}
				if err := s.Append(context.Background(), r, r.Memory); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
