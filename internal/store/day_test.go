package store

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/autoscaler"
	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/control"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

// governor is the product's own loop in a world of virtual time, with a journal
// on a disk or a server.
type governor struct {
	tb       testing.TB
	place    site
	store    *Store
	loop     *control.Loop
	told     scale.Snapshot
	made     scale.Decision
	texts    [][sha256.Size]byte // of every Decision that was acknowledged
	replicas int
	restarts int
}

func (g *governor) begin(m autoscaler.Memory) {
	g.loop = &control.Loop{Observer: g, Actuator: g, Journal: g, Interval: time.Second, Memory: m}
}

func (g *governor) Observe(context.Context, time.Time) (scale.Snapshot, error) { return g.told, nil }

func (g *governor) Apply(_ context.Context, d scale.Decision) error {
	g.made = d
	return nil
}

func (g *governor) Append(ctx context.Context, r scale.Record, after []byte) error {
	if err := g.store.Append(ctx, r, after); err != nil {
		return err
	}
	text, err := Text(r.Decision)
	g.texts = append(g.texts, sha256.Sum256(text))
	return err
}

func (*governor) Every() time.Duration { return time.Second }

func (*governor) Poked(sim.Poke) bool { return true }

func (g *governor) Decide(s scale.Snapshot) scale.Decision {
	g.told = s
	g.replicas += len(s.Models[0].Replicas)
	if err := g.loop.Tick(context.Background(), s.Now); err != nil {
		g.tb.Fatal(err)
	}
	return g.made
}

// Restart begins anew from what the journal holds.
func (g *governor) Restart() {
	g.restarts++
	if err := g.store.Close(); err != nil {
		g.tb.Fatal(err)
	}
	var err error
	if g.store, err = g.place.open(context.Background()); err != nil {
		g.tb.Fatal(err)
	}
	text, _, err := g.store.Memory(context.Background())
	if err != nil {
		g.tb.Fatal(err)
	}
	memory, err := autoscaler.DecodeMemory(text)
	if err != nil {
		g.tb.Fatal(err)
	}
	g.begin(memory)
}

// play plays a while of an office day, from an hour of it on, with 20 requests/s
// on average over the day and boots of 20 s, and journals every tick.
func play(tb testing.TB, p site, span time.Duration, faults sim.Faults) *governor {
	tb.Helper()
	cfg, err := config.Load(filepath.Join("..", "..", "examples", "emulated", "penstock.yaml"))
	if err != nil {
		tb.Fatal(err)
	}
	if span == 0 {
		s, err := p.open(tb.Context())
		if err != nil {
			tb.Fatal(err)
		}
		return &governor{store: s, place: p}
	}
	source, err := trace.Enterprise{Span: span, MeanRPS: 20, Ratio: 3.5, Weekend: 0.5}.Source(trace.Draw{Seed: 1, Tokens: trace.Conversation(), CV: 1.1})
	if err != nil {
		tb.Fatal(err)
	}
	m := cfg.Models[0]
	s, err := p.open(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	g := &governor{tb: tb, place: p, store: s}
	g.begin(autoscaler.Memory{})
	boot := sim.Boot{Mixture: []sim.Mode{{Share: 1, Mean: m.Variants[0].ColdStart, Sigma: 0.25}}, Fails: 0.01}
	if _, err := (sim.World{
		Services:  []sim.Service{{Model: m, Truths: []sim.Truth{{Profile: m.Variants[0].Profile, Boot: boot}}}},
		Offerings: cfg.Offerings, Governor: g, Source: source, Seed: 1, Faults: faults,
	}).Run(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := g.store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return g
}

// troubled are faults of every kind that a journal has to tell of.
func troubled(span time.Duration) sim.Faults {
	part := func(from, to float64) sim.Window {
		return sim.Window{Start: time.Duration(from * float64(span)), End: time.Duration(to * float64(span))}
	}
	at := func(share float64) time.Duration { return time.Duration(share * float64(span)) }
	return sim.Faults{
		Missing: []sim.Window{part(0.1, 0.13)}, Stale: []sim.Window{part(0.2, 0.24)}, Zero: []sim.Window{part(0.3, 0.33)},
		Boots:   []sim.Boots{{Window: part(0.4, 0.5), Share: 0.5, Fail: true}, {Window: part(0.6, 0.7), Share: 1, Life: 40 * time.Second}},
		Crashes: []sim.Strike{{At: at(0.35), Share: 0.5}, {At: at(0.8), Share: 1}}, Stalls: []sim.Stall{{Window: part(0.85, 0.87), Share: 0.5}},
		Restarts: []time.Duration{at(0.25), at(0.55), at(0.9)},
	}
}

// Every Decision of some hours full of faults is made again from the journal, to
// the last byte; none that was acknowledged is missing, none is there twice.
func TestEveryDecisionIsMadeAgainToTheSameBytes(t *testing.T) {
	span := 3 * time.Hour
	if raceDetector || testing.Short() {
		span = 4 * time.Minute
	}
	everywhere(t, func(t *testing.T, p site) {
		t.Helper()
		g := play(t, p, span, troubled(span))
		var memory autoscaler.Memory
		n, segments := 0, 0
		for r, err := range g.store.Records(t.Context(), time.Time{}, time.Time{}.AddDate(3000, 0, 0)) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Memory != nil || n == 0 {
				segments++
				if memory, err = autoscaler.DecodeMemory(r.Memory); err != nil {
					t.Fatal(err)
				}
			}
			var again scale.Decision
			again, memory = autoscaler.Step(r.Snapshot, memory)
			text, err := Text(again)
			if err != nil {
				t.Fatal(err)
			}
			if n >= len(g.texts) || sha256.Sum256(text) != g.texts[n] {
				t.Fatalf("tick %d of %d, of %v, is decided otherwise:\n%s", n, len(g.texts), r.At, text)
			}
			n++
		}
		if n != len(g.texts) || g.restarts != 3 || segments < 4 {
			t.Errorf("%d of %d ticks, %d restarts, %d segments", n, len(g.texts), g.restarts, segments)
		}
		t.Logf("%d decisions in %d segments made again", n, segments)
		anyMoment(t, g)
	})
}

// anyMoment asks for some moments, between ticks too, alone.
func anyMoment(t *testing.T, g *governor) {
	t.Helper()
	for i := range 20 {
		at := trace.Epoch().Add(time.Minute + time.Duration(i)*7777*time.Millisecond)
		c, found, err := g.store.Chain(t.Context(), "chat", at)
		if err != nil || !found || c.Broken != nil {
			t.Fatalf("%v: found %t, %v, %v", at, found, err, c.Broken)
		}
		memory, err := autoscaler.DecodeMemory(c.Memory)
		if err != nil {
			t.Fatal(err)
		}
		var again scale.Decision
		for _, tick := range c.Ticks {
			again, memory = autoscaler.Step(tick.Snapshot, memory)
		}
		text, err := Text(again)
		if err != nil || string(text) != string(c.Text) || c.Last().At.After(at) || at.Sub(c.Last().At) > time.Second {
			t.Errorf("%v: the tick of %v is decided otherwise, %v", at, c.Last().At, err)
		}
	}
}

// most is what the journal of one model may take in a day of one tick a second.
const most = 20_000_000

// A part of a day tells what the whole comes to, within a quarter: what grows,
// grows evenly, but for pages that the database has not filled yet. With
// PENSTOCK_STORE_DAY it is the whole, and exact.
func TestADayTakesNoMoreThan20MB(t *testing.T) {
	if raceDetector || testing.Short() {
		t.Skip("it is the same with the race detector, and takes ten times as long")
	}
	span, allowed := time.Hour+time.Minute, most*5/4 // six segments
	if os.Getenv("PENSTOCK_STORE_DAY") != "" {
		span, allowed = 24*time.Hour, most
	}
	everywhere(t, func(t *testing.T, p site) {
		t.Helper()
		empty := play(t, p, 0, sim.Faults{})
		without, _ := sizes(t, empty)
		if err := empty.store.Close(); err != nil {
			t.Fatal(err)
		}
		g := play(t, p, span, sim.Faults{})
		grows, bounded := sizes(t, g)
		grows -= without
		day := float64(grows)/span.Hours()*24 + float64(bounded)
		t.Logf("%d ticks, %.1f replicas on average: %.1f MB a day, of which %.2f MB (the newest ticks and history) grow no more; %d bytes a tick",
			len(g.texts), float64(g.replicas)/float64(len(g.texts)), day/1e6, float64(bounded)/1e6, grows/int64(len(g.texts)))
		if day > float64(allowed) {
			t.Errorf("%.1f MB a day, should be at most %d", day/1e6, allowed/1_000_000)
		}
	})
}

// sizes is what the database takes, its indices included, of what grows with
// every tick, and of what does not: Memory, the newest ticks, and history, whose
// retention is bounded by the level.
func sizes(t *testing.T, g *governor) (grows, bounded int64) {
	t.Helper()
	query := `SELECT pg_total_relation_size(CAST($1 AS regclass))`
	if g.place.path != "" {
		query = `SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name = $1 OR name LIKE $1 || '_%'`
	} else {
		// Here a day passes in minutes, and rows come and go that much faster than
		// the server's cleaning, which is by the clock, keeps up with.
		for _, clean := range []string{`VACUUM FULL checkpoint`, `VACUUM FULL ticks`, `VACUUM FULL history`, `VACUUM`} {
			if _, err := g.store.base.write.Exec(clean); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, table := range []string{"segments", "decisions", "checkpoint", "ticks", "history", "lifetimes"} {
		var one int64
		if err := g.store.base.write.QueryRow(query, table).Scan(&one); err != nil {
			t.Fatal(err)
		}
		t.Logf("%10s %9d bytes", table, one)
		if table == "segments" || table == "decisions" {
			grows += one
		} else {
			bounded += one
		}
	}
	return grows, bounded
}
