package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// processID names one process for good: a number is used again, but never
// with the same start time.
type processID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot
}

// stat is what /proc says of one process.
type stat struct {
	processID
	parent int
	ended  bool // and only not yet reaped by its parent
}

// readStat reads a process's line in /proc. Source: proc(5).
func readStat(pid int) (stat, error) {
	path := filepath.Join("/proc", strconv.Itoa(pid), "stat")
	text, err := os.ReadFile(path)
	if err != nil {
		return stat{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	s, err := parseStat(text)
	if err != nil {
		return stat{}, fmt.Errorf("read %s: %w", path, err)
	}
	return s, nil
}

// parseStat reads the number, the state, the parent and the start time from a
// stat line: fields 1, 3, 4 and 22. Field 2, the name, may itself hold blanks
// and brackets.
func parseStat(text []byte) (stat, error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("no name in %q", text)
	}
	const state, parent, start = 0, 4 - 3, 22 - 3 // counted from field 3, the first after the name
	fields := bytes.Fields(text[end+1:])
	if len(fields) <= start {
		return stat{}, fmt.Errorf("too few fields in %q", text)
	}
	pid, errPID := strconv.Atoi(string(bytes.TrimSpace(text[:open])))
	ppid, errParent := strconv.Atoi(string(fields[parent]))
	ticks, errStart := strconv.ParseUint(string(fields[start]), 10, 64)
	if err := errors.Join(errPID, errParent, errStart); err != nil {
		return stat{}, fmt.Errorf("read fields of %q: %w", text, err)
	}
	ended := bytes.ContainsAny(fields[state], "ZXx")
	return stat{processID{PID: pid, Start: ticks}, ppid, ended}, nil
}

// allProcesses lists what runs now. Processes that end meanwhile are left out.
func allProcesses() ([]stat, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := make([]stat, 0, len(entries))
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil {
			all = append(all, s)
		}
	}
	return all, nil
}

// descendants lists the children of a process, their children and so on.
func descendants(root int) ([]processID, error) {
	all, err := allProcesses()
	if err != nil {
		return nil, err
	}
	children := make(map[int][]processID, len(all))
	for _, s := range all {
		children[s.parent] = append(children[s.parent], s.processID)
	}
	var found []processID
	for next := []int{root}; len(next) > 0; next = next[1:] {
		for _, child := range children[next[0]] {
			found = append(found, child)
			next = append(next, child.PID)
		}
	}
	return found, nil
}

// marked lists the processes that were started with one of the settings in
// their environment: a Replica's own, wherever they have gone since. It cannot
// see one that cleaned its environment or runs as another user.
func marked(settings map[string]bool) ([]processID, error) {
	all, err := allProcesses()
	if err != nil {
		return nil, err
	}
	var found []processID
	for _, s := range all {
		environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.PID), "environ"))
		if err != nil {
			continue // ended, or another user's
		}
		for setting := range bytes.SplitSeq(environ, []byte{0}) {
			if settings[string(setting)] {
				found = append(found, s.processID)
				break
			}
		}
	}
	return found, nil
}

// signal sends to exactly this process, never to a later one with the same
// number: the number is pinned (pidfd_open) before the start time is compared.
// A process that has ended is no error.
func (p processID) signal(sig syscall.Signal) error {
	handle, err := os.FindProcess(p.PID)
	if err != nil {
		return fmt.Errorf("find process %d: %w", p.PID, err)
	}
	now, errStat := readStat(p.PID)
	if errStat == nil && now.processID == p {
		err = handle.Signal(sig)
	}
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	if errStat != nil && !errors.Is(errStat, fs.ErrNotExist) && !errors.Is(errStat, syscall.ESRCH) {
		err = errors.Join(err, errStat)
	}
	if err = errors.Join(err, handle.Release()); err != nil {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

// alive says whether exactly this process runs still.
func (p processID) alive() bool {
	now, err := readStat(p.PID)
	return err == nil && now.processID == p && !now.ended
}

// signalAll signals each of the processes.
func signalAll(all []processID, sig syscall.Signal) error {
	var faults error
	for _, p := range all {
		faults = errors.Join(faults, p.signal(sig))
	}
	return faults
}
