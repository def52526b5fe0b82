package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/scale"
)

const (
	// ReplicaVariable is in the environment of every process of a Replica, with
	// its ID as value.
	ReplicaVariable = "PENSTOCK_REPLICA"
	reapEvery       = 50 * time.Millisecond
)

// errInUse says that another Penstock lives in the state directory.
var errInUse = errors.New("another penstock uses it")

// paths names what lies in a state directory.
type paths string

func (p paths) lock() string    { return filepath.Join(string(p), "penstock.lock") }
func (p paths) records() string { return filepath.Join(string(p), "replicas") }
func (p paths) logs() string    { return filepath.Join(string(p), "logs") }
func (p paths) notices() string { return filepath.Join(string(p), "notices") }

func (p paths) record(id scale.ReplicaID) string {
	return filepath.Join(p.records(), string(id)+".json")
}

func (p paths) log(id scale.ReplicaID) string {
	return filepath.Join(p.logs(), string(id)+".log")
}

// NoticeDir returns where notices for the Replicas of a state directory are
// looked for; see package spot.
func NoticeDir(stateDir string) string { return paths(stateDir).notices() }

// LogFile returns where the newest output of a Replica is kept.
func LogFile(stateDir string, id scale.ReplicaID) string { return paths(stateDir).log(id) }

// Replicas returns the Replicas that the state directory has on record as
// running, sorted.
func Replicas(stateDir string) ([]scale.ReplicaID, error) {
	entries, err := os.ReadDir(paths(stateDir).records())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list replicas: %w", err)
	}
	var all []scale.ReplicaID
	for _, entry := range entries {
		if name, found := strings.CutSuffix(entry.Name(), ".json"); found {
			all = append(all, scale.ReplicaID(name))
		}
	}
	slices.Sort(all)
	return all, nil
}

// record is what a later Penstock needs in order to end a Replica that this one
// left behind. It is written before the Replica is started, so that there is
// no instant at which one runs unrecorded.
type record struct {
	Replica scale.ReplicaID `json:"replica"`
	Target  string          `json:"target"`
	Guard   processID       `json:"guard"` // zero until it was started
}

// write writes the record as a whole or not at all.
func (r record) write(p paths) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record %s: %w", r.Replica, err)
	}
	path := p.record(r.Replica)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("record %s: %w", r.Replica, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("record %s: %w", r.Replica, err)
	}
	return nil
}

// lockDir makes the state directory ours until the file is closed, which the
// end of this process does too.
func lockDir(p paths) (*os.File, error) {
	for _, dir := range []string{p.records(), p.logs()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make state directory: %w", err)
		}
	}
	file, err := os.OpenFile(p.lock(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errInUse
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock state directory %s: %w", string(p), err), file.Close())
	}
	return file, nil
}

// reapRecorded ends what a Penstock that was killed, together with its guards,
// left running, and removes its records. It returns how many processes those
// were.
func reapRecorded(ctx context.Context, p paths) (int, error) {
	ids, err := Replicas(string(p))
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	settings := make(map[string]bool, len(ids))
	var guards []processID
	for _, id := range ids {
		settings[setting(id)] = true
		var r record
		text, err := os.ReadFile(p.record(id))
		if err == nil && json.Unmarshal(text, &r) == nil && r.Guard != (processID{}) {
			guards = append(guards, r.Guard)
		}
	}
	// A guard that lives is about to end its Replica, more thoroughly than can
	// be done from here.
	if err := awaitEnd(ctx, guards); err != nil {
		return 0, err
	}
	if err := signalAll(guards, syscall.SIGKILL); err != nil {
		return 0, fmt.Errorf("end leftover guards: %w", err)
	}
	killed, err := reapMarked(ctx, settings)
	if err != nil {
		return killed, err
	}
	for _, id := range ids {
		if err := os.Remove(p.record(id)); err != nil {
			return killed, fmt.Errorf("remove record: %w", err)
		}
	}
	return killed, nil
}

// awaitEnd waits until each of the processes has ended, but not for long. Start
// times are compared, so that a later process with the same number is none.
func awaitEnd(ctx context.Context, all []processID) error {
	ticker := time.NewTicker(reapEvery)
	defer ticker.Stop()
	timeout := time.After(guardPatience)
	for {
		all = slices.DeleteFunc(all, func(p processID) bool { return !p.alive() })
		if len(all) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for leftover guards: %w", context.Cause(ctx))
		case <-timeout:
			return nil
		case <-ticker.C:
		}
	}
}

// setting is how a Replica's processes are known by their environment.
func setting(id scale.ReplicaID) string { return ReplicaVariable + "=" + string(id) }

// reapMarked kills the processes with one of the settings until none is left,
// or ctx ends. It returns how many it found.
func reapMarked(ctx context.Context, settings map[string]bool) (int, error) {
	seen := map[processID]bool{}
	ticker := time.NewTicker(reapEvery)
	defer ticker.Stop()
	for {
		left, err := marked(settings)
		if err != nil || len(left) == 0 {
			return len(seen), err
		}
		for _, p := range left {
			seen[p] = true
		}
		if err := signalAll(left, syscall.SIGKILL); err != nil {
			return len(seen), err
		}
		select {
		case <-ctx.Done():
			return len(seen), fmt.Errorf("end leftover processes: %w", context.Cause(ctx))
		case <-ticker.C:
		}
	}
}
