package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
)

type serveCmd struct {
	File string     `short:"f" required:"" placeholder:"FILE" help:"Configuration file."`
	Log  slog.Level `default:"info" placeholder:"LEVEL" help:"debug, info, warn or error."`
	JSON bool       `help:"Log as JSON."`
}

func (serveCmd) Help() string {
	return `Runs the gateway, the autoscaling loop and the models' replicas as processes on this machine, until it gets SIGINT or SIGTERM: then new requests are refused, those under way finish, and the replicas are stopped.

Example:
  penstock serve -f penstock.yaml`
}

func (c *serveCmd) Run(ctx context.Context, std Streams) (err error) {
	cfg, err := config.Load(c.File)
	if err != nil {
		return usageError{err}
	}
	log := logger(std.Err, c.Log)
	if c.JSON {
		log = slog.New(slog.NewJSONHandler(std.Err, &slog.HandlerOptions{Level: c.Log}))
	}
	m, err := open(ctx, cfg, log, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	welcome(std.Err, m)
	return m.Run(ctx)
}

// welcome says where everything is.
func welcome(w io.Writer, m *machine) {
	fmt.Fprintf(w, "penstock serves %s\n", names(m.config.Models))
	fmt.Fprintf(w, "  gateway  %s/v1   OpenAI-compatible\n", m.url())
	fmt.Fprintf(w, "  console  %s   open it in a browser, or ask it with: penstock status\n", m.consoleURL())
	if file := m.config.Server.ConsoleToken; file != "" {
		fmt.Fprintf(w, "  token    %s   what the console asks for\n", file)
	}
	if m.lessor != nil {
		fmt.Fprintf(w, "  gateways %s   for: penstock gateway --server\n", m.leaseURL())
	}
	fmt.Fprintf(w, "  state    %s   journal, replicas' logs, notices\n", m.config.Server.StateDir)
}

func names(models []scale.Model) string {
	out := make([]string, len(models))
	for i, m := range models {
		out[i] = m.Name
	}
	return strings.Join(out, ", ")
}

func logger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
