package admission

import (
	"cmp"
	"math"
	"slices"

	"github.com/penstock/penstock/internal/scale"
)

// replica is what admission knows of one replica.
type replica struct {
	id       scale.ReplicaID
	leaf     int // in fleet.nodes; 0 when it may be sent nothing
	batch    int
	kv       int // tokens; 0 for unbounded
	prefill  int // prompt tokens not begun, from which on it gets nothing; 0 for unbounded
	pending  int // prompt tokens not begun
	inFlight int
	tokens   int // KV need of what is there
	work     int
	gone     bool // no longer in fleet.replicas
}

// room returns the tokens that still fit, or -1 when no request does. An empty
// replica takes a request of any size, so that one larger than a whole KV
// budget is served alone rather than never.
func (r *replica) room() int {
	switch {
	case r.inFlight >= r.batch, r.prefill > 0 && r.pending >= r.prefill:
		return -1
	case r.inFlight == 0 || r.kv == 0:
		return math.MaxInt
	default:
		return r.kv - r.tokens
	}
}

// load returns the outstanding work for the size of the replica, so that a
// large variant gets more than a small one.
func (r *replica) load() int { return r.work * loadScale / r.batch }

const (
	loadScale  = 1024 // keeps a division of small works by large batches apart
	flatLeaves = 64   // so many are scanned as fast as a tree is kept in order and searched
)

// node is what is known of the leaves below it: the least load of those with
// any room, and the most room.
type node struct {
	load int
	room int
}

func shut() node { return node{load: math.MaxInt, room: -1} }

// fleet finds the replica with the least load among those with room. It is a
// tournament tree: a heap by load alone would have to be searched through
// whenever its top lacks room. Changing one replica and, with few exceptions,
// finding one visits a node per level. A small fleet has no tree, only its
// leaves.
type fleet struct {
	replicas map[scale.ReplicaID]*replica // routed, or with requests still there
	order    []*replica                   // those that may be sent requests, by ID
	nodes    []node                       // the root is 1, leaves start at len/2
	flat     bool                         // the leaves are scanned, and no inner node counts
	refused  int                          // from so many tokens on a scan finds nothing, until a leaf changes
	ready    int
	kept     *replica // not to be found: it is kept free for one request
	affinity affinity
}

func newFleet() fleet {
	return fleet{replicas: map[scale.ReplicaID]*replica{}, nodes: []node{shut(), shut()}}
}

// route makes the fleet what routes say.
func (f *fleet) route(routes []scale.Route) {
	for _, r := range f.replicas {
		r.leaf, r.batch = 0, 0
	}
	f.order = f.order[:0]
	for _, route := range routes {
		if route.Replica.Phase != scale.Ready || route.BatchLimit <= 0 {
			continue
		}
		r := f.replicas[route.Replica.ID]
		if r == nil {
			r = &replica{id: route.Replica.ID}
			f.replicas[r.id] = r
		}
		if r.batch == 0 {
			f.order = append(f.order, r)
		}
		r.batch, r.kv, r.prefill = route.BatchLimit, max(0, route.KVTokens), max(0, route.PrefillTokens)
	}
	for id, r := range f.replicas {
		if r.batch == 0 && r.inFlight == 0 {
			r.gone = true
			delete(f.replicas, id)
		}
	}
	slices.SortFunc(f.order, func(a, b *replica) int { return cmp.Compare(a.id, b.id) })
	f.ready = len(f.order)
	f.build()
}

func (f *fleet) build() {
	leaves := 1
	for leaves < len(f.order) {
		leaves *= 2
	}
	f.nodes = slices.Grow(f.nodes[:0], 2*leaves)[:2*leaves]
	for i := range leaves {
		f.nodes[leaves+i] = shut()
		if i < len(f.order) {
			f.order[i].leaf = leaves + i
			f.nodes[leaves+i] = f.order[i].node()
		}
	}
	f.flat, f.refused = leaves <= flatLeaves, math.MaxInt
	for i := leaves - 1; i > 0; i-- {
		f.nodes[i] = join(f.nodes[2*i], f.nodes[2*i+1])
	}
}

func (r *replica) node() node {
	room := r.room()
	if room < 0 {
		return shut()
	}
	return node{load: r.load(), room: room}
}

func join(a, b node) node { return node{load: min(a.load, b.load), room: max(a.room, b.room)} }

// open says whether any replica takes any request.
func (f *fleet) open() bool {
	if f.flat {
		return f.scan(0, 0) != 0
	}
	return f.nodes[1].room >= 0
}

// place returns where a request is best sent to, and not to the given replica;
// nil where none has room.
func (f *fleet) place(e *entry, not *replica) *replica {
	best := f.find(e.need(), not)
	if e.request.Prefix == 0 || best == nil || len(f.affinity.table) == 0 {
		return best
	}
	return f.prefer(best, e, not)
}

// find returns the replica with the least load that has room for need tokens
// and is not the given one; of equals the first by ID.
func (f *fleet) find(need int, not *replica) *replica {
	skip := 0
	if not != nil {
		skip = not.leaf
	}
	leaf := f.best(need, skip)
	if leaf == 0 {
		return nil
	}
	return f.order[leaf-len(f.nodes)/2]
}

// best returns the leaf that find is to return, or 0.
func (f *fleet) best(need, skip int) int {
	if f.flat {
		return f.scan(need, skip)
	}
	return f.search(1, need, skip)
}

// scan returns the best leaf, or 0.
func (f *fleet) scan(need, skip int) int {
	if need >= f.refused {
		return 0
	}
	best, least, leaves := 0, math.MaxInt, len(f.nodes)/2
	for i, n := range f.nodes[leaves : leaves+len(f.order)] {
		if n.load < least && n.room >= need && leaves+i != skip {
			best, least = leaves+i, n.load
		}
	}
	if best == 0 && skip == 0 {
		f.refused = need
	}
	return best
}

// search returns the best leaf below a node, or 0.
func (f *fleet) search(at, need, skip int) int {
	if f.nodes[at].room < need || at == skip {
		return 0
	}
	if at >= len(f.nodes)/2 {
		return at
	}
	left, right := 2*at, 2*at+1
	if f.nodes[left].load <= f.nodes[right].load {
		best := f.search(left, need, skip)
		if best != 0 && f.nodes[best].load <= f.nodes[right].load {
			return best
		}
		if other := f.search(right, need, skip); other != 0 && (best == 0 || f.nodes[other].load < f.nodes[best].load) {
			return other
		}
		return best
	}
	best := f.search(right, need, skip)
	if best != 0 && f.nodes[best].load < f.nodes[left].load {
		return best
	}
	if other := f.search(left, need, skip); other != 0 && (best == 0 || f.nodes[other].load <= f.nodes[best].load) {
		return other
	}
	return best
}

// update carries a change of one replica up the tree.
func (f *fleet) update(r *replica) {
	if r.leaf == 0 {
		if r.inFlight == 0 && r.batch == 0 {
			r.gone = true
			delete(f.replicas, r.id)
		}
		return
	}
	now := r.node()
	if r == f.kept {
		now = shut()
	}
	f.nodes[r.leaf] = now
	f.refused = math.MaxInt
	if f.flat {
		return
	}
	for i := r.leaf / 2; i > 0; i /= 2 {
		joined := join(f.nodes[2*i], f.nodes[2*i+1])
		if joined == f.nodes[i] {
			return
		}
		f.nodes[i] = joined
	}
}

func (f *fleet) add(r *replica, e *entry) {
	if e.request.Prefix != 0 {
		f.affinity.note(e.request.Prefix, r, len(f.order))
	}
	r.inFlight++
	r.tokens += e.need()
	r.work += e.work()
	r.pending += e.pending()
	f.update(r)
}

func (f *fleet) remove(r *replica, e *entry) {
	r.inFlight--
	r.tokens -= e.need()
	r.work -= e.work()
	r.pending -= e.pending()
	f.update(r)
}

// begun takes a prompt off what is outstanding at a replica.
func (f *fleet) begun(r *replica, e *entry) {
	r.work -= e.work()
	r.pending -= e.pending()
	e.begun = true
	r.work += e.work()
	f.update(r)
}

// keep takes the replica where need tokens will fit soonest out of the search:
// where the least must end first. It says whether there is one.
func (f *fleet) keep(need int, not scale.ReplicaID) bool {
	var best *replica
	least := 0
	for _, r := range f.order {
		if r.id == not {
			continue
		}
		missing := r.tokens // all must end, for a request larger than the budget
		switch {
		case r.kv == 0:
			missing = 0
		case need <= r.kv:
			missing = max(0, r.tokens+need-r.kv)
		}
		if best == nil || missing < least {
			best, least = r, missing
		}
	}
	if best == nil {
		return false
	}
	f.kept = best
	f.update(best)
	return true
}

func (f *fleet) unkeep() {
	r := f.kept
	f.kept = nil
	f.update(r)
}
