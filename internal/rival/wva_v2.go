package rival

import (
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// WVA's token analyser (analyzerName "saturation"; internal/engines/analyzers/saturation_v2).
const (
	wvaUpThreshold   = 0.85 // scaleUpThreshold
	wvaDownBoundary  = 0.70 // scaleDownBoundary
	wvaHistory       = 10   // capacities remembered for one kind of work
	wvaHistoryAge    = 24 * time.Hour
	wvaLiveRecordAge = 7 * 24 * time.Hour
)

var wvaV2Grid = []float64{0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 1}

// wvaTokens is WVA with its token analyser, behind the HPA of its chart.
func wvaTokens() Rival {
	return Rival{
		Name:   "wva-v2",
		What:   "llm-d WVA with its token analyser: demand and capacity in tokens of KV cache, what is missing to the best cost per token at once, what is spare from the dearest variant; through the HPA of its chart.",
		Source: "llm-d/llm-d-workload-variant-autoscaler, internal/engines at b08b1c77, and its chart",
		Knob:   "scaleUpThreshold, with scaleDownBoundary in proportion",
		Grid:   wvaV2Grid,
		New:    func(s Setting) Policy { return newWVAV2(s, viaHPA) },
	}
}

// wvaTokensDirect is the same without the HPA.
func wvaTokensDirect() Rival {
	return Rival{
		Name:   "wva-v2-direct",
		What:   "llm-d WVA with its token analyser, acting on the scale subresource at once, which its users ask for and it does not ship.",
		Source: "llm-d/llm-d-workload-variant-autoscaler, internal/engines at b08b1c77; direct actuation as in llm-d-autoscaling issues 421 and 1316",
		Knob:   "scaleUpThreshold, with scaleDownBoundary in proportion",
		Grid:   wvaV2Grid,
		New:    func(s Setting) Policy { return newWVAV2(s, viaDirect) },
	}
}

func newWVAV2(s Setting, path wvaPath) *wvaV2 {
	up := knobOr(s, wvaUpThreshold)
	p := &wvaV2{wva: newWVA(s, path), up: up, down: up * wvaDownBoundary / wvaUpThreshold}
	p.memory = make([]wvaMemory, len(p.variants))
	return p
}

// wvaV2 counts demand and capacity in tokens of KV cache. For models without
// tokens the slots of a replica stand for them: a request is a token. The term
// for requests that wait in the scheduler is not wired in at that commit; what
// our gateway holds stands in the engines' queues, as for V1.
type wvaV2 struct {
	wva
	up, down float64
	memory   []wvaMemory // parallel to variants
}

// wvaMemory is what is known of one variant's capacity.
type wvaMemory struct {
	seen map[outputLength]*ring // capacities of replicas whose queue was full
	live point                  // the capacity of a replica, last
}

// ring is the last few capacities seen.
type ring struct {
	values []float64
	at     time.Time
}

// outputLength is the kind of work that a capacity is remembered for.
type outputLength int

const (
	shortOutput  outputLength = iota + 1 // below 100 tokens
	mediumOutput                         // below 500
	longOutput
)

func outputLengthOf(tokens float64) outputLength {
	switch {
	case tokens < 100:
		return shortOutput
	case tokens < 500:
		return mediumOutput
	default:
		return longOutput
	}
}

// tokenMix is what recent requests are made of, mean tokens; 0 where it is not known.
type tokenMix struct{ input, output float64 }

func (p *wvaV2) Decide(now time.Time, m scale.ModelState) []Want {
	if p.observe(now, m) {
		p.wish(now, p.targets(now, workOf(m)))
	}
	return p.act(now, m)
}

func workOf(m scale.ModelState) tokenMix {
	if len(m.Model.Variants) > 0 && !m.Model.Variants[0].Profile.Tokens() {
		return tokenMix{input: 1}
	}
	var w tokenMix
	if x, ok := measured(m.Demand.PromptTokens); ok {
		w.input = math.Max(0, x)
	}
	if x, ok := measured(m.Demand.OutputTokens); ok {
		w.output = math.Max(0, x)
	}
	return w
}

// targets is one turn of the loop.
func (p *wvaV2) targets(now time.Time, work tokenMix) []int {
	targets, capacity := make([]int, len(p.variants)), make([]float64, len(p.variants))
	supply, anticipated, demand, known := 0.0, 0.0, 0.0, false
	for i, v := range p.variants {
		targets[i] = v.fleet.size()
		of := p.saturations(v)
		var tokens float64
		capacity[i], tokens = p.capacity(now, i, of, work)
		known = known || len(of) > 0
		demand += tokens
		supply += capacity[i] * float64(len(v.fleet.ready))
		anticipated += capacity[i] * float64(v.fleet.size())
	}
	if !known {
		return targets
	}
	required, spare := demand/p.up-anticipated, supply-demand/p.down
	switch {
	case required > 0:
		p.add(targets, capacity, required)
	case spare > 0:
		p.remove(targets, capacity, spare)
	}
	return targets
}

// capacity returns the median of a variant's replicas in tokens, or what is
// known of it otherwise, and the demand that stands at them.
func (p *wvaV2) capacity(now time.Time, i int, of []saturation, work tokenMix) (capacity, demand float64) {
	profile := p.variants[i].variant.Profile
	total := float64(max(0, profile.KVCapacity()))
	if !profile.Tokens() {
		total = float64(profile.Service.Concurrency)
	}
	if total <= 0 {
		return 0, 0 // a replica without cache_config_info is skipped
	}
	if len(of) == 0 {
		if live := p.memory[i].live; live.value > 0 && now.Sub(live.at) < wvaLiveRecordAge {
			return live.value, 0
		}
		return derivedCapacity(profile, work), 0
	}
	memory := math.Floor(total * wvaKVThreshold)
	var all []float64
	for _, s := range of {
		used := math.Floor(s.kv * total)
		if !profile.Tokens() {
			running, _ := runningAt(s.replica)
			used = math.Max(0, running)
		}
		queue := math.Floor(s.queue)
		demand += used + queue*work.input
		compute := p.compute(now, i, work, full{used: used, is: queue >= wvaQueueThreshold && used > 0})
		if compute <= 0 {
			compute = memory
		}
		all = append(all, math.Min(memory, compute))
	}
	slices.Sort(all)
	half := len(all) / 2
	if capacity = all[half]; len(all)%2 == 0 {
		capacity = math.Floor((all[half-1] + all[half]) / 2)
	}
	p.memory[i].live = point{at: now, value: capacity}
	return capacity, demand
}

// full is a replica's tokens in use, and whether its queue says that no more fit.
type full struct {
	used float64
	is   bool
}

// compute returns the tokens at which a replica has enough to do: what is in
// use while its queue is full, or the mean of what was, or what its arguments
// give; 0 when none is known.
func (p *wvaV2) compute(now time.Time, i int, work tokenMix, f full) float64 {
	memory, kind := &p.memory[i], outputLengthOf(work.output)
	if f.is {
		if memory.seen == nil {
			memory.seen = map[outputLength]*ring{}
		}
		r := memory.seen[kind]
		if r == nil {
			r = &ring{}
			memory.seen[kind] = r
		}
		r.values, r.at = append(r.values, f.used), now
		r.values = r.values[max(0, len(r.values)-wvaHistory):]
		return f.used
	}
	if r := memory.seen[kind]; r != nil && now.Sub(r.at) < wvaHistoryAge {
		sum := 0.0
		for _, x := range r.values {
			sum += x
		}
		return math.Floor(sum / float64(len(r.values)))
	}
	return derivedCapacity(p.variants[i].variant.Profile, work)
}

// derivedCapacity is N·(I + O/2) with N = min(B·O/(I+O), S), where B is
// max_num_batched_tokens and S max_num_seqs; 0 when the output is not known.
func derivedCapacity(p scale.Profile, w tokenMix) float64 {
	if !p.Tokens() {
		return float64(p.Service.Concurrency)
	}
	if p.PrefillChunk <= 0 || w.output <= 0 {
		return 0
	}
	n := math.Min(float64(p.PrefillChunk)*w.output/(w.input+w.output), float64(p.MaxBatch))
	return math.Floor(n * (w.input + w.output/2))
}

// add gives all that is missing to the variant with the least cost per token.
func (p *wvaV2) add(targets []int, capacity []float64, required float64) {
	best := -1
	for i, v := range p.variants {
		if capacity[i] <= 0 {
			continue
		}
		if best < 0 || v.cost/capacity[i] < p.variants[best].cost/capacity[best] {
			best = i
		}
	}
	if best >= 0 {
		targets[best] += ceil(required / capacity[best])
	}
}

// remove takes whole replicas of what is spare from the dearest variant first,
// and leaves one of the cheapest when nothing else runs.
func (p *wvaV2) remove(targets []int, capacity []float64, spare float64) {
	order := p.byCost()
	for _, i := range slices.Backward(order) {
		if capacity[i] <= 0 || spare <= 0 {
			continue
		}
		removable := targets[i]
		if i == order[0] && sum(targets) == targets[i] {
			removable--
		}
		n := min(removable, ceil(math.Floor(spare/capacity[i])))
		if n > 0 {
			targets[i] -= n
			spare -= float64(n) * capacity[i]
		}
	}
}

func sum(counts []int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}
