package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/config"
)

// writePair writes a certificate for 127.0.0.1 that signs itself, and its key,
// and returns what trusts it.
func writePair(t *testing.T, cert, key string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(leaf)
	return pool
}

// A machine whose configuration names a certificate speaks TLS and HTTP/2, and
// does not start without it.
func TestMachineSpeaksTLS(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "penstock.yaml")
	text := strings.Replace(fmt.Sprintf(quick, filepath.Join(dir, "state"), file), "  tick:", "  tls: {certFile: tls.crt, keyFile: tls.key}\n  tick:", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	if _, err := open(t.Context(), cfg, logger(&log, 0), nil); err == nil || !strings.Contains(err.Error(), "tls.crt") {
		t.Fatalf("without a certificate: %v", err)
	}
	pool := writePair(t, filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	ctx, stop := context.WithCancel(t.Context())
	m, err := open(ctx, cfg, logger(&log, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := m.close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	reply, err := (&http.Client{Transport: transport}).Get(m.url() + "/v1/models/quick")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK || reply.ProtoMajor != 2 {
		t.Errorf("%s %s", reply.Proto, reply.Status)
	}
}
