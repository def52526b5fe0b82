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
// replica as long as none has replied.
type tape struct {
	body    io.ReadCloser
	model   string
	limit   int64 // bytes of one message, and of all that are kept
	frames  chan []byte
	quit    chan struct{} // closed when nobody wants more
	stopped chan struct{} // closed when the pump has ended

	mu    sync.Mutex
	kept  [][]byte
	size  int64
	lost  bool  // more came than is kept: there is no second try
	ended error // why there are no more frames; io.EOF when the client said so
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
		body: x.r.Body, model: name, limit: x.gateway.Limits.MaxBody, kept: [][]byte{frame}, size: int64(len(frame)),
		frames: make(chan []byte), quit: make(chan struct{}), stopped: make(chan struct{}),
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

// pump reads frames one by one, as fast as a replica takes them.
func (t *tape) pump() {
	defer close(t.stopped)
	defer close(t.frames)
	for {
		frame, name, err := readFrame(t.body, t.limit)
		if err == nil && name != t.model {
			err = errOtherModel
		}
		if err != nil {
			t.mu.Lock()
			t.ended = err
			t.mu.Unlock()
			return
		}
		select {
		case t.frames <- frame:
		case <-t.quit:
			return
		}
	}
}

// fault is what the client is told about the message that ended its stream.
func (t *tape) fault() *refusal {
	t.mu.Lock()
	defer t.mu.Unlock()
	return badMessage(t.ended)
}

// begun says that a replica replied: nothing need be kept any more.
func (t *tape) begun() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept, t.lost = nil, true
}

// spent says whether the stream can not be sent to another replica.
func (t *tape) spent() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

// at returns the frame of that number if it is kept.
func (t *tape) at(n int) ([]byte, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n < len(t.kept) {
		return t.kept[n], true
	}
	return nil, false
}

// keep takes in a frame that is about to be sent.
func (t *tape) keep(frame []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size += int64(len(frame)); t.lost || t.size > t.limit {
		t.kept, t.lost = nil, true
		return
	}
	t.kept = append(t.kept, frame)
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

// play starts an attempt. When its context ends so does the reel: the transport
// does not look at the context while it waits for more of a body.
func (t *tape) play(ctx context.Context, cut func(error)) *reel {
	r := &reel{tape: t, cut: cut, closed: make(chan struct{})}
	context.AfterFunc(ctx, func() { _ = r.Close() })
	return r
}

// Read returns what is kept first, then what comes.
func (r *reel) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		frame, ok := r.tape.at(r.next)
		if !ok {
			select {
			case <-r.closed:
				return 0, io.ErrClosedPipe
			case frame, ok = <-r.tape.frames:
				if !ok {
					return 0, r.end()
				}
				r.tape.keep(frame)
			}
		}
		r.next++
		r.left = frame
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// end is io.EOF where the client said that there is no more. Otherwise what it
// sent can not be passed on, and the attempt ends for that.
func (r *reel) end() error {
	r.tape.mu.Lock()
	err := r.tape.ended
	r.tape.mu.Unlock()
	if err != nil && !errors.Is(err, io.EOF) {
		r.cut(errBadMessages)
		return err
	}
	return io.EOF
}

// Close has a Read that waits return.
func (r *reel) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}
