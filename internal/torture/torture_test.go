package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock/penstock/internal/load"
	"github.com/penstock/penstock/internal/scale"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAReplicaWritesDownWhatItSees(t *testing.T) {
	var file bytes.Buffer
	w := &watch{to: json.NewEncoder(&file), limit: 1}
	arrived, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(w.over(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	})))
	defer server.Close()
	defer server.Client().CloseIdleConnections()
	ask := func(ctx context.Context, id string) chan error {
		ended := make(chan error, 1)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set(load.HeaderRequest, id)
		go func() {
			reply, err := server.Client().Do(request)
			if err == nil {
				err = reply.Body.Close()
			}
			ended <- err
		}()
		<-arrived
		return ended
	}
	ctx, leave := context.WithCancel(t.Context())
	first, second := ask(t.Context(), "1"), ask(ctx, "2")
	leave()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("the client that left got %v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		w.mu.Lock()
		now := w.now
		w.mu.Unlock()
		if now == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("its leaving was not seen")
		}
		time.Sleep(time.Millisecond)
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
	name := filepath.Join(t.TempDir(), "r.jsonl")
	if err := os.WriteFile(name, append(file.Bytes(), []byte(`{"aborted":"3","at`)...), 0o600); err != nil {
		t.Fatal(err)
	}
	saw, err := gather(filepath.Dir(name))
	if err != nil {
		t.Fatal(err)
	}
	if _, two := saw.aborts["2"]; !two || len(saw.aborts) != 1 || saw.Peak != 2 || saw.Over <= 0 || saw.Replicas != 1 {
		t.Errorf("%+v of %s", saw, &file)
	}
}

func TestTheBalanceGoesOnWhereAGatewayGoesDown(t *testing.T) {
	var asked atomic.Int64
	serve := func(status int) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if body, _ := io.ReadAll(r.Body); string(body) != "body" {
				t.Errorf("the body is %q", body)
			}
			asked.Add(1)
			w.Header().Set("X-Should-Retry", "true")
			w.WriteHeader(status)
		}))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	b := &balance{base: base, hosts: []string{serve(http.StatusServiceUnavailable), strings.TrimPrefix(gone.URL, "http://"), serve(http.StatusTooManyRequests)}}
	for range 3 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://any/", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		reply, err := b.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
		if reply.StatusCode != http.StatusTooManyRequests {
			t.Errorf("status %d, want what the gateway that stays says", reply.StatusCode)
		}
	}
	if b.refused.Load() == 0 || b.dead.Load() == 0 || asked.Load() != 3+b.refused.Load() {
		t.Errorf("%d refused, %d unreachable, %d asked", b.refused.Load(), b.dead.Load(), asked.Load())
	}
}

func TestOnlyAGatewayThatEndsMayCloseAConnectionUnread(t *testing.T) {
	b := &balance{}
	b.ends("ending", true)
	b.ends("back", true)
	b.ends("back", false)
	now := time.Now()
	for name, c := range map[string]struct {
		host string
		sent time.Time
		err  error
		want bool
	}{
		"closed at once":             {"ending", now, io.EOF, true},
		"reset at once":              {"ending", now, &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, true},
		"closed after it was held":   {"ending", now.Add(-time.Second), io.EOF, false},
		"by one that is back":        {"back", now, io.EOF, false},
		"by one that does not end":   {"other", now, io.EOF, false},
		"for another reason at once": {"ending", now, errors.New("malformed reply"), false},
	} {
		if got := b.unread(c.host, c.sent, c.err); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestEndsAreToldApart(t *testing.T) {
	at := time.Now()
	c := newCrowd(&Soak{}, &balance{}, time.Second)
	c.killed(kill{host: "b", at: at})
	end := func(id scale.RequestID, host string, outcome scale.Outcome, detail string, sent time.Duration) {
		c.balance.went.Store(string('0'+rune(id)), host)
		c.ended(load.Ended{ID: id, Outcome: outcome, Detail: detail, Sent: at.Add(sent), Took: time.Second})
	}
	end(1, "b", scale.Lost, "no answer: EOF", -500*time.Millisecond)
	end(2, "a", scale.Lost, "no answer: EOF", -500*time.Millisecond)
	end(3, "b", scale.Lost, "cut short after 3 pieces: EOF", time.Minute)
	end(4, "a", scale.Corrupted, "token 3 is wrong", 0)
	c.ended(load.Ended{ID: 5, Outcome: scale.Expired, Held: 1200 * time.Millisecond, Left: at})
	if c.byKill != 1 || c.lost != 1 || c.silent != 1 || c.late != 1 || len(c.left) != 1 || len(c.examples) != 3 || c.outcomes.Sum() != 5 {
		t.Errorf("%+v", c)
	}
}

func TestASlopeIsThatOfTheLongestLife(t *testing.T) {
	start := time.Now()
	var samples []sample
	add := func(pid, n int, from, perSecond float64) {
		for range n {
			i := float64(len(samples))
			samples = append(samples, sample{at: start.Add(time.Duration(i) * time.Second), pid: pid, memory: from + i*perSecond})
		}
	}
	add(1, 20, 1e9, 1e6)
	add(2, 100, 5e8, 10)
	add(3, 50, 1e6, -1e6)
	samples[60].memory = 1e12 // one that says nothing
	got, known := slope(samples, 20*time.Second)
	if !known || got < 35_900 || got > 36_100 {
		t.Errorf("%v bytes an hour, want 36,000", got)
	}
	if _, known := slope(samples, 95*time.Second); known {
		t.Error("five samples make no slope")
	}
}
