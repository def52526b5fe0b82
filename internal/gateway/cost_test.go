package gateway

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock/penstock/internal/scale"
)

// BenchmarkCost is what a request costs the gateway. Client and upstream speak
// just enough HTTP over real sockets to be nearly free of allocations, so that
// those counted are the gateway's own and net/http's on both of its sides.
func BenchmarkCost(b *testing.B) {
	for _, size := range []int{2 << 10, 64 << 10, 512 << 10} {
		b.Run(fmt.Sprintf("%d KiB", size>>10), func(b *testing.B) {
			target := costGateway(b, costUpstream(b))
			body := `{"model":"` + modelName + `","messages":[{"role":"user","content":"` + strings.Repeat("some words, ", size/12) + `"}],"max_tokens":100}`
			request := fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: cost\r\nUser-Agent: cost\r\nContent-Type: application/json\r\n"+
				"Accept: application/json\r\nAuthorization: Bearer none\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			b.ReportAllocs()
			b.SetParallelism(8)
			before := cpu(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				conn, err := net.Dial("tcp", target)
				if err != nil {
					b.Error(err)
					return
				}
				defer conn.Close()
				from := bufio.NewReaderSize(conn, 16<<10)
				for pb.Next() {
					if _, err := conn.Write(request); err != nil {
						b.Error(err)
						return
					}
					first, err := skipMessage(from)
					if err != nil || first != "HTTP/1.1 200 OK" {
						b.Errorf("the reply is %q: %v", first, err)
						return
					}
				}
			})
			b.ReportMetric(float64(cpu(b)-before)/float64(time.Microsecond)/float64(b.N), "cpu-µs/op")
		})
	}
}

// costUpstream answers every request with the same 300 bytes.
func costUpstream(b *testing.B) string {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	body := `{"choices":[{"message":{"content":"` + strings.Repeat("x", 224) + `"}}],"usage":{"completion_tokens":42}}`
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				from := bufio.NewReaderSize(conn, 16<<10)
				for {
					if _, err := skipMessage(from); err != nil {
						return
					}
					if _, err := conn.Write(answer); err != nil {
						return
					}
				}
			})
		}
	})
	b.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}

// costGateway is a gateway before it, with metrics on.
func costGateway(b *testing.B, upstream string) string {
	b.Helper()
	g := &Gateway{
		Models:     []scale.Model{{Name: modelName, SLO: scale.SLO{TTFT: time.Second, TPOT: time.Second, MaxHold: time.Minute}}},
		Limits:     Limits{MaxHeld: 1000, MaxHeldBytes: 1 << 30, MaxBody: 1 << 20},
		Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := g.Server()
	go server.Serve(listener)
	b.Cleanup(func() {
		server.Close()
		cancel()
		<-done
	})
	g.Route(modelName, []scale.Route{route("a", upstream, 1000)})
	return listener.Addr().String()
}

// skipMessage reads one message with a Content-Length and returns its first
// line.
func skipMessage(from *bufio.Reader) (string, error) {
	first, length := "", 0
	for {
		line, err := from.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		line = bytes.TrimSuffix(line[:len(line)-1], []byte("\r"))
		if first == "" {
			first = string(line)
		}
		if len(line) == 0 {
			_, err := io.CopyN(io.Discard, from, int64(length))
			return first, err
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return "", err
			}
		}
	}
}
