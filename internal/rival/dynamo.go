package rival

import (
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const dynamoLoadInterval = 5 * time.Second // load_adjustment_interval

// dynamoThroughput is Dynamo's planner as it comes: optimization_target "throughput".
func dynamoThroughput() Rival {
	return Rival{
		Name:   "dynamo-load",
		What:   "Dynamo planner, easy mode for throughput: one replica more when any engine's running and queued tokens exceed its KV cache, one fewer when all are below 60 % of it.",
		Source: "ai-dynamo/dynamo, planner/core/load_scaling.py at 0c6da1ec",
		Knob:   "KV cache utilisation above which one engine asks for more, with the lower threshold in proportion",
		Grid:   []float64{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2},
		New:    func(s Setting) Policy { return newDynamoEasy(s, 1.0, 0.6) },
	}
}

// dynamoLatency is the same with optimization_target "latency".
func dynamoLatency() Rival {
	return Rival{
		Name:   "dynamo-load-latency",
		What:   "Dynamo planner, easy mode for latency: one replica more when any engine's running and queued tokens exceed 40 % of its KV cache, one fewer when all are below 10 %.",
		Source: "ai-dynamo/dynamo, planner/core/load_scaling.py at 0c6da1ec",
		Knob:   "KV cache utilisation above which one engine asks for more, with the lower threshold in proportion",
		Grid:   []float64{0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8},
		New:    func(s Setting) Policy { return newDynamoEasy(s, 0.4, 0.1) },
	}
}

// engineLoad is what an engine's forward-pass metrics say, as far as a
// Snapshot can tell it. For models without tokens requests stand for them.
type engineLoad struct {
	queued float64 // prompt tokens that wait for prefill
	kv     float64 // tokens in the KV cache
}

// dynamo is what the planner's modes share, for aggregated engines (one pool
// that does prefill and decode, as all replicas here do). It keeps one replica
// (min_endpoint) and knows no zero. Its budget, 8 GPUs as shipped, is what the
// model's maximum occupies.
//
// What our gateway holds would wait in the engines under Dynamo alone: its
// prompt tokens are counted there, in equal shares. The last metrics of an
// engine are kept however old they are (the code read says nothing of an age);
// one that never sent any makes the counts differ, and nothing moves.
type dynamo struct {
	target   scale.ScaleTarget
	profile  scale.Profile
	capacity float64 // tokens of KV cache of one replica; slots without tokens
	bounds   scale.Range
	gpus     gpuBudget

	began bool
	want  int
}

func newDynamo(s Setting) dynamo {
	v, _ := s.Model.Variant(s.Target.Variant)
	d := dynamo{target: s.Target, profile: v.Profile, bounds: rangeOf(s, s.Target, 1)}
	d.capacity = float64(v.Profile.KVCapacity())
	if !v.Profile.Tokens() {
		d.capacity = float64(v.Profile.Service.Concurrency)
	}
	each := max(1, v.Accelerator.Count)
	d.gpus = gpuBudget{each: each, most: d.bounds.Max * each, least: d.bounds.Min}
	return d
}

func (*dynamo) Every() time.Duration { return dynamoLoadInterval }

// gpuBudget is max_gpu_budget for one pool.
type gpuBudget struct {
	each  int // GPUs of one replica
	most  int // in all; negative for no budget
	least int // min_endpoint
}

// fit cuts a count to the budget. A budget that the minimum does not fit in
// gives nothing at all, as shipped.
func (b gpuBudget) fit(n int) int {
	n = max(n, b.least)
	switch {
	case b.most < 0 || n*b.each <= b.most:
		return n
	case b.most < b.least*b.each:
		return 0
	default:
		return b.most / b.each
	}
}

// engines returns the load of every replica; false while the fleet has not
// settled: replicas load, fewer run than were asked for, or one is silent. A
// replica that never comes holds everything.
func (p *dynamo) engines(m scale.ModelState) ([]engineLoad, bool) {
	f := fleetOf(m, p.target)
	if !p.began {
		p.began, p.want = true, p.gpus.fit(inRange(f.size(), p.bounds))
	}
	if len(f.ready) == 0 || len(f.ready) != p.want || f.starting > 0 {
		return nil, false
	}
	held := p.heldTokens(m.Demand) / float64(len(f.ready))
	prompt := p.promptTokens(m.Demand)
	loads := make([]engineLoad, 0, len(f.ready))
	for _, r := range f.ready {
		kv, ok := p.tokensAt(r)
		if !ok {
			return nil, false
		}
		waiting, _ := measured(r.Load.Waiting)
		loads = append(loads, engineLoad{queued: held + math.Max(0, waiting)*prompt, kv: kv})
	}
	return loads, true
}

func (p *dynamo) tokensAt(r *scale.Replica) (float64, bool) {
	if !p.profile.Tokens() {
		n, ok := runningAt(r)
		return math.Max(0, n), ok
	}
	used, ok := measured(r.Load.KVCacheUsage)
	return math.Max(0, used) * p.capacity, ok
}

// promptTokens is the mean prompt; 1 without tokens, 0 where it is not known.
func (p *dynamo) promptTokens(d scale.Demand) float64 {
	if !p.profile.Tokens() {
		return 1
	}
	n, ok := measured(d.PromptTokens)
	if !ok {
		return 0
	}
	return math.Max(0, n)
}

func (p *dynamo) heldTokens(d scale.Demand) float64 {
	if tokens, ok := measured(d.HeldTokens); ok && p.profile.Tokens() {
		return math.Max(0, tokens)
	}
	held, ok := measured(d.Held)
	if !ok {
		return 0
	}
	return math.Max(0, held) * p.promptTokens(d)
}

// decided is the wish within min_endpoint, budget and the model's bounds.
func (p *dynamo) decided(n int) { p.want = min(p.gpus.fit(inRange(n, p.bounds)), p.bounds.Max) }

func (p *dynamo) wants() []Want { return []Want{{Target: p.target, Replicas: p.want}} }

// dynamoEasy scales on fixed thresholds of utilisation: any engine asks for
// more, all must agree to fewer.
type dynamoEasy struct {
	dynamo
	up, down float64
}

func newDynamoEasy(s Setting, up, down float64) *dynamoEasy {
	knob := knobOr(s, up)
	return &dynamoEasy{dynamo: newDynamo(s), up: knob, down: down * knob / up}
}

func (p *dynamoEasy) Decide(_ time.Time, m scale.ModelState) []Want {
	if loads, settled := p.engines(m); settled && p.capacity > 0 {
		p.decided(p.want + p.step(loads))
	}
	return p.wants()
}

// step is one replica more, one fewer, or none.
func (p *dynamoEasy) step(loads []engineLoad) int {
	idle := true
	for _, l := range loads {
		utilisation := (l.kv + l.queued) / p.capacity
		if utilisation > p.up {
			return 1
		}
		idle = idle && utilisation < p.down
	}
	if idle && len(loads) > 1 {
		return -1
	}
	return 0
}
