package cli

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/internal/lease"
	"github.com/penstock/penstock/internal/local"
	"github.com/penstock/penstock/internal/scale"
)

// lease opens the place where other gateways get their share, if there is to be
// one.
func (m *machine) lease(ctx context.Context) error {
	s := m.config.Server
	if s.Gateways.Listen == "" {
		return nil
	}
	token, err := keptToken(s.Gateways.TokenFile, filepath.Join(s.StateDir, "gateways.token"))
	if err != nil {
		return usageError{err}
	}
	if m.leasing, err = listen(ctx, "gateways", s.Gateways.Listen); err != nil {
		return err
	}
	settings, err := m.settings()
	if err != nil {
		return err
	}
	m.lessor = &lease.Lessor{
		Gateway: m.gateway, Settings: settings, Token: token, Wake: func(string) { m.wake() }, Logger: m.logger,
	}
	return nil
}

// settings are what other gateways need to know: of the models what requests
// meet, and not how replicas are run.
func (m *machine) settings() (lease.Settings, error) {
	s := m.config.Server
	out := lease.Settings{
		Tenants: m.gateway.Tenants, MaxHeld: s.MaxHeld, MaxHeldBytes: s.MaxHeldBytes, MaxBody: s.MaxBody, DrainTimeout: s.DrainTimeout,
	}
	for _, model := range m.config.Models {
		model.Schedules, model.Signals = nil, nil
		model.Variants = slices.Clone(model.Variants)
		for i, v := range model.Variants {
			model.Variants[i] = scale.Variant{Name: v.Name, ColdStart: v.ColdStart}
		}
		out.Models = append(out.Models, model)
	}
	text, err := json.Marshal(out)
	if err != nil {
		return out, fmt.Errorf("write the settings of other gateways: %w", err)
	}
	out.Version = fmt.Sprintf("%x", sha256.Sum256(text))
	return out, nil
}

// plane is the data plane as the world sees it: all gateways together.
func (m *machine) plane() local.Gateway {
	if m.lessor == nil {
		return m.gateway
	}
	return m.lessor
}

// runLeases answers other gateways until ctx ends.
func (m *machine) runLeases(ctx context.Context) error {
	if m.lessor == nil {
		return nil
	}
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return m.lessor.Run(ctx) })
	running.Go(func() error { return m.lessor.Serve(ctx, m.leasing) })
	return running.Wait()
}

// leaseURL is where other gateways get their share.
func (m *machine) leaseURL() string { return "http://" + m.leasing.Addr().String() }
