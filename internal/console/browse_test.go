package console

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// browsed is a fleet that lives, for the tests in test/console: it ticks, and
// has a journal of what it decided.
type browsed struct {
	mu        sync.Mutex
	begun     time.Time
	base      *fleet
	snapshot  scale.Snapshot
	decision  scale.Decision
	decisions []scale.Decision // newest first, each of one model
}

func newBrowsed(base *fleet) *browsed {
	b := &browsed{begun: time.Now(), base: base}
	grow(base)
	b.tick(time.Now())
	for i, from := range []int{1, 2, 3, 4, 5, 6, 7} {
		d := perModel(base.decision)["chat"]
		d.At = time.Now().Add(time.Duration(i-7) * 40 * time.Second)
		change := d.Changes[0]
		change.From, change.Want, change.To = from, from+1, from+1
		change.Reasons = []scale.Reason{{Code: scale.ReasonDemand, Text: fmt.Sprintf("demand in 31 s is %d.2 requests/s; %d serve %d.0 within 800 ms", 5*from, from, 3*from)}}
		d.Changes = []scale.Change{change}
		b.decisions = slices.Insert(b.decisions, 0, d)
	}
	return b
}

// grow gives chat the eight replicas that it was allowed, so that a tick keeps
// what is there, as most do.
func grow(f *fleet) {
	m := &f.snapshot.Models[0]
	latency := m.Replicas[0].Load.Latency
	m.Replicas = replicas("chat", f.snapshot.Now, scale.Ready, scale.Ready, scale.Ready, scale.Ready, scale.Ready, scale.Starting, scale.Starting, scale.Starting)
	m.Replicas[0].Load.Latency = latency
	m.Demand.InFlight.Value = 150
	for _, r := range m.Replicas[4:] {
		f.lifetimes = append(f.lifetimes, scale.Lifetime{Replica: r.ID, Target: r.Target, PricePerHour: 2.1, Created: r.Created, Busy: 5 * time.Minute})
	}
	for i := range f.decision.Changes {
		if c := &f.decision.Changes[i]; c.To > c.From {
			c.From = c.To
		}
	}
}

// tick makes a tick: demand rises and falls, all else stays.
func (b *browsed) tick(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.snapshot, b.decision = b.base.snapshot, b.base.decision
	moved := now.Sub(b.base.snapshot.Now)
	b.snapshot.Now, b.decision.At = now, now
	b.snapshot.Models = slices.Clone(b.base.snapshot.Models)
	phase := now.Sub(b.begun).Seconds()
	for i := range b.snapshot.Models {
		m := &b.snapshot.Models[i]
		if m.Model.Name == "vision" {
			continue // its data is as old as it is
		}
		for _, o := range []*scale.Observation{&m.Demand.Arrivals, &m.Demand.Held, &m.Demand.HeldFor, &m.Demand.InFlight, &m.Demand.Good, &m.Demand.Bad} {
			if o.Known() {
				o.At = o.At.Add(moved)
			}
		}
		m.Demand.Arrivals.Value *= 1 + 0.4*math.Sin(phase/9+float64(i))
		m.Replicas = slices.Clone(m.Replicas)
		for r := range m.Replicas {
			load := &m.Replicas[r].Load
			for _, o := range []*scale.Observation{&load.InFlight, &load.Running, &load.KVCacheUsage} {
				if o.Known() {
					o.At = o.At.Add(moved)
				}
			}
			load.Latency.TTFT = time.Duration(float64(load.Latency.TTFT) * (1 + 0.1*math.Sin(phase/3)))
		}
	}
}

func (b *browsed) Snapshot() (scale.Snapshot, scale.Decision, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.snapshot, b.decision, true
}

func (b *browsed) Lifetimes() []scale.Lifetime { return b.base.lifetimes }

func (b *browsed) DecisionAt(_ context.Context, _ string, t time.Time) (scale.Record, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := scale.Record{At: t, Snapshot: b.snapshot, Decision: b.decision}
	r.Decision.At = t
	return r, true, nil
}

func (b *browsed) Decisions(_ context.Context, model string, since time.Time, limit int) ([]scale.Decision, error) {
	var found []scale.Decision
	for _, d := range b.decisions {
		if (model == "" || concerns(d) == model) && !d.At.Before(since) && len(found) < limit {
			found = append(found, d)
		}
	}
	return found, nil
}

// hostileName is put into a page as text, or the page is not ours any more.
const hostileName = `<img src=x onerror="document.title='pwned'">`

// bigFleet is many models in every condition.
func bigFleet(models int) *fleet {
	f := busyFleet(time.Now())
	makers := []func(time.Time) (scale.ModelState, scale.Plan, scale.Change){embedder, asleep, chat, vision, waking}
	for i := len(f.snapshot.Models); i < models; i++ {
		m, p, c := makers[i%len(makers)](f.snapshot.Now)
		m.Model.Name = fmt.Sprintf("%s-%04d", m.Model.Name, i)
		if i == models-1 {
			m.Model.Name = hostileName
		}
		for r := range m.Replicas {
			m.Replicas[r].Target.Model = m.Model.Name
			m.Replicas[r].ID = scale.ReplicaID(fmt.Sprintf("%s-%d", m.Model.Name, r))
		}
		c.Target.Model, p.Allocations[0].Target.Model = m.Model.Name, m.Model.Name
		f.add(m, p, c)
	}
	return f
}

// TestServesForBrowsers serves until its standard input ends, for the tests in
// test/console, which ask for it with PENSTOCK_BROWSE=1. A line "stop" stops
// the ticks, "go" lets them go on.
func TestServesForBrowsers(t *testing.T) {
	if os.Getenv("PENSTOCK_BROWSE") == "" {
		t.Skip("make test-console runs it")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	fleets := []*browsed{newBrowsed(busyFleet(time.Now())), newBrowsed(bigFleet(1000)), newBrowsed(busyFleet(time.Now()))}
	ports := []string{cmp.Or(os.Getenv("PENSTOCK_BROWSE_PORT"), "0"), "0", "0"}
	for i, name := range []string{"small", "big", "locked"} {
		c := of(fleets[i].base)
		c.Fleet, c.History = fleets[i], fleets[i]
		c.Logs = logs{"chat-1": "loading weights\nserving on 127.0.0.1:4242\n" + hostileName + "\n"}
		if name == "locked" {
			c.Token = secret
		}
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:"+ports[i])
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			if err := c.Serve(ctx, listener); err != nil {
				t.Error(err)
			}
		})
		fmt.Fprintf(os.Stdout, "%s http://%s\n", name, listener.Addr())
	}
	orders := make(chan string)
	go func() { // ends with the process
		defer close(orders)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			orders <- lines.Text()
		}
	}()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	ticks := true
	for {
		select {
		case order, open := <-orders:
			if !open {
				return
			}
			ticks = order == "go"
		case now := <-ticker.C:
			for _, f := range fleets {
				if ticks {
					f.tick(now)
				}
			}
		}
	}
}
