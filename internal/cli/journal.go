package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/penstock/penstock/internal/autoscaler"
	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/console"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/store"
)

// openStore opens the journal that a configuration names, to write it.
func openStore(ctx context.Context, c config.Store) (*store.Store, error) {
	server, err := serverOf(c)
	if err != nil {
		return nil, err
	}
	var s *store.Store
	if c.Postgres != "" {
		s, err = store.OpenServer(ctx, server)
	} else {
		s, err = store.Open(ctx, c.Path)
	}
	if err != nil {
		return nil, err
	}
	s.Retention.Age, s.Retention.Bytes = c.Keep, c.MaxBytes
	return s, nil
}

// readStore opens it to read it, beside the process that writes it or without
// one.
func readStore(ctx context.Context, c config.Store) (*store.Reader, error) {
	if c.Postgres == "" {
		return store.Read(ctx, c.Path)
	}
	server, err := serverOf(c)
	if err != nil {
		return nil, err
	}
	return store.ReadServer(ctx, server)
}

// serverOf reads the password that a configuration names.
func serverOf(c config.Store) (store.Server, error) {
	s := store.Server{URL: c.Postgres}
	if c.PasswordFile == "" {
		return s, nil
	}
	text, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return s, fmt.Errorf("read the password for postgres: %w", err)
	}
	if s.Password = strings.TrimRight(string(text), "\r\n"); s.Password == "" {
		return s, fmt.Errorf("read the password for postgres: %s is empty", c.PasswordFile)
	}
	return s, nil
}

// troubles is what the console says of a journal; nil when all is well.
func troubles(s *store.Store) *console.JournalView {
	state := s.State()
	if state == (store.State{}) {
		return nil
	}
	v := &console.JournalView{Since: state.Since, Held: state.Held, Dropped: state.Dropped}
	if state.Failing != nil {
		v.Failing = state.Failing.Error()
	}
	return v
}

// troublesOf is troubles, to be asked later.
func troublesOf(s *store.Store) func() *console.JournalView {
	return func() *console.JournalView { return troubles(s) }
}

// newRegistry has the metrics of the process and of its journal.
func newRegistry(s *store.Store) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(journalMetrics(s)...)
	return r
}

// journalMetrics are gauges of the same.
func journalMetrics(s *store.Store) []prometheus.Collector {
	gauge := func(name, help string, read func(store.State) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return read(s.State()) })
	}
	return []prometheus.Collector{
		gauge("penstock_journal_held_ticks", "Ticks in memory that could not be written to the journal yet.", func(v store.State) float64 { return float64(v.Held) }),
		gauge("penstock_journal_dropped_ticks", "Ticks since the start that found no room in memory while the journal could not be written, and are lost.", func(v store.State) float64 { return float64(v.Dropped) }),
	}
}

// archive is a journal as the console asks it: what is found is decided again.
type archive struct{ *store.Reader }

// DecisionAt returns the newest record at or before t that speaks of the model,
// with what deciding it again came to; see scale.Again.
func (a archive) DecisionAt(ctx context.Context, model string, t time.Time) (scale.Record, bool, error) {
	chain, found, err := a.Chain(ctx, model, t)
	if err != nil || !found {
		return scale.Record{}, false, err
	}
	record := chain.Last()
	record.Again = decideAgain(chain)
	return record, true, nil
}

// decideAgain makes a past Decision again, from the Memory that its segment of
// the journal begins with, tick by tick.
func decideAgain(chain store.Chain) scale.Again {
	if chain.Broken != nil {
		return scale.Again{Verdict: scale.NotDecidedAgain, Text: chain.Broken.Error()}
	}
	memory, err := autoscaler.DecodeMemory(chain.Memory)
	if err != nil {
		return scale.Again{Verdict: scale.NotDecidedAgain, Text: err.Error()}
	}
	var decision scale.Decision
	for _, tick := range chain.Ticks {
		decision, memory = autoscaler.Step(tick.Snapshot, memory)
	}
	text, err := store.Text(decision)
	switch {
	case err != nil:
		return scale.Again{Verdict: scale.NotDecidedAgain, Text: err.Error()}
	case string(text) == string(chain.Text):
		return scale.Again{Verdict: scale.DecidedTheSame, Text: fmt.Sprintf("decided again from the journal, over %d ticks: the same to the last byte", len(chain.Ticks))}
	}
	return scale.Again{Verdict: scale.DecidedOtherwise, Text: "decided again from the journal it comes out otherwise: this penstock decides by other rules than the one of then"}
}
