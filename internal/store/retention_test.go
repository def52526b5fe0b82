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

func TestOldRecordsGo(t *testing.T) {
	s := fresh(t)
	s.Retention.Age = time.Hour
	for i := range 300 {
		appendTick(t, s, tick(t, start.Add(time.Duration(i)*time.Minute), 1, 1, i))
	}
	all := records(t, s)
	if first := all[0].At; len(all) > 61+trimEvery || first.Before(start.Add((239-trimEvery)*time.Minute)) {
		t.Errorf("%d records from %v on", len(all), first)
	}
	decisions, err := s.Decisions(context.Background(), "", time.Time{}, 1000)
	if err != nil || len(decisions) != len(all) {
		t.Errorf("%d decisions beside %d records, %v", len(decisions), len(all), err)
	}
	// After a long silence the newest record stays until it has a successor.
	appendTick(t, s, tick(t, start.AddDate(1, 0, 0), 1, 1, 1))
	if n := len(records(t, s)); n == 0 {
		t.Error("nothing is left")
	}
}

func TestTheFileIsBounded(t *testing.T) {
	s := fresh(t)
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
		r := tick(t, start.Add(time.Duration(i)*time.Second), 1, 4, i)
		r.Memory = noise(20_000, i)
		appendTick(t, s, r)
		info, err := os.Stat(s.path)
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, info.Size())
	}
	if largest > 1_600_000 {
		t.Errorf("the file grew to %d bytes", largest)
	}
	if n := len(records(t, s)); n < 10 {
		t.Errorf("only %d records are left", n)
	}
	if lifetimes, err := s.Lifetimes(ctx, time.Time{}); err != nil || len(lifetimes) != 2 {
		t.Errorf("records should go before lifetimes: %d are left, %v", len(lifetimes), err)
	}

	s.Retention.Bytes = 200_000 // the bound is lowered
	for i := range 6 * trimEvery {
		appendTick(t, s, tick(t, start.Add(time.Duration(1000+i)*time.Second), 2, 1, i))
	}
	if _, err := s.write.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(s.path); err != nil || info.Size() > 300_000 {
		t.Errorf("the file has %d bytes, %v", info.Size(), err)
	}
	if lifetimes, err := s.Lifetimes(ctx, time.Time{}); err != nil || !slices.ContainsFunc(lifetimes, func(l scale.Lifetime) bool { return l.Replica == "living" }) {
		t.Errorf("a living replica must stay: %v, %v", lifetimes, err)
	}
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
	s := fresh(t)
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
