package lease

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/admission"
	"github.com/penstock/penstock/internal/scale"
)

// own is the name of the Lessor's own gateway. No other has an empty one.
const own = ""

// Lessor divides the replicas of each model among gateways, and is one gateway
// to whoever decides the routes: Route, Traffic and InFlight are those of the
// whole. While there is no gateway but its own, it passes everything on as it
// is. Run must be running for leases to expire. Every method is safe for
// concurrent use.
type Lessor struct {
	Gateway  Gateway
	Settings Settings
	Token    string // that other gateways must show; "" for none
	// Wake is called when requests of a model are held at another gateway, a few
	// times a second at most. It must not block. May be nil.
	Wake   func(model string)
	Logger *slog.Logger

	mu       sync.Mutex
	desks    map[string]*desk
	peers    map[string]*peer
	draining bool
}

// desk is one model.
type desk struct {
	model    string
	leases   admission.Leases
	routes   []scale.Route // as decided
	told     []scale.Route // to the own gateway; nil for routes as they are
	turn     uint64        // of the own gateway
	woken    time.Time
	traffic  map[string]scale.Traffic // of other gateways, what was not told yet and what stands
	departed scale.Traffic            // what gateways that left had counted for good
}

// peer is another gateway.
type peer struct {
	turn    uint64
	expires time.Time
}

func (l *Lessor) desk(model string) *desk {
	if l.desks == nil {
		l.desks, l.peers = map[string]*desk{}, map[string]*peer{}
	}
	d := l.desks[model]
	if d == nil {
		d = &desk{model: model, leases: admission.Leases{Term: Term + margin}, traffic: map[string]scale.Traffic{}}
		l.desks[model] = d
	}
	return d
}

// Route takes in a model's replicas as they are now. When it has returned, the
// own gateway sends a replica that drains nothing new; the others do so when
// they have renewed, and until then InFlight counts what they may send.
func (l *Lessor) Route(model string, routes []scale.Route) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.desk(model)
	d.routes = slices.Clone(routes)
	d.told = nil
	l.offer(d)
	l.settle(d, time.Now())
}

// offer says what there is to share.
func (l *Lessor) offer(d *desk) {
	routes := slices.Clone(d.routes)
	for i := range routes {
		if l.draining {
			routes[i].BatchLimit = 0
		}
	}
	d.leases.Route(routes)
}

// Drain gives nobody anything any more, and waits until other gateways have
// nothing in flight. The own one has been drained before.
func (l *Lessor) Drain(ctx context.Context) error {
	l.mu.Lock()
	l.draining = true
	for _, d := range l.desks {
		l.offer(d)
	}
	l.mu.Unlock()
	ticker := time.NewTicker(soonest)
	defer ticker.Stop()
	for {
		left := l.elsewhere(time.Now())
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %d requests at other gateways: %w", left, ctx.Err())
		case <-ticker.C:
		}
	}
}

// elsewhere returns how many requests other gateways may have at replicas.
func (l *Lessor) elsewhere(now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, d := range l.desks {
		d.leases.Expire(now)
		for _, r := range d.routes {
			n += d.leases.Claimed(r.Replica.ID, own)
		}
	}
	return n
}

// settle gives the own gateway its share.
func (l *Lessor) settle(d *desk, now time.Time) {
	if len(l.peers) == 0 {
		d.leases.Leave(own)
		l.Gateway.Route(d.model, d.routes)
		d.told = nil
		return
	}
	d.turn++
	d.leases.Hear(own, admission.Renewal{
		Turn: d.turn, Adopted: d.turn - 1, Standing: l.Gateway.Standing(d.model), Bound: true,
	}, now)
	g := d.leases.Give(own, now)
	if d.told == nil || !slices.Equal(d.told, g.Routes) {
		l.Gateway.Route(d.model, g.Routes)
		d.told = g.Routes
	}
	d.leases.Confirm(own, d.turn, l.Gateway.Standing(d.model))
}

// Traffic returns what all gateways measured since it was last called.
func (l *Lessor) Traffic(model string, now time.Time) scale.Traffic {
	here := l.Gateway.Traffic(model, now)
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.desk(model)
	parts := []scale.Traffic{here}
	if d.departed.Demand.Good.Known() || d.departed.Uses != nil {
		parts = append(parts, d.departed)
		d.departed = d.departed.Told()
	}
	for name, t := range d.traffic {
		parts = append(parts, t)
		d.traffic[name] = t.Told()
	}
	return scale.Together(parts...)
}

// InFlight returns how many requests may be at a replica now, those included that
// another gateway may send there before it renews.
func (l *Lessor) InFlight(model string, replica scale.ReplicaID) int {
	here := l.Gateway.Standing(model).InFlight[replica]
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.desk(model)
	d.leases.Expire(time.Now())
	return here + d.leases.Claimed(replica, own)
}

// Gateways returns the names of the other gateways that have a lease, in order.
func (l *Lessor) Gateways() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for name := range l.peers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Run ends leases whose time is over, until ctx ends.
func (l *Lessor) Run(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			l.sweep(ctx, time.Now())
		}
	}
}

// sweep drops gateways that did not renew, and has the own one's share follow
// its demand.
func (l *Lessor) sweep(ctx context.Context, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.peers) == 0 {
		return
	}
	for name, p := range l.peers {
		if !now.Before(p.expires) {
			l.Logger.WarnContext(ctx, "lease expired", "gateway", name)
			l.leave(name)
		}
	}
	for _, d := range l.desks {
		l.settle(d, now)
	}
}

// left takes in that a gateway has ended.
func (l *Lessor) left(name string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave(name)
	for _, d := range l.desks {
		l.settle(d, now)
	}
}

// leave forgets a gateway. What it counted for good stays counted.
func (l *Lessor) leave(name string) {
	delete(l.peers, name)
	for _, d := range l.desks {
		d.leases.Leave(name)
		t, known := d.traffic[name]
		if !known {
			continue
		}
		delete(d.traffic, name)
		d.departed = scale.Together(d.departed, scale.Traffic{
			Demand: scale.Demand{Good: t.Demand.Good, Bad: t.Demand.Bad}, Uses: t.Uses,
		})
	}
}

// renew takes in a report and answers it. It is false for one that came too
// late.
func (l *Lessor) renew(r Report, now time.Time) (Lease, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.peers[r.Gateway]
	if p != nil && r.Turn <= p.turn {
		return Lease{}, false
	}
	if p == nil {
		p = &peer{}
		l.desk(l.Settings.Models[0].Name) // makes peers
		l.peers[r.Gateway] = p
	}
	p.turn, p.expires = r.Turn, now.Add(Term+margin)
	out := Lease{Turn: r.Turn, Term: Term}
	for _, m := range r.Models {
		if !slices.ContainsFunc(l.Settings.Models, func(known scale.Model) bool { return known.Name == m.Model }) {
			continue
		}
		d := l.desk(m.Model)
		d.traffic[r.Gateway] = d.traffic[r.Gateway].Then(m.Traffic.Shift(now.Sub(r.Now)))
		d.leases.Hear(r.Gateway, admission.Renewal{Turn: r.Turn, Adopted: r.Adopted, Standing: m.Standing}, now)
		l.settle(d, now) // the own gateway first: its share falls at once
		out.Models = append(out.Models, ModelLease{Model: m.Model, Routes: d.leases.Give(r.Gateway, now).Routes})
		if m.Standing.Held > 0 && l.Wake != nil && now.Sub(d.woken) >= wakeEvery {
			d.woken = now
			l.Wake(m.Model)
		}
	}
	return out, true
}
