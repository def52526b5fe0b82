// Package cli is the door of the penstock command: one file per command, each
// of which composes a world, core and edges and turns flags into their fields.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/alecthomas/kong"
)

// Streams are the standard streams of a command. Data goes to Out, talk to Err.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// commands is the command list, in the order of --help.
type commands struct {
	Demo     demoCmd     `cmd:"" help:"Watch a spike being served on this machine, in two minutes."`
	Serve    serveCmd    `cmd:"" help:"Serve the models of a configuration file on this machine."`
	Status   statusCmd   `cmd:"" help:"Show how every model does."`
	Top      topCmd      `cmd:"" help:"Watch the fleet in the terminal."`
	Explain  explainCmd  `cmd:"" help:"Say why a model has the replicas it has, now or at a past moment."`
	Load     loadCmd     `cmd:"" help:"Replay a series of requests against a server and verify every reply."`
	Simulate simulateCmd `cmd:"" help:"Show what one's own traffic would cost under Penstock and under other policies."`
	Replay   replayCmd   `cmd:"" help:"Show the same for past demand, out of a Prometheus or of one's own journal."`
	Gateway  gatewayCmd  `cmd:"" help:"Run one more gateway in front of a running penstock's replicas."`
	Bench    benchCmd    `cmd:"" help:"Run a benchmark."`
	Emulate  emulateCmd  `cmd:"" help:"Run an emulated model server, for machines without GPUs."`
	Validate validateCmd `cmd:"" help:"Check a configuration file and show what it comes to."`
	Signals  signalsCmd  `cmd:"" help:"Show what is understood of a model server's metrics."`
	Schema   schemaCmd   `cmd:"" help:"Print the JSON Schema of the configuration file."`
	Key      keyCmd      `cmd:"" help:"Make an API key for a tenant."`
	Notice   noticeCmd   `cmd:"" help:"Tell a running penstock that a replica will be taken away."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
	Torture  tortureCmd  `cmd:"" hidden:"" help:"Mistreat Penstock as a whole and hold it to its promises."`
	Toll     tollCmd     `cmd:"" hidden:"" help:"Be one of the processes of bench gateway."`
	Guard    guardCmd    `cmd:"" hidden:"" help:"Run a replica's command so that nothing of it outlives penstock."`
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // it failed
	exitUsage  = 2 // it was asked wrongly
)

// usageError marks an error as the asker's: wrong flags, a file that does not
// validate. Main turns it into exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// statusError makes Main return this exit code and print nothing.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Main runs one command and returns its exit code.
func Main(ctx context.Context, args []string, std Streams) int {
	var cmds commands
	exited := -1
	parser, err := kong.New(&cmds,
		kong.Name("penstock"),
		kong.Description("Matches the number, the kind and the batch size of model-server replicas to the demand."),
		kong.Writers(std.Out, std.Err),
		kong.Exit(func(code int) { exited = code }),
		kong.UsageOnError(),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std),
	)
	if err != nil {
		fmt.Fprintf(std.Err, "penstock: %v\n", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	cmd, err := parser.Parse(args)
	switch {
	case exited >= 0: // --help has been printed
		return exited
	case err != nil:
		fmt.Fprintf(std.Err, "penstock: %v\n", err)
		return exitUsage
	}
	if err := cmd.Run(); err != nil {
		if status := statusError(exitFailed); errors.As(err, &status) {
			return int(status)
		}
		fmt.Fprintf(std.Err, "penstock: %v\n", err)
		if errors.As(err, new(usageError)) {
			return exitUsage
		}
		return exitFailed
	}
	return exitOK
}
