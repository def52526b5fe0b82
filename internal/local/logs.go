package local

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Bounds on what the Replicas' output may take up.
const (
	maxLogBytes = 8 << 20 // of one file
	logFiles    = 3       // of one Replica, the newest included
	keepLogs    = 32      // Replicas that are gone
)

// rotation appends to a file and, before it would grow beyond Max, renames it
// to path.1, path.1 to path.2 and so on.
type rotation struct {
	path  string
	max   int64 // bytes
	files int   // kept in all
	file  *os.File
	size  int64
}

// openLog opens the log of a Replica.
func openLog(path string) (*rotation, error) {
	r := &rotation{path: path, max: maxLogBytes, files: logFiles}
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *rotation) open() error {
	file, err := os.OpenFile(r.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open log: %w", err), file.Close())
	}
	r.file, r.size = file, info.Size()
	return nil
}

// Write appends, in a new file when the old one is full.
func (r *rotation) Write(p []byte) (int, error) {
	if r.size > 0 && r.size+int64(len(p)) > r.max {
		if err := r.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := r.file.Write(p)
	r.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("write log: %w", err)
	}
	return n, nil
}

func (r *rotation) rotate() error {
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	for n := r.files - 1; n > 0; n-- {
		older := r.path + "." + strconv.Itoa(n)
		newer := r.path
		if n > 1 {
			newer += "." + strconv.Itoa(n-1)
		}
		if err := os.Rename(newer, older); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	return r.open()
}

// Close closes the file.
func (r *rotation) Close() error { return r.file.Close() }

// pruneLogs removes the logs of Replicas that are gone, but for the newest.
func pruneLogs(p paths, living map[scale.ReplicaID]bool) error {
	entries, err := os.ReadDir(p.logs())
	if err != nil {
		return fmt.Errorf("prune logs: %w", err)
	}
	type old struct {
		id     scale.ReplicaID
		newest time.Time
		files  []string
	}
	all := map[scale.ReplicaID]*old{}
	for _, entry := range entries {
		name, _, isLog := strings.Cut(entry.Name(), ".log")
		id := scale.ReplicaID(name)
		info, err := entry.Info()
		if !isLog || living[id] || err != nil {
			continue
		}
		if all[id] == nil {
			all[id] = &old{id: id}
		}
		all[id].files = append(all[id].files, entry.Name())
		if info.ModTime().After(all[id].newest) {
			all[id].newest = info.ModTime()
		}
	}
	sorted := make([]*old, 0, len(all))
	for _, o := range all {
		sorted = append(sorted, o)
	}
	slices.SortFunc(sorted, func(a, b *old) int {
		return cmp.Or(b.newest.Compare(a.newest), cmp.Compare(b.id, a.id))
	})
	var faults error
	for _, o := range sorted[min(keepLogs, len(sorted)):] {
		for _, file := range o.files {
			if err := os.Remove(p.logs() + "/" + file); err != nil {
				faults = errors.Join(faults, fmt.Errorf("prune logs: %w", err))
			}
		}
	}
	return faults
}
