package admission

import "slices"

// Among the tenants of one priority, held requests are released by start-time
// fair queuing (Goyal, Vin and Cheng 1996) on work: each tenant has a virtual
// time, the least of them is next, and a release moves its tenant's on by the
// work of the request over the tenant's weight. So tenants that wait get work
// in proportion to their weights, whatever the size and number of their
// requests, and one that asks for little waits for one request of each other
// at most. What a tenant was sent while nobody waited does not count.
//
// While all that is held of a priority belongs to one tenant there is nothing
// to be fair about, and none of this is kept.

const (
	costScale = 1 << 10 // keeps a division of small works by large weights apart
	// remembered is how many tenants that hold nothing are known by how far they
	// are ahead. Beyond it, those that are least ahead are forgiven.
	remembered = 1024
)

// flow is one tenant within a priority.
type flow struct {
	tenant string
	weight int
	time   int64 // virtual: where its next request starts
	held   [2]chain
	at     [3]int // in the heaps of the lanes and of those that hold nothing; -1 for not there
	next   *flow  // of those to be used again
}

// The heaps that a flow may be in. The first two are lane.kind, too.
const (
	freshHeap = iota
	lateHeap
	idleHeap
)

// chain is what a tenant holds in one lane, in order of arrival.
type chain struct {
	first, last *entry
}

// insert is lane.insert over the other pair of links.
func (h *chain) insert(e *entry) {
	after := h.last
	for after != nil && after.seq > e.seq {
		after = after.before
	}
	e.before = after
	if after == nil {
		e.behind, h.first = h.first, e
	} else {
		e.behind, after.behind = after.behind, e
	}
	if e.behind == nil {
		h.last = e
	} else {
		e.behind.before = e
	}
}

func (h *chain) remove(e *entry) {
	if e.before == nil {
		h.first = e.behind
	} else {
		e.before.behind = e.behind
	}
	if e.behind == nil {
		h.last = e.before
	} else {
		e.behind.before = e.before
	}
	e.before, e.behind = nil, nil
}

// fairness is what is known of the tenants of a priority while several wait,
// or did since something of it was last held.
type fairness struct {
	on     bool
	tenant string // whose all is, while off
	clock  int64  // virtual time of the newest release
	flows  map[string]*flow
	idle   flowHeap
	spare  *flow
}

// insert puts an entry into a lane of the class.
func (c *class) insert(e *entry, l *lane, weights map[string]int) {
	if !c.fair.on {
		if c.held == 0 {
			c.fair.tenant = e.request.Tenant
		}
		if c.fair.tenant != e.request.Tenant {
			c.split(weights)
		}
	}
	if c.fair.on {
		f := c.flow(e.request.Tenant, weights)
		if f.at[idleHeap] >= 0 {
			c.fair.idle.remove(f)
		}
		if f.idle() {
			f.time = max(f.time, c.fair.clock)
		}
		f.put(e, l)
	}
	l.insert(e)
	c.held++
}

// remove takes an entry out of its lane.
func (c *class) remove(e *entry) {
	c.held--
	f := e.flow
	if f != nil {
		f.drop(e)
	}
	e.lane.remove(e)
	switch {
	case f == nil:
	case c.held == 0: // a new busy period begins with nobody ahead
		c.forgive(f)
	case f.idle():
		c.rest(f)
	}
}

// move takes an entry from its lane to another of its class.
func (e *entry) move(to *lane) {
	f := e.flow
	if f != nil {
		f.drop(e)
	}
	e.lane.remove(e)
	if f != nil {
		f.put(e, to)
	}
	to.insert(e)
}

// split begins to tell the tenants apart: all that is held so far is one's.
func (c *class) split(weights map[string]int) {
	c.fair.on = true
	if c.fair.flows == nil {
		c.fair.flows = map[string]*flow{}
	}
	f := c.flow(c.fair.tenant, weights)
	for _, l := range []*lane{&c.fresh, &c.late} {
		for e := l.first; e != nil; e = e.next {
			f.put(e, l)
		}
	}
}

func (c *class) flow(tenant string, weights map[string]int) *flow {
	f := c.fair.flows[tenant]
	if f != nil {
		return f
	}
	if f = c.fair.spare; f == nil {
		f = &flow{}
	} else {
		c.fair.spare = f.next
	}
	*f = flow{tenant: tenant, weight: max(1, weights[tenant]), at: [3]int{-1, -1, -1}}
	c.fair.flows[tenant] = f
	return f
}

// rest keeps a tenant that holds nothing any more for as long as it is ahead.
func (c *class) rest(f *flow) {
	idle := &c.fair.idle
	idle.push(f)
	for len(idle.flows) > remembered || len(idle.flows) > 0 && idle.flows[0].time <= c.fair.clock {
		least := idle.flows[0]
		idle.remove(least)
		c.drop(least)
	}
}

func (c *class) drop(f *flow) {
	delete(c.fair.flows, f.tenant)
	*f = flow{next: c.fair.spare}
	c.fair.spare = f
}

// forgive forgets all tenants, of whom last has just ended to hold something.
func (c *class) forgive(last *flow) {
	c.drop(last)
	for _, f := range c.fair.idle.flows {
		c.drop(f)
	}
	clear(c.fair.idle.flows)
	c.fair.idle.flows = c.fair.idle.flows[:0]
	c.fair.clock, c.fair.on = 0, false
}

// charge moves a tenant's time on for a request that is about to be sent.
func (c *class) charge(e *entry) {
	if !c.fair.on {
		return
	}
	f := e.flow
	c.fair.clock = max(c.fair.clock, f.time)
	f.time += f.cost(e)
	for _, l := range []*lane{&c.fresh, &c.late} {
		if f.at[l.flows.kind] >= 0 {
			l.flows.fix(f)
		}
	}
}

func (f *flow) cost(e *entry) int64 { return max(1, int64(e.work())*costScale/int64(f.weight)) }

func (f *flow) idle() bool { return f.held[freshHeap].first == nil && f.held[lateHeap].first == nil }

// put adds a request that goes into a lane.
func (f *flow) put(e *entry, l *lane) {
	e.flow = f
	kind := l.flows.kind
	f.held[kind].insert(e)
	if f.at[kind] < 0 {
		l.flows.push(f)
	} else {
		l.flows.fix(f) // its first may be another
	}
}

// drop takes a request away that leaves its lane.
func (f *flow) drop(e *entry) {
	flows := &e.lane.flows
	f.held[flows.kind].remove(e)
	e.flow = nil
	if f.held[flows.kind].first == nil {
		flows.remove(f)
	} else {
		flows.fix(f)
	}
}

// flowHeap is a binary heap of flows by their time, then by the arrival of
// their first request of the lane or, where they have none, by tenant.
type flowHeap struct {
	kind  int
	flows []*flow
}

func (h *flowHeap) less(i, j int) bool {
	a, b := h.flows[i], h.flows[j]
	switch {
	case a.time != b.time:
		return a.time < b.time
	case h.kind == idleHeap:
		return a.tenant < b.tenant
	default:
		return a.held[h.kind].first.seq < b.held[h.kind].first.seq
	}
}

func (h *flowHeap) push(f *flow) {
	f.at[h.kind] = len(h.flows)
	h.flows = append(h.flows, f)
	h.up(f.at[h.kind])
}

func (h *flowHeap) remove(f *flow) {
	i, last := f.at[h.kind], len(h.flows)-1
	h.swap(i, last)
	h.flows[last] = nil
	h.flows = h.flows[:last]
	f.at[h.kind] = -1
	if i < last {
		h.fix(h.flows[i])
	}
}

func (h *flowHeap) fix(f *flow) {
	h.up(f.at[h.kind])
	h.down(f.at[h.kind])
}

func (h *flowHeap) up(i int) {
	for i > 0 && h.less(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h *flowHeap) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h.flows); child++ {
			if h.less(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h *flowHeap) swap(i, j int) {
	h.flows[i], h.flows[j] = h.flows[j], h.flows[i]
	h.flows[i].at[h.kind], h.flows[j].at[h.kind] = i, j
}

// candidate is a held request that may be next.
type candidate struct {
	time  int64 // where it starts if all of its tenant before it are released
	entry *entry
	root  int // in the lane's heap, for the first of its tenant; else -1
	rank  int // among its tenant's
}

// fairest returns the first request of a lane, in the order in which they would
// be released if all fitted, that fits a replica. It looks at window requests,
// and at a part of them for each tenant, so that one with requests that fit
// nowhere does not bar the rest.
func (q *Queue) fairest(l *lane, blocked **entry) (*entry, *replica) {
	each := window
	if len(l.flows.flows) > 1 {
		each = window / 4
	}
	q.walk = q.walk[:0]
	q.consider(l, 0)
	for looked := 0; looked < window && len(q.walk) > 0; looked++ {
		at := q.walk[0]
		q.walk = slices.Delete(q.walk, 0, 1)
		if to := q.find(at.entry); to != nil {
			return at.entry, to
		}
		if *blocked == nil && at.entry != q.reserved {
			*blocked = at.entry
		}
		if at.root >= 0 {
			q.consider(l, 2*at.root+1)
			q.consider(l, 2*at.root+2)
		}
		if next := at.entry.behind; next != nil && at.rank+1 < each {
			q.candidate(candidate{time: at.time + at.entry.flow.cost(at.entry), entry: next, root: -1, rank: at.rank + 1})
		}
	}
	return nil, nil
}

// consider makes a candidate of the first request of a flow, by its place in
// the lane's heap.
func (q *Queue) consider(l *lane, at int) {
	if at < len(l.flows.flows) {
		f := l.flows.flows[at]
		q.candidate(candidate{time: f.time, entry: f.held[l.flows.kind].first, root: at})
	}
}

// candidate puts one into walk, which is sorted: it is short.
func (q *Queue) candidate(c candidate) {
	at := len(q.walk)
	for at > 0 && c.before(q.walk[at-1]) {
		at--
	}
	q.walk = slices.Insert(q.walk, at, c)
}

func (c candidate) before(o candidate) bool {
	if c.time != o.time {
		return c.time < o.time
	}
	return c.entry.seq < o.entry.seq
}
