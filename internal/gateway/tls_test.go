package gateway

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// identity makes a certificate for 127.0.0.1 that signs itself, and its key.
func identity(t *testing.T, serial int64, until time.Time) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "gateway"},
		NotBefore: until.Add(-48 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
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
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// install writes a pair as cert-manager and others do: each file at once.
func install(t *testing.T, c *Certificate, cert, key []byte) {
	t.Helper()
	for name, text := range map[string][]byte{c.CertFile: cert, c.KeyFile: key} {
		if err := os.WriteFile(name+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
}

// secure is a rig that speaks TLS, its Certificate and what it logs.
func secure(t *testing.T) (*rig, *journal) {
	t.Helper()
	dir, log := t.TempDir(), &journal{}
	c := &Certificate{
		CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"),
		Logger: slog.New(slog.NewTextHandler(log, nil)), every: 20 * time.Millisecond,
	}
	cert, key := identity(t, 1, time.Now().Add(time.Hour))
	install(t, c, cert, key)
	if err := c.Load(); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(g *Gateway) { g.Certificate = c })
	return r, log
}

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) count(part string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), part)
}

// serial is the number of the certificate that a new connection sees.
func (r *rig) serial(t *testing.T, config *tls.Config) (int64, error) {
	t.Helper()
	config.InsecureSkipVerify = true // what is shown is what the test is about
	dialer := tls.Dialer{Config: config}
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(r.url, "https://"))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

func TestTLSBounds(t *testing.T) {
	r, _ := secure(t)
	if _, err := r.serial(t, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was spoken")
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if _, err := r.serial(t, &tls.Config{MinVersion: version, MaxVersion: version}); err != nil {
			t.Errorf("%x: %v", version, err)
		}
	}
}

// The certificate is changed while streams run: new connections see the new
// one, no stream is disturbed, and a pair that is broken changes nothing.
func TestCertificateChangesUnderLoad(t *testing.T) {
	r, log := secure(t)
	r.routes(upstream(t, echoTokens(2*time.Millisecond)))
	ctx, stop := context.WithCancel(t.Context())
	var (
		clients sync.WaitGroup
		asked   atomic.Int64
	)
	for i := range 6 {
		clients.Go(func() {
			transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: i%2 == 0}
			client := http.Client{Transport: transport}
			defer transport.CloseIdleConnections()
			for ctx.Err() == nil {
				reply, err := client.Post(r.url+"/v1/chat/completions", "application/json", strings.NewReader(echoBody("p", 20)))
				if err != nil {
					t.Errorf("ask: %v", err)
					return
				}
				body, err := io.ReadAll(reply.Body)
				reply.Body.Close()
				if err != nil || string(body) != echoReply("p", 20) || reply.ProtoMajor != 1+(i+1)%2 {
					t.Errorf("%s %q %v", reply.Proto, body, err)
				}
				asked.Add(1)
				transport.CloseIdleConnections() // so that each asks anew
			}
		})
	}
	shows := func(serial int64) {
		t.Helper()
		eventually(t, "the new certificate is shown", func() bool {
			got, err := r.serial(t, &tls.Config{})
			return err == nil && got == serial
		})
	}
	shows(1)
	cert, key := identity(t, 2, time.Now().Add(time.Hour))
	install(t, r.Certificate, cert, key)
	shows(2)
	for name, broken := range map[string][2][]byte{
		"another's key":  {cert, second(identity(t, 3, time.Now().Add(time.Hour)))},
		"half a file":    {cert[:len(cert)/2], key},
		"an expired one": {first(identity(t, 4, time.Now().Add(-time.Minute))), key},
	} {
		before := log.count("certificate not reloaded")
		install(t, r.Certificate, broken[0], broken[1])
		eventually(t, name+" is warned about", func() bool { return log.count("certificate not reloaded") > before })
		shows(2)
	}
	if err := os.Remove(r.Certificate.KeyFile); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a missing file is warned about", func() bool { return log.count("no such file") == 1 })
	cert, key = identity(t, 5, time.Now().Add(time.Hour))
	install(t, r.Certificate, cert, key)
	shows(5)
	stop()
	clients.Wait()
	if asked.Load() < 6 {
		t.Errorf("only %d streams meanwhile", asked.Load())
	}
	r.wantOutcome(scale.OK, int(asked.Load()))
	if n := log.count("no such file"); n > 1 {
		t.Errorf("a missing file was warned about %d times", n)
	}
}

func first(a, _ []byte) []byte  { return a }
func second(_, b []byte) []byte { return b }

func TestCertificateThatCanNotBeUsedIsRefusedAtStart(t *testing.T) {
	dir := t.TempDir()
	c := &Certificate{CertFile: filepath.Join(dir, "c"), KeyFile: filepath.Join(dir, "k")}
	if err := c.Load(); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no file: %v", err)
	}
	cert, key := identity(t, 1, time.Now().Add(-time.Hour))
	install(t, c, cert, key)
	if err := c.Load(); err == nil || !strings.Contains(err.Error(), "valid from") {
		t.Errorf("expired: %v", err)
	}
	install(t, c, cert, []byte("no key"))
	if err := c.Load(); err == nil || !strings.Contains(err.Error(), c.KeyFile) {
		t.Errorf("no key: %v", err)
	}
}

// curl, which shares no code with us, verifies the certificate and speaks each
// protocol.
func TestCurlSpeaksEachProtocol(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	plain := newRig(t, nil)
	plain.routes(upstream(t, echoTokens(0)))
	safe, _ := secure(t)
	safe.routes(upstream(t, echoTokens(0)))
	for name, c := range map[string]struct {
		rig  *rig
		flag []string
		want string
	}{
		"HTTP/1.1":                      {plain, []string{"--http1.1"}, "1.1"},
		"HTTP/2 with prior knowledge":   {plain, []string{"--http2-prior-knowledge"}, "2"},
		"HTTP/2 by upgrade, not taken":  {plain, []string{"--http2"}, "1.1"},
		"HTTP/1.1 over TLS":             {safe, []string{"--http1.1"}, "1.1"},
		"HTTP/2 over TLS by ALPN":       {safe, []string{"--http2"}, "2"},
		"HTTP/2 over TLS 1.2":           {safe, []string{"--http2", "--tls-max", "1.2"}, "2"},
		"HTTP/2 over TLS with 100 asks": {safe, []string{"--http2", "-Z", "--parallel-max", "50"}, "2"},
	} {
		t.Run(name, func(t *testing.T) {
			arguments := append([]string{"-sS", "-f", "-w", "version=%{http_version};", "-H", "Content-Type: application/json", "-d", echoBody("c", 3)}, c.flag...)
			if c.rig == safe {
				arguments = append(arguments, "--cacert", safe.Certificate.CertFile)
			}
			asks := 1
			if c.flag[len(c.flag)-1] == "50" {
				asks = 100
			}
			for range asks {
				arguments = append(arguments, c.rig.url+"/v1/chat/completions")
			}
			out, err := exec.CommandContext(t.Context(), curl, arguments...).Output()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			text := string(out)
			if len(text) != asks*(len(echoReply("c", 3))+len("version=;")+len(c.want)) || strings.Count(text, "version="+c.want+";") != asks {
				t.Errorf("%d times %s in %d bytes, want %d", strings.Count(text, "version="+c.want+";"), c.want, len(out), asks)
			}
		})
	}
}
