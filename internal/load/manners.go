package load

import (
	"context"
	"io"
	"time"
)

// client reads a reply as its Manners are.
type client struct {
	Manners
	done   <-chan struct{} // of the request
	cancel context.CancelCauseFunc
	from   io.Reader
	read   int
	left   time.Time
}

// reader is where the reply is read from.
func (c *client) reader() io.Reader {
	if c.Manners == (Manners{}) {
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
			c.left = time.Now()
			c.cancel(errLeft)
			return 0, errLeft
		}
		p = p[:min(len(p), c.Leave-c.read)]
	}
	n, err := c.from.Read(p)
	c.read += n
	return n, err
}
