package signals

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Defaults of a Collector.
const (
	defaultEvery   = 5 * time.Second
	defaultTimeout = 5 * time.Second
	defaultLane    = 64
)

const (
	// patience is how long a scrape may keep a place in the quick lane. What
	// takes longer goes on in the slow one, so that servers that answer drop by
	// drop delay none that do not.
	patience = 500 * time.Millisecond
	// longestBackoff bounds the time between scrapes of a server that fails.
	longestBackoff = 30 * time.Second
	// jitter is how much sooner a scrape may be, as a share of the time between:
	// who began together does not stay together.
	jitter = 0.1
)

// errBusy gives up a scrape that takes long while as many others do.
var errBusy = errors.New("too many servers answer slowly")

// Collector scrapes many servers' metrics over HTTP, each again and again. How
// many answers are read at once is bounded, and with it memory; a server that
// does not begin to answer takes no place from others. It is safe for concurrent
// use; its fields are not to be changed once it is used.
type Collector struct {
	Transport http.RoundTripper // it bounds headers; the caller closes its idle connections
	Every     time.Duration     // between scrapes of one server; 0 means 5 s
	Timeout   time.Duration     // of a whole scrape; 0 means 5 s
	// Lane is how many answers may be read at once in each of two lanes: one for
	// those that have just begun, one for those that take long or failed before.
	// 0 means 64.
	Lane int

	once        sync.Once
	reader      reader
	quick, slow chan struct{} // a place for each answer that is read
	texts       sync.Pool     // of *bytes.Buffer
}

func (c *Collector) prepare() {
	c.once.Do(func() {
		c.reader = newReader()
		lane := c.Lane
		if lane <= 0 {
			lane = defaultLane
		}
		c.quick, c.slow = make(chan struct{}, lane), make(chan struct{}, lane)
		c.texts.New = func() any { return new(bytes.Buffer) }
	})
}

func or(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Watch scrapes the metrics at a URL until ctx ends: at once, and then every
// Every. A server that fails again and again is asked less and less often, up to
// every 30 s. report gets each Sample or error, one after another; a server that
// speaks no known dialect gives an empty Sample.
func (c *Collector) Watch(ctx context.Context, address string, report func(Sample, error)) {
	c.prepare()
	every := or(c.Every, defaultEvery)
	wait := time.Duration(0) // the first phase is drawn below
	timer := time.NewTimer(0)
	defer timer.Stop()
	lane := c.quick
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		sample, err := c.scrape(ctx, address, lane)
		if ctx.Err() != nil {
			return
		}
		switch lane = c.slow; {
		case err == nil:
			lane, failures = c.quick, 0
		case !errors.Is(err, errBusy): // which may be our own fault
			failures++
		}
		report(sample, err)
		if wait == 0 {
			wait = time.Duration(rand.Int64N(int64(every))) + 1
		} else {
			wait = backoff(every, failures)
			wait -= time.Duration(jitter * rand.Float64() * float64(wait))
		}
		timer.Reset(wait)
	}
}

// backoff is the time to the next scrape after so many failures in a row: the
// first one changes nothing.
func backoff(every time.Duration, failures int) time.Duration {
	wait := every
	for range failures - 1 {
		if wait >= longestBackoff {
			break
		}
		wait *= 2
	}
	return max(every, min(wait, longestBackoff))
}

// scrape asks, and reads the answer in a lane.
func (c *Collector) scrape(ctx context.Context, address string, lane chan struct{}) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, or(c.Timeout, defaultTimeout))
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	sample, err := c.fetch(ctx, address, &place{lane: lane, next: c.slow, giveUp: giveUp})
	if err != nil && errors.Is(context.Cause(ctx), errBusy) {
		err = errBusy
	}
	if err != nil {
		return Sample{}, fmt.Errorf("scrape %s: %w", redacted(address), err)
	}
	return sample, nil
}

// place is a scrape's place in a lane.
type place struct {
	lane, next chan struct{} // the one to take, and where it goes when it takes long
	giveUp     context.CancelCauseFunc

	mu    sync.Mutex
	taken chan struct{} // nil while it is in none
	late  *time.Timer
}

// take waits for a place.
func (p *place) take(ctx context.Context) error {
	select {
	case p.lane <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken = p.lane
	if p.lane != p.next {
		p.late = time.AfterFunc(patience, p.move)
	}
	return nil
}

// move changes the lane, or gives the scrape up when there is no room.
func (p *place) move() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken == nil {
		return
	}
	<-p.taken
	p.taken = nil
	select {
	case p.next <- struct{}{}:
		p.taken = p.next
	default:
		p.giveUp(errBusy)
	}
}

func (p *place) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.late != nil {
		p.late.Stop()
	}
	if p.taken != nil {
		<-p.taken
		p.taken = nil
	}
}

// fetch reads one exposition and what it says in the first dialect that it
// speaks.
func (c *Collector) fetch(ctx context.Context, address string, p *place) (Sample, error) {
	body, at, err := c.ask(ctx, address)
	if err != nil {
		return Sample{}, err
	}
	defer body.Close()
	if err := p.take(ctx); err != nil {
		return Sample{}, err
	}
	defer p.leave()
	text, _ := c.texts.Get().(*bytes.Buffer)
	defer c.texts.Put(text)
	text.Reset()
	if err := load(body, text); err != nil {
		return Sample{}, err
	}
	exposition, err := c.reader.read(text.Bytes(), at)
	if err != nil {
		return Sample{}, err
	}
	return exposition.Sample(), nil
}

// ask returns an answer that is to be read and closed, and when it was true.
func (c *Collector) ask(ctx context.Context, address string) (io.ReadCloser, time.Time, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, time.Time{}, err
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4,application/openmetrics-text;q=0.5")
	client := http.Client{
		Transport:     c.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	switch {
	case err != nil:
		return nil, time.Time{}, withoutURL(err)
	case resp.StatusCode == http.StatusOK:
		return resp.Body, time.Now(), nil
	case resp.StatusCode/100 == 3:
		err = fmt.Errorf("status %d: it sends elsewhere, which is not followed", resp.StatusCode)
	default:
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	resp.Body.Close()
	return nil, time.Time{}, err
}

// load reads an answer of at most maxBody.
func load(body io.Reader, into *bytes.Buffer) error {
	if _, err := into.ReadFrom(io.LimitReader(body, maxBody+1)); err != nil {
		return fmt.Errorf("read body: %w", withoutURL(err))
	}
	if into.Len() > maxBody {
		return errTooLarge
	}
	return nil
}

// Ask scrapes the metrics at a URL once, and tells all that they say.
func (c *Collector) Ask(ctx context.Context, address string) (Exposition, error) {
	c.prepare()
	ctx, cancel := context.WithTimeout(ctx, or(c.Timeout, defaultTimeout))
	defer cancel()
	e, err := c.hear(ctx, address)
	if err != nil {
		return Exposition{}, fmt.Errorf("scrape %s: %w", redacted(address), err)
	}
	return e, nil
}

func (c *Collector) hear(ctx context.Context, address string) (Exposition, error) {
	body, at, err := c.ask(ctx, address)
	if err != nil {
		return Exposition{}, err
	}
	defer body.Close()
	var text bytes.Buffer
	if err := load(body, &text); err != nil {
		return Exposition{}, err
	}
	return c.reader.read(text.Bytes(), at)
}

// errNotHTTP stands for an error of net/http that quotes what was sent, which
// is nothing for a log.
var errNotHTTP = errors.New("what it sent is no valid HTTP")

// withoutURL is an error of a client without the URL, which is told once, and
// without what the server sent.
func withoutURL(err error) error {
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err
	}
	if _, network := errors.AsType[*net.OpError](err); network {
		return err
	}
	if _, stranger := errors.AsType[*tls.CertificateVerificationError](err); stranger {
		return err
	}
	for _, plain := range []error{io.EOF, io.ErrUnexpectedEOF, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, plain) {
			return err
		}
	}
	return errNotHTTP
}
