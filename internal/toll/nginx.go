package toll

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// nginxConfig has nginx do nothing but pass requests on, over connections that
// are kept: no log, no buffering of replies, no files.
const nginxConfig = `
user root;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log crit;
events { worker_connections 4096; }
http {
	access_log off;
	client_max_body_size 64m;
	client_body_buffer_size 1m;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	keepalive_requests 1000000;
	upstream engine {
		server %[2]s;
		keepalive 256;
		keepalive_requests 1000000;
	}
	server {
		listen %[3]s backlog=4096;
		location / {
			proxy_pass http://engine;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_buffering off;
		}
	}
}
`

// startNginx starts nginx under a guard, so that its workers can not outlive it.
func (f *field) startNginx(ctx context.Context, path string) (*child, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(f.dir, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, nginxConfig, f.dir, f.upstream.address, address), 0o600); err != nil {
		return nil, fmt.Errorf("write nginx's configuration: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start nginx: %w", err)
	}
	defer read.Close() //nolint:errcheck // the guard has its own end
	c := &child{name: Nginx, life: write, address: address}
	c.command = exec.CommandContext(ctx, f.Self, "guard", "--", path, "-p", f.dir, "-c", file, "-g", "daemon off;")
	c.command.Stderr, c.command.ExtraFiles = &f.said, []*os.File{read}
	c.command.Cancel, c.command.WaitDelay = write.Close, stopWithin
	if err := c.command.Start(); err != nil {
		return nil, fmt.Errorf("start nginx: %w", err)
	}
	f.children = append(f.children, c)
	return c, listens(ctx, address)
}

// freeAddress is one at which nobody listens now.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// listens waits until somebody does.
func listens(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for nginx at %s: %w", address, err)
		}
	}
}
