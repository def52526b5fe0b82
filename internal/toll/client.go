package toll

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// client is the process that asks. Its connections to each target are kept from
// one order to the next.
type client struct {
	mu   sync.Mutex
	idle map[string][]*wire
	held holding
}

func newClient() *client { return &client{idle: map[string][]*wire{}} }

// run serves nothing: the client only obeys.
func (c *client) run(ctx context.Context, ready func(string)) error {
	ready("")
	<-ctx.Done()
	c.held.waiting.Wait()
	c.close()
	return nil
}

// close closes the connections that nobody uses.
func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, idle := range c.idle {
		for _, w := range idle {
			_ = w.conn.Close()
		}
	}
	c.idle = map[string][]*wire{}
}

func (c *client) obey(ctx context.Context, o order) (any, error) {
	switch o.Do {
	case doRate:
		return c.rate(ctx, o)
	case doFlood:
		return c.flood(ctx, o)
	case doStream:
		return c.stream(ctx, o)
	case doHold:
		return c.hold(ctx, o)
	case doAwait:
		return c.held.await(), ctx.Err()
	default:
		return nil, errUnknown
	}
}

// timings is what came of a slice.
type timings struct {
	Requests int             `json:"requests"` // or streams, that ended well
	Failed   int             `json:"failed"`
	Why      string          `json:"why"` // of one that failed
	Took     time.Duration   `json:"took"`
	Delays   []time.Duration `json:"delays"` // of each request, or event; unordered
}

// tally gathers them from many goroutines. What fails is counted, and does not
// end the run: ReverseProxy cuts a reply short where its server closed the
// request's body before its transport saw the end of it.
type tally struct {
	mu  sync.Mutex
	all timings
}

// time takes in how long something took.
func (t *tally) time(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all.Delays = append(t.all.Delays, d)
}

// end takes in how some requests ended: well, but for one where there is an
// error.
func (t *tally) end(requests int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all.Requests += requests
	if err != nil {
		t.all.Failed++
		t.all.Why = err.Error()
	}
}

// rate sends requests at their times, whether or not earlier ones were
// answered. What is timed of one begins when it is sent.
func (c *client) rate(ctx context.Context, o order) (timings, error) {
	text := request(o.Body, "")
	total := max(1, int(o.For.Seconds()*float64(o.Rate)))
	every := time.Second / time.Duration(o.Rate)
	var (
		sending sync.WaitGroup
		all     tally
	)
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range total {
		timer.Reset(time.Until(began.Add(time.Duration(i) * every)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			sending.Wait()
			return timings{}, ctx.Err()
		}
		sending.Go(func() {
			w, err := c.take(ctx, o.Target)
			if err != nil {
				all.end(0, err)
				return
			}
			sent := time.Now()
			if err = w.exchange(text); err != nil {
				all.end(0, err)
			} else {
				all.time(time.Since(sent))
				all.end(1, nil)
			}
			c.give(o.Target, w, err)
		})
	}
	sending.Wait()
	all.all.Took = time.Since(began)
	return all.all, ctx.Err()
}

// flood sends a request over each connection as soon as the one before was
// answered.
func (c *client) flood(ctx context.Context, o order) (timings, error) {
	text := request(o.Body, "")
	var (
		sending sync.WaitGroup
		all     tally
	)
	began := time.Now()
	for range o.Conns {
		sending.Go(func() {
			n := 0
			w, err := c.take(ctx, o.Target)
			for err == nil && time.Since(began) < o.For {
				if err = w.exchange(text); err == nil {
					n++
				}
			}
			all.end(n, err)
			c.give(o.Target, w, err)
		})
	}
	sending.Wait()
	all.all.Took = time.Since(began)
	return all.all, ctx.Err()
}

// stream reads streams whose events say when they were written.
func (*client) stream(ctx context.Context, o order) (timings, error) {
	every := time.Second / time.Duration(o.Rate)
	text := request(2<<10, fmt.Sprintf("%s: %d\r\n%s: %s\r\n", fieldEvents, int(o.For/every), fieldPause, every))
	var (
		reading sync.WaitGroup
		all     tally
	)
	began := time.Now()
	for range o.Conns {
		reading.Go(func() {
			w, err := dial(ctx, o.Target)
			if err != nil {
				all.end(0, err)
				return
			}
			defer w.conn.Close() //nolint:errcheck // it was read to its end
			if err := w.events(text, &all); err != nil {
				all.end(0, err)
			} else {
				all.end(1, nil)
			}
		})
	}
	reading.Wait()
	all.all.Took = time.Since(began)
	return all.all, ctx.Err()
}

// events times each event of one stream, up to [DONE].
func (w *wire) events(request []byte, all *tally) error {
	if _, err := w.conn.Write(request); err != nil {
		return fmt.Errorf("ask for a stream: %w", err)
	}
	body, err := w.begin()
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		line := lines.Bytes()
		if bytes.Equal(line, []byte("data: [DONE]")) {
			return nil
		}
		if text, ok := bytes.CutPrefix(line, []byte(`data: {"t":`)); ok {
			at, err := strconv.ParseInt(string(bytes.TrimSuffix(text, []byte{'}'})), 10, 64)
			if err != nil {
				return fmt.Errorf("read an event: %w", err)
			}
			all.time(clock() - time.Duration(at))
		}
	}
	return errors.Join(errors.New("a stream ended before [DONE]"), lines.Err())
}

// take returns a connection that nobody uses.
func (c *client) take(ctx context.Context, target string) (*wire, error) {
	c.mu.Lock()
	idle := c.idle[target]
	if n := len(idle); n > 0 {
		w := idle[n-1]
		c.idle[target] = idle[:n-1]
		c.mu.Unlock()
		return w, nil
	}
	c.mu.Unlock()
	return dial(ctx, target)
}

// give takes a connection back, unless something was wrong with it.
func (c *client) give(target string, w *wire, err error) {
	if err != nil {
		if w != nil {
			_ = w.conn.Close()
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle[target] = append(c.idle[target], w)
}

// holding are requests whose replies come later.
type holding struct {
	waiting sync.WaitGroup
	mu      sync.Mutex
	next    int
	ended   ended
}

// ended counts them.
type ended struct {
	Answered int    `json:"answered"`
	Lost     int    `json:"lost"`
	Why      string `json:"why,omitempty"` // of one that was lost
}

// hold sends a wave of numbered requests, each on a connection of its own, and
// returns when all are sent.
func (c *client) hold(ctx context.Context, o order) (int, error) {
	h := &c.held
	for range o.Count {
		w, err := dial(ctx, o.Target)
		if err != nil {
			return h.next, err
		}
		h.next++
		if _, err := w.conn.Write(request(o.Body, fmt.Sprintf("%s: %d\r\n", fieldNumber, h.next))); err != nil {
			return h.next, errors.Join(fmt.Errorf("send request %d: %w", h.next, err), w.conn.Close())
		}
		h.waiting.Go(func() {
			cut := context.AfterFunc(ctx, func() { _ = w.conn.Close() })
			defer cut()
			defer w.conn.Close() //nolint:errcheck // its reply was read, or is lost
			h.end(w.read())
		})
	}
	return h.next, nil
}

func (h *holding) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.ended.Answered++
		return
	}
	h.ended.Lost++
	h.ended.Why = err.Error()
}

func (h *holding) await() ended {
	h.waiting.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ended
}
