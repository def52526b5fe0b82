package store

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

func TestOldTicksGo(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		t.Helper()
		s := openAt(t, p)
		s.Retention.Age = time.Hour
		for i := range 300 {
			appendTick(t, s, tick(t, start.Add(time.Duration(i)*time.Minute), 1, 1, i))
		}
		all := records(t, s)
		if first := all[0].At; len(all) < 60 || len(all) > 63 || first.Before(start.Add(237*time.Minute)) {
			t.Errorf("%d ticks from %v on", len(all), first)
		}
		decisions, err := s.Decisions(context.Background(), "", time.Time{}, 1000)
		if err != nil || len(decisions) < 60 || len(decisions) > 63 {
			t.Errorf("%d decisions beside %d ticks, %v", len(decisions), len(all), err)
		}
		// After a long silence the newest tick stays until it has a successor.
		appendTick(t, s, tick(t, start.AddDate(1, 0, 0), 1, 1, 1))
		if n := len(records(t, s)); n == 0 {
			t.Error("nothing is left")
		}
	})
}

func TestTheStoreIsBounded(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		t.Helper()
		s := openAt(t, p)
		ctx := context.Background()
		s.Retention.Bytes = 1_000_000
		target := scale.ScaleTarget{Model: "model-0", Variant: "a100", Capacity: scale.OnDemand}
		if err := s.SaveLifetimes(ctx, []scale.Lifetime{
			{Replica: "living", Target: target, Created: start}, {Replica: "ended", Target: target, Created: start, Ended: start.Add(time.Hour)},
		}); err != nil {
			t.Fatal(err)
		}
		largest := int64(0)
		for i := range 300 {
			r := tick(t, start.Add(time.Duration(i)*time.Minute), 1, 4, i)
			r.Memory = noise(20_000, i) // so each is a segment of its own
			appendTick(t, s, r)
			largest = max(largest, live(t, s))
		}
		if largest > 1_100_000 {
			t.Errorf("it grew to %d bytes", largest)
		}
		if n := len(records(t, s)); n < 10 {
			t.Errorf("only %d ticks are left", n)
		}
		if lifetimes, err := s.Lifetimes(ctx, time.Time{}); err != nil || len(lifetimes) != 2 {
			t.Errorf("ticks should go before lifetimes: %d are left, %v", len(lifetimes), err)
		}

		s.Retention.Bytes = 200_000 // the bound is lowered
		for i := range 60 {
			appendTick(t, s, tick(t, start.Add(time.Duration(1000+i)*time.Minute), 2, 1, i))
		}
		if size := live(t, s); size > 300_000 {
			t.Errorf("%d bytes are left", size)
		}
		if lifetimes, err := s.Lifetimes(ctx, time.Time{}); err != nil || !slices.ContainsFunc(lifetimes, func(l scale.Lifetime) bool { return l.Replica == "living" }) {
			t.Errorf("a living replica must stay: %v, %v", lifetimes, err)
		}
		if p.path != "" {
			if _, err := s.base.write.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(p.path); err != nil || info.Size() > 400_000 {
				t.Errorf("the file has %d bytes, %v", info.Size(), err)
			}
		}
	})
}

// live is how much the live data takes.
func live(tb testing.TB, s *Store) int64 {
	tb.Helper()
	var size int64
	if err := s.base.read.QueryRow(s.base.size).Scan(&size); err != nil {
		tb.Fatal(err)
	}
	return size
}

// noise is bytes that do not compress.
func noise(n, seed int) []byte {
	out := make([]byte, n)
	x := uint64(seed)*2654435761 + 88172645463325252
	for i := range out {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		out[i] = byte(x)
	}
	return out
}

func TestLivesThatEndedLongAgoGo(t *testing.T) {
	everywhere(t, testLivesGo)
}

func testLivesGo(t *testing.T, p site) {
	t.Helper()
	s := openAt(t, p)
	ctx := context.Background()
	target := scale.ScaleTarget{Model: "chat", Variant: "a100", Capacity: scale.OnDemand}
	lives := []scale.Lifetime{{Replica: "living", Target: target, Created: start}}
	for i := range 10 {
		lives = append(lives, scale.Lifetime{
			Replica: scale.ReplicaID(fmt.Sprint(i)), Target: target, Created: start, Ended: start.AddDate(0, 0, i),
		})
	}
	if err := s.SaveLifetimes(ctx, lives); err != nil {
		t.Fatal(err)
	}
	s.Retention.Lifetimes = 24 * time.Hour
	appendTick(t, s, tick(t, start.AddDate(0, 0, 8), 1, 1, 1))
	left, err := s.Lifetimes(ctx, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 4 { // the living one and those of days 7, 8, 9
		t.Errorf("%d left: %v", len(left), left)
	}
}
