package admission

import (
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// outputWeight is the work of an output token in prompt tokens. On an 8B model
// on one A100 a decoded token takes about four times as long as a prefilled
// one at a usual batch (internal/config/catalogue.yaml); what is at a replica
// has half of its output to come on average.
const outputWeight = 2

// entry is one request that was neither answered nor ended yet.
type entry struct {
	request request
	seq     uint64 // order of arrival

	replica  *replica // where it was sent; nil while held
	begun    bool     // its first token came
	accepted bool     // held or sent once: no longer to be refused for want of room
	next     *entry   // in the lane, or of those to be used again

	// A request that is sent at once has none of these.
	waited     bool // it was in a lane
	woke       bool
	lane       *lane
	prev       *entry
	heldSince  time.Time
	held       time.Duration // earlier holds
	passed     int
	avoid      scale.ReplicaID // "" for none
	avoidUntil time.Time
	due        time.Time // when time changes something for it
	heapAt     int       // in Queue.due, where it is while it is in a lane

	// While its class tells tenants apart.
	flow           *flow
	before, behind *entry // of the same tenant and lane
}

// request is what is kept of a scale.Request. A simulation passes a million of
// them a second, so what nobody asks for is not copied.
type request struct {
	ID           scale.RequestID
	At           time.Time
	Deadline     time.Time
	Priority     int
	Tenant       string
	Prefix       uint64
	PromptTokens int
	OutputTokens int
	Bytes        int
}

// need returns the tokens of KV cache that the request will fill.
func (e *entry) need() int { return max(0, e.request.PromptTokens) + max(0, e.request.OutputTokens) }

// work returns what is outstanding of the request in prompt tokens, at least
// one so that requests without tokens are counted.
func (e *entry) work() int {
	work := outputWeight * max(0, e.request.OutputTokens)
	if !e.begun {
		work += max(0, e.request.PromptTokens)
	}
	return max(1, work)
}

// pending returns the prompt tokens that wait for prefill.
func (e *entry) pending() int {
	if e.begun {
		return 0
	}
	return max(0, e.request.PromptTokens)
}

// class is what is held of one priority.
type class struct {
	priority    int
	fresh, late lane
	sinceLate   int // fresh releases since the last late one
	held        int // in both lanes
	fair        fairness
}

func newClass(priority int) *class {
	c := &class{priority: priority}
	c.fresh.class, c.late.class = c, c
	c.fresh.flows.kind, c.late.flows.kind, c.fair.idle.kind = freshHeap, lateHeap, idleHeap
	return c
}

// age moves what can no longer be good to the late lane.
func (c *class) age(now time.Time, slo scale.SLO) {
	budget := slo.TTFT
	if !slo.Tokens() {
		budget = slo.Latency
	}
	if budget <= 0 {
		return
	}
	for e := c.fresh.first; e != nil && !now.Before(e.request.At.Add(budget)); e = c.fresh.first {
		e.move(&c.late)
	}
}

// lane is a list in order of arrival.
type lane struct {
	first, last *entry
	class       *class
	flows       flowHeap // tenants with requests here, while the class tells them apart
}

// insert puts an entry behind all that arrived before it: usually at the end,
// further ahead after a retry.
func (l *lane) insert(e *entry) {
	after := l.last
	for after != nil && after.seq > e.seq {
		after = after.prev
	}
	e.lane, e.prev = l, after
	if after == nil {
		e.next, l.first = l.first, e
	} else {
		e.next, after.next = after.next, e
	}
	if e.next == nil {
		l.last = e
	} else {
		e.next.prev = e
	}
}

func (l *lane) remove(e *entry) {
	if e.prev == nil {
		l.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		l.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.lane, e.prev, e.next = nil, nil, nil
}

// dueHeap is a binary heap of held entries by due, then by arrival. It is
// container/heap without its interface, so that no entry escapes into an any.
type dueHeap []*entry

func (h *dueHeap) push(e *entry) {
	e.heapAt = len(*h)
	*h = append(*h, e)
	h.up(e.heapAt)
}

func (h *dueHeap) remove(e *entry) {
	i, last := e.heapAt, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	e.heapAt = -1
	if i < last {
		h.fix((*h)[i])
	}
}

func (h *dueHeap) fix(e *entry) {
	h.up(e.heapAt)
	h.down(e.heapAt)
}

func (h *dueHeap) up(i int) {
	for i > 0 && h.less(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h *dueHeap) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(*h); child++ {
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

func (h *dueHeap) less(i, j int) bool {
	a, b := (*h)[i], (*h)[j]
	if !a.due.Equal(b.due) {
		return a.due.Before(b.due)
	}
	return a.seq < b.seq
}

func (h *dueHeap) swap(i, j int) {
	(*h)[i], (*h)[j] = (*h)[j], (*h)[i]
	(*h)[i].heapAt, (*h)[j].heapAt = i, j
}
