package load

import (
	"context"
	"io"
	"sync/atomic"
	"time"
)

// client reads a reply as its Manners are.
type client struct {
	Manners
	done   <-chan struct{} // of the request
	cancel context.CancelCauseFunc
	from   io.Reader
	read   int
	left   atomic.Pointer[time.Time]
}

// leave goes away.
func (c *client) leave() {
	now := time.Now()
	c.left.Store(&now)
	c.cancel(errLeft)
}

func (c *client) whenLeft() time.Time {
	if at := c.left.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// await lets the client leave, unless what it returns is called before.
func (c *client) await() func() {
	if c.Await <= 0 {
		return func() {}
	}
	timer := time.AfterFunc(c.Await, c.leave)
	return func() { timer.Stop() }
}

// reader is where the reply is read from.
func (c *client) reader() io.Reader {
	if c.Leave == 0 && c.Pause == 0 {
		return c.from
	}
	return c
}

// Read reads slowly, or goes away in the middle.
func (c *client) Read(p []byte) (int, error) {
	if c.Pause > 0 {
		pause := time.NewTimer(c.Pause)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-c.done:
		}
	}
	if c.Leave > 0 {
		if c.read >= c.Leave {
			c.leave()
			return 0, errLeft
		}
		p = p[:min(len(p), c.Leave-c.read)]
	}
	n, err := c.from.Read(p)
	c.read += n
	return n, err
}
