package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/console"
)

type explainCmd struct {
	askCmd
	Model string `arg:"" help:"Name or alias of the model."`
	At    moment `help:"A past moment: 2026-03-02T09:46:00Z, 09:46 or -5m." placeholder:"TIME"`
	Store string `xor:"where" help:"Ask this journal and no running penstock: a file, a state directory, or postgres://USER@HOST/DATABASE." placeholder:"PATH"`
	File  string `short:"f" xor:"where" help:"Ask the journal that this configuration names." placeholder:"FILE"`
}

// Help is the end of the command's --help.
func (explainCmd) Help() string {
	return `Says what was decided, because of what, what it could not or did not do, and what
was seen. The codes in brackets are in docs/reference/reasons.md. A past decision
is made again from the journal, and whether it came out the same is said.

Examples:
  penstock explain chat --at -5m
  penstock explain chat --at 09:46 -f penstock.yaml     # without a running penstock`
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
	explanation, body, err := c.answer(ctx)
	if err != nil {
		return err
	}
	if !c.JSON {
		body = []byte(explanation.Text(time.Local))
	}
	if _, err = std.Out.Write(body); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// answer asks the running Penstock, or a journal.
func (c explainCmd) answer(ctx context.Context) (console.Explanation, []byte, error) {
	if c.Store != "" || c.File != "" {
		e, err := c.read(ctx, time.Now())
		if err != nil {
			return e, nil, err
		}
		body, err := json.Marshal(e)
		return e, append(body, '\n'), err
	}
	query := url.Values{"model": {c.Model}}
	at, err := c.At.query(time.Now())
	if err != nil {
		return console.Explanation{}, nil, usageError{fmt.Errorf("--at: %w", err)}
	}
	if at != "" {
		query.Set("at", at)
	}
	body, err := c.fetch(ctx, "/api/v1/explain", query)
	if errors.As(err, new(nobodyError)) {
		err = fmt.Errorf("%w; or ask the journal, with -f FILE or --store PATH", err)
	}
	if err != nil {
		return console.Explanation{}, nil, err
	}
	e, err := decode[console.Explanation](body)
	return e, body, err
}

// read asks a journal.
func (c explainCmd) read(ctx context.Context, now time.Time) (e console.Explanation, err error) {
	at, err := c.At.instant(now)
	if err != nil {
		return e, usageError{fmt.Errorf("--at: %w", err)}
	}
	if at.IsZero() {
		at = now
	}
	where, err := c.where()
	if err != nil {
		return e, usageError{err}
	}
	reader, err := readStore(ctx, where)
	if errors.Is(err, fs.ErrNotExist) {
		return e, usageError{err}
	}
	if err != nil {
		return e, err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	record, found, err := archive{reader}.DecisionAt(ctx, c.Model, at)
	switch {
	case err != nil:
		return e, err
	case !found:
		return e, fmt.Errorf("the journal holds nothing of %s at or before %s", c.Model, at.Format(time.RFC3339))
	}
	return console.Explain(record, c.Model, at)
}

// where is the journal that is asked.
func (c explainCmd) where() (config.Store, error) {
	if c.File != "" {
		loaded, err := config.Load(c.File)
		return loaded.Server.Store, err
	}
	if strings.HasPrefix(c.Store, "postgres://") || strings.HasPrefix(c.Store, "postgresql://") {
		return config.Store{Postgres: c.Store}, nil
	}
	if info, err := os.Stat(c.Store); err == nil && info.IsDir() {
		return config.Store{Path: filepath.Join(c.Store, "journal.db")}, nil
	}
	return config.Store{Path: c.Store}, nil
}
