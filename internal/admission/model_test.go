package admission

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// patience is short in the laws, so that reservations are reached.
const patience = 2

// naive is the Queue written again with plain slices and scans over
// everything, to hold the real one against.
type naive struct {
	limits    Limits
	routes    []scale.Route // those that may be sent requests, by ID
	requests  []*naiveRequest
	sinceLate map[int]int
	fair      map[int]*naiveFair // by priority
	served    map[naiveServed]bool
	reserved  *naiveRequest
	kept      scale.ReplicaID
	seq       int
	draining  bool
	effects   []Effect
}

// naiveFair is how far each tenant of a priority is.
type naiveFair struct {
	clock int64
	times map[string]int64
}

type naiveServed struct {
	prefix  uint64
	replica scale.ReplicaID
}

type naiveRequest struct {
	scale.Request
	seq        int
	held, late bool
	woke       bool
	at         scale.ReplicaID
	begun      bool
	accepted   bool
	since      time.Time
	heldFor    time.Duration
	avoid      scale.ReplicaID
	avoidUntil time.Time
	passed     int
}

func (r *naiveRequest) need() int { return r.PromptTokens + r.OutputTokens }

func (r *naiveRequest) cost(weights map[string]int) int64 {
	return max(1, int64(max(1, r.PromptTokens+outputWeight*r.OutputTokens))*costScale/int64(max(1, weights[r.Tenant])))
}

func (r *naiveRequest) due() time.Time {
	if r.avoid != "" && r.avoidUntil.Before(r.Deadline) {
		return r.avoidUntil
	}
	return r.Deadline
}

func (m *naive) get(id scale.RequestID) *naiveRequest {
	for _, r := range m.requests {
		if r.ID == id {
			return r
		}
	}
	return nil
}

func (m *naive) drop(r *naiveRequest) {
	m.requests = slices.DeleteFunc(m.requests, func(o *naiveRequest) bool { return o == r })
}

type naiveLane struct {
	priority int
	late     bool
}

// heldOf returns the held requests of one lane in order of arrival.
func (m *naive) heldOf(l naiveLane) []*naiveRequest {
	var held []*naiveRequest
	for _, r := range m.requests {
		if r.held && r.Priority == l.priority && r.late == l.late {
			held = append(held, r)
		}
	}
	slices.SortFunc(held, func(a, b *naiveRequest) int { return cmp.Compare(a.seq, b.seq) })
	return held
}

// order returns those of a lane that are looked at, in the order in which they
// are to go.
func (m *naive) order(l naiveLane) []*naiveRequest {
	held, fair := m.heldOf(l), m.fair[l.priority]
	if fair == nil {
		return held[:min(len(held), window)]
	}
	type start struct {
		*naiveRequest
		at int64
	}
	var starts []start
	next, ranks := maps.Clone(fair.times), map[string]int{}
	tenants := map[string]bool{}
	for _, r := range held {
		tenants[r.Tenant] = true
	}
	for _, r := range held {
		if ranks[r.Tenant]++; len(tenants) == 1 || ranks[r.Tenant] <= window/4 {
			starts = append(starts, start{r, next[r.Tenant]})
		}
		next[r.Tenant] += r.cost(m.limits.Weights)
	}
	slices.SortFunc(starts, func(a, b start) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq)) })
	held = held[:0]
	for _, s := range starts[:min(len(starts), window)] {
		held = append(held, s.naiveRequest)
	}
	return held
}

// join makes the tenant of a request, which is to be held, known.
func (m *naive) join(r *naiveRequest) {
	held := append(m.heldOf(naiveLane{r.Priority, false}), m.heldOf(naiveLane{r.Priority, true})...)
	if len(held) == 0 {
		delete(m.fair, r.Priority)
		return
	}
	fair := m.fair[r.Priority]
	if fair == nil && held[0].Tenant != r.Tenant {
		fair = &naiveFair{times: map[string]int64{}}
		m.fair[r.Priority] = fair
	}
	if fair != nil && !slices.ContainsFunc(held, func(o *naiveRequest) bool { return o.Tenant == r.Tenant }) {
		fair.times[r.Tenant] = max(fair.times[r.Tenant], fair.clock)
	}
}

func (m *naive) charge(r *naiveRequest) {
	if fair := m.fair[r.Priority]; fair != nil {
		fair.clock = max(fair.clock, fair.times[r.Tenant])
		fair.times[r.Tenant] += r.cost(m.limits.Weights)
	}
}

// forget forgets what replicas had served that are neither routed nor busy.
func (m *naive) forget() {
	maps.DeleteFunc(m.served, func(s naiveServed, _ bool) bool {
		inFlight, _, _ := m.use(s.replica)
		return inFlight == 0 && !slices.ContainsFunc(m.routes, func(r scale.Route) bool { return r.Replica.ID == s.replica })
	})
}

func (m *naive) sumHeld() (count, bytes, tokens int) {
	for _, r := range m.requests {
		if r.held {
			count, bytes, tokens = count+1, bytes+r.Bytes, tokens+r.PromptTokens
		}
	}
	return count, bytes, tokens
}

func (m *naive) use(id scale.ReplicaID) (inFlight, tokens, work int) {
	for _, r := range m.requests {
		if r.at != id {
			continue
		}
		inFlight++
		tokens += r.need()
		w := outputWeight * r.OutputTokens
		if !r.begun {
			w += r.PromptTokens
		}
		work += max(1, w)
	}
	return inFlight, tokens, work
}

func (m *naive) pending(id scale.ReplicaID) int {
	n := 0
	for _, r := range m.requests {
		if r.at == id && !r.begun {
			n += r.PromptTokens
		}
	}
	return n
}

func (m *naive) fits(route scale.Route, need int) bool {
	inFlight, tokens, _ := m.use(route.Replica.ID)
	switch {
	case inFlight >= route.BatchLimit, route.PrefillTokens > 0 && m.pending(route.Replica.ID) >= route.PrefillTokens:
		return false
	case inFlight == 0 || route.KVTokens == 0:
		return true
	default:
		return tokens+need <= route.KVTokens
	}
}

func (m *naive) best(r *naiveRequest) scale.ReplicaID {
	best, least := scale.ReplicaID(""), math.MaxInt
	for _, route := range m.routes {
		id := route.Replica.ID
		if r == m.reserved && id == m.kept && m.fits(route, r.need()) {
			return id
		}
		if id == m.kept || id == r.avoid || !m.fits(route, r.need()) {
			continue
		}
		_, _, work := m.use(id)
		if load := work * loadScale / route.BatchLimit; load < least {
			best, least = id, load
		}
	}
	if best == "" || r.Prefix == 0 {
		return best
	}
	closest := math.MaxInt
	for _, route := range m.routes {
		id := route.Replica.ID
		if id == m.kept || id == r.avoid || !m.fits(route, r.need()) || !m.served[naiveServed{r.Prefix, id}] {
			continue
		}
		_, _, work := m.use(id)
		load := work * loadScale / route.BatchLimit
		if load <= least+min(r.PromptTokens, scale.PrefixTokens)*loadScale/route.BatchLimit && load < closest {
			best, closest = id, load
		}
	}
	return best
}

func (m *naive) send(r *naiveRequest, to scale.ReplicaID, now time.Time) {
	m.lift(r, now)
	r.at, r.accepted = to, true
	if r.Prefix != 0 {
		m.served[naiveServed{r.Prefix, to}] = true
	}
	m.effects = append(m.effects, Effect{Kind: Send, Request: r.ID, Replica: to, Held: r.heldFor, Woke: r.woke})
}

// lift takes a request out of the hold or away from its replica.
func (m *naive) lift(r *naiveRequest, now time.Time) {
	r.at = ""
	m.forget()
	if !r.held {
		return
	}
	if r == m.reserved {
		m.reserved, m.kept = nil, ""
	}
	r.held, r.late = false, false
	r.heldFor += now.Sub(r.since)
}

func (m *naive) finish(r *naiveRequest, kind Kind, why Why) {
	m.effects = append(m.effects, Effect{Kind: kind, Request: r.ID, Why: why, Held: r.heldFor, Woke: r.woke})
	m.drop(r)
}

func (m *naive) lapse(now time.Time) bool {
	m.effects = nil
	lapsed := false
	for {
		var first *naiveRequest
		for _, r := range m.requests {
			if r.held && (first == nil || r.due().Before(first.due()) || r.due().Equal(first.due()) && r.seq < first.seq) {
				first = r
			}
		}
		if first == nil || first.due().After(now) {
			return lapsed
		}
		lapsed = true
		if first.due().Before(first.Deadline) {
			first.avoid = ""
			continue
		}
		m.lift(first, now)
		m.finish(first, Expire, 0)
	}
}

func (m *naive) begin(now time.Time) {
	if m.lapse(now) {
		m.release(now)
	}
}

func (m *naive) priorities() []int {
	var all []int
	for _, r := range m.requests {
		if r.held && !slices.Contains(all, r.Priority) {
			all = append(all, r.Priority)
		}
	}
	slices.Sort(all)
	slices.Reverse(all)
	return all
}

func (m *naive) age(priority int, now time.Time) {
	for _, r := range m.heldOf(naiveLane{priority, false}) {
		r.late = !now.Before(r.At.Add(m.limits.SLO.TTFT))
	}
}

func (m *naive) releaseOne(now time.Time) bool {
	var blocked *naiveRequest
	for _, p := range m.priorities() {
		m.age(p, now)
		for _, late := range []bool{m.sinceLate[p] >= lateShare-1, m.sinceLate[p] < lateShare-1} {
			for _, r := range m.order(naiveLane{p, late}) {
				to := m.best(r)
				if to == "" {
					if blocked == nil && r != m.reserved {
						blocked = r
					}
					continue
				}
				switch {
				case late:
					m.sinceLate[p] = 0
				case len(m.heldOf(naiveLane{p, true})) > 0:
					m.sinceLate[p]++
				}
				m.pass(blocked)
				m.charge(r)
				m.send(r, to, now)
				return true
			}
		}
	}
	return false
}

func (m *naive) release(now time.Time) {
	for m.releaseOne(now) {
		continue
	}
}

func (m *naive) pass(r *naiveRequest) {
	if r == nil {
		return
	}
	r.passed++
	if r.passed < patience || m.reserved != nil {
		return
	}
	least := math.MaxInt
	for _, route := range m.routes {
		if route.Replica.ID == r.avoid {
			continue
		}
		_, missing, _ := m.use(route.Replica.ID)
		if route.KVTokens == 0 {
			missing = 0
		} else if r.need() <= route.KVTokens {
			missing = max(0, missing+r.need()-route.KVTokens)
		}
		if missing < least {
			least, m.reserved, m.kept = missing, r, route.Replica.ID
		}
	}
}

func (m *naive) place(r *naiveRequest, now time.Time) {
	m.join(r)
	r.held, r.since = true, now
	r.woke = r.woke || len(m.routes) == 0
	r.late = r.woke
	m.release(now)
	if !r.held {
		return
	}
	count, bytes, _ := m.sumHeld()
	switch {
	case !r.accepted && count > m.limits.MaxHeld:
		m.lift(r, now)
		m.finish(r, Refuse, TooManyHeld)
	case !r.accepted && bytes > m.limits.MaxHeldBytes:
		m.lift(r, now)
		m.finish(r, Refuse, TooManyBytes)
	case m.draining:
		m.lift(r, now)
		m.finish(r, Refuse, GoingDown)
	case !r.Deadline.After(now):
		m.lift(r, now)
		m.finish(r, Expire, 0)
	default:
		r.accepted = true
		m.effects = append(m.effects, Effect{Kind: Hold, Request: r.ID, Woke: r.woke})
		if len(m.routes) == 0 {
			m.effects = append(m.effects, Effect{Kind: Wake, Request: r.ID, Woke: true})
		}
		return
	}
	m.release(now)
}

func (m *naive) Arrive(r scale.Request, now time.Time) []Effect {
	m.begin(now)
	if m.get(r.ID) != nil {
		return m.effects
	}
	m.seq++
	n := &naiveRequest{Request: r, seq: m.seq}
	m.requests = append(m.requests, n)
	if m.draining {
		m.finish(n, Refuse, GoingDown)
		return m.effects
	}
	m.place(n, now)
	return m.effects
}

func (m *naive) End(id scale.RequestID, now time.Time) []Effect {
	r := m.get(id)
	if r != nil {
		m.lift(r, now)
		m.drop(r)
	}
	if m.lapse(now) || r != nil {
		m.release(now)
	}
	return m.effects
}

func (m *naive) Begun(id scale.RequestID, now time.Time) []Effect {
	m.begin(now)
	if r := m.get(id); r != nil && r.at != "" && !r.begun {
		r.begun = true
		m.release(now)
	}
	return m.effects
}

func (m *naive) Retry(id scale.RequestID, now time.Time) []Effect {
	m.begin(now)
	if r := m.get(id); r != nil && r.at != "" {
		r.avoid, r.avoidUntil = r.at, now.Add(avoidFor)
		m.lift(r, now)
		r.begun = false
		m.place(r, now)
	}
	return m.effects
}

func (m *naive) Route(routes []scale.Route, now time.Time) []Effect {
	m.lapse(now)
	m.reserved, m.kept = nil, ""
	wasAwake := len(m.routes) > 0
	m.routes = nil
	for _, r := range routes {
		if r.Replica.Phase == scale.Ready && r.BatchLimit > 0 {
			m.routes = append(m.routes, r)
		}
	}
	slices.SortFunc(m.routes, func(a, b scale.Route) int { return cmp.Compare(a.Replica.ID, b.Replica.ID) })
	m.forget()
	m.release(now)
	if len(m.routes) > 0 {
		return m.effects
	}
	for _, p := range m.priorities() {
		for _, r := range append(m.heldOf(naiveLane{p, true}), m.heldOf(naiveLane{p, false})...) {
			r.woke, r.late = true, true
		}
		if wasAwake {
			m.effects = append(m.effects, Effect{Kind: Wake, Request: m.heldOf(naiveLane{p, true})[0].ID, Woke: true})
			wasAwake = false
		}
	}
	return m.effects
}

func (m *naive) Drain(now time.Time) []Effect {
	m.begin(now)
	m.draining = true
	for _, p := range m.priorities() {
		m.age(p, now)
		for _, r := range append(m.heldOf(naiveLane{p, false}), m.heldOf(naiveLane{p, true})...) {
			m.lift(r, now)
			m.finish(r, Refuse, GoingDown)
		}
	}
	return m.effects
}
