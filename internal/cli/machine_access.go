package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/gateway"
)

// accessLog opens what the configuration says of the access log; nil for none.
// A file is appended to, so that it may be copied and truncated from outside.
func (m *machine) accessLog(ctx context.Context) (*slog.Logger, error) {
	m.warnOfClearText(ctx)
	switch to := m.config.Server.AccessLog; to {
	case config.AccessLogNone, "": // a Config of a test says nothing
		return nil, nil
	case config.AccessLogStderr:
		return m.logger, nil
	default:
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return nil, fmt.Errorf("access log: %w", err)
		}
		file, err := os.OpenFile(to, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("access log: %w", err)
		}
		m.access = file
		return slog.New(slog.NewJSONHandler(file, nil)), nil
	}
}

// warnOfClearText says that what goes over the network can be read there.
func (m *machine) warnOfClearText(ctx context.Context) {
	address, ok := m.serving.Addr().(*net.TCPAddr)
	if !ok || address.IP.IsLoopback() {
		return
	}
	if len(m.config.Tenants) == 0 {
		m.logger.WarnContext(ctx, "gateway open to whoever reaches it", "address", address.String(), "remedy", "give tenants keys: penstock key new")
	}
	if m.config.Server.TLS != (config.TLS{}) {
		return
	}
	m.logger.WarnContext(ctx, "keys and prompts cross the network in clear", "address", address.String(), "remedy", "set spec.tls")
}

// certify gives the gateway its certificate, if it has one.
func (m *machine) certify() error {
	pair := m.config.Server.TLS
	if pair == (config.TLS{}) {
		return nil
	}
	m.gateway.Certificate = &gateway.Certificate{CertFile: pair.CertFile, KeyFile: pair.KeyFile, Logger: m.logger}
	return m.gateway.Certificate.Load()
}
