package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/penstock/penstock/internal/console"
)

type topCmd struct {
	askCmd
	Once    bool          `help:"Print one frame as text and end; so it is where the output is no terminal."`
	Columns int           `help:"Width of that frame; 0 is the terminal's, or 80." placeholder:"N"`
	Every   time.Duration `help:"How often it looks." default:"1s"`
}

// Help is the end of the command's --help.
func (topCmd) Help() string {
	return `The most hurt models come first. Up and down choose one, and what is below the
table is of that one; enter opens it, d shows what was decided, ? the keys. It
only reads. A server that restarts is waited for.

Example:
  penstock top
  penstock top --once --columns 120`
}

const plainColumns = 80

// Run shows the fleet until it is left.
func (c topCmd) Run(ctx context.Context, std Streams) error {
	switch {
	case c.Every < 100*time.Millisecond:
		return usageError{fmt.Errorf("--every %s is too often: 100ms at least", c.Every)}
	case c.Columns != 0 && c.Columns < 60:
		return usageError{fmt.Errorf("--columns %d is too narrow: 60 at least", c.Columns)}
	}
	fd := -1
	if file, ok := std.Out.(*os.File); ok {
		fd = int(file.Fd())
	}
	terminal := term.IsTerminal(fd)
	if c.JSON {
		body, err := c.fetch(ctx, "/api/v1/fleet", nil)
		if err != nil {
			return err
		}
		_, err = std.Out.Write(body)
		return err
	}
	if c.Once || !terminal {
		columns := c.Columns
		if w, _, err := term.GetSize(fd); columns == 0 && terminal && err == nil {
			columns = w
		}
		return c.once(ctx, std.Out, cmp.Or(columns, plainColumns))
	}
	if _, err := c.base(); err != nil {
		return err
	}
	return c.follow(ctx, std)
}

// once prints one frame.
func (c topCmd) once(ctx context.Context, w io.Writer, columns int) error {
	seen := c.look(ctx, topQuestion{})
	if seen.err != nil {
		return seen.err
	}
	lines := topFrame{seen: seen, server: c.Server, columns: columns, chosen: -1}.fleet()
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}

// topQuestion is what of it is to be looked at beside the fleet.
type topQuestion struct {
	model     string // "" for none
	decisions bool
	at        time.Time // of a decision of model; zero for none
}

// topSeen is what a look at a server saw.
type topSeen struct {
	asked     topQuestion
	fleet     console.FleetView
	decisions []console.DecisionView
	model     *console.ModelStatus
	series    console.SeriesView
	explained string
	at        time.Time // when it was seen
	err       error
}

// look asks the server everything that a frame shows.
func (c topCmd) look(ctx context.Context, q topQuestion) topSeen {
	seen := topSeen{asked: q}
	fail := func(err error) topSeen {
		seen.err = err
		return seen
	}
	if err := answer(ctx, c.askCmd, "/api/v1/fleet", nil, &seen.fleet); err != nil {
		return fail(err)
	}
	const most = 200
	var decided console.Decisions
	if err := answer(ctx, c.askCmd, "/api/v1/decisions", url.Values{"acted": {"true"}, "model": {q.model}, "limit": {strconv.Itoa(most)}}, &decided); err == nil {
		seen.decisions = decided.Decisions // a server without a journal has none
	}
	switch {
	case q.model == "":
	case !q.at.IsZero():
		var e console.Explanation
		if err := answer(ctx, c.askCmd, "/api/v1/explain", url.Values{"model": {q.model}, "at": {q.at.Format(time.RFC3339Nano)}}, &e); err != nil {
			seen.explained = err.Error()
		} else {
			seen.explained = e.Text(time.Local)
		}
	case !q.decisions:
		var status console.Status
		if err := answer(ctx, c.askCmd, "/api/v1/status", url.Values{"model": {q.model}}, &status); err != nil {
			return fail(err)
		}
		if len(status.Models) == 1 {
			seen.model = &status.Models[0]
		}
		if err := answer(ctx, c.askCmd, "/api/v1/series", url.Values{"model": {q.model}}, &seen.series); err != nil {
			return fail(err)
		}
	}
	seen.at = time.Now()
	return seen
}

// answer asks and decodes.
func answer[T any](ctx context.Context, c askCmd, path string, query url.Values, to *T) error {
	body, err := c.fetch(ctx, path, query)
	if err != nil {
		return err
	}
	*to, err = decode[T](body)
	return err
}
