package store

import (
	"math"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// lived appends a tick every ten seconds: two replicas at $2.10, demand as
// arrivals says, one request in ten bad.
func lived(t *testing.T, s *Store, from, n int, arrivals func(i int) float64) {
	t.Helper()
	for i := from; i < from+n; i++ {
		at := start.Truncate(time.Hour).Add(time.Duration(i) * 10 * time.Second)
		r := tick(t, at, 1, 2, 2)
		r.Snapshot.Tick = 10 * time.Second
		d := &r.Snapshot.Models[0].Demand
		d.Arrivals, d.ArrivalsOver = scale.Observe(arrivals(i), at), 10*time.Second
		d.Held, d.InFlight = scale.Observe(float64(i%7), at), scale.Observe(4, at)
		d.PromptTokens, d.OutputTokens = scale.Observe(1000, at), scale.Observe(100, at)
		d.Good, d.Bad = scale.Observe(float64(90*i), at), scale.Observe(float64(10*i), at)
		if arrivals(i) < 0 {
			*d = scale.Demand{} // nothing was measured
		}
		r.Snapshot.Models[0].Model.Variants[0].Accelerator = scale.Accelerator{Type: "nvidia-a100-80gb", Count: 1}
		appendTick(t, s, r)
	}
}

func sum(stretches []scale.Stretch) scale.Stretch {
	var all scale.Stretch
	for _, s := range stretches {
		all.Add(s)
	}
	return all
}

// Whatever the step, and wherever the levels meet, history adds up to the same.
func TestHistoryAddsUpAtEveryStep(t *testing.T) {
	if raceDetector {
		t.Skip("make test runs it without the race detector, under which it takes ten times as long")
	}
	everywhere(t, func(t *testing.T, p site) {
		t.Helper()
		s := openAt(t, p)
		const n = 3*360 + 23 // three hours and some minutes
		lived(t, s, 0, n, func(i int) float64 { return float64(5 + i%3) })
		begin, end := start.Truncate(time.Hour), start.Add(4*time.Hour)
		for _, step := range []time.Duration{10 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, time.Hour} {
			found, err := s.History(t.Context(), "model-0", begin, end, step)
			if err != nil {
				t.Fatal(err)
			}
			all := sum(found)
			if math.Abs(all.Covered-10*n) > 1e-6 || math.Abs(all.Arrivals-60*n) > 20 || math.Abs(all.Ready-20*n) > 1e-6 ||
				math.Abs(all.Good-90*(n-1)) > 1e-6 || math.Abs(all.Cost-4.2*10*n/3600) > 1e-6 || all.HeldMost != 6 || all.Replies != 8*n {
				t.Errorf("by %v: %+v", step, all)
			}
			for i, one := range found {
				if i > 0 && !one.From.After(found[i-1].From) {
					t.Errorf("by %v: %v follows %v", step, one.From, found[i-1].From)
				}
				if rate, known := scale.Mean(one.Arrivals, one.ArrivalsOver); !known || rate < 5 || rate > 7 {
					t.Errorf("by %v: %v requests/s at %v", step, rate, one.From)
				}
			}
		}
		if _, err := s.History(t.Context(), "model-0", begin, end, time.Second); err == nil {
			t.Error("14,400 steps were given")
		}
		if none, err := s.History(t.Context(), "nobody", begin, end, time.Hour); len(none) != 0 || err != nil {
			t.Errorf("%v, %v", none, err)
		}
	})
}

// What was not measured is a gap in a mean, and not a 0.
func TestHistoryKnowsWhatItDoesNotKnow(t *testing.T) {
	s := fresh(t)
	lived(t, s, 0, 13, func(i int) float64 {
		if i >= 6 && i < 12 {
			return -1
		}
		return 3
	})
	found, err := s.History(t.Context(), "model-0", start.Truncate(time.Hour), start.Add(time.Hour), time.Minute)
	if err != nil || len(found) != 3 {
		t.Fatalf("%v, %v", found, err)
	}
	if rate, known := scale.Mean(found[1].Arrivals, found[1].ArrivalsOver); known {
		t.Errorf("%v requests/s in a minute of which nothing is known", rate)
	}
	if ready, _ := scale.Mean(found[1].Ready, found[1].Covered); ready != 2 {
		t.Errorf("%v replicas", ready)
	}
}

// A crash in the middle of a minute, and a time without Penstock, leave no hole
// in what was rolled up and add nothing.
func TestHistoryIsMadeUpForAfterARestart(t *testing.T) {
	p := onFileIn(t)
	s := openAt(t, p)
	lived(t, s, 0, 33, func(int) float64 { return 4 })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, p)
	lived(t, s, 33+6*20, 40, func(int) float64 { return 4 }) // twenty minutes later
	found, err := s.History(t.Context(), "model-0", start.Truncate(time.Hour), start.Add(time.Hour), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if all := sum(found); all.Covered != 730 || all.Arrivals != 2920 {
		t.Errorf("%+v", all)
	}
	if len(found) < 12 || len(found) > 14 {
		t.Errorf("%d minutes", len(found))
	}
}

// Each level goes after its own time, and what is left still tells of the whole.
func TestHistoryIsKeptByItsLevel(t *testing.T) {
	if raceDetector {
		t.Skip("make test runs it without the race detector, under which it takes ten times as long")
	}
	everywhere(t, func(t *testing.T, p site) {
		t.Helper()
		s := openAt(t, p)
		s.Retention.History = [4]time.Duration{5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 300 * time.Hour}
		const n = 5 * 360
		lived(t, s, 0, n, func(int) float64 { return 4 })
		for level, most := range []int{5*6 + 7, 32, 26, 5} {
			var rows int
			if err := s.base.read.QueryRow(`SELECT count(*) FROM history WHERE level = $1`, level).Scan(&rows); err != nil || rows > most || rows == 0 {
				t.Errorf("%d rows of level %d, should be at most %d, %v", rows, level, most, err)
			}
		}
		found, err := s.History(t.Context(), "model-0", start.Truncate(time.Hour), start.Add(6*time.Hour), time.Minute*2)
		if err != nil {
			t.Fatal(err)
		}
		if all := sum(found); math.Abs(all.Covered-10*n) > 1e-6 {
			t.Errorf("%v of %d seconds are known", all.Covered, 10*n)
		}
	})
}
