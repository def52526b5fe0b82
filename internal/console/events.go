package console

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Bounds on streams of events. Nothing is queued for a stream: each write says
// what changed since the one before, so that a client that reads slowly gets
// fewer of them; one that reads nothing for slowest is dropped, and resumes
// with Last-Event-ID when it comes back.
const (
	maxStreams = 64
	slowest    = 10 * time.Second
	heartbeat  = 15 * time.Second // a comment, so that proxies keep the connection
	retryAfter = 1000             // ms, until a browser asks again
)

// events streams server-sent events: "fleet" is a FleetView, whole at first and
// then what changed; where a model is named, "model" is a ModelEvent of it.
func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	model := r.URL.Query().Get("model")
	if model != "" {
		snapshot, _, err := c.now()
		if err == nil {
			model, err = named(snapshot, model)
		}
		if err != nil {
			c.answer(func(*http.Request) (any, error) { return nil, err })(w, r)
			return
		}
	}
	if !c.feed.enter() {
		w.Header().Set("Retry-After", "5")
		c.refuse(w, r, refusal{http.StatusServiceUnavailable, "busy", fmt.Sprintf("%d pages are open already. Close one.", maxStreams)})
		return
	}
	defer c.feed.leave()
	s := stream{control: http.NewResponseController(w), w: w, model: model, console: c}
	_ = s.control.SetReadDeadline(time.Time{}) // the request was read; its end says that the client went away
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	if accepts(r) {
		w.Header().Set("Content-Encoding", "gzip")
		s.packer, _ = gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is one that there is
	}
	w.Header().Add("Vary", "Accept-Encoding")
	w.WriteHeader(http.StatusOK)
	s.run(r)
}

// stream is one client of events.
type stream struct {
	console *Console
	w       http.ResponseWriter
	packer  *gzip.Writer // nil: as it is
	control *http.ResponseController
	model   string
}

// run writes until the client or the server goes away.
func (s stream) run(r *http.Request) {
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		id = r.URL.Query().Get("since") // of a first connection, which can set no header
	}
	if s.write(fmt.Appendf(nil, "retry: %d\n\n", retryAfter)) != nil {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		view, changed := s.console.feed.since(id)
		if view.ID != "" && view.ID != id {
			id = view.ID
			text, err := s.event(view)
			if err != nil || s.write(text) != nil {
				return
			}
		}
	waiting:
		for {
			select {
			case <-changed:
				break waiting
			case <-beat.C:
				if s.write([]byte(": still here\n\n")) != nil {
					return
				}
			case <-s.console.feed.ending:
				return
			case <-r.Context().Done():
				return
			}
		}
	}
}

// ModelEvent is one tick of one model: its status and the point of its charts.
type ModelEvent struct {
	Status ModelStatus `json:"status"`
	Columns
}

func (s stream) event(view FleetView) ([]byte, error) {
	var b bytes.Buffer
	if s.model != "" {
		if m, ok := s.console.modelEvent(s.model); ok {
			text, err := json.Marshal(m)
			if err != nil {
				return nil, fmt.Errorf("encode an event of %s: %w", s.model, err)
			}
			fmt.Fprintf(&b, "event: model\ndata: %s\n\n", text)
		}
	}
	text, err := json.Marshal(view)
	if err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	fmt.Fprintf(&b, "id: %s\nevent: fleet\ndata: %s\n\n", view.ID, text)
	return b.Bytes(), nil
}

// write sends, and fails when the client does not read.
func (s stream) write(text []byte) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(cmp.Or(s.console.feed.patience, slowest))) // a recorder has none
	if s.packer != nil {
		if _, err := s.packer.Write(text); err != nil {
			return fmt.Errorf("write events: %w", err)
		}
		if err := s.packer.Flush(); err != nil {
			return fmt.Errorf("write events: %w", err)
		}
	} else if _, err := s.w.Write(text); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	return nil
}

// modelEvent is the newest tick of a model; false where it is gone.
func (c *Console) modelEvent(model string) (ModelEvent, bool) {
	snapshot, decision, ok := c.Fleet.Snapshot()
	if !ok {
		return ModelEvent{}, false
	}
	for _, m := range c.standing(snapshot, decision, time.Now()).Models {
		if m.Name == model {
			fresh := max(freshTicks*snapshot.Tick, 5*time.Second)
			return ModelEvent{Status: m, Columns: columns([]time.Time{snapshot.Now}, []Point{point(m, fresh)})}, true
		}
	}
	return ModelEvent{}, false
}

// enter admits one more stream, if there is room.
func (f *feed) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.streams >= maxStreams {
		return false
	}
	f.streams++
	return true
}

func (f *feed) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams--
}

// fleetView is the whole fleet, as of now.
func (c *Console) fleetView(r *http.Request) (any, error) {
	if _, _, err := c.now(); err != nil {
		return nil, err
	}
	c.look(r.Context())
	view, _ := c.feed.since("")
	return view, nil
}
