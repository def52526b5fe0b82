package gateway

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// BenchmarkOverhead is a request of 2 KB over real sockets: straight to an
// upstream that answers at once, and through the gateway with parsing,
// admission and metrics on. Both ends and the upstream run in this process, so
// that what the gateway costs is the difference; cpu-µs/op counts all threads.
func BenchmarkOverhead(b *testing.B) {
	answer := []byte(`{"choices":[{"message":{"content":"` + strings.Repeat("x", 200) + `"}}],"usage":{"completion_tokens":42}}`)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Write(answer)
	}))
	defer upstream.Close()
	g := &Gateway{
		Models: []scale.Model{{Name: modelName, SLO: scale.SLO{TTFT: time.Second, TPOT: time.Second, MaxHold: time.Minute}}},
		Limits: Limits{MaxHeld: 1000, MaxHeldBytes: 1 << 30, MaxBody: 1 << 20}, Logger: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	server := httptest.NewUnstartedServer(nil)
	server.Config = g.Server()
	server.Start()
	defer func() {
		server.Close()
		cancel()
		<-done
	}()
	g.Route(modelName, []scale.Route{route("a", upstream.Listener.Addr().String(), 1000)})
	body := `{"model":"` + modelName + `","messages":[{"role":"user","content":"` + strings.Repeat("some words, ", 160) + `"}],"max_tokens":100}`
	for name, url := range map[string]string{"direct": upstream.URL, "gateway": server.URL} {
		b.Run(name, func(b *testing.B) {
			client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}}
			defer client.CloseIdleConnections()
			b.ReportAllocs()
			before := cpu(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					reply, err := client.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, reply.Body)
					reply.Body.Close()
				}
			})
			b.ReportMetric(float64(cpu(b)-before)/float64(time.Microsecond)/float64(b.N), "cpu-µs/op")
		})
	}
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
