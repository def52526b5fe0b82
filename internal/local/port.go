package local

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
)

const (
	loopback  = "127.0.0.1"
	lowPort   = 15000 // below are ports that services are known by
	portTries = 200
)

// ports hands out loopback ports to Replicas. A server may bind its port long
// after it was told which, so ports come from below the range that the kernel
// gives to outgoing connections, any of which could otherwise take it first;
// and no two Replicas are ever promised the same.
type ports struct {
	mu       sync.Mutex
	promised map[int]bool
}

// take promises a port that is free now.
func (p *ports) take(ctx context.Context) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	high := ephemeralPorts()
	for range portTries {
		port := lowPort + rand.IntN(high-lowPort)
		if p.promised[port] {
			continue
		}
		taken, err := portTaken(ctx, port)
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		if !taken {
			p.promised[port] = true
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port: none of %d tried between %d and %d is", portTries, lowPort, high)
}

// release takes back a promise.
func (p *ports) release(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.promised, port)
}

// portTaken says whether somebody listens on the loopback port.
func portTaken(ctx context.Context, port int) (bool, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address(port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("try port %d: %w", port, err)
	}
	return false, listener.Close()
}

func address(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

// ephemeralPorts returns the lowest port that the kernel gives to outgoing
// connections, or 32768, Linux's default, where that leaves too little below.
func ephemeralPorts() int {
	const usual = 32768
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return usual
	}
	var low, high int
	if _, err := fmt.Sscan(string(text), &low, &high); err != nil || low < lowPort+2*portTries {
		return usual
	}
	return low
}
