package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

// firstMessage is how long a stream may stay open before its first message: a
// client opens one and asks when it has something to ask.
const firstMessage = 10 * time.Minute

// tape reads the messages of a stream as the client sends them and holds each
// against the model that was authorised. What was read is kept for a second
// replica as long as none has replied and it is not too much.
type tape struct {
	body    io.ReadCloser
	model   string
	limit   int64         // bytes of one message, and of all that are kept
	quit    chan struct{} // closed when nobody wants more
	stopped chan struct{} // closed when the pump has ended

	mu      sync.Mutex
	current *reel         // the only one that is given frames
	changed chan struct{} // closed and made anew when anything below changes
	frames  [][]byte
	first   int // number of frames[0]: those before were dropped
	wanted  int // frames that were asked for
	size    int64
	lost    bool  // frames are dropped once they were given: there is no second try
	ended   error // why there are no more frames; io.EOF when the client said so
}

// readStream takes in the first message of a stream.
func (x *exchange) readStream() *refusal {
	_ = x.control.SetReadDeadline(time.Now().Add(firstMessage))
	frame, name, err := readFrame(x.r.Body, x.gateway.Limits.MaxBody)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errNoModel
		}
		return badMessage(err)
	}
	_ = x.control.SetReadDeadline(time.Time{})
	x.hints.model, x.body = name, frame
	x.tape = &tape{
		body: x.r.Body, model: name, limit: x.gateway.Limits.MaxBody, frames: [][]byte{frame}, size: int64(len(frame)),
		changed: make(chan struct{}), quit: make(chan struct{}), stopped: make(chan struct{}),
	}
	go x.tape.pump()
	return nil
}

// endTape waits for the pump to end.
func (x *exchange) endTape() {
	if x.tape != nil {
		close(x.tape.quit)
		_ = x.tape.body.Close() // has a Read return
		<-x.tape.stopped
	}
}

// readFrame reads one message with its prefix, and the model that it names.
func readFrame(from io.Reader, limit int64) ([]byte, string, error) {
	var prefix [rpcPrefix]byte
	if _, err := io.ReadFull(from, prefix[:]); err != nil {
		return nil, "", err
	}
	size := int64(binary.BigEndian.Uint32(prefix[1:]))
	switch {
	case prefix[0] != 0:
		return nil, "", errCompressed
	case size > limit:
		return nil, "", errTooLarge
	}
	frame := append(make([]byte, 0, min(rpcPrefix+size, firstRead)), prefix[:]...)
	for need := rpcPrefix + int(size); len(frame) < need; {
		if len(frame) == cap(frame) {
			frame = slices.Grow(frame, len(frame))
		}
		n, err := io.ReadFull(from, frame[len(frame):min(cap(frame), need)])
		frame = frame[:len(frame)+n]
		if err != nil {
			return nil, "", io.ErrUnexpectedEOF
		}
	}
	name, err := messageModel(frame[rpcPrefix:])
	return frame, name, err
}

// pump reads frames one by one, each when a replica wants it.
func (t *tape) pump() {
	defer close(t.stopped)
	for t.awaited() {
		frame, name, err := readFrame(t.body, t.limit)
		if err == nil && name != t.model {
			err = errOtherModel
		}
		t.mu.Lock()
		if err != nil {
			t.ended = err
		} else {
			t.frames = append(t.frames, frame)
			t.size += int64(len(frame))
			t.lost = t.lost || t.size > t.limit
		}
		t.tell()
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// tell wakes who waits for a change. The lock is held.
func (t *tape) tell() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// awaited waits until a frame is wanted that there is not; false when none ever
// will be.
func (t *tape) awaited() bool {
	for {
		t.mu.Lock()
		wanted, changed := t.wanted > t.first+len(t.frames), t.changed
		t.mu.Unlock()
		if wanted {
			return true
		}
		select {
		case <-changed:
		case <-t.quit:
			return false
		}
	}
}

// fault is what the client is told about the message that ended its stream.
func (t *tape) fault() *refusal {
	t.mu.Lock()
	defer t.mu.Unlock()
	return badMessage(t.ended)
}

// begun says that a replica replied: nothing need be kept for another.
func (t *tape) begun() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost = true
}

// spent says whether the stream can not be sent to another replica.
func (t *tape) spent() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

// get returns a frame for a reel, or what to wait for, or why there is none.
func (t *tape) get(r *reel) (frame []byte, wait <-chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := r.next - t.first
	switch {
	case t.current != r || at < 0:
		return nil, nil, io.ErrClosedPipe
	case at < len(t.frames):
		frame = t.frames[at]
		if t.lost {
			t.frames, t.first = t.frames[at+1:], r.next+1
		}
		r.next++
		return frame, nil, nil
	case t.ended != nil:
		return nil, nil, t.ended
	}
	if t.wanted <= r.next {
		t.wanted = r.next + 1
		t.tell()
	}
	return nil, t.changed, nil
}

// reel plays a tape to one replica: the body of one attempt.
type reel struct {
	tape   *tape
	cut    func(error) // ends the attempt
	next   int
	left   []byte
	closed chan struct{}
	once   sync.Once
}

// play starts an attempt, and ends the one before. When its context ends so does
// the reel: the transport does not look at the context while it waits for more
// of a body.
func (t *tape) play(ctx context.Context, cut func(error)) *reel {
	r := &reel{tape: t, cut: cut, closed: make(chan struct{})}
	context.AfterFunc(ctx, func() { _ = r.Close() })
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current = r
	t.tell()
	return r
}

// Read returns what is kept first, then what comes. Where the client sent what
// can not be passed on, the attempt ends for that.
func (r *reel) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		frame, wait, err := r.tape.get(r)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe):
			return 0, err
		case err != nil:
			r.cut(errBadMessages)
			return 0, err
		case wait == nil:
			r.left = frame
			continue
		}
		select {
		case <-r.closed:
			return 0, io.ErrClosedPipe
		case <-wait:
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// Close has a Read that waits return.
func (r *reel) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}
