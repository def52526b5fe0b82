// Package spot turns notices that capacity will be taken away into
// Interruptions, one file per source of notices.
package spot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const (
	defaultEvery = 200 * time.Millisecond
	maxNotice    = 256            // bytes of one notice file
	longest      = 24 * time.Hour // no notice is given earlier
)

// Files watches a directory for notice files. A file is named after the
// Replica that will be taken and says in how long, counted from when it was
// written: "gone in 30s", "30s" or "30", which is seconds. A file whose name
// begins with a dot is none: it is still being written.
type Files struct {
	Dir    string
	Every  time.Duration // how often to look; 0 means 200 ms
	Logger *slog.Logger
}

// Run looks until ctx ends and calls notify for each notice once, and again
// when its file is rewritten. notify is called from Run's goroutine. A
// malformed file is logged once and left where it is.
func (f Files) Run(ctx context.Context, notify func(scale.Interruption)) error {
	every := f.Every
	if every == 0 {
		every = defaultEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	seen := map[string]time.Time{} // file name → when it was written
	var fault string               // the last complaint about the directory itself
	for {
		err := f.look(ctx, seen, notify)
		if err == nil {
			fault = ""
		} else if err.Error() != fault {
			fault = err.Error()
			f.Logger.ErrorContext(ctx, "notice directory unreadable", "dir", f.Dir, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// look reads each file that is new, or written anew, since it was last seen.
func (f Files) look(ctx context.Context, seen map[string]time.Time, notify func(scale.Interruption)) error {
	entries, err := os.ReadDir(f.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // nobody has written one yet
		return fmt.Errorf("read notices: %w", err)
	}
	present := make(map[string]bool, len(entries))
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") || !entry.Type().IsRegular() {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			continue // removed since it was listed
		}
		present[name] = true
		if seen[name].Equal(info.ModTime()) {
			continue
		}
		seen[name] = info.ModTime()
		notice, err := f.read(name, info.ModTime(), time.Now())
		if err != nil {
			f.Logger.ErrorContext(ctx, "notice unreadable", "replica", name, "error", err)
			continue
		}
		notify(notice)
	}
	for name := range seen {
		if !present[name] {
			delete(seen, name)
		}
	}
	return nil
}

// read reads one notice file. It counts from when the file was written; a file
// from the future (a clock that jumped) counts from now.
func (f Files) read(name string, written, now time.Time) (scale.Interruption, error) {
	path := filepath.Join(f.Dir, name)
	file, err := os.Open(path)
	if err != nil {
		return scale.Interruption{}, fmt.Errorf("open notice: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxNotice+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return scale.Interruption{}, fmt.Errorf("read notice %s: %w", path, err)
	}
	in, err := parseNotice(text)
	if err != nil {
		return scale.Interruption{}, fmt.Errorf("read notice %s: %w", path, err)
	}
	if written.After(now) {
		written = now
	}
	return scale.Interruption{
		Replica:  scale.ReplicaID(name),
		Noticed:  now,
		Deadline: written.Add(in),
		Source:   "notice file",
	}, nil
}

// parseNotice reads the text of a notice file.
func parseNotice(text []byte) (time.Duration, error) {
	if len(text) > maxNotice {
		return 0, fmt.Errorf("longer than %d bytes", maxNotice)
	}
	said := strings.TrimSpace(string(bytes.TrimPrefix(bytes.TrimSpace(text), []byte("gone in "))))
	in, err := time.ParseDuration(said)
	if err != nil {
		seconds, errNumber := strconv.ParseUint(said, 10, 32)
		if errNumber != nil {
			return 0, fmt.Errorf(`%q does not say when, as "gone in 30s" does`, said)
		}
		in = time.Duration(seconds) * time.Second
	}
	if in < 0 || in > longest {
		return 0, fmt.Errorf("%s is not within 0 and %s", in, longest)
	}
	return in, nil
}

// Write leaves a notice in the directory, as a whole or not at all.
func Write(dir string, replica scale.ReplicaID, in time.Duration) error {
	name := string(replica)
	if name == "" || strings.HasPrefix(name, ".") || name != filepath.Base(name) {
		return fmt.Errorf("write notice: %q is no replica's name", name)
	}
	if in < 0 || in > longest {
		return fmt.Errorf("write notice for %s: %s is not within 0 and %s", name, in, longest)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write notice for %s: %w", name, err)
	}
	file, err := os.CreateTemp(dir, ".notice-*")
	if err != nil {
		return fmt.Errorf("write notice for %s: %w", name, err)
	}
	_, err = fmt.Fprintf(file, "gone in %s\n", in)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write notice for %s: %w", name, err), os.Remove(file.Name()))
	}
	return nil
}
