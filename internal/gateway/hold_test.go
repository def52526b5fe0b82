package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

func (r *rig) held() int { return int(r.Traffic(modelName, time.Now()).Demand.Held.Value) }

// Requests at zero are held and ask for a replica; when one is Ready all are
// served, each with its own reply.
func TestHoldAndWake(t *testing.T) {
	r := newRig(t, nil)
	const n = 300
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			prompt := fmt.Sprintf("held%d", i)
			reply, body, err := r.ask("/v1/chat/completions", echoBody(prompt, 4))
			if err != nil || body != echoReply(prompt, 4) {
				t.Errorf("%s: %q, %v", prompt, body, err)
			}
			if held, err := strconv.Atoi(reply.Header.Get("X-Penstock-Held-Ms")); err != nil || held < 0 || reply.Header.Get("X-Penstock-Woke") != "true" {
				t.Errorf("%s: header %v", prompt, reply.Header)
			}
		})
	}
	eventually(t, "all are held", func() bool { return r.held() == n })
	if r.woken.Load() == 0 {
		t.Error("nobody was woken")
	}
	if reply, err := r.client.Get(r.url + "/readyz"); err != nil || reply.StatusCode != http.StatusOK {
		t.Errorf("readyz at zero replicas: %v, %v", reply, err)
	} else {
		reply.Body.Close()
	}
	d := r.Traffic(modelName, time.Now()).Demand
	if d.HeldFor.Value <= 0 || d.HeldTokens.Value < n || !d.LastArrival.Known() {
		t.Errorf("demand while %d are held: %+v", n, d)
	}
	starting := route("a", "", 8)
	starting.Replica.Phase = scale.Starting
	r.Route(modelName, []scale.Route{starting})
	if r.held() != n {
		t.Fatal("a Starting replica took something")
	}
	r.Route(modelName, []scale.Route{route("a", upstream(t, echoTokens(time.Millisecond)), 8)})
	for r.held() > 0 {
		if at := r.InFlight(modelName, "a"); at > 8 {
			t.Fatalf("%d at a replica whose batch limit is 8", at)
		}
	}
	running.Wait()
	r.wantOutcome(scale.OK, n)
	d = r.Traffic(modelName, time.Now()).Demand
	if d.Good.Value != n || d.Bad.Value != 0 {
		t.Errorf("%v good and %v bad of those that waited for the wake, want %d and 0", d.Good.Value, d.Bad.Value, n)
	}
}

// A hold that comes to its deadline says so, once, and the client is told not
// to begin another.
func TestHoldExpires(t *testing.T) {
	r := newRig(t, func(g *Gateway) { g.Models[0].SLO.MaxHold = 150 * time.Millisecond })
	at := time.Now()
	reply, body, _ := r.ask("/v1/chat/completions", chatBody(""))
	if took := time.Since(at); took < 150*time.Millisecond || took > 5*time.Second {
		t.Errorf("answered after %v", took)
	}
	if reply.StatusCode != http.StatusGatewayTimeout || reply.Header.Get("X-Should-Retry") != "false" || !strings.Contains(body, `"code":"hold_deadline"`) {
		t.Errorf("%d %v %s", reply.StatusCode, reply.Header, body)
	}
	r.wantOutcome(scale.Expired, 1)
	if d := r.Traffic(modelName, time.Now()).Demand; d.Bad.Value != 1 || d.Held.Value != 0 {
		t.Errorf("%+v", d)
	}
}

// A full hold refuses at once, says why, and when to come again.
func TestFullHoldRefuses(t *testing.T) {
	for name, limits := range map[string]Limits{
		"by count": {MaxHeld: 1, MaxHeldBytes: 1 << 20, MaxBody: 1 << 20},
		"by bytes": {MaxHeld: 10, MaxHeldBytes: 100, MaxBody: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(g *Gateway) {
				g.Limits = limits
				g.Models[0].Variants = []scale.Variant{{Name: "a100", ColdStart: 20 * time.Second}}
			})
			ctx, cancel := context.WithCancel(t.Context())
			var first sync.WaitGroup
			first.Go(func() {
				if reply, err := r.post(ctx, "/v1/chat/completions", chatBody("")); err == nil {
					reply.Body.Close()
				}
			})
			eventually(t, "the first is held", func() bool { return r.held() == 1 })
			reply, body, _ := r.ask("/v1/chat/completions", chatBody(""))
			if reply.StatusCode != http.StatusTooManyRequests || reply.Header.Get("Retry-After") != "20" ||
				reply.Header.Get("X-Should-Retry") != "true" || !strings.Contains(body, `"code":"queue_full"`) {
				t.Errorf("%d %v %s", reply.StatusCode, reply.Header, body)
			}
			r.wantOutcome(scale.Refused, 1)
			cancel()
			first.Wait()
			r.wantOutcome(scale.Cancelled, 1)
		})
	}
}

// Draining refuses what is new, answers what is held, and lets streams finish.
func TestDrain(t *testing.T) {
	r := newRig(t, nil)
	more := make(chan struct{})
	r.Route(modelName, []scale.Route{route("a", upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\n")
		http.NewResponseController(w).Flush()
		<-more
		io.WriteString(w, "data: [DONE]\n\n")
	}), 1)})
	stream, err := r.post(t.Context(), "/v1/completions", chatBody(`,"stream":true`))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	held := make(chan *http.Response, 1)
	go func() {
		reply, err := r.post(t.Context(), "/v1/completions", chatBody(""))
		if err != nil {
			t.Error(err)
		}
		held <- reply
	}()
	eventually(t, "one is held", func() bool { return r.held() == 1 })
	drained := make(chan error, 1)
	go func() { drained <- r.Drain(t.Context()) }()
	second := <-held
	fresh, _, _ := r.ask("/v1/completions", chatBody(""))
	for what, reply := range map[string]*http.Response{"held": second, "new": fresh} {
		if reply.StatusCode != http.StatusServiceUnavailable || reply.Header.Get("Retry-After") != "1" || !reply.Close {
			t.Errorf("the %s request got %d, %v, close %v", what, reply.StatusCode, reply.Header, reply.Close)
		}
		reply.Body.Close()
	}
	for path, want := range map[string]int{"/readyz": http.StatusServiceUnavailable, "/healthz": http.StatusOK} {
		reply, err := r.client.Get(r.url + path)
		if err != nil || reply.StatusCode != want {
			t.Errorf("%s while draining: %v, %v", path, reply, err)
		}
		reply.Body.Close()
	}
	select {
	case err := <-drained:
		t.Fatalf("drained before the stream ended: %v", err)
	default:
	}
	close(more)
	if body, err := io.ReadAll(stream.Body); err != nil || string(body) != "data: 1\n\ndata: [DONE]\n\n" {
		t.Errorf("the stream: %q, %v", body, err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// What does not finish in time ends visibly.
func TestDrainCutsWhatIsLeft(t *testing.T) {
	r := newRig(t, nil)
	r.routes(upstream(t, echoTokens(10*time.Millisecond)))
	stream, err := r.post(t.Context(), "/v1/chat/completions", echoBody("long", 1_000_000))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Drain(ctx); err == nil || !strings.Contains(err.Error(), "1 requests cut short") {
		t.Errorf("drain: %v", err)
	}
	body, err := io.ReadAll(stream.Body)
	if err == nil || !strings.Contains(string(body), `"code":"gateway_stopped"`) {
		t.Errorf("the stream ended with %q, %v", body, err)
	}
	r.wantOutcome(scale.Interrupted, 1)
}

// Continuous change of the fleet loses, interrupts and mixes nothing.
func TestFleetChangesUnderLoad(t *testing.T) {
	r := newRig(t, nil)
	var all []string
	for range 4 {
		all = append(all, upstream(t, echoTokens(time.Millisecond)))
	}
	stop := make(chan struct{})
	var changing, running sync.WaitGroup
	changing.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			var routes []scale.Route
			for i, address := range all {
				one := route(fmt.Sprintf("r%d", i), address, 5)
				if (n+i)%3 == 0 {
					one.Replica.Phase = scale.Draining
				}
				if (n/2+i)%4 != 0 {
					routes = append(routes, one)
				}
			}
			r.Route(modelName, routes)
			for _, one := range routes {
				if one.Replica.Phase != scale.Draining {
					continue
				}
				before := r.InFlight(modelName, one.Replica.ID)
				if after := r.InFlight(modelName, one.Replica.ID); after > before {
					t.Errorf("a Draining replica went from %d to %d requests", before, after)
				}
			}
			time.Sleep(time.Millisecond)
		}
	})
	const workers, each = 40, 25
	for worker := range workers {
		running.Go(func() {
			for i := range each {
				prompt := fmt.Sprintf("w%d-%d", worker, i)
				if _, body, err := r.ask("/v1/chat/completions", echoBody(prompt, 3)); err != nil || body != echoReply(prompt, 3) {
					t.Errorf("%s: %q, %v", prompt, body, err)
				}
			}
		})
	}
	running.Wait()
	close(stop)
	changing.Wait()
	r.wantOutcome(scale.OK, workers*each)
}
