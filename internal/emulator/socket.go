package emulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// socket is a TCP port that is bound but not listened on: connections to it
// are refused, and nobody else can take it. vLLM holds its port like that
// while the model loads (vllm/entrypoints/openai/api_server.py, setup_server).
// Package net cannot do the one without the other.
type socket struct {
	fd      int
	open    bool
	address string // host:port, with the port that was chosen
}

// reserve binds an address. The caller closes the socket.
func reserve(ctx context.Context, address string) (*socket, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	ip := net.IPv6unspecified
	if host != "" {
		ips, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
		if err != nil {
			return nil, err
		}
		ip = ips[0]
	}
	family, name := syscall.AF_INET6, syscall.Sockaddr(&syscall.SockaddrInet6{Port: port, Addr: [16]byte(ip.To16())})
	if v4 := ip.To4(); v4 != nil {
		family, name = syscall.AF_INET, &syscall.SockaddrInet4{Port: port, Addr: [4]byte(v4)}
	}
	return bind(family, name)
}

func bind(family int, name syscall.Sockaddr) (*socket, error) {
	// The lock keeps a concurrent fork from inheriting the descriptor.
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &socket{fd: fd, open: true}
	// As net.Listen does: a port whose old connections linger may be bound.
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		s.close()
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, name); err != nil {
		s.close()
		return nil, os.NewSyscallError("bind", err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		s.close()
		return nil, os.NewSyscallError("getsockname", err)
	}
	switch a := bound.(type) {
	case *syscall.SockaddrInet4:
		s.address = net.JoinHostPort(net.IP(a.Addr[:]).String(), fmt.Sprint(a.Port))
	case *syscall.SockaddrInet6:
		s.address = net.JoinHostPort(net.IP(a.Addr[:]).String(), fmt.Sprint(a.Port))
	}
	return s, nil
}

// listen begins to accept connections. The socket belongs to the listener then.
func (s *socket) listen() (net.Listener, error) {
	if err := syscall.Listen(s.fd, syscall.SOMAXCONN); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	file := os.NewFile(uintptr(s.fd), s.address)
	s.open = false
	listener, err := net.FileListener(file) // of a duplicate
	return listener, errors.Join(err, file.Close())
}

func (s *socket) close() {
	if s.open {
		s.open = false
		_ = syscall.Close(s.fd) // nothing was written to it
	}
}
