package cli

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestMetricsOfAllPartsGoTogether: one name in two parts is an error for
// whoever scrapes them. Some are told after the first tick.
func TestMetricsOfAllPartsGoTogether(t *testing.T) {
	m := serveQuick(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		missing := missingMetrics(ctx, t, m.consoleURL(), "go_goroutines", "process_resident_memory_bytes", "penstock_held_requests",
			"penstock_batch_limit", "penstock_desired_replicas")
		if missing == "" {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s is missing", missing)
		}
	}
}

// missingMetrics returns one of the names that /metrics does not have.
func missingMetrics(ctx context.Context, t *testing.T, url string, names ...string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode != http.StatusOK {
		t.Fatalf("%d: %s (%v)", reply.StatusCode, text, err)
	}
	for _, name := range names {
		if !strings.Contains(string(text), "\n"+name) {
			return name
		}
	}
	return ""
}
