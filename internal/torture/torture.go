// Package torture mistreats Penstock as a whole, real processes over real
// sockets, and holds it to its promises: penstock serve, further gateways
// before the same fleet, emulated replicas that write down what they see, and
// clients that verify every token, some of whom go away or read slowly.
// Meanwhile replicas are killed, stopped and told to go, load comes in waves so
// that others are added and drained, and gateways are restarted and killed.
package torture

import (
	"fmt"
	"net"
	"time"
)

// Command is the hidden command of penstock under which the replicas run:
// penstock torture replica.
const Command = "torture"

// Soak is one run. Self is this program.
type Soak struct {
	Self     string
	Dir      string        // for the processes' logs and what the replicas saw
	For      time.Duration // of load
	Rate     float64       // requests/s, on average
	Gateways int           // 1, or 2 and more: penstock serve's own and penstock gateway beside it
	Faults   time.Duration // mean time from one fault of a replica to the next
	Stop     time.Duration // how long a stopped replica stays so
	Restart  time.Duration // from one restart of a gateway to the next; 0 for none
	Kill     int           // each so many restarts one is a SIGKILL; 0 for none
	Abort    float64       // share of clients that go away
	Slow     float64       // share of clients that read slowly
	Replicas int           // at most
	Batch    int           // requests at once that a replica takes
	Seed     uint64
	Progress func(say string)
}

// check says what makes no sense.
func (s *Soak) check() error {
	switch {
	case s.For <= 0 || s.Rate <= 0 || s.Faults <= 0:
		return fmt.Errorf("a run of %s at %g/s with a fault each %s: all must be above 0", s.For, s.Rate, s.Faults)
	case s.Gateways < 1 || s.Replicas < 2 || s.Batch < 1:
		return fmt.Errorf("%d gateways, %d replicas of %d requests: at least 1, 2 and 1", s.Gateways, s.Replicas, s.Batch)
	case s.Abort < 0 || s.Slow < 0 || s.Abort+s.Slow > 1:
		return fmt.Errorf("shares %g and %g of clients: between 0 and 1 together", s.Abort, s.Slow)
	default:
		return nil
	}
}

func (s *Soak) say(format string, args ...any) {
	if s.Progress != nil {
		s.Progress(fmt.Sprintf(format, args...))
	}
}

// freePorts returns addresses at which nobody listens now.
func freePorts(n int) ([]string, error) {
	var addresses []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() //nolint:errcheck // nothing came by it
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}
