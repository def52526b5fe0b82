package local

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/penstock/penstock/internal/scale"
)

// book keeps the Lifetimes. It has a lock, so that it can be read before and
// after the fleet has an owner.
type book struct {
	mu     sync.Mutex
	living map[scale.ReplicaID]scale.Lifetime
	ended  []scale.Lifetime
}

// put enters how a life stands.
func (b *book) put(l scale.Lifetime) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.Ended.IsZero() {
		b.living[l.Replica] = l
		return
	}
	delete(b.living, l.Replica)
	b.ended = append(b.ended, l)
}

func (b *book) all() []scale.Lifetime {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := slices.AppendSeq(slices.Clone(b.ended), maps.Values(b.living))
	sortLifetimes(all)
	return all
}

func (b *book) takeEnded() []scale.Lifetime {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.ended
	b.ended = nil
	sortLifetimes(taken)
	return taken
}

func sortLifetimes(all []scale.Lifetime) {
	slices.SortFunc(all, func(a, b scale.Lifetime) int { return cmp.Compare(a.Replica, b.Replica) })
}
