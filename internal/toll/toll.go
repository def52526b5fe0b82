// Package toll measures what it costs to pass the data plane. Every
// participant is a process of its own: an upstream that answers at once, the
// proxies before it (a blind copy of bytes, net/http/httputil's ReverseProxy as
// it comes and with a transport set up for the work, Penstock's gateway, nginx
// where it is installed) and the client. They take turns in short slices, so
// that what else the machine does meets all of them alike; what is said of them
// are differences and ratios within one run.
package toll

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// The ways from the client to the upstream.
const (
	Direct   = "direct"
	TCP      = "tcp"           // a blind copy of bytes: the least that any proxy costs
	Reverse  = "reverse-proxy" // httputil.ReverseProxy with its defaults
	Tuned    = "tuned-reverse-proxy"
	Penstock = "penstock" // parsing, admission and metrics on
	Nginx    = "nginx"
)

// Command is what this program starts itself with to become a Part: COMMAND
// ROLE TARGET...
const Command = "toll"

// Bench is one run. Self is this program: Self toll ROLE must come to Part, and
// Self guard -- COMMAND to local.Guard.
type Bench struct {
	Self       string
	Plan       Plan
	CPUProfile string           // file for what the gateway does when saturated; "" for none
	Progress   func(say string) // may be nil
}

// Plan says how much is measured.
type Plan struct {
	Rounds    int           // turns of every way
	Slice     time.Duration // of one way in one turn
	Conns     int           // at once, to saturate
	Streams   int           // at once
	EventRate int           // of each stream, 1/s
	Held      int           // requests
	Wave      int           // of them, sent together
	Micro     time.Duration // for each measurement without processes
}

// Full is the plan of a run that counts, Quick that of one which shows only
// that everything works.
func Full() Plan {
	return Plan{
		Rounds: 8, Slice: 400 * time.Millisecond, Conns: 32, Streams: 8, EventRate: 50,
		Held: 10_000, Wave: 200, Micro: 400 * time.Millisecond,
	}
}

// Quick is a plan of a few seconds.
func Quick() Plan {
	return Plan{
		Rounds: 1, Slice: 60 * time.Millisecond, Conns: 4, Streams: 2, EventRate: 50,
		Held: 60, Wave: 20, Micro: 10 * time.Millisecond,
	}
}

// bodies are the sizes under load, each with its rate: as many requests a
// second as leave most of a core idle.
func bodies() []Fixed {
	return []Fixed{{Body: 2 << 10, Rate: 500}, {Body: 64 << 10, Rate: 150}, {Body: 512 << 10, Rate: 30}}
}

// track is one way and the process that serves it; none for Direct.
type track struct {
	name   string
	target string
	child  *child
}

// field is everything that runs.
type field struct {
	*Bench
	dir      string
	upstream *child
	client   *child
	tracks   []track
	children []*child
	said     said
}

// Run measures. When ctx ends it stops and returns its cause; no process
// outlives Run.
func (b *Bench) Run(ctx context.Context) (result Result, err error) {
	dir, err := os.MkdirTemp("", "penstock-toll-")
	if err != nil {
		return result, fmt.Errorf("make a directory: %w", err)
	}
	f := &field{Bench: b, dir: dir}
	defer func() {
		if err = errors.Join(err, f.close()); err != nil && f.said.String() != "" {
			err = fmt.Errorf("%w; the processes said: %s", err, &f.said)
		}
	}()
	if err := f.open(ctx); err != nil {
		return result, err
	}
	result.Machine = machine()
	for _, step := range []func(context.Context, *Result) error{
		f.micro, f.warm, f.fixed, f.saturate, f.stream, f.held,
	} {
		if err := step(ctx, &result); err != nil {
			return result, errors.Join(context.Cause(ctx), err)
		}
	}
	result.Machine.LoadAfter = loadAverage()
	return result, nil
}

// open starts the processes.
func (f *field) open(ctx context.Context) (err error) {
	if f.upstream, err = f.start(ctx, roleUpstream); err != nil {
		return err
	}
	if f.client, err = f.start(ctx, roleClient); err != nil {
		return err
	}
	f.tracks = []track{{name: Direct, target: f.upstream.address}}
	for _, name := range []string{TCP, Reverse, Tuned, Penstock} {
		c, err := f.start(ctx, name, f.upstream.address)
		if err != nil {
			return err
		}
		f.tracks = append(f.tracks, track{name: name, target: c.address, child: c})
	}
	if err := f.route(ctx, f.gateway(), routeAll); err != nil {
		return err
	}
	path, lacking := exec.LookPath("nginx")
	if lacking != nil {
		f.say("nginx is not installed: it is left out")
		return nil //nolint:nilerr // that is no fault
	}
	c, err := f.startNginx(ctx, path)
	if err != nil {
		return err
	}
	f.tracks = append(f.tracks, track{name: Nginx, target: c.address, child: c})
	return nil
}

// close ends every process.
func (f *field) close() error {
	var err error
	for _, c := range f.children {
		err = errors.Join(err, c.stop())
	}
	return errors.Join(err, os.RemoveAll(f.dir))
}

func (f *field) gateway() *child {
	for _, t := range f.tracks {
		if t.name == Penstock {
			return t.child
		}
	}
	return nil
}

// routeAll is a batch limit that never holds anything.
const routeAll = 1 << 20

// route tells a gateway of the upstream.
func (f *field) route(ctx context.Context, gateway *child, batch int) error {
	_, err := ask[struct{}](ctx, gateway, order{Do: doRoute, Target: f.upstream.address, Count: batch})
	return err
}

func (f *field) say(format string, args ...any) {
	if f.Progress != nil {
		f.Progress(fmt.Sprintf(format, args...))
	}
}

// said keeps the beginning of what the processes say to standard error.
type said struct {
	mu   sync.Mutex
	text []byte
}

// Write takes in all of p and keeps what there is room for.
func (s *said) Write(p []byte) (int, error) {
	const room = 4 << 10
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, p[:min(len(p), room-len(s.text))]...)
	return len(p), nil
}

// String returns what was kept.
func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text)
}

// machine says on what was measured.
func machine() Machine {
	m := Machine{LoadBefore: loadAverage()}
	m.describe()
	return m
}

// loadAverage is how many were runnable of late, over one minute; 0 when the
// system does not say.
func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	var load float64
	if _, err := fmt.Sscan(strings.TrimSpace(string(text)), &load); err != nil {
		return 0
	}
	return load
}
