package trace

import "time"

// agenda is a binary heap of who comes next; of two at one instant the one of
// the lower number.
type agenda []appointment

type appointment struct {
	at  time.Duration
	who int
}

func (a appointment) before(b appointment) bool {
	return a.at < b.at || a.at == b.at && a.who < b.who
}

// add puts one in.
func (a *agenda) add(at time.Duration, who int) {
	*a = append(*a, appointment{at, who})
	h := *a
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h[i].before(h[parent]) {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

// move gives the first one a later time.
func (a agenda) move(at time.Duration) {
	a[0].at = at
	a.sink()
}

// drop takes the first one out.
func (a *agenda) drop() {
	h := *a
	last := len(h) - 1
	h[0] = h[last]
	*a = h[:last]
	a.sink()
}

func (a agenda) sink() {
	if len(a) == 0 {
		return
	}
	top := a[0]
	i := 0
	for {
		child := 2*i + 1
		if child >= len(a) {
			break
		}
		if other := child + 1; other < len(a) && a[other].before(a[child]) {
			child = other
		}
		if !a[child].before(top) {
			break
		}
		a[i] = a[child]
		i = child
	}
	a[i] = top
}
