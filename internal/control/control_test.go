package control

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/internal/autoscaler"
	"github.com/penstock/penstock/internal/scale"
)

// world is an Observer, Actuator and Journal that keeps what it was told.
type world struct {
	start    time.Time
	at       []time.Duration
	applied  int
	records  []scale.Record
	memories [][]byte
	observe  error
	journal  error
}

func (w *world) Observe(_ context.Context, now time.Time) (scale.Snapshot, error) {
	w.at = append(w.at, now.Sub(w.start))
	return scale.Snapshot{Now: now, Tick: 10 * time.Second}, w.observe
}

func (w *world) Apply(context.Context, scale.Decision) error {
	w.applied++
	return nil
}

func (w *world) Append(_ context.Context, r scale.Record, after []byte) error {
	w.records, w.memories = append(w.records, r), append(w.memories, after)
	return w.journal
}

func TestTicksEachIntervalAndAtOnceWhenPoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		poke := make(chan struct{})
		w := &world{start: time.Now()}
		loop := Loop{Observer: w, Actuator: w, Journal: w, Interval: 10 * time.Second, Poke: poke, Report: func(err error) { t.Error(err) }}
		done := make(chan error, 1)
		go func() { done <- loop.Run(ctx) }()

		time.Sleep(13 * time.Second)
		poke <- struct{}{}
		synctest.Wait()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		want := []time.Duration{0, 10 * time.Second, 13 * time.Second}
		if len(w.at) != len(want) || w.at[1] != want[1] || w.at[2] != want[2] {
			t.Errorf("ticked at %v, want %v", w.at, want)
		}
	})
}

func TestAFailedObservationChangesNothingAndIsReported(t *testing.T) {
	w := &world{observe: errors.New("dark")}
	loop := Loop{Observer: w, Actuator: w, Journal: w}
	if err := loop.Tick(t.Context(), time.Now()); err == nil || w.applied != 0 || len(w.records) != 0 {
		t.Errorf("err %v, applied %d, journalled %d", err, w.applied, len(w.records))
	}
	if _, ok := loop.Latest(); ok {
		t.Error("a tick that did not happen is the latest")
	}
}

func TestAFullDiskDoesNotStopTheFleet(t *testing.T) {
	w := &world{journal: errors.New("no space left")}
	loop := Loop{Observer: w, Actuator: w, Journal: w}
	if err := loop.Tick(t.Context(), time.Now()); err == nil || w.applied != 1 {
		t.Errorf("err %v, applied %d", err, w.applied)
	}
}

// TestTheJournalReplays: every record decides the same again from what it
// holds, and its Memory is the one before that tick.
func TestTheJournalReplays(t *testing.T) {
	w := &world{}
	loop := Loop{Observer: w, Actuator: w, Journal: w}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 5 {
		if err := loop.Tick(t.Context(), start.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range w.records {
		if i > 0 && string(r.Memory) != string(w.memories[i-1]) {
			t.Errorf("record %d does not begin where record %d ended", i, i-1)
		}
		m, err := autoscaler.DecodeMemory(r.Memory)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := autoscaler.Step(r.Snapshot, m); !again.At.Equal(r.Decision.At) || len(again.Changes) != len(r.Decision.Changes) {
			t.Errorf("record %d decides otherwise", i)
		}
	}
}
