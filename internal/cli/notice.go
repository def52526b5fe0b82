package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/local"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/spot"
)

type noticeCmd struct {
	Replica string        `arg:"" help:"Replica that will be taken, as penstock status --replicas names it."`
	In      time.Duration `required:"" placeholder:"TIME" help:"In how long it will be gone, such as 30s."`
	File    string        `short:"f" default:"penstock.yaml" placeholder:"FILE" help:"Configuration file of the running penstock (${default})."`
	State   string        `placeholder:"DIR" help:"Its state directory, instead of the file's."`
}

func (noticeCmd) Help() string {
	return `Tells a running penstock that a replica on this machine will be taken away, as a cloud does of spot capacity: it gets no new requests, finishes those that it has until shortly before the time is up (2 s), and is replaced. The same can be done by writing "gone in 30s" to a file named after the replica in the notices folder of the state directory.

Example:
  penstock notice chat-l4-x7k2q3-001 --in 30s`
}

func (c *noticeCmd) Run(std Streams) error {
	state := c.State
	if state == "" {
		loaded, err := config.Load(c.File)
		if err != nil {
			return usageError{fmt.Errorf("%w; say which penstock with -f FILE or --state DIR", err)}
		}
		state = loaded.Server.StateDir
	}
	running, err := local.Replicas(state)
	if err != nil {
		return err
	}
	replica := scale.ReplicaID(c.Replica)
	if !slices.Contains(running, replica) {
		return usageError{fmt.Errorf("no replica %s runs from %s; these do: %s", replica, state, listed(running))}
	}
	if err := spot.Write(local.NoticeDir(state), replica, c.In); err != nil {
		return usageError{err}
	}
	_, err = fmt.Fprintf(std.Out, "%s will be gone in %s\n", replica, c.In)
	return err
}

// listed is a list of replicas for people.
func listed(ids []scale.ReplicaID) string {
	if len(ids) == 0 {
		return "none"
	}
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = string(id)
	}
	return strings.Join(words, ", ")
}
