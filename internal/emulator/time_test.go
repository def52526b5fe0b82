package emulator_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/internal/emulator"
	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// a100 is an 8B model on one A100, with the points that these tests touch.
func a100() scale.Profile {
	return scale.Profile{
		Name: "8b-a100",
		Linear: []scale.LinearPoint{
			{Tokens: 1, Time: 9632 * time.Microsecond},
			{Tokens: 64, Time: 11136 * time.Microsecond},
			{Tokens: 512, Time: 34432 * time.Microsecond},
			{Tokens: 2048, Time: 144704 * time.Microsecond},
		},
		Overhead: 3 * time.Millisecond, Bandwidth: 2039e9 * 0.85,
		KVBytesPerToken: 131072, WeightBytes: 16.1e9, MemoryBytes: 80e9, MemoryUtilisation: 0.90,
		PrefillChunk: 2048, MaxBatch: 256,
	}
}

// recorder is a connection that notes when each flush came.
type recorder struct {
	*httptest.ResponseRecorder
	flushes []time.Time
	slow    time.Duration // what a flush takes
}

func (r *recorder) Flush() {
	r.flushes = append(r.flushes, time.Now())
	time.Sleep(r.slow)
}

// bubbled is a test in virtual time and its server.
type bubbled struct {
	*testing.T
	server http.Handler
}

// bubble runs a server and a test of it in virtual time.
func bubble(t *testing.T, s *emulator.Server, test func(bubbled)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s.Model = "m"
		s.Logger = slog.New(slog.DiscardHandler)
		h := s.Handler()
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		test(bubbled{t, h})
		stop()
		group.Wait()
	})
}

func (t bubbled) ask(r *recorder, prompt string, tokens int) {
	t.Helper()
	r.ResponseRecorder = httptest.NewRecorder()
	body := fmt.Sprintf(`{"model":"m","stream":true,"max_tokens":%d,"prompt":%q}`, tokens, prompt)
	t.server.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/completions", strings.NewReader(body)))
	heard, err := listen(r.Body)
	if err != nil || !heard.done {
		t.Errorf("heard %d tokens, done %v: %v", len(heard.tokens), heard.done, err)
	}
	if err := verify(heard.tokens, prompt, tokens); err != nil {
		t.Error(err)
	}
}

func prompt(words int) string { return strings.TrimSpace(strings.Repeat("abc ", words)) }

func TestEachTokenComesWhenTheProfileSays(t *testing.T) {
	bubble(t, &emulator.Server{Profile: a100()}, func(t bubbled) {
		began := time.Now()
		r := &recorder{}
		t.ask(r, prompt(512), 200)
		e := engine.New(a100())
		if err := e.Add(engine.Job{ID: 1, PromptTokens: 512, OutputTokens: 200}); err != nil {
			t.Fatal(err)
		}
		want := began
		if !r.flushes[0].Equal(began) {
			t.Errorf("the header came after %v, not at once", r.flushes[0].Sub(began))
		}
		for i, got := range r.flushes[1:] {
			it, _ := e.Iterate()
			want = want.Add(it.Took)
			if !got.Equal(want) {
				t.Fatalf("token %d came after %v, the profile says %v", i, got.Sub(began), want.Sub(began))
			}
		}
		t.Logf("512+200 tokens alone: TTFT %v, ITL %v", r.flushes[1].Sub(began), r.flushes[200].Sub(r.flushes[1])/199)
	})
}

func TestManyAtOnceTakeWhatTheEngineTakes(t *testing.T) {
	bubble(t, &emulator.Server{Profile: a100()}, func(t bubbled) {
		began := time.Now()
		var group sync.WaitGroup
		for i := range 64 {
			group.Go(func() { t.ask(&recorder{}, prompt(100+i), 100) })
		}
		group.Wait()
		// 64 prompts of 131.5 tokens on average in chunks of 2,048, then 99 steps.
		took := time.Since(began)
		least := 99 * 14136 * time.Microsecond
		if took < least || took > 2*least {
			t.Errorf("64 requests took %v, the decode steps alone take %v", took, least)
		}
	})
}

func TestASlowClientGetsAllItsTokensAndDelaysNobody(t *testing.T) {
	bubble(t, &emulator.Server{Profile: a100()}, func(t bubbled) {
		began := time.Now()
		var group sync.WaitGroup
		slow, fast := &recorder{slow: 10 * time.Second}, &recorder{}
		group.Go(func() { t.ask(slow, prompt(10), 2000) })
		group.Go(func() { t.ask(fast, prompt(11), 2000) })
		group.Wait()
		if got := fast.flushes[2000].Sub(began); got > 30*time.Second {
			t.Errorf("beside a slow client 2000 tokens took %v", got)
		}
		// Some 700 tokens exist after each ten seconds, more than go out in one write.
		if len(slow.flushes) < 5 || len(slow.flushes) > 15 {
			t.Errorf("the slow client got 2000 tokens in %d writes", len(slow.flushes)-1)
		}
	})
}

func TestALoadingServerAnswers503(t *testing.T) {
	bubble(t, &emulator.Server{Profile: a100(), LoadDelay: 20 * time.Second}, func(t bubbled) {
		status := func(path string) int {
			w := httptest.NewRecorder()
			method := http.MethodGet
			if strings.HasSuffix(path, "completions") {
				method = http.MethodPost
			}
			t.server.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(`{"model":"m","prompt":"a","max_tokens":1}`)))
			return w.Code
		}
		time.Sleep(20*time.Second - 1)
		if a, b := status("/health"), status("/v1/completions"); a != 503 || b != 503 {
			t.Errorf("just before it has loaded: health %d, completions %d", a, b)
		}
		time.Sleep(time.Second)
		if a, b := status("/health"), status("/v1/completions"); a != 200 || b != 200 {
			t.Errorf("when it has loaded: health %d, completions %d", a, b)
		}
	})
}

func TestAServerThatEndsWhileLoadingEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &emulator.Server{Profile: a100(), Model: "m", LoadDelay: time.Hour, Logger: slog.New(slog.DiscardHandler)}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		began := time.Now()
		if err := s.Run(ctx); err != nil || time.Since(began) != time.Second {
			t.Errorf("it ended after %v: %v", time.Since(began), err)
		}
	})
}
