package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/penstock/penstock/internal/console"
)

type explainCmd struct {
	askCmd
	Model string `arg:"" help:"Name or alias of the model."`
	At    moment `help:"A past moment: 2026-03-02T09:46:00Z, 09:46 or -5m." placeholder:"TIME"`
}

// Help is the end of the command's --help.
func (explainCmd) Help() string {
	return `Says what was decided, because of what, what it could not or did not do, and what
was seen. The codes in brackets are in docs/reference/reasons.md.

Example:
  penstock explain chat --at -5m`
}

// moment is a time as it was written. It may begin with a hyphen, as -5m does,
// which is no other flag.
type moment string

// Decode implements kong.MapperValue.
func (m *moment) Decode(ctx *kong.DecodeContext) error {
	token := ctx.Scan.Pop()
	if token.IsEOL() {
		return fmt.Errorf("a time is wanted, such as -5m")
	}
	*m = moment(token.String())
	return nil
}

// query is the moment as the console reads it: RFC 3339, or a duration back
// from its own clock. A time without a date is the newest such in now's zone.
func (m moment) query(now time.Time) (string, error) {
	text := strings.TrimSpace(string(m))
	if text == "" {
		return "", nil
	}
	if back, err := time.ParseDuration(text); err == nil {
		return "-" + max(back, -back).String(), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at.Format(time.RFC3339Nano), nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		clock, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		at := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), clock.Second(), clock.Nanosecond(), now.Location())
		if at.After(now) {
			at = at.AddDate(0, 0, -1)
		}
		return at.Format(time.RFC3339Nano), nil
	}
	return "", fmt.Errorf("%q is no time: write 2026-03-02T09:46:00Z, 09:46, or -5m for five minutes ago", text)
}

// instant is the moment by now's clock; zero where none was written.
func (m moment) instant(now time.Time) (time.Time, error) {
	text, err := m.query(now)
	if err != nil || text == "" {
		return time.Time{}, err
	}
	if back, err := time.ParseDuration(text); err == nil {
		return now.Add(back), nil
	}
	return time.Parse(time.RFC3339Nano, text)
}

// Run prints the explanation.
func (c explainCmd) Run(ctx context.Context, std Streams) error {
	query := url.Values{"model": {c.Model}}
	at, err := c.At.query(time.Now())
	if err != nil {
		return usageError{fmt.Errorf("--at: %w", err)}
	}
	if at != "" {
		query.Set("at", at)
	}
	body, err := c.fetch(ctx, "/api/v1/explain", query)
	if err != nil {
		return err
	}
	if !c.JSON {
		explanation, err := decode[console.Explanation](body)
		if err != nil {
			return err
		}
		body = []byte(explanation.Text(time.Local))
	}
	_, err = std.Out.Write(body)
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
