package engine

// entry is a request in the batch of a Stepper.
type entry struct {
	end   int // the step of its last token
	order int // of entry into the batch
	total int // tokens of its prompt and its reply
	key   Key
}

// tokens returns how many it has in the KV cache: all but those to come, of
// which the last never enters it.
func (e *entry) tokens(step int) int { return e.total - 1 - (e.end - step) }

func (e *entry) before(other *entry) bool {
	return e.end < other.end || e.end == other.end && e.order < other.order
}

// agenda is a binary heap of entries by end, then by order. It is
// container/heap without its interface.
type agenda []entry

func (a *agenda) push(e entry) {
	*a = append(*a, e)
	a.up(len(*a)-1, e)
}

func (a *agenda) pop() entry {
	h := *a
	top, last := h[0], len(h)-1
	e := h[last]
	*a = h[:last]
	if last > 0 {
		a.down(0, e)
	}
	return top
}

// up puts an entry at an index or above it.
func (a *agenda) up(i int, e entry) {
	h := *a
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].before(&e) {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = e
}

// down puts an entry at an index or below it.
func (a *agenda) down(i int, e entry) {
	h := *a
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1].before(&h[child]) {
			child++
		}
		if e.before(&h[child]) {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = e
}

// take removes the entry at an index.
func (a *agenda) take(i int) entry {
	h := *a
	out, last := h[i], len(h)-1
	e := h[last]
	*a = h[:last]
	if i == last {
		return out
	}
	if i > 0 && e.before(&h[(i-1)/2]) {
		a.up(i, e)
	} else {
		a.down(i, e)
	}
	return out
}

// remove takes the entry of a key out, which is there.
func (a *agenda) remove(k Key) entry {
	for i := range *a {
		if (*a)[i].key == k {
			return a.take(i)
		}
	}
	return entry{}
}

// youngest takes the entry out that came last into the batch.
func (a *agenda) youngest() entry {
	last := 0
	for i := range *a {
		if (*a)[i].order > (*a)[last].order {
			last = i
		}
	}
	return a.take(last)
}

// backlog is a queue of jobs at whose head others may be put.
type backlog struct {
	ring  []job // as long as a power of two
	head  int
	count int
}

func (b *backlog) len() int { return b.count }

// at returns the job at a place, from 0; it is valid until the next change.
func (b *backlog) at(i int) *job { return &b.ring[(b.head+i)&(len(b.ring)-1)] }

func (b *backlog) grow() {
	ring := make([]job, max(8, 2*len(b.ring)))
	for i := range b.count {
		ring[i] = *b.at(i)
	}
	b.ring, b.head = ring, 0
}

func (b *backlog) push(j job) {
	if b.count == len(b.ring) {
		b.grow()
	}
	b.count++
	*b.at(b.count - 1) = j
}

func (b *backlog) pushFront(j job) {
	if b.count == len(b.ring) {
		b.grow()
	}
	b.count++
	b.head = (b.head - 1) & (len(b.ring) - 1)
	*b.at(0) = j
}

func (b *backlog) pop() job {
	j := *b.at(0)
	b.head = (b.head + 1) & (len(b.ring) - 1)
	b.count--
	return j
}

// remove takes the job of a key out and says whether it was there.
func (b *backlog) remove(k Key) bool {
	for i := range b.count {
		if b.at(i).key != k {
			continue
		}
		for ; i < b.count-1; i++ {
			*b.at(i) = *b.at(i + 1)
		}
		b.count--
		return true
	}
	return false
}

// copy makes b the first jobs of another backlog, at most n.
func (b *backlog) copy(other *backlog, n int) {
	b.head, b.count = 0, 0
	for i := range min(n, other.count) {
		b.push(*other.at(i))
	}
}

// keySet is a set of keys: a hash table with linear probing and without
// tombstones.
type keySet struct {
	slots []uint64 // as long as a power of two; 0 for none, else a key and 1
	shift uint     // of a hash, so that it is an index
	count int
}

// home returns where a key would like to be (Knuth's multiplicative hashing).
func (k *keySet) home(slot uint64) int { return int(slot * 0x9e3779b97f4a7c15 >> k.shift) }

// find returns the index of a key, or of the gap where it may be put.
func (k *keySet) find(slot uint64) int {
	i := k.home(slot)
	for k.slots[i] != 0 && k.slots[i] != slot {
		i = (i + 1) & (len(k.slots) - 1)
	}
	return i
}

func (k *keySet) has(key Key) bool {
	return len(k.slots) > 0 && k.slots[k.find(uint64(key)+1)] != 0
}

// add is false when the key is there.
func (k *keySet) add(key Key) bool {
	if 2*k.count >= len(k.slots) {
		k.grow()
	}
	slot := uint64(key) + 1
	i := k.find(slot)
	if k.slots[i] != 0 {
		return false
	}
	k.slots[i] = slot
	k.count++
	return true
}

func (k *keySet) grow() {
	old := k.slots
	k.slots, k.shift = make([]uint64, max(16, 2*len(old))), k.shift-1
	if len(old) == 0 {
		k.shift = 64 - 4
	}
	for _, slot := range old {
		if slot != 0 {
			k.slots[k.find(slot)] = slot
		}
	}
}

// remove takes a key out that is there, and moves those behind it that would
// no longer be found.
func (k *keySet) remove(key Key) {
	mask := len(k.slots) - 1
	gap := k.find(uint64(key) + 1)
	k.count--
	for i := (gap + 1) & mask; k.slots[i] != 0; i = (i + 1) & mask {
		if home := k.home(k.slots[i]); (i-home)&mask >= (i-gap)&mask {
			k.slots[gap] = k.slots[i]
			gap = i
		}
	}
	k.slots[gap] = 0
}
