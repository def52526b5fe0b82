package load

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
)

func TestDiscover(t *testing.T) {
	for what, tc := range map[string]struct {
		status int
		body   string
		want   []Model
		fault  string
	}{
		"a gateway of Penstock": {
			200, `{"object":"list","data":[{"id":"chat","object":"model","owned_by":"penstock","penstock":{"slo":{"ttft_ms":1000,"tpot_ms":50,"objective":0.99,"max_hold_ms":120000}}},
			 {"id":"embed","penstock":{"slo":{"latency_ms":250.5,"objective":0.9}}}]}`,
			[]Model{
				{Name: "chat", SLO: scale.SLO{TTFT: time.Second, TPOT: 50 * time.Millisecond, Objective: 0.99, MaxHold: 2 * time.Minute}},
				{Name: "embed", SLO: scale.SLO{Latency: 250500 * time.Microsecond, Objective: 0.9}},
			},
			"",
		},
		"an emulated engine":  {200, `{"data":[{"id":"m","owned_by":"penstock-emulator"}]}`, []Model{{Name: "m", Emulated: true}}, ""},
		"no models":           {200, `{"data":[]}`, nil, ""},
		"a server that can't": {404, `not here`, nil, "404 Not Found: not here"},
		"not JSON":            {200, `<html>`, nil, "decode the list of models"},
	} {
		t.Run(what, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v1/models" {
					t.Errorf("asked for %s", r.URL.Path)
				}
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
			}))
			defer server.Close()
			client := NewClient()
			defer client.CloseIdleConnections()
			got, err := Discover(t.Context(), client, server.URL)
			if (err != nil) != (tc.fault != "") || (err != nil && !strings.Contains(err.Error(), tc.fault)) {
				t.Errorf("error %v, want %q", err, tc.fault)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
