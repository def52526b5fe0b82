package sim_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/ledger"
	"github.com/penstock/penstock/internal/rival"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

// jumpy is a policy without sense: any count at any tick.
type jumpy struct {
	random *rand.Rand
	most   int
}

func (*jumpy) Every() time.Duration { return 3 * time.Second }

func (j *jumpy) Decide(_ time.Time, m scale.ModelState) []rival.Want {
	var all []rival.Want
	for _, v := range m.Model.Variants {
		for _, c := range v.Capacities {
			all = append(all, rival.Want{Target: scale.ScaleTarget{Model: m.Model.Name, Variant: v.Name, Capacity: c}, Replicas: j.random.IntN(j.most + 1)})
		}
	}
	return all
}

// drawn is a small world full of accidents, and how to play it again.
type drawn struct {
	world    func() sim.World
	requests int
}

func draw(t *rapid.T) drawn {
	seed := rapid.Uint64().Draw(t, "seed")
	models := rapid.IntRange(1, 3).Draw(t, "models")
	most := rapid.IntRange(1, 4).Draw(t, "most")
	var services []sim.Service
	for i := range models {
		services = append(services, service(t, fmt.Sprintf("m%d", i), most))
	}
	offerings := []scale.Offering{
		{Accelerator: "gpu", Capacity: scale.OnDemand, PricePerHour: 3},
		{Accelerator: "gpu", Capacity: scale.Spot, Zone: "a", PricePerHour: 1},
		{Accelerator: "gpu", Capacity: scale.Spot, Zone: "b", PricePerHour: 1.5},
	}
	switch rapid.IntRange(0, 2).Draw(t, "limited") {
	case 1:
		offerings[0].Limited, offerings[0].Slots = true, rapid.IntRange(1, 8).Draw(t, "slots")
	case 2:
		slots := rapid.IntRange(1, 8).Draw(t, "slots")
		for i := range offerings[:2] {
			offerings[i].Limited, offerings[i].Slots, offerings[i].Pool = true, slots, "machine"
		}
	}
	w := sim.World{
		Services: services, Offerings: offerings, Seed: seed, Notice: time.Duration(rapid.IntRange(0, 5).Draw(t, "notice")) * time.Second,
		Begin: trace.Epoch(), Faults: faults(t), Settle: time.Duration(rapid.IntRange(0, 30).Draw(t, "settle")) * time.Second,
	}
	if rapid.Bool().Draw(t, "zones") {
		w.Zones = []sim.Zone{
			{Name: "a", Nodes: []sim.Step{{Count: 3}, {At: 7 * time.Second, Count: 1}, {At: 20 * time.Second, Count: 4}}, Repeat: 31 * time.Second},
			{Name: "b", Nodes: []sim.Step{{At: 5 * time.Second, Count: 2}, {At: 40 * time.Second}}},
		}
	}
	list := arrivals(t, models)
	kind := rapid.IntRange(0, 3).Draw(t, "governor")
	return drawn{requests: len(list), world: func() sim.World {
		again := w
		again.Source = sim.List(list)
		switch kind {
		case 0, 1:
			again.Governor = sim.Penstock(time.Second)
		case 2:
			again.Governor = sim.Static(most)
		default:
			policies := map[string]rival.Policy{}
			for i, s := range services {
				policies[s.Model.Name] = &jumpy{random: rand.New(rand.NewPCG(seed, uint64(i))), most: most}
			}
			again.Governor = sim.Rival(policies, sim.PokeWake)
		}
		return again
	}}
}

func service(t *rapid.T, name string, most int) sim.Service {
	s := sim.Service{
		Model: scale.Model{
			Name: name, Priority: rapid.IntRange(0, 1).Draw(t, "priority"), Mode: scale.Auto,
			SLO:      scale.SLO{TTFT: time.Second, TPOT: 60 * ms, Objective: 0.95, Window: time.Hour, MaxHold: time.Duration(rapid.IntRange(1, 20).Draw(t, "hold")) * time.Second},
			Replicas: scale.Range{Min: rapid.IntRange(0, 1).Draw(t, "min"), Max: most}, ScaleToZero: scale.ScaleToZero{After: 5 * time.Second}, ScaleDownWindow: 3 * time.Second,
		},
		Asks: rapid.Bool().Draw(t, "asks"),
	}
	for i := range rapid.IntRange(1, 2).Draw(t, "variants") {
		v := scale.Variant{
			Name: fmt.Sprintf("v%d", i), Accelerator: scale.Accelerator{Type: "gpu", Count: i + 1}, Max: most, ColdStart: 2 * time.Second, Profile: flat(),
			Capacities: rapid.SampledFrom([][]scale.CapacityType{{scale.OnDemand}, {scale.OnDemand, scale.Spot}, {scale.Spot}}).Draw(t, "capacities"),
		}
		s.Model.Variants = append(s.Model.Variants, v)
		s.Truths = append(s.Truths, sim.Truth{Profile: flat(), Boot: sim.Boot{
			Mixture: []sim.Mode{{Share: 1, Mean: 2 * time.Second, Sigma: 0.3}}, Fails: rapid.SampledFrom([]float64{0, 0.2}).Draw(t, "fails"),
		}})
	}
	return s
}

func faults(t *rapid.T) sim.Faults {
	window := func(what string) []sim.Window {
		if rapid.Bool().Draw(t, "no "+what) {
			return nil
		}
		from := time.Duration(rapid.IntRange(0, 60).Draw(t, what)) * time.Second
		return []sim.Window{{Start: from, End: from + 12*time.Second}}
	}
	f := sim.Faults{Missing: window("missing"), Stale: window("stale"), Zero: window("zero"), FailedBoots: rapid.SampledFrom([]float64{0, 0.3}).Draw(t, "failed")}
	for _, w := range window("quota") {
		f.Quota = append(f.Quota, sim.Quota{Window: w, Share: rapid.SampledFrom([]float64{0, 0.5, 0.7}).Draw(t, "share")})
	}
	for _, w := range window("restart") {
		f.Restarts = []time.Duration{w.Start, w.End}
	}
	return f
}

func arrivals(t *rapid.T, models int) []scale.Request {
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "arrivals"), 1))
	rate := rapid.SampledFrom([]float64{1, 10, 60}).Draw(t, "rate")
	var list []scale.Request
	now := 0.0
	for range rapid.IntRange(1, 150).Draw(t, "requests") {
		if now += random.ExpFloat64() / rate; random.IntN(50) == 0 {
			now += 10
		}
		r := at(time.Duration(now*1e9), random.IntN(300), random.IntN(120))
		r.Model = fmt.Sprintf("m%d", random.IntN(models))
		list = append(list, r)
	}
	return numbered(list)
}

// TestLawsOfAnyWorld holds worlds full of accidents to what must be true of all.
func TestLawsOfAnyWorld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		var prints [2][32]byte
		for i := range prints {
			w := d.world()
			book := newWitness(t, &w)
			out, err := w.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			book.hold(out, d.requests)
			prints[i] = book.print(out)
		}
		if prints[0] != prints[1] {
			t.Fatal("the same world gives two histories")
		}
	})
}

// witness sees all that a World tells, and checks it.
type witness struct {
	t       *rapid.T
	world   *sim.World
	ended   map[scale.RequestID]scale.Served
	lives   []scale.Lifetime
	notices map[scale.ReplicaID]scale.Interruption
	hash    [32]byte
}

func newWitness(t *rapid.T, w *sim.World) *witness {
	b := &witness{t: t, world: w, ended: map[scale.RequestID]scale.Served{}, notices: map[scale.ReplicaID]scale.Interruption{}}
	w.Ended, w.Lived, w.Watch = b.request, func(l scale.Lifetime) { b.lives = append(b.lives, l) }, b.tick
	return b
}

func (b *witness) add(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		b.t.Fatal(err)
	}
	b.hash = sha256.Sum256(append(b.hash[:], text...))
}

func (b *witness) request(r scale.Request, s scale.Served) {
	if _, twice := b.ended[r.ID]; twice {
		b.t.Fatalf("request %d ended twice", r.ID)
	}
	b.ended[r.ID] = s
	b.hash = sha256.Sum256(fmt.Appendf(b.hash[:], "%d %+v", r.ID, s))
}

func (b *witness) tick(s scale.Snapshot, d scale.Decision) {
	b.add(d)
	for _, i := range s.Interruptions {
		b.notices[i.Replica] = i
		if i.Deadline.Sub(i.Noticed) != b.world.Notice || s.Now.After(i.Deadline) {
			b.t.Fatalf("%v: interruption %+v", s.Now, i)
		}
	}
	for _, o := range s.Offerings {
		if o.Limited {
			b.quota(s, o)
		}
	}
	for _, m := range s.Models {
		if !slices.IsSortedFunc(m.Replicas, func(a, b scale.Replica) int { return cmp.Compare(a.ID, b.ID) }) {
			b.t.Fatalf("replicas of %s are not in order", m.Model.Name)
		}
	}
}

// quota: what is occupied may be more than a quota leaves only while all of it
// was ordered before.
func (b *witness) quota(s scale.Snapshot, o scale.Offering) {
	slots, used := 0, 0
	for _, p := range s.Offerings {
		if p.Accelerator == o.Accelerator && p.Capacity == o.Capacity {
			slots += p.Slots
		}
	}
	var newest time.Time
	for _, m := range s.Models {
		for _, r := range m.Replicas {
			if r.Target.Capacity != o.Capacity && o.Pool == "" {
				continue
			}
			v, _ := m.Model.Variant(r.Target.Variant)
			used += v.Accelerator.Count
			if r.Created.After(newest) && r.Target.Capacity == o.Capacity {
				newest = r.Created
			}
		}
	}
	began := b.world.Begin
	for _, q := range b.world.Faults.Quota {
		if at := b.world.Begin.Add(q.Start); !s.Now.Before(at) && s.Now.Before(b.world.Begin.Add(q.End)) {
			began = at
		}
	}
	if used > slots && newest.After(began) {
		b.t.Fatalf("%v: %d of %+v are used, %d may be; one was ordered at %v", s.Now, used, o, slots, newest)
	}
}

func (b *witness) print(out sim.Result) [32]byte {
	out.DecisionTime = sim.DecisionTime{Ticks: out.DecisionTime.Ticks}
	b.add(out)
	b.add(b.lives)
	return b.hash
}

// hold checks the Result against all that was told.
func (b *witness) hold(out sim.Result, requests int) {
	outcomes, good := map[scale.Outcome]int{}, 0
	for _, s := range b.ended {
		outcomes[s.Outcome]++
	}
	sum := 0
	for o, n := range out.Outcomes {
		if sum += n; outcomes[o] != n {
			b.t.Fatalf("%d are said to be %v, %d are", n, o, outcomes[o])
		}
	}
	if sum != requests || out.Requests != requests || len(b.ended) != requests {
		b.t.Fatalf("%d requests, %d outcomes, %d ended: %d arrived", out.Requests, sum, len(b.ended), requests)
	}
	arrivals, cost := 0, 0.0
	for _, m := range out.Minutes {
		arrivals, good, cost = arrivals+m.Arrivals, good+m.Good, cost+m.Cost
	}
	if arrivals != requests || good != out.Good || math.Abs(cost-out.Cost) > 1e-6 {
		b.t.Fatalf("minutes hold %d requests, %d good, $%.9f; the Result %d, %d, $%.9f", arrivals, good, cost, requests, out.Good, out.Cost)
	}
	b.money(out)
	b.reclaims()
}

// money: the ledger bills the lives of replicas as the Result does, and every
// paid second was spent on something.
func (b *witness) money(out sim.Result) {
	end := b.world.Begin.Add(out.Account)
	charges := ledger.Bill(ledger.Account{Lifetimes: b.lives, Span: ledger.Span{Until: end}, Now: end})
	total, _ := ledger.Total(charges, func(scale.Charge) bool { return true })
	if math.Abs(total.Dollars()-out.Cost) > 1e-6 {
		b.t.Fatalf("the ledger bills $%.9f, the Result $%.9f", total.Dollars(), out.Cost)
	}
	gpus := map[scale.ScaleTarget]float64{}
	for _, s := range b.world.Services {
		for _, v := range s.Model.Variants {
			for _, c := range v.Capacities {
				gpus[scale.ScaleTarget{Model: s.Model.Name, Variant: v.Name, Capacity: c}] = float64(v.Accelerator.Count)
			}
		}
	}
	hours := map[scale.Usage]float64{}
	for _, c := range charges {
		hours[c.Usage] += c.Time.Hours() * gpus[c.Target]
	}
	for u, h := range out.Hours {
		if math.Abs(h-hours[u]) > 1e-9 {
			b.t.Fatalf("%v hours of %v, the ledger has %v", h, u, hours[u])
		}
	}
	paid := 0.0
	for _, l := range b.lives {
		until := l.Ended
		if until.IsZero() {
			until = end
		}
		paid += until.Sub(l.Created).Hours() * gpus[l.Target]
	}
	if sum := out.Hours[scale.Serving] + out.Hours[scale.IdleTime] + out.Hours[scale.Loading] + out.Hours[scale.DrainingTime]; math.Abs(sum-paid) > 1e-9 {
		b.t.Fatalf("%v hours are spent, %v paid", sum, paid)
	}
}

// reclaims: what a notice names is gone by its deadline, and only a notice
// interrupts.
func (b *witness) reclaims() {
	lives := map[scale.ReplicaID]scale.Lifetime{}
	for _, l := range b.lives {
		lives[l.Replica] = l
	}
	for id, i := range b.notices {
		if l := lives[id]; l.Ended.After(i.Deadline) || l.Drained.After(i.Noticed) {
			b.t.Fatalf("notice %+v, life %+v", i, l)
		}
	}
	if len(b.world.Zones) > 0 {
		return
	}
	for id, s := range b.ended {
		if s.Outcome == scale.Interrupted || s.Outcome == scale.Failed && s.TTFT > 0 {
			b.t.Fatalf("request %d: %+v, though no replica was taken", id, s)
		}
	}
}
