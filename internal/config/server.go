package config

import (
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/api/v1alpha1"
	"github.com/penstock/penstock/internal/scale"
)

// Words of spec.accessLog that are no file.
const (
	AccessLogNone   = "none"
	AccessLogStderr = "stderr"
)

// KindServerConfig is the kind of a ServerConfig.
const KindServerConfig = "ServerConfig"

// Defaults of a ServerConfig.
const (
	defaultListen       = "127.0.0.1:8080"
	defaultConsole      = "127.0.0.1:8081"
	defaultMaxHeld      = 10000
	defaultMaxHeldBytes = 256 << 20
	defaultMaxBody      = 32 << 20
	defaultDrainTimeout = 60 * time.Second
	defaultTick         = time.Second
)

// ServerConfig says how `penstock serve` runs on this machine. There is at most
// one, it exists only in a file, and everything in it has a default.
type ServerConfig struct {
	v1alpha1.TypeMeta `json:",inline"`

	// Without effect.
	// +optional
	v1alpha1.ObjectMeta `json:"metadata,omitzero"`

	// How Penstock runs on this machine.
	Spec ServerConfigSpec `json:"spec"`
}

// ServerConfigSpec says how Penstock runs on this machine.
type ServerConfigSpec struct {
	// Address of the gateway, host:port. Port 0 takes a free one.
	// +kubebuilder:default="127.0.0.1:8080"
	// +optional
	Listen string `json:"listen,omitempty"`

	// Certificate of the gateway. Without it the gateway speaks plain HTTP.
	// +optional
	TLS TLS `json:"tls,omitzero"`

	// Address of the console: its page, status, explanations, metrics. One that
	// other machines can reach asks for a token.
	// +kubebuilder:default="127.0.0.1:8081"
	// +optional
	Console string `json:"console,omitempty"`

	// File with the console's token, relative to the file. Default: none where
	// only this machine reaches the console, else console.token in stateDir, which
	// serve writes if there is none.
	// +optional
	ConsoleTokenFile string `json:"consoleTokenFile,omitempty"`

	// Other gateways in front of the same replicas, which penstock gateway runs.
	// +optional
	Gateways Gateways `json:"gateways,omitzero"`

	// Allows listen to be reached from other machines though there are no API keys
	// (FleetPolicy spec.tenants): whoever reaches the port may use the models.
	// +kubebuilder:default=false
	// +optional
	InsecureListen bool `json:"insecureListen,omitempty"`

	// The accelerators of this machine: auto asks nvidia-smi, a list declares
	// them (type and count), which emulated engines need.
	// +kubebuilder:default=auto
	// +optional
	GPUs GPUs `json:"gpus,omitzero"`

	// Directory of the journal and of the replicas' logs, relative to the file.
	// Default: a directory of the file's own under $XDG_STATE_HOME/penstock, or
	// ~/.local/state/penstock.
	// +optional
	StateDir string `json:"stateDir,omitempty"`

	// Where the journal, the history of demand and the lives of replicas are
	// kept, and how much of them. Default: the file journal.db in stateDir.
	// +optional
	Store StoreSpec `json:"store,omitzero"`

	// Bounds on the requests held at the gateway, for each model.
	// +optional
	Hold Hold `json:"hold,omitzero"`

	// Largest body of a request; a larger one is answered 413.
	// +kubebuilder:default="32MiB"
	// +optional
	MaxBody v1alpha1.Bytes `json:"maxBody,omitempty"`

	// Where one line for each request goes: none, stderr, or a file, relative to
	// this one, that gets JSON. No line holds a prompt, a reply, a key or a query.
	// +kubebuilder:default=none
	// +optional
	AccessLog string `json:"accessLog,omitempty"`

	// Longest time that requests in flight may take to finish when Penstock
	// stops. How long they may when a replica is drained: run.drainTimeout.
	// +kubebuilder:default="60s"
	// +optional
	DrainTimeout v1alpha1.Duration `json:"drainTimeout,omitempty"`

	// The Prometheus that promql signals ask, or what speaks its HTTP API.
	// +optional
	Prometheus *Prometheus `json:"prometheus,omitempty"`

	// How often Penstock decides. A wake from zero does not wait for it.
	// +kubebuilder:default="1s"
	// +optional
	Tick v1alpha1.Duration `json:"tick,omitempty"`
}

// TLS names the files of a certificate. They are read again when they change; a
// new pair that can not be used is warned about, and the old one stays.
type TLS struct {
	// File of the certificate and its chain, PEM, relative to the file.
	// +optional
	CertFile string `json:"certFile,omitempty"`

	// File of its private key, PEM, relative to the file.
	// +optional
	KeyFile string `json:"keyFile,omitempty"`
}

// Gateways says where other gateways get their share of the replicas.
type Gateways struct {
	// Address where they ask for it, host:port. Port 0 takes a free one. Default:
	// none, and there are no other gateways.
	// +optional
	Listen string `json:"listen,omitempty"`

	// File with the token that they must show, relative to the file. Default: none
	// where only this machine reaches the address, else gateways.token in stateDir,
	// which serve writes if there is none.
	// +optional
	TokenFile string `json:"tokenFile,omitempty"`
}

// Hold bounds the requests of one model that are held at the gateway. Beyond
// it they are answered 429.
type Hold struct {
	// Requests held at once.
	// +kubebuilder:default=10000
	// +kubebuilder:validation:Minimum=1
	// +optional
	MaxRequests int32 `json:"maxRequests,omitempty"`

	// Bodies held at once.
	// +kubebuilder:default="256MiB"
	// +optional
	MaxBytes v1alpha1.Bytes `json:"maxBytes,omitempty"`
}

// GPUs are the accelerators of this machine: asked of nvidia-smi, or declared.
// The zero value is auto.
type GPUs struct {
	Declared []scale.Accelerator // type and how many of it; nil means that nvidia-smi is asked
}

// Auto says whether nvidia-smi is to be asked.
func (g GPUs) Auto() bool { return len(g.Declared) == 0 }

// Count returns how many accelerators of a type are declared.
func (g GPUs) Count(kind string) int {
	n := 0
	for _, a := range g.Declared {
		if a.Type == kind {
			n += a.Count
		}
	}
	return n
}

// gpuSlot is one entry of spec.gpus.
type gpuSlot struct {
	// Type, as variants name it.
	Type string `json:"type"`

	// How many there are.
	// +kubebuilder:validation:Minimum=1
	Count int32 `json:"count"`
}

// decode reads "auto" or a list of slots.
func (g *GPUs) decode(o *object, n node, path string) {
	if n.kind == scalar && n.value == "auto" {
		return
	}
	if n.kind != sequence || len(n.items) == 0 {
		o.fault(path, "is %s. Write auto, or a list such as [{type: nvidia-l4, count: 2}].", n.what())
		return
	}
	for i, item := range n.items {
		var slot gpuSlot
		at := fmt.Sprintf("%s[%d]", path, i)
		o.lines[at] = item.line
		o.decode(item, reflect.ValueOf(&slot).Elem(), at)
		if slot.Type != "" && g.Count(slot.Type) > 0 {
			o.fault(join(at, "type"), "is %s again: write each type once, with its count.", slot.Type)
		}
		if slot.Count < 1 && o.has(join(at, "count")) {
			o.fault(join(at, "count"), "is %d. Set it to 1 or more.", slot.Count)
		}
		g.Declared = append(g.Declared, scale.Accelerator{Type: slot.Type, Count: int(slot.Count)})
	}
}

// Server is how Penstock runs on this machine.
type Server struct {
	Listen  string // host:port of the gateway
	TLS     TLS    // with absolute paths; zero for plain HTTP
	Console string // host:port of the console
	// ConsoleToken is the file of the console's token, absolute; "" where none is
	// asked for.
	ConsoleToken string
	// Gateways is where other gateways ask for their share, its TokenFile absolute;
	// "" where there are none, and where no token is asked for.
	Gateways     Gateways
	GPUs         GPUs
	StateDir     string // absolute
	Store        Store
	MaxHeld      int   // requests, for each model
	MaxHeldBytes int   // bytes of their bodies, for each model
	MaxBody      int64 // bytes of one request's body
	// AccessLog is where one line for each request goes: AccessLogNone,
	// AccessLogStderr, or the absolute path of a file.
	AccessLog string
	// DrainTimeout bounds how long requests in flight may take to finish when
	// Penstock stops.
	DrainTimeout time.Duration
	Tick         time.Duration
	Prometheus   Endpoint // zero where there is none
}

// checkServer turns the ServerConfig, if there is one, into a value.
func (f *file) checkServer() Server {
	o, spec := f.server, f.server.Spec
	s := Server{
		Listen:       orDefault(spec.Listen, defaultListen),
		TLS:          f.checkTLS(spec.TLS),
		Console:      orDefault(spec.Console, defaultConsole),
		GPUs:         spec.GPUs,
		StateDir:     f.stateDir(spec.StateDir),
		Store:        f.checkStore(spec.Store),
		MaxHeld:      o.atLeastOne("spec.hold.maxRequests", int(spec.Hold.MaxRequests), defaultMaxHeld),
		MaxHeldBytes: o.atLeastOne("spec.hold.maxBytes", int(spec.Hold.MaxBytes), defaultMaxHeldBytes),
		MaxBody:      int64(o.atLeastOne("spec.maxBody", int(spec.MaxBody), defaultMaxBody)),
		DrainTimeout: o.positive("spec.drainTimeout", spec.DrainTimeout, defaultDrainTimeout),
		Tick:         o.positive("spec.tick", spec.Tick, defaultTick),
		Prometheus:   f.checkPrometheus(),
	}
	if s.AccessLog = orDefault(spec.AccessLog, AccessLogNone); s.AccessLog != AccessLogNone && s.AccessLog != AccessLogStderr {
		s.AccessLog = within(filepath.Dir(f.absolute), s.AccessLog)
	}
	f.checkListen("spec.listen", s.Listen)
	if open := o.checkAddress("spec.console", s.Console); open || spec.ConsoleTokenFile != "" {
		s.ConsoleToken = filepath.Join(s.StateDir, "console.token")
		if spec.ConsoleTokenFile != "" {
			s.ConsoleToken = within(filepath.Dir(f.absolute), spec.ConsoleTokenFile)
		}
	}
	s.Gateways = f.checkGateways(spec.Gateways, s.StateDir)
	if s.Listen == s.Console && !strings.HasSuffix(s.Listen, ":0") {
		o.fault("spec.console", "is %s, the gateway's address too. Give the console a port of its own.", s.Console)
	}
	if s.Tick < 100*time.Millisecond || s.Tick > time.Minute {
		o.fault("spec.tick", "is %s. Set it between 100ms and 1m.", s.Tick)
	}
	if int64(s.MaxHeldBytes) < s.MaxBody {
		o.fault("spec.hold.maxBytes", "is %s, less than one body may have (spec.maxBody %s): such a request could never be held. Raise it, or lower spec.maxBody.",
			text(v1alpha1.Bytes(s.MaxHeldBytes)), text(v1alpha1.Bytes(s.MaxBody)))
	}
	return s
}

// checkGateways looks at where other gateways ask for their share.
func (f *file) checkGateways(g Gateways, stateDir string) Gateways {
	if g.Listen == "" {
		if g.TokenFile != "" {
			f.server.fault("spec.gateways.listen", "is missing beside tokenFile: other gateways need an address, such as 127.0.0.1:8082.")
		}
		return Gateways{}
	}
	open := f.server.checkAddress("spec.gateways.listen", g.Listen)
	switch {
	case g.TokenFile != "":
		g.TokenFile = within(filepath.Dir(f.absolute), g.TokenFile)
	case open:
		g.TokenFile = filepath.Join(stateDir, "gateways.token")
	}
	return g
}

// checkTLS resolves the files of a certificate.
func (f *file) checkTLS(t TLS) TLS {
	beside := filepath.Dir(f.absolute)
	switch {
	case t == TLS{}:
		return t
	case t.CertFile == "":
		f.server.fault("spec.tls.certFile", "is missing beside keyFile: TLS needs both.")
	case t.KeyFile == "":
		f.server.fault("spec.tls.keyFile", "is missing beside certFile: TLS needs both.")
	}
	return TLS{CertFile: within(beside, t.CertFile), KeyFile: within(beside, t.KeyFile)}
}

// checkListen refuses an address that is none, and one that other machines
// reach though no key is needed, unless that is said to be wanted.
func (f *file) checkListen(path, address string) {
	o := f.server
	if o.checkAddress(path, address) && !f.keyed() && !o.Spec.InsecureListen {
		o.fault(path, "is %q, which other machines can reach, and there are no API keys: whoever reaches it may use the models. Give tenants keys (FleetPolicy spec.tenants; penstock key new makes one), use 127.0.0.1, or set spec.insecureListen: true.", address)
	}
}

// checkAddress refuses an address that is none, and says whether other machines
// can reach one that is.
func (o serverObject) checkAddress(path, address string) (open bool) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		o.fault(path, "is %q, which is no address: write it like %s.", address, defaultListen)
		return false
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		o.fault(path, "has port %q. Set it between 1 and 65535, or to 0 for a free one.", port)
	}
	ip := net.ParseIP(host)
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// stateDir returns the directory of the journal. By default each file has one
// of its own, so that two files never share a journal.
func (f *file) stateDir(written string) string {
	beside := filepath.Dir(f.absolute)
	if written != "" {
		return within(beside, written)
	}
	state := os.Getenv("XDG_STATE_HOME")
	if home := os.Getenv("HOME"); !filepath.IsAbs(state) && filepath.IsAbs(home) {
		state = filepath.Join(home, ".local", "state")
	}
	if !filepath.IsAbs(state) {
		return filepath.Join(beside, ".penstock")
	}
	base := filepath.Base(f.absolute)
	sum := sha256.Sum256([]byte(f.absolute))
	return filepath.Join(state, "penstock", fmt.Sprintf("%s-%x", strings.TrimSuffix(base, filepath.Ext(base)), sum[:4]))
}

// within resolves a path that may be relative to a directory.
func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}
