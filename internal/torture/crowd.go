package torture

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/load"
	"github.com/penstock/penstock/internal/scale"
)

const (
	leaveWithin = 1500 // bytes of a reply; a token is about 200
	slowPause   = 60 * time.Millisecond
	// deathBefore is how long before and after its gateway was killed a lost
	// request must have been under way for that to be the cause.
	deathBefore = 2 * time.Second
	holdSlack   = 100 * time.Millisecond
	examples    = 8
)

// crowd is all clients: how they behave, and how their requests ended.
type crowd struct {
	soak    *Soak
	balance *balance
	maxHold time.Duration

	mu       sync.Mutex
	kills    []kill
	outcomes load.Outcomes
	silent   int // streams that broke off, or ended well without [DONE]
	lost     int // requests without an answer
	byKill   int // of either, as their gateway was killed
	held     time.Duration
	late     int // held past their deadline
	left     map[string]time.Time
	examples []string
}

func newCrowd(s *Soak, b *balance, maxHold time.Duration) *crowd {
	return &crowd{soak: s, balance: b, maxHold: maxHold, left: map[string]time.Time{}}
}

// manners are drawn by the request's ID, so that a seed repeats them.
func (c *crowd) manners(request scale.Request) load.Manners {
	random := rand.New(rand.NewPCG(c.soak.Seed, uint64(request.ID)))
	switch roll := random.Float64(); {
	case roll < c.soak.Abort:
		return load.Manners{Leave: 1 + random.IntN(leaveWithin)}
	case roll < c.soak.Abort+c.soak.Slow:
		return load.Manners{Pause: slowPause}
	default:
		return load.Manners{}
	}
}

// killed takes in that a gateway is killed now.
func (c *crowd) killed(k kill) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kills = append(c.kills, k)
}

// ended takes in how a request ended.
func (c *crowd) ended(e load.Ended) {
	id := strconv.FormatUint(uint64(e.ID), 10)
	host, _ := c.balance.went.LoadAndDelete(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcomes[e.Outcome]++
	c.held = max(c.held, e.Held)
	if e.Held > c.maxHold+holdSlack {
		c.late++
	}
	if !e.Left.IsZero() {
		c.left[id] = e.Left
	}
	if e.Outcome != scale.Lost {
		if e.Outcome == scale.Corrupted {
			c.example(e)
		}
		return
	}
	switch {
	case c.died(host, e):
		c.byKill++
	case strings.HasPrefix(e.Detail, "no answer"):
		c.lost++
		c.example(e)
	default:
		c.silent++
		c.example(e)
	}
}

// died says whether a request was at a gateway when that was killed.
func (c *crowd) died(host any, e load.Ended) bool {
	return slices.ContainsFunc(c.kills, func(k kill) bool {
		return k.host == host && e.Sent.Before(k.at.Add(deathBefore)) && e.Sent.Add(e.Took).After(k.at.Add(-deathBefore))
	})
}

func (c *crowd) example(e load.Ended) {
	if len(c.examples) < examples {
		c.examples = append(c.examples, e.Outcome.String()+" at "+e.Sent.Format("15:04:05.000")+": "+e.Detail)
	}
}

// aborts returns how long it took from a client's leaving until its replica saw
// that, for those that a replica saw, sorted.
func (c *crowd) aborts(s seen) []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var took []time.Duration
	for id, left := range c.left {
		if at, ok := s.aborts[id]; ok {
			took = append(took, time.Unix(0, at).Sub(left))
		}
	}
	slices.Sort(took)
	return took
}
