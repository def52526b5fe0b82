package console

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
)

// measuredPoint is a point with arrivals and a TTFT.
func measuredPoint(a, wait float64) Point {
	p := absent()
	p.set(arrivals, a)
	p.set(ttft, wait)
	return p
}

func TestRatesAreAveragedAndQuantilesAreNot(t *testing.T) {
	r := &ring{}
	r.fit([]string{"chat"}, time.Second)
	begin := time.Unix(1_000_000, 0)
	for i := range 10 {
		p := measuredPoint(float64(i), float64(10-i))
		if i == 3 {
			p.set(ttft, math.NaN())
		}
		p.set(ready, float64(i))
		r.add("chat", begin.Add(time.Duration(i)*time.Second), p)
	}
	s, err := r.Series(t.Context(), "chat", Span{Since: begin, Until: begin.Add(9 * time.Second), Step: 5 * time.Second})
	if err != nil || s.Step != 5*time.Second || len(s.Points) != 2 {
		t.Fatalf("%v, %d points of %v", err, len(s.Points), s.Step)
	}
	for i, want := range []struct{ arrivals, ttft, ready float32 }{{2, 10, 4}, {7, 5, 9}} {
		p := s.Points[i]
		if p[arrivals] != want.arrivals || p[ttft] != want.ttft || p[ready] != want.ready || !isNaN(p[heldCount]) {
			t.Errorf("point %d: %v", i, p)
		}
	}
}

func TestGapsStayGaps(t *testing.T) {
	r := &ring{}
	r.fit([]string{"chat"}, time.Second)
	begin := time.Unix(1_000_000, 0)
	for _, s := range []int{0, 1, 2, 7, 8} {
		r.add("chat", begin.Add(time.Duration(s)*time.Second), measuredPoint(1, 1))
	}
	s, _ := r.Series(t.Context(), "chat", Span{Since: begin, Until: begin.Add(time.Minute)})
	var got []int
	for _, at := range s.Times {
		got = append(got, int(at.Sub(begin).Seconds()))
	}
	if diff := cmp.Diff([]int{0, 1, 2, 7, 8}, got); diff != "" {
		t.Error(diff)
	}
}

// A ring holds what was last put in and no more than its size, whatever the
// times.
func TestARingHoldsTheNewest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := &track{step: time.Second, count: 16}
		at := time.Unix(1_000_000, 0)
		latest := map[int64]float32{}
		for i := range rapid.IntRange(1, 60).Draw(t, "n") {
			at = at.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond)
			p := absent()
			p.set(ready, float64(i))
			tr.add(at, p)
			latest[at.Unix()] = float32(i)
		}
		s := tr.between(at.Add(-time.Hour), at)
		want := 0
		for sec := range latest {
			if sec > at.Unix()-16 {
				want++
			}
		}
		if len(s.Points) != want {
			t.Fatalf("%d points, want %d", len(s.Points), want)
		}
		for i, p := range s.Points {
			if p[ready] != latest[s.Times[i].Unix()] {
				t.Fatalf("at %v: %v, want %v", s.Times[i], p[ready], latest[s.Times[i].Unix()])
			}
		}
		if len(tr.points) > 16 {
			t.Fatalf("%d slots", len(tr.points))
		}
	})
}

func TestAThousandModelsAreKeptInBoundedMemory(t *testing.T) {
	r := &ring{}
	var all []string
	for i := range 1000 {
		all = append(all, fmt.Sprint("model-", i))
	}
	r.fit(all, time.Second)
	r.add(all[0], time.Unix(1_000_000, 0), absent())
	bytes := 0
	for i, tr := range *r.kept[all[0]] {
		if full := tiers()[i]; tr.step != 4*full.step || tr.step*time.Duration(tr.count) < full.step*time.Duration(full.count) {
			t.Errorf("%d points of %v", tr.count, tr.step)
		}
		bytes += tr.count * (int(pointSize)*4 + 12)
	}
	if total := bytes * len(all); total > 65<<20 {
		t.Errorf("%d MB for all", total>>20)
	}
	// Those that are gone are forgotten, and a ring of fewer keeps its steps.
	r.fit(all[1:], time.Second)
	r.add(all[1], time.Unix(1_000_000, 0), absent())
	r.fit(all[2:3], time.Second)
	if len(r.kept) > 2 {
		t.Errorf("%d models are kept", len(r.kept))
	}
}

func TestSeriesOfAConsole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := busyFleet(time.Now())
		c := of(f)
		for range 5 {
			c.look(t.Context())
			f.snapshot.Now = f.snapshot.Now.Add(time.Second)
			time.Sleep(time.Second)
		}
		var s SeriesView
		code, body := ask(c, "/api/v1/series?model=chat-lora-legal&since=-1m")
		if err := json.Unmarshal([]byte(body), &s); err != nil || code != http.StatusOK {
			t.Fatalf("%d %v %s", code, err, body)
		}
		if s.Model != "chat" || len(s.Times) != 5 || *s.Ready[0] != 2 || *s.Batch[0] != 32 || *s.Room[0] != 64 || *s.TTFT[0] != 2.1 || s.Latency[0] != nil {
			t.Errorf("%s", body)
		}
		code, body = ask(c, "/api/v1/series")
		if err := json.Unmarshal([]byte(body), &s); err != nil || code != http.StatusOK || s.Model != "" {
			t.Fatalf("%d %v %s", code, err, body)
		}
		if got := *s.Ready[0]; got != 5 {
			t.Errorf("the fleet has %v ready", got)
		}
		for url, says := range map[string]int{
			"?model=chta": 404, "?since=-48h": 400, "?since=x": 400, "?until=x": 400, "?since=-1m&until=-2m": 400,
		} {
			if code, body := ask(c, "/api/v1/series"+url); code != says {
				t.Errorf("%s: %d %s", url, code, body)
			}
		}
	})
}

func TestStaleTrafficIsAGapAndNotAValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := busyFleet(time.Now())
		c := of(f)
		c.look(t.Context())
		view, _ := c.feed.since("")
		for _, m := range view.Models {
			if m.Name == "vision" && m.StaleFor != 91 {
				t.Errorf("vision's traffic is %v s old", m.StaleFor)
			}
		}
		s, _ := c.feed.ring.Series(t.Context(), "vision", Span{Since: time.Now().Add(-time.Minute), Until: time.Now()})
		if len(s.Points) != 1 || !isNaN(s.Points[0][arrivals]) {
			t.Errorf("%v", s.Points)
		}
	})
}

// A word that changes with every tick is none.
func TestAMissLastsUntilItIsCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{ticked: true, snapshot: scale.Snapshot{Now: time.Now(), Tick: time.Second}}
		f.add(embedder(time.Now()))
		c := of(f)
		step := func(d, service time.Duration) ModelStatus {
			time.Sleep(d)
			f.snapshot.Now = time.Now()
			m := &f.snapshot.Models[0]
			for _, o := range []*scale.Observation{&m.Demand.Arrivals, &m.Demand.Held, &m.Demand.InFlight} {
				o.At = time.Now()
			}
			m.Replicas[0].Load.Latency.Service = service
			var s Status
			_, body := ask(c, "/api/v1/status")
			if err := json.Unmarshal([]byte(body), &s); err != nil {
				t.Fatal(err)
			}
			return s.Models[0]
		}
		if s := step(0, 90*time.Millisecond); s.Condition != Meeting || !s.AtLeast {
			t.Errorf("at first: %s, at least %v", s.Condition, s.AtLeast)
		}
		began := step(time.Second, 900*time.Millisecond)
		if began.Condition != Missing || began.AtLeast {
			t.Errorf("a slow tick: %s", began.Condition)
		}
		if s := step(time.Second, 90*time.Millisecond); s.Condition != Missing || !s.Since.Equal(*began.Since) {
			t.Errorf("a fast tick between: %s since %v", s.Condition, s.Since)
		}
		if s := step(time.Second, 900*time.Millisecond); s.Condition != Missing || !s.Since.Equal(*began.Since) {
			t.Errorf("slow again: %s since %v", s.Condition, s.Since)
		}
		if s := step(calmAfter, 90*time.Millisecond); s.Condition != Meeting {
			t.Errorf("after half a minute of calm: %s", s.Condition)
		}
	})
}
