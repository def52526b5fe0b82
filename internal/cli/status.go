package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/penstock/penstock/internal/console"
)

type statusCmd struct {
	askCmd
	Replicas bool          `help:"List every replica as well."`
	Watch    bool          `help:"Show it again and again until interrupted." short:"w"`
	Every    time.Duration `help:"How often --watch shows it." default:"1s"`
}

// Help is the end of the command's --help.
func (statusCmd) Help() string {
	return `Models with the least error budget left come first. REPLICAS is what is ready,
what starts (+) and drains (-), and what is wanted. TTFT and TPOT are medians of
the last second at the replicas.

Example:
  penstock status --watch`
}

// clearScreen moves a terminal's cursor home and clears what is below.
const clearScreen = "\x1b[H\x1b[J"

// Run prints the status.
func (c statusCmd) Run(ctx context.Context, std Streams) error {
	if c.Every <= 0 {
		return usageError{fmt.Errorf("--every %s is no time to wait", c.Every)}
	}
	text, err := c.text(ctx)
	if err != nil {
		return err
	}
	if !c.Watch {
		_, err := io.WriteString(std.Out, text)
		return err
	}
	before := ""
	if file, ok := std.Out.(*os.File); ok && !c.JSON && term.IsTerminal(int(file.Fd())) {
		before = clearScreen
	}
	ticker := time.NewTicker(c.Every)
	defer ticker.Stop()
	for {
		if _, err := io.WriteString(std.Out, before+text); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		// A server that restarts is waited for.
		if text, err = c.text(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			fmt.Fprintf(std.Err, "penstock: %v\n", err)
			text = ""
		}
	}
}

func (c statusCmd) text(ctx context.Context) (string, error) {
	body, err := c.fetch(ctx, "/api/v1/status", nil)
	if err != nil {
		return "", err
	}
	if c.JSON {
		return string(body), nil
	}
	status, err := decode[console.Status](body)
	if err != nil {
		return "", err
	}
	text := status.Text(time.Local)
	if c.Replicas {
		text += "\n" + status.ReplicaText()
	}
	return text, nil
}
