package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/emulator"
	"github.com/penstock/penstock/internal/load"
)

// Replica is an emulated engine that writes down what it sees: requests that
// were aborted, and how many it had at once. The file survives a SIGKILL.
type Replica struct {
	Engine  *emulator.Server
	Address string
	ID      string
	Dir     string
	Limit   int // requests at once that it should have at most
}

// sight is one line of a replica's file.
type sight struct {
	PID     int           `json:"pid,omitempty"`     // the first line
	Aborted string        `json:"aborted,omitempty"` // ID of a request, see load.HeaderRequest
	At      int64         `json:"at,omitempty"`      // Unix time in ns
	Peak    int           `json:"peak,omitempty"`    // more at once than before
	Over    time.Duration `json:"over,omitempty"`    // how long there were more than Limit
}

// Run serves until ctx ends.
func (r *Replica) Run(ctx context.Context) (err error) {
	file, err := os.OpenFile(filepath.Join(r.Dir, r.ID+".jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open what %s saw: %w", r.ID, err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := &watch{to: json.NewEncoder(file), limit: r.Limit}
	if err := w.to.Encode(sight{PID: os.Getpid()}); err != nil {
		return fmt.Errorf("write what %s saw: %w", r.ID, err)
	}
	api := r.Engine.Handler()
	server := &http.Server{Addr: r.Address, ReadHeaderTimeout: 10 * time.Second, Handler: w.over(api)}
	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	ended := make(chan error, 1)
	running, stop := context.WithCancel(ctx)
	defer stop()
	go func() { ended <- r.Engine.Run(running) }()
	select {
	case <-ctx.Done():
	case err = <-served:
		served <- http.ErrServerClosed
		err = fmt.Errorf("serve at %s: %w", r.Address, err)
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.Engine.DrainTimeout+time.Second)
	defer cancel()
	if server.Shutdown(grace) != nil {
		_ = server.Close()
	}
	stop()
	if last := <-served; !errors.Is(last, http.ErrServerClosed) {
		err = errors.Join(err, last)
	}
	return errors.Join(err, <-ended, w.fault)
}

// watch looks on at a replica's requests.
type watch struct {
	mu    sync.Mutex
	to    *json.Encoder
	limit int
	now   int // requests that are there
	peak  int
	since time.Time // when there were more than limit, zero for not
	fault error
}

// over returns a handler that looks on.
func (w *watch) over(api http.Handler) http.Handler {
	return http.HandlerFunc(func(to http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(load.HeaderRequest)
		if id == "" { // a probe, a scrape
			api.ServeHTTP(to, r)
			return
		}
		w.enter()
		gone := context.AfterFunc(r.Context(), func() { w.leave(id) })
		api.ServeHTTP(to, r)
		if gone() {
			w.leave("")
		}
	})
}

func (w *watch) enter() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now++
	if w.now > w.peak {
		w.peak = w.now
		w.note(sight{Peak: w.peak})
	}
	if w.now > w.limit && w.since.IsZero() {
		w.since = time.Now()
	}
}

// leave takes in that a request is over; one that was aborted says which.
func (w *watch) leave(aborted string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now--
	if aborted != "" {
		w.note(sight{Aborted: aborted, At: time.Now().UnixNano()})
	}
	if w.now <= w.limit && !w.since.IsZero() {
		w.note(sight{Over: time.Since(w.since)})
		w.since = time.Time{}
	}
}

func (w *watch) note(s sight) {
	if err := w.to.Encode(s); err != nil && w.fault == nil {
		w.fault = fmt.Errorf("write what was seen: %w", err)
	}
}

// seen is what the replicas of a run saw together.
type seen struct {
	Replicas int
	Peak     int
	Over     time.Duration // longest
	aborts   map[string]int64
}

// gather reads what the replicas wrote. A line that a SIGKILL cut short is
// left out.
func gather(dir string) (seen, error) {
	s := seen{aborts: map[string]int64{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return s, fmt.Errorf("find what replicas saw: %w", err)
	}
	s.Replicas = len(files)
	for _, name := range files {
		if err := s.read(name); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *seen) read(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("read what a replica saw: %w", err)
	}
	defer file.Close() //nolint:errcheck // was read only
	lines := json.NewDecoder(file)
	for {
		var one sight
		if lines.Decode(&one) != nil { // the end, or a line cut short
			return nil
		}
		s.Peak, s.Over = max(s.Peak, one.Peak), max(s.Over, one.Over)
		if one.Aborted != "" {
			s.aborts[one.Aborted] = one.At
		}
	}
}

// pidOf returns the process of a replica.
func pidOf(dir, id string) (int, error) {
	file, err := os.Open(filepath.Join(dir, id+".jsonl"))
	if err != nil {
		return 0, fmt.Errorf("find the process of %s: %w", id, err)
	}
	defer file.Close() //nolint:errcheck // was read only
	var first sight
	if err := json.NewDecoder(file).Decode(&first); err != nil {
		return 0, fmt.Errorf("find the process of %s: %w", id, err)
	}
	return first.PID, nil
}
