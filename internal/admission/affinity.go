package admission

import (
	"math"

	"github.com/penstock/penstock/internal/scale"
)

const (
	// prefixesPerReplica is how many prefixes are remembered for each replica, of
	// all together: as many as the KV cache of an engine keeps for reuse.
	prefixesPerReplica = 64
	// ways is how many places a prefix may be remembered in, so also how many
	// replicas that served one.
	ways = 8
)

// affinity remembers which replicas were sent which prefix lately, and so may
// have it in their KV cache. It is a set-associative table, least recently used
// out first; it takes no memory before a first request with a Prefix comes, and
// does not allocate after that while the fleet is of one size.
type affinity struct {
	table []served // sets of ways, their number a power of two
	clock uint64
}

// served says that a replica was sent a prefix.
type served struct {
	prefix  uint64
	replica *replica // nil for a free place
	at      uint64
}

// set returns the places of a prefix.
func (a *affinity) set(prefix uint64) []served {
	set := int(prefix) & (len(a.table)/ways - 1)
	return a.table[set*ways : (set+1)*ways]
}

// note remembers that a replica is sent a prefix.
func (a *affinity) note(prefix uint64, r *replica, replicas int) {
	if len(a.table) < replicas*prefixesPerReplica {
		a.grow(replicas)
	}
	a.clock++
	set := a.set(prefix)
	place, oldest := 0, uint64(math.MaxUint64)
	for i := range set {
		s := &set[i]
		if s.prefix == prefix && s.replica == r {
			s.at = a.clock
			return
		}
		at := s.at
		if s.replica == nil || s.replica.gone {
			at = 0
		}
		if at < oldest {
			place, oldest = i, at
		}
	}
	set[place] = served{prefix: prefix, replica: r, at: a.clock}
}

func (a *affinity) grow(replicas int) {
	size := ways
	for size < replicas*prefixesPerReplica {
		size *= 2
	}
	old := a.table
	a.table = make([]served, size)
	for _, s := range old { // one old set falls apart into several: all find room
		if s.replica == nil || s.replica.gone {
			continue
		}
		set := a.set(s.prefix)
		for i := range set {
			if set[i].replica == nil {
				set[i] = s
				break
			}
		}
	}
}

// prefer returns the replica with the least load among those that have room and
// were sent the prefix of e lately, if its load is within what a cached prefix
// saves of the least, which is that of best; else best.
func (f *fleet) prefer(best *replica, e *entry, not *replica) *replica {
	need, saved := e.need(), min(max(0, e.request.PromptTokens), scale.PrefixTokens)
	least := f.nodes[best.leaf].load
	chosen, load := best, math.MaxInt
	for _, s := range f.affinity.set(e.request.Prefix) {
		r := s.replica
		if s.prefix != e.request.Prefix || r == nil || r.leaf == 0 || r == not {
			continue
		}
		n := f.nodes[r.leaf]
		if n.room < need || n.load > least+saved*loadScale/r.batch {
			continue
		}
		if n.load < load || n.load == load && r.leaf < chosen.leaf {
			chosen, load = r, n.load
		}
	}
	return chosen
}
