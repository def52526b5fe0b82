package rival

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// WVA's defaults (deploy/configmap-saturation-scaling.yaml).
const (
	wvaKVThreshold    = 0.80
	wvaQueueThreshold = 5.0
	wvaKVSpare        = 0.10
	wvaQueueSpare     = 3.0
	wvaLoop           = 30 * time.Second // hard-coded in the PollingExecutor
	wvaScrape         = 15 * time.Second // Prometheus, and the HPA's sync
	wvaLookBack       = time.Minute      // max_over_time of both signals
	wvaRetention      = 10 * time.Minute // without a finished request: to zero, where that is on
	wvaCost           = 10.0             // variantCost of a variant without one
)

// wvaSaturation is llm-d's Workload Variant Autoscaler with its default analyser,
// behind the HPA of its chart.
func wvaSaturation() Rival {
	return Rival{
		Name:   "wva-v1",
		What:   "llm-d WVA: spare KV cache and queue of the replicas that are not saturated; one replica more of the cheapest or one fewer of the dearest variant at a time, through an HPA that waits 240 s both ways.",
		Source: "llm-d/llm-d-workload-variant-autoscaler, internal/saturation at b08b1c77, and its chart",
		Knob:   "kvCacheThreshold",
		Grid:   []float64{0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9},
		New: func(s Setting) Policy {
			return &wvaV1{wva: newWVA(s, viaHPA), kvThreshold: knobOr(s, wvaKVThreshold)}
		},
	}
}

// wvaPath is how a wish of WVA becomes replicas.
type wvaPath int

const (
	viaHPA    wvaPath = iota + 1 // a gauge, scraped, adapted and followed by an HPA
	viaDirect                    // the scale subresource, at once: asked for by its users, not shipped
)

// wvaVariant is one variant of the model as WVA keeps it.
type wvaVariant struct {
	variant scale.Variant
	target  scale.ScaleTarget
	cost    float64 // US dollars per hour
	bounds  scale.Range

	desired int // the gauge: what WVA wished last
	seen    int // of the gauge, by the HPA: one scrape behind
	hpa     chartHPA
	want    int
	fleet   fleet
}

// wva is what both analysers share: the loop every 30 s over Prometheus series
// scraped every 15 s, zero, and the way of a wish to replicas.
//
// Variant cost is what its capacity costs per hour; 10 where nothing is on
// offer. What our gateway holds would wait in the engines' own queues under
// WVA alone: it is counted there, in equal shares. The HPA keeps one replica of
// every variant (chart: minReplicas 1) unless the model may fall asleep, and
// has no tolerance: with the default of 10 % it would never follow ±1 of a fleet
// above ten, where the chart's maxReplicas ends.
type wva struct {
	model    scale.Model
	path     wvaPath
	variants []wvaVariant // sorted by name

	began    bool
	scraped  time.Time
	looped   time.Time
	kv       map[scale.ReplicaID]*series
	queue    map[scale.ReplicaID]*series
	finished time.Time // when a request was last seen to finish
}

func newWVA(s Setting, path wvaPath) wva {
	p := wva{model: s.Model, path: path, kv: map[scale.ReplicaID]*series{}, queue: map[scale.ReplicaID]*series{}}
	for _, v := range s.Model.Variants {
		t := scale.ScaleTarget{Model: s.Model.Name, Variant: v.Name, Capacity: s.Target.Capacity}
		if !slices.Contains(v.Capacities, t.Capacity) && len(v.Capacities) > 0 {
			t.Capacity = v.Capacities[0]
		}
		bounds := rangeOf(s, t, 0)
		bounds.Min = 0
		if path == viaHPA && s.Model.Replicas.Min > 0 {
			bounds.Min = min(1, bounds.Max)
		}
		p.variants = append(p.variants, wvaVariant{
			variant: v, target: t, cost: wvaCostOf(s, v, t.Capacity), bounds: bounds, hpa: newChartHPA(bounds),
		})
	}
	slices.SortFunc(p.variants, func(a, b wvaVariant) int { return a.target.Compare(b.target) })
	return p
}

// wvaCostOf is the cheapest price per hour of one replica.
func wvaCostOf(s Setting, v scale.Variant, c scale.CapacityType) float64 {
	cost := math.Inf(1)
	for _, o := range s.Offerings {
		if o.Accelerator == v.Accelerator.Type && o.Capacity == c {
			cost = min(cost, o.PricePerHour*float64(v.Accelerator.Count))
		}
	}
	if math.IsInf(cost, 1) {
		return wvaCost
	}
	return cost
}

// Every is a scrape; where the model may sleep a second, for WVA looks for
// queued requests every 100 ms then.
func (p *wva) Every() time.Duration {
	if p.model.Replicas.Min == 0 {
		return time.Second
	}
	return wvaScrape
}

// observe takes in the state, and says whether the loop runs now.
func (p *wva) observe(now time.Time, m scale.ModelState) bool {
	ready := 0
	for i := range p.variants {
		v := &p.variants[i]
		v.fleet = fleetOf(m, v.target)
		ready += len(v.fleet.ready)
		if !p.began {
			v.want = inRange(v.fleet.size(), v.bounds)
			v.desired, v.seen = v.want, v.want
		}
	}
	if !p.began {
		p.began, p.finished = true, now
	}
	for _, r := range m.Replicas {
		if r.Load.Latency.Requests > 0 {
			p.finished = now
		}
	}
	p.scrape(now, m, ready)
	if !p.looped.IsZero() && now.Sub(p.looped) < wvaLoop {
		return false
	}
	p.looped = now
	return true
}

// scrape records both signals of every ready replica, by the time at which
// they were true: what is old falls out of the minute.
func (p *wva) scrape(now time.Time, m scale.ModelState, ready int) {
	if !p.scraped.IsZero() && now.Sub(p.scraped) < wvaScrape {
		return
	}
	p.scraped = now
	held, _ := measured(m.Demand.Held)
	share := math.Max(0, held) / float64(max(1, ready))
	kv, queue := map[scale.ReplicaID]*series{}, map[scale.ReplicaID]*series{}
	for _, v := range p.variants {
		for _, r := range v.fleet.ready {
			kv[r.ID] = carry(p.kv[r.ID], now, r.Load.KVCacheUsage, 0)
			queue[r.ID] = carry(p.queue[r.ID], now, r.Load.Waiting, share)
		}
	}
	p.kv, p.queue = kv, queue
}

func carry(s *series, now time.Time, o scale.Observation, more float64) *series {
	if s == nil {
		s = &series{span: wvaLookBack}
	}
	if x, ok := measured(o); ok && o.Fresh(now, wvaLookBack) {
		s.add(o.At, x+more)
	}
	s.forget(now)
	return s
}

// saturation is what WVA knows of a replica.
type saturation struct {
	replica   *scale.Replica
	kv, queue float64
}

// saturations are of a variant's replicas that have metrics. One of the two
// that is missing reads 0.
func (p *wva) saturations(v wvaVariant) []saturation {
	var all []saturation
	for _, r := range v.fleet.ready {
		kv, queue := p.kv[r.ID], p.queue[r.ID]
		if kv == nil || len(kv.points)+len(queue.points) == 0 {
			continue
		}
		all = append(all, saturation{replica: r, kv: math.Max(0, kv.most()), queue: math.Max(0, queue.most())})
	}
	return all
}

// wish publishes what WVA wants of every variant.
func (p *wva) wish(now time.Time, targets []int) {
	if p.asleep(now) {
		targets = make([]int, len(p.variants))
	}
	for i := range p.variants {
		p.variants[i].desired = targets[i]
	}
}

// asleep says whether the model goes to zero: that counts finished requests,
// so that one long generation looks idle.
func (p *wva) asleep(now time.Time) bool {
	if p.model.Replicas.Min > 0 || now.Sub(p.finished) < wvaRetention {
		return false
	}
	for _, v := range p.variants {
		if len(p.saturations(v)) > 0 {
			return true
		}
	}
	return false // no series, so the query fails and targets stay
}

// act makes replicas of wishes: through the HPA, one scrape late, or at once.
// Requests that wait at zero wake every variant, each with one replica.
func (p *wva) act(now time.Time, m scale.ModelState) []Want {
	held, _ := measured(m.Demand.Held)
	zero := true
	for _, v := range p.variants {
		zero = zero && v.want == 0
	}
	for i := range p.variants {
		v := &p.variants[i]
		switch {
		case zero && held > 0:
			v.desired, v.seen, v.want = 1, 1, inRange(1, v.bounds)
			v.hpa = newChartHPA(v.bounds)
		case p.path == viaDirect:
			v.want = inRange(v.desired, v.bounds)
		case v.want > 0 && p.scraped.Equal(now):
			// An HPA leaves alone what stands at zero.
			v.want = v.hpa.follow(now, v.want, v.seen)
			v.seen = v.desired
		}
	}
	return p.wants()
}

// wants are the counts, with the model's own maximum held by leaving out the
// dearest, and its minimum by the cheapest.
func (p *wva) wants() []Want {
	wants := make([]Want, len(p.variants))
	total := 0
	for i, v := range p.variants {
		wants[i] = Want{Target: v.target, Replicas: v.want}
		total += v.want
	}
	order := p.byCost()
	most := p.model.Replicas.Max
	if most <= 0 {
		most = total
	}
	for _, i := range slices.Backward(order) {
		cut := min(wants[i].Replicas, max(0, total-most))
		wants[i].Replicas -= cut
		total -= cut
	}
	for _, i := range order {
		more := max(0, min(p.variants[i].bounds.Max-wants[i].Replicas, p.model.Replicas.Min-total))
		wants[i].Replicas += more
		total += more
	}
	return wants
}

// byCost orders the variants' indices, cheapest first, then by name.
func (p *wva) byCost() []int {
	order := make([]int, len(p.variants))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p.variants[a].cost, p.variants[b].cost) })
	return order
}

type wvaV1 struct {
	wva
	kvThreshold float64
}

func (p *wvaV1) Decide(now time.Time, m scale.ModelState) []Want {
	if p.observe(now, m) {
		p.wish(now, p.targets())
	}
	return p.act(now, m)
}

// targets is one turn of the loop.
func (p *wvaV1) targets() []int {
	targets, metrics := make([]int, len(p.variants)), make([]int, len(p.variants))
	var all []saturation
	moving := false
	for i, v := range p.variants {
		of := p.saturations(v)
		all, metrics[i], targets[i] = append(all, of...), len(of), v.fleet.size()
		if len(of) == 0 {
			continue // no metrics: WVA does not see the variant at all
		}
		if v.desired != 0 && v.desired != v.fleet.size() {
			moving, targets[i] = true, v.desired
		}
		moving = moving || len(of) != v.fleet.size()
	}
	if moving || len(all) == 0 {
		return targets
	}
	switch up, down := p.triggers(all); {
	case up:
		for _, i := range p.byCost() {
			if metrics[i] > 0 {
				targets[i]++
				break
			}
		}
	case down:
		for _, i := range slices.Backward(p.byCost()) {
			if metrics[i] > 1 {
				targets[i]--
				break
			}
		}
	}
	return targets
}

// triggers averages what the replicas that are not saturated have to spare.
// The saturated ones are left out, so that eight of them beside two idle ones
// allow a scale-down.
func (p *wvaV1) triggers(all []saturation) (up, down bool) {
	spareKV, spareQueue, n := 0.0, 0.0, 0.0
	for _, s := range all {
		if s.kv >= p.kvThreshold || s.queue >= wvaQueueThreshold {
			continue
		}
		spareKV, spareQueue, n = spareKV+p.kvThreshold-s.kv, spareQueue+wvaQueueThreshold-s.queue, n+1
	}
	if n > 0 {
		spareKV, spareQueue = spareKV/n, spareQueue/n
	}
	up = spareKV < wvaKVSpare || spareQueue < wvaQueueSpare
	if n < 2 {
		return up, false
	}
	after := n / (n - 1)
	down = p.kvThreshold-(p.kvThreshold-spareKV)*after >= wvaKVSpare &&
		wvaQueueThreshold-(wvaQueueThreshold-spareQueue)*after >= wvaQueueSpare
	return up, down
}
