package toll

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The fields by which a request says what it wants of the upstream. Proxies
// pass them on.
const (
	fieldNumber = "X-Toll-Number" // remember when this request came
	fieldEvents = "X-Toll-Events" // answer with a stream of so many events
	fieldPause  = "X-Toll-Pause"  // between two of them
)

// upstream answers at once. It speaks just enough HTTP/1.1 for that, as cheap
// as may be.
type upstream struct {
	mu      sync.Mutex
	numbers []int
}

// run serves until ctx ends.
func (u *upstream) run(ctx context.Context, ready func(string)) error {
	return accept(ctx, ready, u.serve)
}

func (u *upstream) obey(_ context.Context, o order) (any, error) {
	if o.Do != doNumbers {
		return nil, errUnknown
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	numbers := u.numbers
	u.numbers = nil
	return numbers, nil
}

// accept hands each connection to serve, on its own goroutine, until ctx ends.
func accept(ctx context.Context, ready func(string), serve func(context.Context, net.Conn)) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	closed := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer closed()
	ready(listener.Addr().String())
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		serving.Go(func() {
			cut := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer cut()
			defer conn.Close() //nolint:errcheck // what it carried is done with
			serve(ctx, conn)
		})
	}
}

// asked is what a request wants.
type asked struct {
	length int
	number int
	events int
	pause  time.Duration
}

func (u *upstream) serve(ctx context.Context, conn net.Conn) {
	from := bufio.NewReaderSize(conn, wireBuffer)
	plain := answerBytes()
	for {
		var a asked
		first, err := readHead(from, a.field)
		if err != nil {
			return
		}
		if a.length > 0 {
			if _, err := from.Discard(a.length); err != nil {
				return
			}
		}
		if a.number > 0 {
			u.mu.Lock()
			u.numbers = append(u.numbers, a.number)
			u.mu.Unlock()
		}
		switch {
		case !strings.HasPrefix(first, "POST "):
			_, err = conn.Write([]byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
		case a.events > 0:
			err = a.stream(ctx, conn)
		default:
			_, err = conn.Write(plain)
		}
		if err != nil {
			return
		}
	}
}

func (a *asked) field(name, value []byte) (err error) {
	switch {
	case bytes.EqualFold(name, []byte("Content-Length")):
		a.length, err = strconv.Atoi(string(value))
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		err = errNoLength
	case bytes.EqualFold(name, []byte(fieldNumber)):
		a.number, err = strconv.Atoi(string(value))
	case bytes.EqualFold(name, []byte(fieldEvents)):
		a.events, err = strconv.Atoi(string(value))
	case bytes.EqualFold(name, []byte(fieldPause)):
		a.pause, err = time.ParseDuration(string(value))
	}
	return err
}

// answerBytes is a whole reply of 300 bytes of JSON.
func answerBytes() []byte {
	body := `{"choices":[{"message":{"content":"` + strings.Repeat("x", 224) + `"}}],"usage":{"completion_tokens":42}}`
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// stream writes events that say when they were written.
func (a *asked) stream(ctx context.Context, conn net.Conn) error {
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	if _, err := conn.Write([]byte(head)); err != nil {
		return err
	}
	tick := time.NewTicker(max(a.pause, time.Microsecond))
	defer tick.Stop()
	for range a.events {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		event := "data: {\"t\":" + strconv.FormatInt(int64(clock()), 10) + "}\n\n"
		if _, err := fmt.Fprintf(conn, "%x\r\n%s\r\n", len(event), event); err != nil {
			return err
		}
	}
	end := "data: [DONE]\n\n"
	_, err := fmt.Fprintf(conn, "%x\r\n%s\r\n0\r\n\r\n", len(end), end)
	return err
}

// clock is a time that all processes of the machine share.
func clock() time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0 // every Linux has this clock
	}
	return time.Duration(now.Nano())
}
