package console

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Status is how things stand. Dollars are US dollars, shares 0..1.
type Status struct {
	At           time.Time     `json:"at"` // of the newest tick
	Age          float64       `json:"age_seconds"`
	Sentence     string        `json:"sentence"` // the whole in words
	Models       []ModelStatus `json:"models"`   // least error budget left first
	Cost         Cost          `json:"cost"`
	Accelerators []Accelerator `json:"accelerators"`      // by type
	Journal      *JournalView  `json:"journal,omitempty"` // while it can not be written, or lost something
}

// Condition is how one model does, in a word.
type Condition string

// The conditions.
const (
	Meeting Condition = "meeting"
	Missing Condition = "missing" // its SLO, now or over all that was seen
	Asleep  Condition = "asleep"  // at zero, and nobody asks
	Loading Condition = "loading" // nothing is Ready yet
	NoData  Condition = "no data" // traffic was not measured, or long ago: kept as it is
)

// ModelStatus is how one model does.
type ModelStatus struct {
	Name         string         `json:"name"`
	BusinessUnit string         `json:"business_unit,omitempty"`
	Mode         string         `json:"mode"`
	Condition    Condition      `json:"condition"`
	Why          string         `json:"why"`      // a clause: what makes it that
	Since        *time.Time     `json:"since"`    // when the condition began
	AtLeast      bool           `json:"at_least"` // it had begun when this process did
	Replicas     Replicas       `json:"replicas"`
	Targets      []TargetStatus `json:"targets"`
	Members      []Member       `json:"members"` // its replicas, by name
	Demand       Demand         `json:"demand"`
	Signals      []SignalView   `json:"signals"`        // business signals
	TTFT         *Measure       `json:"ttft,omitempty"` // null where no limit is set
	TPOT         *Measure       `json:"tpot,omitempty"`
	Latency      *Measure       `json:"latency,omitempty"`
	SLO          Attainment     `json:"slo"`
	Cost         Cost           `json:"cost"`
	Decision     DecisionView   `json:"decision"`
}

// Replicas are counts: what is there, and what is wanted.
type Replicas struct {
	Ready    int `json:"ready"`
	Starting int `json:"starting"`
	Draining int `json:"draining"`
	Want     int `json:"want"`    // by the plan
	Allowed  int `json:"allowed"` // of that, now, by the rules
}

// Member is one replica.
type Member struct {
	Replica  string  `json:"replica"`
	Variant  string  `json:"variant"`
	Capacity string  `json:"capacity"`
	Phase    string  `json:"phase"`
	Since    float64 `json:"since_seconds"` // in this phase
	InFlight *Value  `json:"in_flight"`
	TakenIn  float64 `json:"taken_in_seconds,omitempty"` // by a notice
	// Engine is what its own server says.
	Engine EngineView `json:"engine"`
}

// TargetStatus is one target of a model.
type TargetStatus struct {
	Variant    string   `json:"variant"`
	Capacity   string   `json:"capacity"`
	Replicas   Replicas `json:"replicas"`
	Infeasible bool     `json:"infeasible,omitempty"`   // not even one request at a time holds the SLO
	BatchLimit int      `json:"batch_limit"`            // B*: requests at one replica
	KVTokens   int      `json:"kv_tokens"`              // 0 where tokens do not bound it
	PerReplica float64  `json:"per_replica_per_second"` // requests that one serves at B*
}

// Value is a measured number and how old it is.
type Value struct {
	Value float64 `json:"value"`
	Age   float64 `json:"age_seconds"`
}

// Demand is the traffic of a model; what was never measured is null.
type Demand struct {
	Arrivals *Value   `json:"arrivals_per_second"`
	Forecast *float64 `json:"forecast_per_second"`
	Horizon  float64  `json:"horizon_seconds"`
	Held     *Value   `json:"held"`
	HeldFor  *Value   `json:"held_for_seconds"` // the oldest
	InFlight *Value   `json:"in_flight"`
}

// Measure is what the requests that ended in the last tick experienced at
// their replicas, beside its limit, in seconds.
type Measure struct {
	Median *float64 `json:"median_seconds"` // null when none ended
	Limit  float64  `json:"limit_seconds"`
}

// Attainment is how many requests met the SLO over the SLO's window.
type Attainment struct {
	Objective  float64  `json:"objective"`
	Good       *float64 `json:"good"`
	Bad        *float64 `json:"bad"`
	Attainment *float64 `json:"attainment"`  // null before the first request
	BudgetLeft *float64 `json:"budget_left"` // 1: untouched, 0: used up, below: overdrawn
}

// Accelerator is how many of one type are in use.
type Accelerator struct {
	Type  string `json:"type"`
	Used  int    `json:"used"`
	Slots *int   `json:"slots"` // null where nothing bounds it
}

// Cost is what replicas cost now and have cost so far.
type Cost struct {
	PerHour  float64 `json:"per_hour"` // the living ones that have a price
	Unpriced int     `json:"unpriced"` // the living ones that have none
	Spent    float64 `json:"spent"`
	Usage    []Spent `json:"usage"`
}

// Spent is what one usage took.
type Spent struct {
	Usage   string  `json:"usage"`
	Seconds float64 `json:"seconds"`
	Dollars float64 `json:"dollars"`
}

func (c *Console) status(r *http.Request) (any, error) {
	snapshot, decision, err := c.now()
	if err != nil {
		return nil, err
	}
	only := r.URL.Query().Get("model")
	if only != "" {
		if only, err = named(snapshot, only); err != nil {
			return nil, err
		}
	}
	s := c.standing(snapshot, decision, time.Now())
	if c.Journal != nil {
		s.Journal = c.Journal()
	}
	if only != "" {
		s.Models = slices.DeleteFunc(s.Models, func(m ModelStatus) bool { return m.Name != only })
	}
	return s, nil
}

// standing is how things stand at a tick.
func (c *Console) standing(snapshot scale.Snapshot, decision scale.Decision, now time.Time) Status {
	books := c.books(now)
	costs := books.byModel()
	s := Status{
		At: snapshot.Now, Age: seconds(now.Sub(snapshot.Now)), Models: []ModelStatus{},
		Cost: books.cost(), Accelerators: accelerators(snapshot),
	}
	decided := perModel(decision)
	for _, m := range snapshot.Models {
		view := modelStatus(m, decided[m.Model.Name], now)
		for i := range view.Members {
			if taken, some := snapshot.Interrupted(scale.ReplicaID(view.Members[i].Replica)); some {
				view.Members[i].TakenIn = seconds(taken.Deadline.Sub(now))
			}
		}
		c.feed.settle(&view, snapshot.Now)
		view.Cost = costs[m.Model.Name].cost()
		s.Models = append(s.Models, view)
	}
	slices.SortStableFunc(s.Models, func(a, b ModelStatus) int { return byHurt(a.hurt(), b.hurt()) })
	s.Sentence = sentence(s.Models, snapshot.Now)
	return s
}

// perModel cuts a Decision into what concerns each model.
func perModel(d scale.Decision) map[string]scale.Decision {
	all := map[string]scale.Decision{}
	change := func(model string, add func(*scale.Decision)) {
		part := all[model]
		part.At = d.At
		add(&part)
		all[model] = part
	}
	for _, p := range d.Plans {
		change(p.Model, func(d *scale.Decision) { d.Plans = append(d.Plans, p) })
	}
	for _, f := range d.Forecasts {
		change(f.Model, func(d *scale.Decision) { d.Forecasts = append(d.Forecasts, f) })
	}
	for _, c := range d.Changes {
		change(c.Target.Model, func(d *scale.Decision) { d.Changes = append(d.Changes, c) })
	}
	for _, b := range d.Budgets {
		change(b.Model, func(d *scale.Decision) { d.Budgets = append(d.Budgets, b) })
	}
	for _, a := range d.Alerts {
		change(a.Model, func(d *scale.Decision) { d.Alerts = append(d.Alerts, a) })
	}
	return all
}

// modelStatus is one model as it stands, without its cost.
func modelStatus(m scale.ModelState, d scale.Decision, now time.Time) ModelStatus {
	s := ModelStatus{
		Name: m.Model.Name, BusinessUnit: m.Model.Owner.BusinessUnit, Mode: m.Model.Mode.String(),
		Targets: targets(m, d), Members: members(m, now), Signals: signalViews(m, now), SLO: attainment(m, d), Decision: view(d, m.Model.Name),
		Demand: Demand{
			Arrivals: value(m.Demand.Arrivals, now), Held: value(m.Demand.Held, now),
			HeldFor: value(m.Demand.HeldFor, now), InFlight: value(m.Demand.InFlight, now),
		},
	}
	for _, f := range d.Forecasts {
		if f.Model == m.Model.Name {
			s.Demand.Forecast, s.Demand.Horizon = finite(f.Upper), seconds(f.Horizon)
		}
	}
	for _, t := range s.Targets {
		s.Replicas = s.Replicas.plus(t.Replicas)
	}
	s.TTFT = measure(m, m.Model.SLO.TTFT, func(l scale.Latency) time.Duration { return l.TTFT })
	s.TPOT = measure(m, m.Model.SLO.TPOT, func(l scale.Latency) time.Duration { return l.TPOT })
	s.Latency = measure(m, m.Model.SLO.Latency, func(l scale.Latency) time.Duration { return l.Service })
	s.Condition, s.Why = condition(s, d)
	return s
}

func (r Replicas) plus(o Replicas) Replicas {
	return Replicas{
		Ready: r.Ready + o.Ready, Starting: r.Starting + o.Starting, Draining: r.Draining + o.Draining,
		Want: r.Want + o.Want, Allowed: r.Allowed + o.Allowed,
	}
}

// targets returns every target of the model that the Decision or a replica
// speaks of, sorted.
func targets(m scale.ModelState, d scale.Decision) []TargetStatus {
	seen := map[scale.ScaleTarget]*TargetStatus{}
	at := func(t scale.ScaleTarget) *TargetStatus {
		if seen[t] == nil {
			seen[t] = &TargetStatus{Variant: t.Variant, Capacity: t.Capacity.String()}
		}
		return seen[t]
	}
	for _, r := range m.Replicas {
		counts := &at(r.Target).Replicas
		switch r.Phase {
		case scale.Starting:
			counts.Starting++
		case scale.Ready:
			counts.Ready++
		case scale.Draining:
			counts.Draining++
		case scale.Gone: // in no Snapshot
		}
	}
	for _, p := range d.Plans {
		for _, a := range p.Allocations {
			if a.Target.Model == m.Model.Name {
				t := at(a.Target)
				t.Infeasible = a.Infeasible
				t.BatchLimit, t.KVTokens, t.PerReplica = a.BatchLimit, a.KVTokens, orElse(finite(a.PerReplica), 0)
				t.Replicas.Want, t.Replicas.Allowed = a.Replicas, a.Replicas
			}
		}
	}
	for _, c := range d.Changes {
		if c.Target.Model == m.Model.Name {
			at(c.Target).Replicas.Want, at(c.Target).Replicas.Allowed = c.Want, c.To
		}
	}
	keys := make([]scale.ScaleTarget, 0, len(seen))
	for t := range seen {
		keys = append(keys, t)
	}
	slices.SortFunc(keys, scale.ScaleTarget.Compare)
	all := make([]TargetStatus, 0, len(keys))
	for _, t := range keys {
		all = append(all, *seen[t])
	}
	return all
}

// measure returns the median over replicas of what their requests experienced,
// each replica weighted by its requests, or nil where no limit is set.
func measure(m scale.ModelState, limit time.Duration, of func(scale.Latency) time.Duration) *Measure {
	if limit <= 0 {
		return nil
	}
	var spans []scale.Latency
	requests := 0
	for _, r := range m.Replicas {
		if l := r.Load.Latency; l.Requests > 0 && of(l) > 0 {
			spans = append(spans, l)
			requests += l.Requests
		}
	}
	slices.SortFunc(spans, func(a, b scale.Latency) int { return cmp.Compare(of(a), of(b)) })
	result := &Measure{Limit: seconds(limit)}
	below := 0
	for _, l := range spans {
		if below += l.Requests; 2*below >= requests {
			median := seconds(of(l))
			result.Median = &median
			break
		}
	}
	return result
}

// attainment returns what of the error budget is left.
func attainment(m scale.ModelState, d scale.Decision) Attainment {
	a := Attainment{Objective: m.Model.SLO.Objective}
	for _, b := range d.Budgets {
		if b.Model != m.Model.Name {
			continue
		}
		left := rounded(b.Remaining)
		a.Good, a.Bad, a.BudgetLeft = &b.Good, &b.Bad, &left
		if share, some := b.Attainment(); some {
			share = rounded(share)
			a.Attainment = &share
		}
	}
	return a
}

// accelerators counts what is in use by type. On-demand and spot offerings of
// one zone are two ways to pay for the same slots.
func accelerators(s scale.Snapshot) []Accelerator {
	type place struct{ kind, zone string }
	slots, used := map[place]int{}, map[string]int{}
	unbounded := map[string]bool{}
	for _, o := range s.Offerings {
		at := place{o.Accelerator, o.Zone}
		slots[at] = max(slots[at], o.Slots)
		used[o.Accelerator] += 0
		unbounded[o.Accelerator] = unbounded[o.Accelerator] || !o.Limited
	}
	for _, m := range s.Models {
		for _, r := range m.Replicas {
			if v, ok := m.Model.Variant(r.Target.Variant); ok {
				used[v.Accelerator.Type] += v.Accelerator.Count
			}
		}
	}
	inAll := map[string]int{}
	for at, n := range slots {
		inAll[at.kind] += n
	}
	all := []Accelerator{}
	for kind, n := range used {
		a := Accelerator{Type: kind, Used: n}
		if n, known := inAll[kind]; known && !unbounded[kind] {
			a.Slots = &n
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b Accelerator) int { return cmp.Compare(a.Type, b.Type) })
	return all
}

// books are the lifetimes and what they were billed.
type books struct {
	lifetimes []scale.Lifetime
	charges   []scale.Charge
}

func (c *Console) books(now time.Time) books {
	b := books{lifetimes: c.Fleet.Lifetimes()}
	if c.Bill != nil {
		b.charges = c.Bill(b.lifetimes, now)
	}
	return b
}

// byModel cuts the books into those of each model.
func (b books) byModel() map[string]books {
	all := map[string]books{}
	for _, l := range b.lifetimes {
		part := all[l.Target.Model]
		part.lifetimes = append(part.lifetimes, l)
		all[l.Target.Model] = part
	}
	for _, c := range b.charges {
		part := all[c.Target.Model]
		part.charges = append(part.charges, c)
		all[c.Target.Model] = part
	}
	return all
}

// cost adds up.
func (b books) cost() Cost {
	cost := Cost{Usage: []Spent{}}
	for _, l := range b.lifetimes {
		switch {
		case !l.Ended.IsZero():
		case l.PricePerHour > 0:
			cost.PerHour += l.PricePerHour
		default:
			cost.Unpriced++
		}
	}
	for usage := scale.Serving; usage <= scale.DrainingTime; usage++ {
		spent := Spent{Usage: usage.String()}
		for _, c := range b.charges {
			if c.Usage == usage {
				spent.Seconds += c.Time.Seconds()
				spent.Dollars += c.Dollars
			}
		}
		spent.Dollars = rounded(spent.Dollars)
		cost.Usage = append(cost.Usage, spent)
		cost.Spent = rounded(cost.Spent + spent.Dollars)
	}
	cost.PerHour = rounded(cost.PerHour)
	return cost
}

func value(o scale.Observation, now time.Time) *Value {
	if !o.Known() || finite(o.Value) == nil {
		return nil
	}
	return &Value{Value: o.Value, Age: seconds(now.Sub(o.At))}
}

// rounded is to the nano-dollar, and as many places of a share.
func rounded(f float64) float64 { return math.Round(f*1e9) / 1e9 }

// finite returns nil for a number that JSON lacks.
func finite(f float64) *float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

func orElse[T any](p *T, other T) T {
	if p == nil {
		return other
	}
	return *p
}

// seconds is a duration in JSON, to the millisecond.
func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond)) / float64(time.Second)
}

// span is a duration for people: 812 ms, 2.1 s, 58 s, 12 min, 3 h, 5 d.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	default:
		return fmt.Sprintf("%.0f d", d.Hours()/24)
	}
}

// members lists the replicas of a model.
func members(m scale.ModelState, now time.Time) []Member {
	all := make([]Member, 0, len(m.Replicas))
	for _, r := range m.Replicas {
		all = append(all, Member{
			Replica: string(r.ID), Variant: r.Target.Variant, Capacity: r.Target.Capacity.String(), Phase: r.Phase.String(),
			Since: seconds(now.Sub(r.Since)), InFlight: value(r.Load.InFlight, now), Engine: engineView(r.Load, now),
		})
	}
	return all
}
