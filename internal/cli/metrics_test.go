package cli

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestMetricsOfAllPartsGoTogether: one name in two parts is an error for
// whoever scrapes them.
func TestMetricsOfAllPartsGoTogether(t *testing.T) {
	m := serveQuick(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.consoleURL()+"/metrics", http.NoBody)
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
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes", "penstock_held_requests", "penstock_replicas"} {
		if !strings.Contains(string(text), "\n"+name) {
			t.Errorf("%s is missing", name)
		}
	}
}
