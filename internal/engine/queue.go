package engine

import "github.com/penstock/penstock/internal/scale"

// queue is first in, first out. It reuses its memory.
type queue struct {
	list []sequence // those before head are gone
	head int
}

func (q *queue) len() int { return len(q.list) - q.head }

func (q *queue) push(s sequence) {
	// Half of it gone: move the rest to the front, which costs each sequence
	// one move on average and keeps the memory within twice its peak.
	if q.head > 0 && q.head >= q.len() && len(q.list) == cap(q.list) {
		n := copy(q.list, q.list[q.head:])
		q.list, q.head = q.list[:n], 0
	}
	q.list = append(q.list, s)
}

// first is nil when the queue is empty; it is valid until the next change.
func (q *queue) first() *sequence {
	if q.len() == 0 {
		return nil
	}
	return &q.list[q.head]
}

func (q *queue) drop() {
	q.head++
	if q.len() == 0 {
		q.list, q.head = q.list[:0], 0
	}
}

func (q *queue) remove(id scale.RequestID) {
	if i := find(q.list[q.head:], id); i >= 0 {
		i += q.head
		q.list = append(q.list[:i], q.list[i+1:]...)
	}
}
