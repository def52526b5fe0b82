package adversary

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"github.com/penstock/penstock/internal/ledger"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
)

// Report is what became of a Case.
type Report struct {
	Seed      uint64
	Span      time.Duration // simulated, the end of the last request included
	Requests  int
	Events    int // of admission: arrivals, sendings and ends
	Ticks     int
	Violation *Violation     // the first law that was broken; nil for none
	Reached   map[string]int // reasons, faults and branches, and how often
	Hash      string         // of all Decisions and Memories, in hexadecimal
}

// Run plays a Case. An error says that it could not be played; what it found is
// in the Report.
func (c Case) Run(ctx context.Context) (Report, error) {
	w := c.witness()
	out := Report{Seed: c.Seed, Reached: w.reached}
	if c.Disk {
		w.reach("journal on disk")
	}
	source, err := c.source(func(fault string) { w.reach("fault " + fault) })
	if err != nil {
		return out, err
	}
	g, err := c.governor(ctx, w)
	if err != nil {
		return out, err
	}
	result, err := c.play(ctx, g, source)
	if err = errors.Join(err, g.journal.close()); err != nil {
		return out, fmt.Errorf("play seed %d: %w", c.Seed, err)
	}
	if w.violation == nil {
		w.finish(result, int(source.given))
	}
	out.Span, out.Requests, out.Ticks = result.Span, int(source.given), w.ticks
	out.Events = int(source.given) + w.sends + w.served
	out.Violation, out.Hash = w.violation, hex.EncodeToString(g.journal.hash.Sum(nil))
	return out, nil
}

// play runs the world. A panic in it breaks a law.
func (c Case) play(ctx context.Context, g *governor, source *arrivals) (out sim.Result, err error) {
	defer func() {
		if r := recover(); r != nil {
			g.witness.fail(NoPanic, "%v\n%s", r, debug.Stack())
			err = nil
		}
	}()
	world := sim.World{
		Offerings: c.Offerings, Fleet: c.Fleet, Zones: c.zones(), Notice: c.Notice, Faults: c.disturbances(),
		Governor: g, Source: source, Seed: c.Seed, Begin: c.Begin,
		Sent: g.witness.sent, Lived: g.witness.lived,
		Ended: func(r scale.Request, s scale.Served) {
			g.witness.end(r, s)
			source.ended(r, s)
		},
	}
	if c.has(NoNotice) {
		world.Notice = 0
	}
	for _, m := range c.Models {
		world.Services = append(world.Services, m.Service)
	}
	return world.Run(ctx)
}

// finish holds the whole of a world to the laws.
func (w *witness) finish(out sim.Result, given int) {
	w.now = out.Account
	sum := 0
	for _, n := range out.Outcomes {
		sum += n
	}
	if sum != given || w.served != given {
		w.fail(OneOutcome, "%d requests were asked, %d ended, with %d outcomes", given, w.served, sum)
	}
	most := 0
	for _, m := range out.Minutes {
		most = max(most, m.Held)
	}
	if n := out.Outcomes[scale.Refused]; n > 0 && most < maxHeld {
		w.fail(HeldInBounds, "%d requests were refused, and no more than %d were ever held", n, most)
	}
	w.money(out)
	for i := range w.c.Models {
		name := w.c.Models[i].Model.Name
		w.recovers(name, w.calm[name])
	}
}

// money: what the ledger bills is what all lives cost, to the cent.
func (w *witness) money(out sim.Result) {
	end := w.c.Begin.Add(out.Account)
	charges := ledger.Bill(ledger.Account{Lifetimes: w.lives, Span: ledger.Span{Until: end}, Now: end})
	total, _ := ledger.Total(charges, func(scale.Charge) bool { return true })
	sum := 0.0
	for _, l := range w.lives {
		until := l.Ended
		if until.IsZero() {
			until = end
		}
		sum += l.PricePerHour * until.Sub(l.Created).Hours()
	}
	const aCent = 0.01
	if math.Abs(total.Dollars()-sum) > aCent || math.Abs(out.Cost-sum) > aCent {
		w.fail(Ledger, "the ledger bills $%.4f, the world $%.4f; lives times prices are $%.4f", total.Dollars(), out.Cost, sum)
	}
}
