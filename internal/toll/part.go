package toll

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// The roles of processes that are no way to the upstream.
const (
	roleUpstream = "upstream"
	roleClient   = "client"
)

// What a process can be ordered to do.
const (
	doRate    = "rate"    // client: For so long, Rate requests of Body bytes a second to Target
	doFlood   = "flood"   // client: the same over Conns connections, each as fast as it is answered
	doStream  = "stream"  // client: Conns streams of Rate events a second to Target, for so long
	doHold    = "hold"    // client: Count more requests to Target, whose replies are awaited later
	doAwait   = "await"   // client: until the held ones are answered
	doNumbers = "numbers" // upstream: in which order numbered requests came
	doRoute   = "route"   // gateway: one replica at Target with a batch limit of Count
	doHeld    = "held"    // gateway: how many it holds
	doProfile = "profile" // gateway: begin a CPU profile into File, or end it where File is ""
)

// order is what a process is told, one JSON value each. What a deed does not
// need is zero.
type order struct {
	Do     string        `json:"do"`
	Target string        `json:"target,omitempty"`
	Body   int           `json:"body,omitempty"` // bytes
	Rate   int           `json:"rate,omitempty"` // 1/s
	For    time.Duration `json:"for,omitempty"`
	Conns  int           `json:"conns,omitempty"`
	Count  int           `json:"count,omitempty"`
	File   string        `json:"file,omitempty"`
}

// reply is what a process says: first where it listens, then an answer to each
// order.
type reply struct {
	Address string          `json:"address,omitempty"`
	Answer  json.RawMessage `json:"answer,omitempty"`
	Error   string          `json:"error,omitempty"`
}

// part is what a process does.
type part interface {
	// run serves until ctx ends. It calls ready once, with its address.
	run(ctx context.Context, ready func(address string)) error
	// obey carries out an order; its answer must encode as JSON.
	obey(ctx context.Context, o order) (any, error)
}

// Part is one of a Bench's processes: it serves, obeys orders that come by in
// and answers by out, until in or ctx ends.
func Part(ctx context.Context, role string, args []string, in io.Reader, out io.Writer) error {
	p, err := newPart(role, args)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	say := json.NewEncoder(out)
	ready := make(chan string, 1)
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx, func(address string) { ready <- address }) }()
	select {
	case address := <-ready:
		if err := say.Encode(reply{Address: address}); err != nil {
			stop()
			return errors.Join(err, <-ended)
		}
	case err := <-ended:
		return err
	}
	orders := make(chan order)
	go func() { // ends with in, which ends at the latest with this process
		defer stop()
		for lines := json.NewDecoder(bufio.NewReader(in)); ; {
			var o order
			if lines.Decode(&o) != nil {
				return
			}
			select {
			case orders <- o:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case o := <-orders:
			if err := say.Encode(answer(ctx, p, o)); err != nil {
				stop()
				return errors.Join(err, <-ended)
			}
		case err := <-ended:
			return err
		}
	}
}

func answer(ctx context.Context, p part, o order) reply {
	value, err := p.obey(ctx, o)
	if err != nil {
		return reply{Error: err.Error()}
	}
	text, err := json.Marshal(value)
	if err != nil {
		return reply{Error: err.Error()}
	}
	return reply{Answer: text}
}

func newPart(role string, args []string) (part, error) {
	target := ""
	if len(args) > 0 {
		target = args[0]
	}
	switch role {
	case roleUpstream:
		return &upstream{}, nil
	case roleClient:
		return newClient(), nil
	case TCP:
		return &hop{target: target}, nil
	case Reverse:
		return &reverse{target: target}, nil
	case Tuned:
		return &reverse{target: target, tuned: true}, nil
	case Penstock:
		return newGate(), nil
	default:
		return nil, fmt.Errorf("there is no part %q", role)
	}
}

// errUnknown says that a part can not do what it was ordered.
var errUnknown = errors.New("this part does not do that")
