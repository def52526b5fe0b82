package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/internal/autoscaler"
	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/console"
	"github.com/penstock/penstock/internal/control"
	"github.com/penstock/penstock/internal/gateway"
	"github.com/penstock/penstock/internal/lease"
	"github.com/penstock/penstock/internal/ledger"
	"github.com/penstock/penstock/internal/local"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/signals"
	"github.com/penstock/penstock/internal/store"
)

// machine is Penstock on one machine: data plane, world, loop, journal and
// console, composed. It is made with open and run once.
type machine struct {
	config  config.Config
	logger  *slog.Logger
	gateway *gateway.Gateway
	world   *local.World
	loop    *control.Loop
	console *console.Console
	journal *store.Store
	lives   *lives
	figures *signals.Figures
	poke    chan struct{}

	access  *os.File     // where the access log goes, if to a file
	serving net.Listener // of the gateway
	asking  net.Listener // of the console
	leasing net.Listener // of other gateways; nil for none
	lessor  *lease.Lessor
}

// open claims everything that can be refused — journal, GPUs, ports — so that
// what is wrong is said before anything starts. journal, if not nil, wraps the
// place where Decisions go.
func open(ctx context.Context, c config.Config, logger *slog.Logger, wrap func(control.Journal) control.Journal) (*machine, error) {
	m := &machine{config: c, logger: logger, poke: make(chan struct{}, 1)}
	if err := m.compose(ctx, wrap); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func (m *machine) compose(ctx context.Context, wrap func(control.Journal) control.Journal) error {
	c := m.config
	gpus, err := local.GPUs(ctx, c.Server.GPUs)
	if err != nil {
		return err
	}
	if err := m.checkGPUs(gpus); err != nil {
		return usageError{err}
	}
	if m.figures, err = openFigures(c, m.logger); err != nil {
		return usageError{err}
	}
	if m.journal, err = openStore(ctx, c.Server.Store); err != nil {
		return err
	}
	memory, err := m.remember(ctx)
	if err != nil {
		return err
	}
	if m.serving, err = listen(ctx, "gateway", c.Server.Listen); err != nil {
		return err
	}
	if m.asking, err = listen(ctx, "console", c.Server.Console); err != nil {
		return err
	}
	token, err := consoleToken(c.Server)
	if err != nil {
		return usageError{err}
	}
	tenants, err := c.ReadKeys()
	if err != nil {
		return usageError{err}
	}
	access, err := m.accessLog(ctx)
	if err != nil {
		return err
	}
	registry := newRegistry(m.journal)
	m.gateway = &gateway.Gateway{
		Models: c.Models,
		Limits: gateway.Limits{MaxHeld: c.Server.MaxHeld, MaxHeldBytes: c.Server.MaxHeldBytes, MaxBody: c.Server.MaxBody},
		Wake:   func(string) { m.wake() }, Tenants: tenants, Registerer: registry, Logger: m.logger, AccessLog: access,
	}
	if err := m.certify(); err != nil {
		return err
	}
	if err := m.lease(ctx); err != nil {
		return err
	}
	m.world = &local.World{
		Models: c.Models, Runs: c.Runs, Offerings: c.Offerings, Fleet: c.Fleet, GPUs: gpus, Tick: c.Server.Tick,
		StateDir: c.Server.StateDir, Gateway: m.plane(), Figures: m.figures, Logger: m.logger,
	}
	var journal control.Journal = m.journal
	if wrap != nil {
		journal = wrap(journal)
	}
	m.loop = &control.Loop{
		Observer: m.world, Actuator: m.world, Journal: journal, Interval: c.Server.Tick, Poke: m.poke, Memory: memory,
		Report: func(err error) { m.logger.ErrorContext(ctx, "tick failed", "error", err) },
	}
	m.console = &console.Console{
		Listen: m.asking.Addr().String(), Fleet: present{m}, History: archive{m.journal.Reader}, Journal: troublesOf(m.journal), Logs: m.world, Token: token, Gatherer: registry, Logger: m.logger,
		Bill: m.bill,
	}
	m.lives = &lives{journal: m.journal, world: m.world}
	return m.lives.load(ctx)
}

// bill is what lifetimes cost.
func (m *machine) bill(lifetimes []scale.Lifetime, now time.Time) []scale.Charge {
	return ledger.Bill(ledger.Account{Lifetimes: lifetimes, Owners: owners(m.config.Models), Span: ledger.Span{Until: now}, Now: now})
}

// checkGPUs refuses a model none of whose variants has its accelerators here: its
// requests would be held for nothing.
func (m *machine) checkGPUs(gpus []local.GPU) error {
	have := map[string]int{}
	for _, g := range gpus {
		have[g.Type]++
	}
	for _, model := range m.config.Models {
		var missing []string
		for _, v := range model.Variants {
			if a := v.Accelerator; have[a.Type] < a.Count {
				missing = append(missing, fmt.Sprintf("variant %s needs %d × %s, and there are %d", v.Name, a.Count, a.Type, have[a.Type]))
			}
		}
		text := strings.Join(missing, "; ")
		switch {
		case len(missing) == len(model.Variants):
			return fmt.Errorf("%s can not be served here: %s. %s", model.Name, text, m.whereGPUs())
		case len(missing) > 0:
			m.logger.Warn("variant without accelerators", "model", model.Name, "reason", text)
		}
	}
	return nil
}

// whereGPUs says what the count of accelerators comes from.
func (m *machine) whereGPUs() string {
	if m.config.Server.GPUs.Auto() {
		return "They are counted by nvidia-smi; a ServerConfig can declare them instead, such as spec.gpus: [{type: nvidia-l4, count: 1}]"
	}
	return "They are those that spec.gpus of the ServerConfig declares"
}

func listen(ctx context.Context, what, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: listen on %s: %w; is another penstock running?", what, address, err)
	}
	return l, nil
}

// remember reads the Memory that the last run left. One that this version
// cannot read is said and left behind: the fleet starts without it.
func (m *machine) remember(ctx context.Context) (autoscaler.Memory, error) {
	text, at, err := m.journal.Memory(ctx)
	if err != nil {
		return autoscaler.Memory{}, err
	}
	memory, err := autoscaler.DecodeMemory(text)
	switch {
	case err != nil:
		m.logger.WarnContext(ctx, "memory left behind", "error", err)
		return autoscaler.Memory{}, nil
	case len(text) > 0:
		m.logger.InfoContext(ctx, "memory resumed", "from", at)
	}
	return memory, nil
}

// wake makes the loop tick now. It never blocks.
func (m *machine) wake() {
	select {
	case m.poke <- struct{}{}:
	default:
	}
}

// Run runs until ctx ends or a part of it fails, and then stops in the told
// order: refuse new → drain → stop the loop → stop replicas → flush the journal.
func (m *machine) Run(ctx context.Context) error {
	defer func() { // what was not handed to a server yet
		_ = m.serving.Close()
		_ = m.asking.Close()
		if m.leasing != nil {
			_ = m.leasing.Close()
		}
	}()
	server := m.gateway.Server()
	failed, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stages := []*stage{
		newStage(ctx, fail, map[string]func(context.Context) error{
			"loop": m.loop.Run, "poke": m.forward, "lifetimes": m.lives.Run, "signals": m.figures.Run,
		}),
		newStage(ctx, fail, map[string]func(context.Context) error{
			"replicas": m.world.Run,
			"console":  func(ctx context.Context) error { return m.console.Serve(ctx, m.asking) },
			"leases":   m.runLeases,
		}),
		newStage(ctx, fail, map[string]func(context.Context) error{
			"gateway": m.gateway.Run,
			"server":  func(context.Context) error { return m.serve(server) },
		}),
	}
	<-failed.Done()
	m.drain(ctx, server)
	var err error
	for _, s := range stages {
		err = errors.Join(err, s.end())
		m.logger.InfoContext(ctx, "stopped", "parts", s.parts)
	}
	last := context.WithoutCancel(ctx)
	return errors.Join(err, m.lives.save(last), m.journal.Flush(last))
}

func (m *machine) serve(server *http.Server) error {
	serve := server.Serve
	if m.gateway.Certificate != nil {
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	if err := serve(m.serving); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// drain lets requests under way finish, as long as the configuration allows.
func (m *machine) drain(ctx context.Context, server *http.Server) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.config.Server.DrainTimeout)
	defer cancel()
	m.logger.InfoContext(ctx, "draining", "longest", m.config.Server.DrainTimeout)
	if err := m.gateway.Drain(ctx); err != nil {
		m.logger.WarnContext(ctx, "drain cut short", "error", err)
	} else {
		m.logger.InfoContext(ctx, "drained")
	}
	if err := server.Shutdown(ctx); err != nil {
		_ = server.Close()
	}
	if m.lessor != nil {
		if err := m.lessor.Drain(ctx); err != nil {
			m.logger.WarnContext(ctx, "drain of other gateways cut short", "error", err)
		}
	}
}

// stage is what ends together. Each stage ends wholly before the next begins to.
type stage struct {
	parts []string
	group errgroup.Group
	stop  context.CancelFunc
}

// newStage starts what a stage runs. The first failure of any is told to fail.
func newStage(ctx context.Context, fail context.CancelCauseFunc, parts map[string]func(context.Context) error) *stage {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &stage{parts: slices.Sorted(maps.Keys(parts)), stop: stop}
	for name, run := range parts {
		s.group.Go(func() error {
			err := run(ctx)
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
				fail(err)
			}
			return err
		})
	}
	return s
}

func (s *stage) end() error {
	s.stop()
	return s.group.Wait()
}

// forward turns what happens to replicas into ticks.
func (m *machine) forward(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.world.Poked():
			m.wake()
		}
	}
}

// close gives back what open claimed.
func (m *machine) close() error {
	var err error
	for _, l := range []net.Listener{m.serving, m.asking, m.leasing} {
		if l != nil {
			if e := l.Close(); !errors.Is(e, net.ErrClosed) {
				err = errors.Join(err, e)
			}
		}
	}
	if m.journal != nil {
		err = errors.Join(err, m.journal.Close())
		m.logger.Info("journal closed")
	}
	if m.access != nil {
		err = errors.Join(err, m.access.Close())
	}
	return err
}

// url is where the gateway is reached.
func (m *machine) url() string {
	if m.gateway.Certificate != nil {
		return "https://" + m.serving.Addr().String()
	}
	return "http://" + m.serving.Addr().String()
}

func (m *machine) consoleURL() string { return "http://" + m.asking.Addr().String() }

// present shows a machine to the console.
type present struct{ m *machine }

// Snapshot returns the newest tick.
func (p present) Snapshot() (scale.Snapshot, scale.Decision, bool) {
	latest, ok := p.m.loop.Latest()
	return latest.Snapshot, latest.Decision, ok
}

// Lifetimes returns every paid life.
func (p present) Lifetimes() []scale.Lifetime { return p.m.lives.all() }

func owners(models []scale.Model) map[string]scale.Owner {
	out := make(map[string]scale.Owner, len(models))
	for _, m := range models {
		out[m.Name] = m.Owner
	}
	return out
}

// lives keeps the paid lives of replicas: those of this run, and those of
// earlier ones that the journal holds.
type lives struct {
	journal *store.Store
	world   *local.World

	mu      sync.Mutex
	ended   []scale.Lifetime
	unsaved []scale.Lifetime // of those, what could not be written down yet
}

const (
	// saveLives is how often living replicas' lifetimes are written down: so
	// much of a replica's cost is unknown after a kill -9.
	saveLives = 10 * time.Second
	// keepLives bounds how many ended lifetimes are kept in memory, and
	// livesSince how old ones are read back.
	keepLives  = 20_000
	livesSince = 31 * 24 * time.Hour
)

// load reads the lives of earlier runs. What was alive when an earlier run was
// killed ended with it; the journal's newest checkpoint tells about when.
func (l *lives) load(ctx context.Context) error {
	_, last, err := l.journal.Memory(ctx)
	if err != nil {
		return err
	}
	l.ended, err = l.journal.Lifetimes(ctx, time.Now().Add(-livesSince))
	if err != nil {
		return err
	}
	for i := range l.ended {
		if life := &l.ended[i]; life.Ended.IsZero() {
			life.Ended = last
			if last.Before(life.Created) {
				life.Ended = life.Created
			}
		}
	}
	return l.journal.SaveLifetimes(ctx, l.ended)
}

// Run writes lifetimes down from time to time until ctx ends.
func (l *lives) Run(ctx context.Context) error {
	ticker := time.NewTicker(saveLives)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := l.save(ctx); err != nil && ctx.Err() == nil {
				l.world.Logger.ErrorContext(ctx, "lifetimes not saved", "error", err)
			}
		}
	}
}

func (l *lives) save(ctx context.Context) error {
	l.mu.Lock()
	fresh := l.world.TakeEnded()
	l.ended = append(l.ended, fresh...)
	if extra := len(l.ended) - keepLives; extra > 0 {
		l.ended = append([]scale.Lifetime(nil), l.ended[extra:]...)
	}
	l.unsaved = append(l.unsaved, fresh...)
	unsaved := l.unsaved
	l.mu.Unlock()
	if err := l.journal.SaveLifetimes(ctx, append(slices.Clip(unsaved), l.world.Lifetimes()...)); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unsaved = l.unsaved[len(unsaved):]
	return nil
}

func (l *lives) all() []scale.Lifetime {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(append([]scale.Lifetime(nil), l.ended...), l.world.Lifetimes()...)
}
