package gateway

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// reloadEvery is how often the files of a Certificate are looked at.
const reloadEvery = time.Second

// errNoCertificate says that a handshake came before Load.
var errNoCertificate = errors.New("no certificate was loaded")

// Certificate is the pair of PEM files by which the gateway is known over TLS.
// Call Load once before it is served with; from then on Gateway.Run reads the
// files again when they change. A new pair that can not be used (half written,
// certificate and key that do not belong together, outside its time) is warned
// about, and the old one stays.
type Certificate struct {
	CertFile string // the chain, leaf first
	KeyFile  string
	Logger   *slog.Logger

	every   time.Duration // between looks; 0 for reloadEvery
	current atomic.Pointer[tls.Certificate]
	tried   [2][]byte // what the files held when they were last read
}

// Load reads the pair.
func (c *Certificate) Load() error {
	_, err := c.load(time.Now())
	return err
}

// load reads the pair and says whether it is another than the last.
func (c *Certificate) load(now time.Time) (changed bool, err error) {
	var files [2][]byte
	for i, name := range []string{c.CertFile, c.KeyFile} {
		if files[i], err = os.ReadFile(name); err != nil {
			return true, fmt.Errorf("read the gateway's certificate: %w", err)
		}
	}
	if bytes.Equal(files[0], c.tried[0]) && bytes.Equal(files[1], c.tried[1]) {
		return false, nil
	}
	c.tried = files
	pair, err := tls.X509KeyPair(files[0], files[1])
	if err != nil {
		return true, fmt.Errorf("read the gateway's certificate from %s and %s: %w", c.CertFile, c.KeyFile, err)
	}
	if leaf := pair.Leaf; now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return true, fmt.Errorf("read the gateway's certificate from %s: it is valid from %s to %s only",
			c.CertFile, leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
	}
	c.current.Store(&pair)
	return true, nil
}

// watch reads the pair again when it changes, until ctx ends.
func (c *Certificate) watch(ctx context.Context) {
	ticker := time.NewTicker(cmp.Or(c.every, reloadEvery))
	defer ticker.Stop()
	unreadable := false
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			changed, err := c.load(now)
			var missing *os.PathError
			gone := errors.As(err, &missing)
			switch {
			case err != nil && !(gone && unreadable): // said once
				c.Logger.WarnContext(ctx, "certificate not reloaded", "error", err)
			case err == nil && changed:
				c.Logger.InfoContext(ctx, "certificate reloaded", "until", c.current.Load().Leaf.NotAfter)
			}
			unreadable = gone
		}
	}
}

// config is that of a TLS listener: TLS 1.2 and newer, HTTP/2 by ALPN.
func (c *Certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if pair := c.current.Load(); pair != nil {
				return pair, nil
			}
			return nil, errNoCertificate
		},
	}
}
