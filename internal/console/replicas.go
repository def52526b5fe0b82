package console

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Logs is what replicas print. Its method is called concurrently.
type Logs interface {
	// Tail returns the last bytes that a replica printed, at most so many, and
	// false where nothing is kept of it.
	Tail(id scale.ReplicaID, limit int) ([]byte, bool, error)
}

// ReplicaView is one replica: living, or ended not long ago.
type ReplicaView struct {
	Replica      string     `json:"replica"`
	Model        string     `json:"model"`
	Variant      string     `json:"variant"`
	Capacity     string     `json:"capacity"`
	Accelerator  string     `json:"accelerator"`
	Zone         string     `json:"zone,omitempty"`
	Phase        string     `json:"phase"`
	Since        time.Time  `json:"since"` // when the phase began
	Created      time.Time  `json:"created"`
	Ready        *time.Time `json:"ready"`
	Drained      *time.Time `json:"drained"`
	Ended        *time.Time `json:"ended"`
	TakenIn      float64    `json:"taken_in_seconds,omitempty"`
	InFlight     *Value     `json:"in_flight"`
	Running      *Value     `json:"running"`
	Waiting      *Value     `json:"waiting"`
	KVCache      *Value     `json:"kv_cache"`
	BatchLimit   int        `json:"batch_limit"`
	PricePerHour *float64   `json:"price_per_hour"` // null where none is known
	Logged       bool       `json:"logged"`         // /api/v1/log may have its output
}

// Replicas of the past that are shown beside the living.
const (
	endedSince = time.Hour
	maxEnded   = 200
	maxListed  = 5000
)

// ReplicaList is the answer to which replicas there are.
type ReplicaList struct {
	At       time.Time     `json:"at"`
	Age      float64       `json:"age_seconds"`
	Replicas []ReplicaView `json:"replicas"` // living ones first, newest first
	LeftOut  int           `json:"left_out"` // beyond what is listed at once
}

func (c *Console) replicaList(r *http.Request) (any, error) {
	snapshot, decision, err := c.now()
	if err != nil {
		return nil, err
	}
	model := r.URL.Query().Get("model")
	if model != "" {
		if model, err = named(snapshot, model); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	list := ReplicaList{At: snapshot.Now, Age: seconds(now.Sub(snapshot.Now)), Replicas: []ReplicaView{}}
	lives := map[scale.ReplicaID]scale.Lifetime{}
	var ended []scale.Lifetime
	for _, l := range c.Fleet.Lifetimes() {
		if l.Ended.IsZero() {
			lives[l.Replica] = l
		} else if now.Sub(l.Ended) < endedSince && (model == "" || l.Target.Model == model) {
			ended = append(ended, l)
		}
	}
	limits := batchLimits(decision)
	for _, m := range snapshot.Models {
		if model != "" && m.Model.Name != model {
			continue
		}
		for _, replica := range m.Replicas {
			v := living(m.Model, replica, now)
			v.BatchLimit, v.Logged = limits[replica.Target], c.Logs != nil
			v.remember(lives[replica.ID])
			if taken, some := snapshot.Interrupted(replica.ID); some {
				v.TakenIn = seconds(taken.Deadline.Sub(now))
			}
			list.Replicas = append(list.Replicas, v)
		}
	}
	slices.SortStableFunc(list.Replicas, func(a, b ReplicaView) int { return b.Created.Compare(a.Created) })
	list.Replicas = append(list.Replicas, c.gone(ended)...)
	if extra := len(list.Replicas) - maxListed; extra > 0 {
		list.Replicas, list.LeftOut = list.Replicas[:maxListed], extra
	}
	return list, nil
}

func batchLimits(d scale.Decision) map[scale.ScaleTarget]int {
	limits := map[scale.ScaleTarget]int{}
	for _, p := range d.Plans {
		for _, a := range p.Allocations {
			limits[a.Target] = a.BatchLimit
		}
	}
	return limits
}

// gone lists the newest of those that ended.
func (c *Console) gone(ended []scale.Lifetime) []ReplicaView {
	slices.SortStableFunc(ended, func(a, b scale.Lifetime) int { return b.Ended.Compare(a.Ended) })
	var all []ReplicaView
	for _, l := range ended[:min(len(ended), maxEnded)] {
		v := ReplicaView{
			Replica: string(l.Replica), Model: l.Target.Model, Variant: l.Target.Variant, Capacity: l.Target.Capacity.String(),
			Phase: scale.Gone.String(), Since: l.Ended, Created: l.Created, Logged: c.Logs != nil,
		}
		v.remember(l)
		all = append(all, v)
	}
	return all
}

func living(m scale.Model, r scale.Replica, now time.Time) ReplicaView {
	v := ReplicaView{
		Replica: string(r.ID), Model: m.Name, Variant: r.Target.Variant, Capacity: r.Target.Capacity.String(), Zone: r.Zone,
		Phase: r.Phase.String(), Since: r.Since, Created: r.Created,
		InFlight: value(r.Load.InFlight, now), Running: value(r.Load.Running, now), Waiting: value(r.Load.Waiting, now),
		KVCache: value(r.Load.KVCacheUsage, now),
	}
	if variant, ok := m.Variant(r.Target.Variant); ok {
		v.Accelerator = fmt.Sprintf("%d × %s", variant.Accelerator.Count, variant.Accelerator.Type)
	}
	return v
}

// remember adds what only the books know.
func (v *ReplicaView) remember(l scale.Lifetime) {
	if l.PricePerHour > 0 {
		v.PricePerHour = &l.PricePerHour
	}
	for to, at := range map[**time.Time]time.Time{&v.Ready: l.Ready, &v.Drained: l.Drained, &v.Ended: l.Ended} {
		if !at.IsZero() {
			*to = &at
		}
	}
}

// Log is the end of what a replica printed.
type Log struct {
	Replica string   `json:"replica"`
	Lines   []string `json:"lines"`
	Cut     bool     `json:"cut"` // there is more before
}

// Bounds on a log that is shown.
const (
	maxTail      = 64 << 10
	defaultLines = 200
	maxLines     = 1000
)

// log answers with the output of a replica that the fleet knows: a name from
// the network is compared with its names and goes no further.
func (c *Console) log(r *http.Request) (any, error) {
	query := r.URL.Query()
	lines := defaultLines
	if text := query.Get("lines"); text != "" {
		var err error
		if lines, err = strconv.Atoi(text); err != nil || lines < 1 || lines > maxLines {
			return nil, refusal{http.StatusBadRequest, "bad_limit", fmt.Sprintf("lines: %.20q is not a number from 1 to %d.", text, maxLines)}
		}
	}
	id, known := c.known(query.Get("replica"))
	if !known {
		return nil, refusal{http.StatusNotFound, "replica_not_found", fmt.Sprintf("There is no replica %.100q, and none ended lately.", query.Get("replica"))}
	}
	if c.Logs == nil {
		return nil, refusal{http.StatusNotFound, "no_logs", "This penstock keeps no logs of replicas."}
	}
	text, kept, err := c.Logs.Tail(id, maxTail)
	switch {
	case err != nil:
		return nil, err
	case !kept:
		return nil, refusal{http.StatusNotFound, "no_logs", fmt.Sprintf("Nothing is kept of what %s printed.", id)}
	}
	return tailOf(string(id), string(text), lines), nil
}

// tailOf cuts text to its last lines. What is no UTF-8 is replaced.
func tailOf(replica, text string, lines int) Log {
	all := strings.Split(strings.TrimRight(strings.ToValidUTF8(text, "�"), "\n"), "\n")
	log := Log{Replica: replica, Lines: all, Cut: len(text) >= maxTail}
	if len(text) >= maxTail && len(all) > 1 {
		log.Lines = all[1:] // the first was cut
	}
	if extra := len(log.Lines) - lines; extra > 0 {
		log.Lines, log.Cut = log.Lines[extra:], true
	}
	return log
}

// known returns the replica of a name, living or ended.
func (c *Console) known(name string) (scale.ReplicaID, bool) {
	snapshot, _, _ := c.Fleet.Snapshot()
	for _, m := range snapshot.Models {
		for _, r := range m.Replicas {
			if string(r.ID) == name {
				return r.ID, true
			}
		}
	}
	lives := c.Fleet.Lifetimes()
	for _, l := range lives {
		if string(l.Replica) == name {
			return l.Replica, true
		}
	}
	return "", false
}
