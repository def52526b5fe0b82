package local

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
)

// TestMain lets the test binary stand in for what these tests need as separate
// processes: the guard, a model server, a process that stays, and a whole
// Penstock that can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "guard":
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			status, err := Guard(ctx, os.Args[3:]) // after the two dashes
			stop()
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			exit(status)
		case "serve":
			exit(serveMain(os.Args[2:]))
		case "stay":
			signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
			time.Sleep(10 * time.Minute)
			exit(0)
		case "world":
			exit(worldMain(os.Args[2:]))
		}
	}
	goleak.VerifyTestMain(m)
}

// exit ends a process that stands in for another program.
func exit(status int) {
	os.Exit(status)
}

// server is the model server that these tests run as a Replica.
type server struct {
	port       int
	delay      time.Duration
	never      bool   // becomes ready
	stubborn   bool   // ignores SIGTERM
	crash      bool   // exits with 3 instead of becoming ready
	daemon     string // file that gets the pid of a child in a session of its own
	cleanEnv   bool   // of that child
	askBefore  string // URL that is asked before the port is bound
	occupies   string // file that stands for the GPU: two holders are an error
	terminated string // file that is made on SIGTERM
}

func serveMain(args []string) int {
	var s server
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	flags.IntVar(&s.port, "port", 0, "")
	flags.DurationVar(&s.delay, "delay", 0, "")
	flags.BoolVar(&s.never, "never", false, "")
	flags.BoolVar(&s.stubborn, "stubborn", false, "")
	flags.BoolVar(&s.crash, "crash", false, "")
	flags.StringVar(&s.daemon, "daemon", "", "")
	flags.BoolVar(&s.cleanEnv, "clean-env", false, "")
	flags.StringVar(&s.askBefore, "ask", "", "")
	flags.StringVar(&s.occupies, "occupies", "", "")
	flags.StringVar(&s.terminated, "terminated", "", "")
	_ = flags.Parse(args)
	if err := s.serve(); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		return 3
	}
	return 0
}

func (s server) serve() error {
	term := make(chan os.Signal, 1)
	if s.stubborn {
		signal.Ignore(syscall.SIGTERM)
	} else {
		signal.Notify(term, syscall.SIGTERM)
	}
	fmt.Fprintln(os.Stdout, "serving on", s.port)
	if s.occupies != "" {
		if err := os.Mkdir(s.occupies, 0o700); err != nil {
			return fmt.Errorf("the GPU is taken: %w", err)
		}
		defer os.Remove(s.occupies)
	}
	if s.daemon != "" {
		if err := s.daemonise(); err != nil {
			return err
		}
	}
	if s.crash {
		return errors.New("out of memory, says the engine")
	}
	if s.askBefore != "" {
		if err := visit(fmt.Sprintf("%s?port=%d", s.askBefore, s.port)); err != nil {
			return err
		}
	}
	listener, err := net.Listen("tcp", address(s.port))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: s.handler(time.Now().Add(s.delay))}
	go server.Serve(listener)
	<-term
	if s.terminated != "" {
		if err := os.WriteFile(s.terminated, nil, 0o600); err != nil {
			return err
		}
	}
	return server.Close()
}

func (s server) handler(readyAt time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		if s.never || time.Now().Before(readyAt) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "vllm:num_requests_running 3\nvllm:num_requests_waiting 2\nvllm:kv_cache_usage_perc 0.25\nvllm:num_preemptions_total 1\n")
	})
	mux.HandleFunc("/environ", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(append(os.Environ(), "PID="+fmt.Sprint(os.Getpid())))
	})
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { exit(4) })
	return mux
}

// daemonise starts a child that leaves the process group and the session, and
// keeps the standard output open.
func (s server) daemonise() error {
	cmd := exec.Command(os.Args[0], "stay")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if s.cleanEnv {
		cmd.Env = []string{}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	return appendLine(s.daemon, fmt.Sprint(cmd.Process.Pid))
}

// visit asks a URL and drops the answer.
func visit(url string) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func appendLine(path, line string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, line)
	return errors.Join(err, file.Close())
}

// worldMain is a Penstock with two Replicas of one model, until it is killed.
// It says "up" once both are Ready. Arguments: state directory, then those of
// the server.
func worldMain(args []string) int {
	world := World{
		StateDir: args[0],
		Models:   []scale.Model{testModel("chat", 0)},
		Runs:     map[config.RunKey]config.Run{{Model: "chat", Variant: "v"}: testRun(args[1:]...)},
		GPUs:     []GPU{{0, "gpu"}, {1, "gpu"}},
		Tick:     50 * time.Millisecond,
		Gateway:  &fakeGateway{},
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	ctx := context.Background()
	go func() {
		if err := world.Run(ctx); err != nil {
			fmt.Fprintln(os.Stdout, err)
			exit(1)
		}
	}()
	if err := world.Apply(ctx, grow("chat", 0, 2)); err != nil {
		fmt.Fprintln(os.Stdout, err)
		return 1
	}
	for said := false; ; <-world.Poked() {
		s, err := world.Observe(ctx, time.Now())
		if err != nil {
			fmt.Fprintln(os.Stdout, err)
			return 1
		}
		ready := 0
		for _, r := range s.Models[0].Replicas {
			if r.Phase == scale.Ready {
				ready++
			}
		}
		if ready == 2 && !said {
			said = true
			fmt.Fprintln(os.Stdout, "up")
		}
	}
}

// testModel is a model with one variant that takes one GPU.
func testModel(name string, priority int) scale.Model {
	return scale.Model{Name: name, Priority: priority, Variants: []scale.Variant{{
		Name: "v", Accelerator: scale.Accelerator{Type: "gpu", Count: 1}, Capacities: []scale.CapacityType{scale.OnDemand},
	}}}
}

// testRun runs this test binary as the server.
func testRun(arguments ...string) config.Run {
	return config.Run{
		Command:      append([]string{"{{penstock}}", "serve", "-port", "{{port}}"}, arguments...),
		Env:          map[string]string{"GORACE": "atexit_sleep_ms=0"}, // the race detector's own wait
		Ready:        "/health",
		Metrics:      "/metrics",
		ReadyTimeout: time.Minute,
		Grace:        20 * time.Second,
	}
}

func testTarget(model string) scale.ScaleTarget {
	return scale.ScaleTarget{Model: model, Variant: "v", Capacity: scale.OnDemand}
}

// grow is a Decision that takes a model from so many Replicas to so many more.
func grow(model string, from, to int) scale.Decision {
	target := testTarget(model)
	return scale.Decision{
		Plans:   []scale.Plan{{Model: model, Allocations: []scale.Allocation{{Target: target, Replicas: to, BatchLimit: 8, KVTokens: 1000}}}},
		Changes: []scale.Change{{Target: target, From: from, Want: to, To: to}},
	}
}

// shrink is a Decision that drains the Replicas and starts none.
func shrink(model string, from int, ids ...scale.ReplicaID) scale.Decision {
	target := testTarget(model)
	to := from - len(ids)
	return scale.Decision{
		Plans:   []scale.Plan{{Model: model, Allocations: []scale.Allocation{{Target: target, Replicas: to, BatchLimit: 8, KVTokens: 1000}}}},
		Changes: []scale.Change{{Target: target, From: from, Want: to, To: to, Drain: ids}},
	}
}

func valueOf(environ []string, name string) string {
	for _, s := range environ {
		if value, found := strings.CutPrefix(s, name+"="); found {
			return value
		}
	}
	return ""
}
