package emulator_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/emulator"
	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// childAddress makes this test binary an emulator in a process of its own, so
// that its CPU time can be told from its clients'.
const childAddress = "PENSTOCK_TEST_EMULATE_AT"

func beServer() bool {
	address := os.Getenv(childAddress)
	if address == "" {
		return false
	}
	s := &emulator.Server{Profile: a100(), Model: "org/m", Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if err := s.Serve(context.Background(), address); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return true
}

// child starts such a process and returns its address.
func child(b *testing.B) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childAddress+"=127.0.0.1:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	talk, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for lines := bufio.NewScanner(talk); lines.Scan(); {
		if match := logged.FindStringSubmatch(lines.Text()); match != nil && strings.Contains(lines.Text(), "serving") {
			go io.Copy(io.Discard, talk)
			return match[1]
		}
	}
	b.Fatal("the child does not serve")
	return ""
}

func sample(b *testing.B, address, name string) float64 {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	res, err := new(http.Transport).RoundTrip(req)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			return v
		}
	}
	b.Fatalf("no %s", name)
	return 0
}

// drink asks for streams over one connection and throws them away, until the
// context ends.
func drink(ctx context.Context, b *testing.B, address string, prompt string) {
	b.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Error(err)
		return
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	body := `{"model":"org/m","stream":true,"max_tokens":200,"messages":[{"role":"user","content":"` + prompt + `"}]}`
	ask := fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	tail := make([]byte, 0, 64<<10)
	for ctx.Err() == nil {
		if _, err := io.WriteString(conn, ask); err != nil {
			return
		}
		for ended := false; !ended; {
			n, err := conn.Read(tail[:cap(tail)])
			if err != nil {
				return
			}
			ended = strings.HasSuffix(string(tail[:n]), "0\r\n\r\n")
		}
	}
}

// BenchmarkProcess reports what an emulator process costs: b.N is tokens over
// sixteen or sixty-four streams in real time, with prompts of 500 tokens.
func BenchmarkProcess(b *testing.B) {
	for _, streams := range []int{16, 64} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			address := child(b)
			ctx, stop := context.WithCancel(context.Background())
			var group sync.WaitGroup
			for range streams {
				group.Go(func() { drink(ctx, b, address, prompt(500)) })
			}
			generated := `vllm:generation_tokens_total{engine="0",model_name="org/m"}`
			tokens, cpu := sample(b, address, generated), sample(b, address, "process_cpu_seconds_total")
			b.ResetTimer()
			for target := tokens + float64(b.N); sample(b, address, generated) < target; {
				time.Sleep(time.Second)
			}
			b.StopTimer()
			tokens, cpu = sample(b, address, generated)-tokens, sample(b, address, "process_cpu_seconds_total")-cpu
			b.ReportMetric(cpu*1e6/tokens, "cpu-µs/token")
			b.ReportMetric(tokens/b.Elapsed().Seconds(), "tokens/s")
			b.ReportMetric(sample(b, address, "penstock_emulator_lag_seconds")*1e3, "lag-ms")
			stop()
			group.Wait()
		})
	}
}

// sink is a connection that costs nothing.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header       { return s.header }
func (*sink) Write(p []byte) (int, error) { return len(p), nil }
func (*sink) WriteHeader(int)             {}
func (*sink) Flush()                      {}

// BenchmarkToken reports what a token costs above the connection: the engine,
// its owner, the metrics and the event. Sixty-four requests share an engine
// that takes no time.
func BenchmarkToken(b *testing.B) {
	p := a100()
	p.Linear = []scale.LinearPoint{{Tokens: 1, Time: 1}, {Tokens: 2, Time: 1}}
	p.Overhead, p.Bandwidth = 0, 0
	s := &emulator.Server{Profile: p, Model: "org/m", Logger: slog.New(slog.DiscardHandler)}
	h := s.Handler()
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { s.Run(ctx) })
	b.ReportAllocs()
	b.ResetTimer()
	var clients sync.WaitGroup
	each := max(1, b.N/64)
	for range 64 {
		clients.Go(func() {
			body := fmt.Sprintf(`{"model":"org/m","stream":true,"max_tokens":%d,"prompt":"abc def"}`, min(each, 6000))
			for range max(1, each/6000) {
				r, err := http.NewRequest(http.MethodPost, "/v1/completions", strings.NewReader(body))
				if err != nil {
					b.Error(err)
					return
				}
				h.ServeHTTP(&sink{http.Header{}}, r)
			}
		})
	}
	clients.Wait()
	b.StopTimer()
	stop()
	group.Wait()
}

func BenchmarkAppendToken(b *testing.B) {
	buf := make([]byte, 0, 64)
	i := 0
	for b.Loop() {
		buf = engine.AppendToken(buf[:0], 42, i)
		i++
	}
}
