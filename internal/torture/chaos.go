package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/penstock/penstock/internal/local"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/spot"
)

// noticeOf is how long a spot notice leaves.
const noticeOf = 8 * time.Second

// Faults counts what was done to a run.
type Faults struct {
	Killed   int `json:"replicas_killed"`
	Stopped  int `json:"replicas_stopped"`
	Noticed  int `json:"replicas_noticed"`
	Restarts int `json:"gateway_sigterms"`
	Kills    int `json:"gateway_sigkills"`
}

// kill is when a gateway was killed.
type kill struct {
	host string
	at   time.Time
}

// mistreat does one thing after another to replicas until ctx ends. What is
// stopped then goes on.
func (r *run) mistreat(ctx context.Context) error {
	random := rand.New(rand.NewPCG(r.Seed, 1))
	for {
		wait := time.Duration(random.ExpFloat64() * float64(r.Soak.Faults))
		if !pause(ctx, min(wait, 5*r.Soak.Faults)) {
			return nil
		}
		id, pid, err := r.victim(random)
		switch {
		case err != nil:
			return err
		case id == "":
			continue
		}
		switch roll := random.IntN(10); {
		case roll < 4:
			r.done.Killed++
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
		case roll < 6:
			r.done.Stopped++
			r.freeze(ctx, pid)
		default:
			r.done.Noticed++
			if err := spot.Write(local.NoticeDir(r.stateDir()), id, noticeOf); err != nil {
				return fmt.Errorf("give notice: %w", err)
			}
		}
	}
}

// freeze stops a process for a while.
func (r *run) freeze(ctx context.Context, pid int) {
	if syscall.Kill(pid, syscall.SIGSTOP) != nil {
		return
	}
	r.frozen.Go(func() {
		pause(ctx, r.Stop)
		_ = syscall.Kill(pid, syscall.SIGCONT) // it may have been killed
	})
}

// victim returns a replica that serves, or none.
func (r *run) victim(random *rand.Rand) (scale.ReplicaID, int, error) {
	ids, err := local.Replicas(r.stateDir())
	if err != nil {
		return "", 0, err
	}
	random.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, id := range ids {
		pid, err := pidOf(r.seenDir(), string(id))
		if err == nil && isReplica(pid, id) {
			return id, pid, nil
		}
	}
	return "", 0, nil
}

// isReplica says whether a process is still that replica: numbers of processes
// are used again.
func isReplica(pid int, id scale.ReplicaID) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(line), "\x00replica\x00") && strings.Contains(string(line), "\x00"+string(id)+"\x00")
}

// restart ends and starts the last gateway each so often.
func (r *run) restart(ctx context.Context) error {
	if r.Restart <= 0 {
		return nil
	}
	g := r.gateways[len(r.gateways)-1]
	for n := 1; ; n++ {
		if !pause(ctx, r.Restart) {
			return nil
		}
		by := syscall.SIGTERM
		if r.Kill > 0 && n%r.Kill == 0 {
			by = syscall.SIGKILL
			r.crowd.killed(kill{host: g.address, at: time.Now()})
			r.done.Kills++
		} else {
			r.crowd.balance.ends(g.address, true)
			r.done.Restarts++
		}
		r.say("%s gets %s", g.name, by)
		if err := g.end(by); err != nil {
			return err
		}
		if err := g.start(ctx); ctx.Err() == nil && err != nil {
			return err
		}
		r.crowd.balance.ends(g.address, false)
	}
}

func (r *run) stateDir() string { return filepath.Join(r.Dir, "state") }
func (r *run) seenDir() string  { return filepath.Join(r.Dir, "seen") }
