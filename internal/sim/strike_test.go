package sim_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
)

// TestACrashComesWithoutNotice: what streamed is interrupted, and the replica
// is replaced.
func TestACrashComesWithoutNotice(t *testing.T) {
	w := plain(want(1), numbered([]scale.Request{at(3*time.Second, 1, 900), at(20*time.Second, 1, 1)}))
	w.Faults.Crashes = []sim.Strike{{At: 5 * time.Second, Share: 1}}
	s := tell(&w)
	out := play(t, w)
	if diff := cmp.Diff(map[scale.Outcome]int{scale.OK: 1, scale.Interrupted: 1}, out.Outcomes); diff != "" {
		t.Error(diff)
	}
	if len(s.lives) != 2 || since(s.lives[0].Ended) != 5*time.Second || !s.lives[0].Drained.IsZero() || out.Targets[0].Reclaimed != 0 {
		t.Errorf("%+v", s.lives)
	}
}

// TestReplicasThatDieSoonAreSpacedOut: the second in a row waits, and longer
// each time.
func TestReplicasThatDieSoonAreSpacedOut(t *testing.T) {
	w := plain(want(1), every(60, time.Second, 1, 1))
	w.Faults.Boots = []sim.Boots{{Window: sim.Window{End: time.Hour}, Share: 1, Life: 3 * time.Second}}
	s := tell(&w)
	play(t, w)
	var starts []time.Duration
	for _, l := range s.lives {
		starts = append(starts, since(l.Created))
		if !l.Ended.IsZero() && l.Ended.Sub(l.Ready) != 3*time.Second {
			t.Errorf("%+v", l)
		}
	}
	const s1 = time.Second // a boot of 2 s, a life of 3, and from the second on 1, 2, 4 … s
	if diff := cmp.Diff([]time.Duration{0, 5 * s1, 11 * s1, 18 * s1, 27 * s1, 40 * s1, 61 * s1}, starts); diff != "" {
		t.Error(diff)
	}
}

func TestBootsOfAWindowAreSlowOrFailAndServeSlowly(t *testing.T) {
	w := plain(want(1), numbered([]scale.Request{at(0, 1, 1), at(30*time.Second, 1, 101)}))
	w.Faults.Boots = []sim.Boots{
		{Window: sim.Window{End: time.Second}, Share: 1, Fail: true},
		{Window: sim.Window{Start: time.Second, End: time.Hour}, Share: 1, Slow: 5, Pace: 3},
	}
	s := tell(&w)
	play(t, w)
	if first, second := s.lives[0], s.lives[1]; !first.Ready.IsZero() || since(first.Ended) != 2*time.Second || second.Ready.Sub(second.Created) != 10*time.Second {
		t.Errorf("%+v", s.lives)
	}
	if got := s.ended[2]; got.TPOT() != 30*ms {
		t.Errorf("%+v: a token in %v", got, got.TPOT())
	}
}

// TestAStalledReplicaSaysNothingUntilItsEnd, and what was cancelled meanwhile
// says nothing then.
func TestAStalledReplicaSaysNothingUntilItsEnd(t *testing.T) {
	w := plain(want(1), numbered([]scale.Request{at(3*time.Second, 1, 201), at(4500*ms, 1, 401), at(20*time.Second, 1, 1)}))
	w.Faults.Stalls = []sim.Stall{{Window: sim.Window{Start: 4 * time.Second, End: 8 * time.Second}, Share: 1}}
	s := tell(&w)
	play(t, w)
	if got := s.ended[1]; got.TTFT > 100*ms || got.Total != 5*time.Second {
		t.Errorf("the first token came, the last did not: %+v", got)
	}
	if got := s.ended[2]; got.TTFT != 3500*ms || got.Outcome != scale.OK {
		t.Errorf("%+v", got)
	}
}

// TestClientsThatGoAwayCountNowhere: held or streaming, they are forgotten, and
// a draining replica without any is gone.
func TestClientsThatGoAwayCountNowhere(t *testing.T) {
	w := plain(want(1, 1, 1, 1, 0), numbered([]scale.Request{at(0, 1, 1), at(3*time.Second, 1, 900), at(5*time.Second, 1, 1), at(20*time.Second, 1, 1)}))
	w.Faults.Cancels = []sim.Strike{{At: 6 * time.Second, Share: 1}}
	w.Services[0].Model.SLO.MaxHold = 20 * time.Second
	s := tell(&w)
	out := play(t, w)
	if diff := cmp.Diff(map[scale.Outcome]int{scale.OK: 1, scale.Cancelled: 2, scale.Expired: 1}, out.Outcomes); diff != "" {
		t.Error(diff)
	}
	if out.Judged != 2 || since(s.lives[0].Ended) != 6*time.Second {
		t.Errorf("%d judged, %+v", out.Judged, s.lives)
	}
	for _, x := range s.snapshots {
		if d := x.Models[0].Demand; since(x.Now) == 10*time.Second && (d.Good.Value != 1 || d.Bad.Value != 0 || d.Held.Value != 0 || d.InFlight.Value != 0) {
			t.Errorf("%+v", d)
		}
	}
}

// TestEverySendingIsTold with the limit that it is held against.
func TestEverySendingIsTold(t *testing.T) {
	w := plain(want(1), every(50, 100*ms, 7, 13))
	sent := map[scale.RequestID]int{}
	w.Sent = func(x sim.Sending) {
		sent[x.Request]++
		if x.Replica.Phase != scale.Ready || x.Limit.BatchLimit != 8 || x.Tokens != 20 {
			t.Errorf("%+v", x)
		}
	}
	if out := play(t, w); len(sent) != 50 || out.Outcomes[scale.OK] != 50 {
		t.Errorf("%d were sent of %d", len(sent), out.Requests)
	}
}
