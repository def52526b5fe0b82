package cli

import (
	"context"
	"fmt"

	"github.com/penstock/penstock/internal/local"
)

// guardCmd is what penstock starts itself as, once for each replica: see
// local.Guard.
type guardCmd struct {
	Command []string `arg:"" passthrough:"" help:"Command to run, after two dashes."`
}

func (c *guardCmd) Run(ctx context.Context, std Streams) error {
	command := c.Command
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	status, err := local.Guard(ctx, command)
	if err != nil {
		fmt.Fprintf(std.Err, "penstock: %v\n", err)
	}
	if status == exitOK {
		return nil
	}
	return statusError(status)
}
