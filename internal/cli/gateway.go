package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/penstock/penstock/internal/gateway"
	"github.com/penstock/penstock/internal/lease"
)

type gatewayCmd struct {
	Server    string     `placeholder:"URL" default:"http://127.0.0.1:8082" help:"Where the running penstock shares its replicas out: spec.gateways.listen of its ServerConfig."`
	Listen    string     `placeholder:"ADDRESS" default:"127.0.0.1:8090" help:"Address of this gateway, host:port. Port 0 takes a free one."`
	TokenFile string     `placeholder:"FILE" help:"File with the token of spec.gateways.tokenFile."`
	Log       slog.Level `default:"info" placeholder:"LEVEL" help:"debug, info, warn or error."`
	JSON      bool       `help:"Log as JSON."`
}

func (gatewayCmd) Help() string {
	return `Runs one more gateway in front of the replicas of a penstock that runs elsewhere. It asks that one for its models and, every second, for its share of their replicas. While it can not ask, it sends nothing new once its lease of three seconds is over, and what it has in flight goes on.

When it gets SIGINT or SIGTERM, new requests are refused, those under way finish, and its share is given back.

Example:
  penstock gateway --server http://127.0.0.1:8082 --listen 127.0.0.1:8090`
}

// branch is one more gateway.
type branch struct {
	gateway  *gateway.Gateway
	lessee   *lease.Lessee
	listener net.Listener
	logger   *slog.Logger
}

func (c *gatewayCmd) Run(ctx context.Context, std Streams) error {
	server, err := askCmd{Server: c.Server}.base()
	if err != nil {
		return err
	}
	log := logger(std.Err, c.Log)
	if c.JSON {
		log = slog.New(slog.NewJSONHandler(std.Err, &slog.HandlerOptions{Level: c.Log}))
	}
	token := ""
	if c.TokenFile != "" {
		if token, err = readToken(c.TokenFile); err != nil {
			return usageError{err}
		}
	}
	settings, err := lease.Fetch(ctx, server, token)
	if err != nil {
		return err
	}
	b := &branch{logger: log}
	b.lessee = &lease.Lessee{
		Server: server, Token: token, Name: name(), Settings: settings, Logger: log,
	}
	b.gateway = &gateway.Gateway{
		Models:  settings.Models,
		Limits:  gateway.Limits{MaxHeld: settings.MaxHeld, MaxHeldBytes: settings.MaxHeldBytes, MaxBody: settings.MaxBody},
		Wake:    func(string) { b.lessee.Poke() },
		Tenants: settings.Tenants, Logger: log,
	}
	b.lessee.Gateway = b.gateway
	if b.listener, err = listen(ctx, "gateway", c.Listen); err != nil {
		return err
	}
	fmt.Fprintf(std.Err, "penstock gateway serves %s\n", names(settings.Models))
	fmt.Fprintf(std.Err, "  gateway  http://%s/v1   OpenAI-compatible\n", b.listener.Addr())
	fmt.Fprintf(std.Err, "  share    %s\n", server)
	return b.run(ctx)
}

// name is unique to this life of this process, and says which it is.
func name() string {
	host, err := os.Hostname()
	if err != nil {
		host = "gateway"
	}
	const longest = 32
	return fmt.Sprintf("%s-%d-%s", host[:min(len(host), longest)], os.Getpid(), strings.ToLower(rand.Text()[:6]))
}

// run serves until ctx ends or the settings change, and then stops in the told
// order: refuse new → drain → give the share back.
func (b *branch) run(ctx context.Context) error {
	defer func() { _ = b.listener.Close() }() // if it was not handed to a server
	server := b.gateway.Server()
	failed, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stages := []*stage{
		newStage(ctx, fail, map[string]func(context.Context) error{"lease": b.lessee.Run}),
		newStage(ctx, fail, map[string]func(context.Context) error{
			"gateway": b.gateway.Run,
			"server": func(context.Context) error {
				if err := server.Serve(b.listener); !errors.Is(err, http.ErrServerClosed) {
					return err
				}
				return nil
			},
		}),
	}
	<-failed.Done()
	b.drain(ctx, server)
	var err error
	for _, s := range stages {
		err = errors.Join(err, s.end())
	}
	return err
}

// drain lets requests under way finish.
func (b *branch) drain(ctx context.Context, server *http.Server) {
	longest := b.lessee.Settings.DrainTimeout
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longest)
	defer cancel()
	b.logger.InfoContext(ctx, "draining", "longest", longest)
	if err := b.gateway.Drain(ctx); err != nil {
		b.logger.WarnContext(ctx, "drain cut short", "error", err)
	}
	if err := server.Shutdown(ctx); err != nil {
		_ = server.Close()
	}
}
