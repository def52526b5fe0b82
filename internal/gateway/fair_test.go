package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// One tenant floods a replica that serves two at a time; another's requests, one
// after the other, wait for a place and not for the flood.
func TestAFloodOfOneTenantDoesNotDelayAnother(t *testing.T) {
	r := newTenantRig(t, scale.TenantLimits{}, func(g *Gateway) {
		g.Tenants[0].Priority, g.Tenants[1].Models = 0, nil
	})
	var served atomic.Int64
	r.Route(modelName, []scale.Route{route("a", upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(5 * time.Millisecond)
		served.Add(1)
		io.WriteString(w, `{"usage":{"completion_tokens":1}}`)
	}), 2)})
	const flood, few = 200, 8
	var running sync.WaitGroup
	for range flood {
		running.Go(func() { r.as("Bearer "+acmeKey, http.MethodPost, "/v1/completions", chatBody("")) })
	}
	eventually(t, "the flood is held", func() bool { return r.held() > flood/2 })
	for i := range few {
		before := served.Load()
		reply, _ := r.as("Bearer "+otherKey, http.MethodPost, "/v1/completions", chatBody(""))
		// Two were at the replica, and two more may go before its turn and beside it.
		if ahead := served.Load() - before; reply.StatusCode != http.StatusOK || ahead > 8 {
			t.Errorf("request %d of the other tenant got %d after %d others", i, reply.StatusCode, ahead)
		}
	}
	if n := served.Load(); n > flood/2+flood/4 {
		t.Errorf("%d of %d requests of the flood were served meanwhile: there was no flood", n, flood)
	}
	running.Wait()
}

// Prompts that begin alike go where such a one was before, while replicas are
// equally loaded.
func TestPromptsThatBeginAlikeGoToOneReplica(t *testing.T) {
	r := newRig(t, nil)
	var counts [3]atomic.Int64
	var addresses []string
	for i := range counts {
		addresses = append(addresses, upstream(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			counts[i].Add(1)
			io.WriteString(w, `{"usage":{"completion_tokens":1}}`)
		}))
	}
	r.routes(addresses...)
	body := func(system string) string {
		return fmt.Sprintf(`{"model":%q,"messages":[{"role":"system","content":%q},{"role":"user","content":"hello"}]}`, modelName, strings.Repeat(system, 3000))
	}
	r.ask("/v1/chat/completions", body("s"))
	// Of equals the first by ID is taken, which is a new one from now on.
	r.Route(modelName, []scale.Route{route("q", addresses[1], 64), route("r0", addresses[0], 64), route("r2", addresses[2], 64)})
	for range 19 {
		if reply, text, err := r.ask("/v1/chat/completions", body("s")); err != nil || reply.StatusCode != http.StatusOK {
			t.Fatalf("%d %s, %v", reply.StatusCode, text, err)
		}
	}
	r.ask("/v1/chat/completions", body("t"))
	if counts[0].Load() != 20 || counts[1].Load() != 1 || counts[2].Load() != 0 {
		t.Errorf("20 requests with one system prompt and one with another went %d, %d and %d to each replica, want 20, 1 and 0",
			counts[0].Load(), counts[1].Load(), counts[2].Load())
	}
}
