package sim

import (
	"math"
	"time"
)

// never is later than all that happens.
const never = time.Duration(math.MaxInt64)

// timer is when something is due. What is due at one instant happens in the
// order of rank.
type timer struct {
	at   time.Duration
	rank uint32
	id   int32
}

// Ranks, by what happens first at one instant; the index goes into the low bits.
const (
	rankEngine   uint32 = iota << 24 // what ends, ends before what follows from a change of the fleet
	rankDeadline                     // of a hold
	rankBoot
	rankReclaim
	rankZone
	rankFault
	rankTick // sees all that happened until then
)

func (t timer) before(o timer) bool { return t.at < o.at || t.at == o.at && t.rank < o.rank }

// timers is a binary heap in which each id stands at most once.
type timers struct {
	heap  []timer
	place []int32 // by id: index in heap + 1, 0 for not in it
}

// room makes ids below n known.
func (t *timers) room(n int) {
	for len(t.place) < n {
		t.place = append(t.place, 0)
	}
}

// first returns when the next is due.
func (t *timers) first() time.Duration {
	if len(t.heap) == 0 {
		return never
	}
	return t.heap[0].at
}

// set makes an id due at an instant, or not at all at never.
func (t *timers) set(id int32, rank uint32, at time.Duration) {
	i := int(t.place[id]) - 1
	switch {
	case at == never:
		if i >= 0 {
			t.remove(i)
		}
	case i < 0:
		t.heap = append(t.heap, timer{})
		t.up(len(t.heap)-1, timer{at: at, rank: rank, id: id})
	default:
		if old := t.heap[i]; old.at == at && old.rank == rank {
			return
		}
		t.fix(i, timer{at: at, rank: rank, id: id})
	}
}

func (t *timers) remove(i int) {
	t.place[t.heap[i].id] = 0
	last := len(t.heap) - 1
	moved := t.heap[last]
	t.heap = t.heap[:last]
	if i < last {
		t.fix(i, moved)
	}
}

func (t *timers) fix(i int, x timer) {
	if i > 0 && x.before(t.heap[(i-1)/2]) {
		t.up(i, x)
	} else {
		t.down(i, x)
	}
}

func (t *timers) up(i int, x timer) {
	for i > 0 {
		parent := (i - 1) / 2
		if !x.before(t.heap[parent]) {
			break
		}
		t.put(i, t.heap[parent])
		i = parent
	}
	t.put(i, x)
}

func (t *timers) down(i int, x timer) {
	for {
		child := 2*i + 1
		if child >= len(t.heap) {
			break
		}
		if child+1 < len(t.heap) && t.heap[child+1].before(t.heap[child]) {
			child++
		}
		if !t.heap[child].before(x) {
			break
		}
		t.put(i, t.heap[child])
		i = child
	}
	t.put(i, x)
}

func (t *timers) put(i int, x timer) {
	t.heap[i] = x
	t.place[x.id] = int32(i + 1)
}
