package rival

import (
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// dynamoEngine predicts what an engine does to TTFT and ITL. Dynamo fits the
// time of an iteration to the prefill tokens and the KV cache in it, from a
// benchmark before deployment and from what each iteration reports after. Here
// the shape is that of the profile that everybody is told, and a factor on it
// is fitted by least squares to the last 64 latencies that replicas report, for
// a Snapshot has no iterations. As shipped, samples of cold engines count too.
//
// For models without tokens TTFT is the whole latency and requests are tokens:
// one that comes waits a service time for every Concurrency in its queue.
type dynamoEngine struct {
	profile    scale.Profile
	capacity   float64
	ttft, itl  float64  // seconds, the targets
	mix        tokenMix // of recent requests
	perEngine  float64  // requests that decode at one engine, mean
	factor     float64
	pred, seen []float64 // seconds, parallel
}

func newDynamoEngine(s Setting, share float64) dynamoEngine {
	v, _ := s.Model.Variant(s.Target.Variant)
	e := dynamoEngine{profile: v.Profile, factor: 1, capacity: float64(v.Profile.KVCapacity())}
	e.ttft, e.itl = share*s.Model.SLO.TTFT.Seconds(), share*s.Model.SLO.TPOT.Seconds()
	if !v.Profile.Tokens() {
		e.capacity, e.ttft = float64(v.Profile.Service.Concurrency), share*s.Model.SLO.Latency.Seconds()
	}
	return e
}

// ready says whether enough is known to predict.
func (e *dynamoEngine) ready() bool { return e.capacity > 0 && e.mix.input > 0 && e.mix.output > 0 }

// observe learns from what replicas report of the requests they finished.
func (e *dynamoEngine) observe(replicas []*scale.Replica, mix tokenMix) {
	if mix.input > 0 && mix.output > 0 {
		e.mix = mix
	}
	running, n := 0.0, 0
	for _, r := range replicas {
		if x, ok := runningAt(r); ok {
			running, n = running+math.Max(0, x), n+1
		}
		if pred, seen := e.sample(r.Load.Latency); pred > 0 && seen > 0 {
			e.pred, e.seen = append(e.pred, pred), append(e.seen, seen.Seconds())
		}
	}
	if n > 0 {
		e.perEngine = running / float64(n)
	}
	old := max(0, len(e.pred)-dynamoSamples)
	e.pred, e.seen = append(e.pred[:0], e.pred[old:]...), append(e.seen[:0], e.seen[old:]...)
	if len(e.pred) < dynamoLeastSamples {
		return
	}
	xy, xx := 0.0, 0.0
	for i, x := range e.pred {
		xy, xx = xy+x*e.seen[i], xx+x*x
	}
	e.factor = xy / xx
}

// sample returns what the profile says of a replica's latency, in seconds, and
// what was measured; zeros where nothing was.
func (e *dynamoEngine) sample(l scale.Latency) (float64, time.Duration) {
	if l.Requests <= 0 {
		return 0, 0
	}
	if !e.profile.Tokens() {
		return e.profile.Service.Mean.Seconds(), l.Service
	}
	mix := tokenMix{input: l.PromptTokens, output: l.OutputTokens}
	if !(mix.input > 0 && mix.output > 1 && l.Concurrency > 0) || math.IsInf(mix.input*mix.output*l.Concurrency, 0) {
		return 0, 0
	}
	prefill, kv := e.steady(l.Concurrency, mix)
	return e.profile.IterationTime(prefill+l.Concurrency, kv), l.TPOT
}

// steady is the prefill tokens and the KV cache of an iteration with so many
// requests in the batch, each of which needs output iterations.
func (e *dynamoEngine) steady(batch float64, mix tokenMix) (prefill, kv float64) {
	chunk := float64(max(1, e.profile.PrefillChunk))
	return math.Min(batch*mix.input/math.Max(1, mix.output), chunk), batch * e.context(mix)
}

// context is the mean length of a request in the batch.
func (*dynamoEngine) context(mix tokenMix) float64 { return mix.input + mix.output/2 }

// wall is the seconds of an iteration with so many prefill tokens over so much
// KV cache, which says how many requests decode.
func (e *dynamoEngine) wall(prefill, kv float64, mix tokenMix) float64 {
	return e.factor * e.profile.IterationTime(prefill+kv/math.Max(1, e.context(mix)), kv)
}

// nextTTFT is the seconds to the first token of a request that comes now behind
// so many queued tokens, chunk by chunk.
func (e *dynamoEngine) nextTTFT(queued, kv float64, mix tokenMix) float64 {
	if !e.profile.Tokens() {
		return e.factor * e.profile.Service.Mean.Seconds() * (1 + queued/e.capacity)
	}
	chunk := float64(max(1, e.profile.PrefillChunk))
	total := queued + mix.input
	whole := math.Floor(total / chunk)
	rest := total - whole*chunk
	seconds := whole * e.wall(chunk, kv, mix)
	if rest > 0 {
		seconds += e.wall(rest, kv, mix)
	}
	return seconds
}

// nextITL is the seconds between tokens once one more request decodes.
func (e *dynamoEngine) nextITL(kv float64) float64 {
	if !e.profile.Tokens() {
		return 0
	}
	prefill, _ := e.steady(e.perEngine, e.mix)
	return e.wall(prefill, kv+e.context(e.mix), e.mix)
}

// step is one replica more, one fewer or none. More, when every engine is
// predicted to miss the same target: one hot engine among idle ones asks for
// nothing. Fewer, when every engine could take N/(N−1) of its load with KV
// cache to spare, an ITL below 80 % of the target, and a wait in the queue
// below 80 % of what its own prefill leaves of the TTFT.
func (e *dynamoEngine) step(loads []engineLoad) int {
	n := float64(len(loads))
	lateTTFT, lateITL, bear := true, true, n > 1
	for _, l := range loads {
		lateTTFT = lateTTFT && e.nextTTFT(l.queued, l.kv, e.mix) > e.ttft
		lateITL = lateITL && e.nextITL(l.kv) > e.itl
		bear = bear && e.bears(l, n/(n-1))
	}
	switch {
	case lateTTFT || (lateITL && e.profile.Tokens()):
		return 1
	case bear:
		return -1
	default:
		return 0
	}
}

func (e *dynamoEngine) bears(l engineLoad, more float64) bool {
	kv, all := l.kv*more, (l.kv+l.queued)*more
	if all >= e.capacity {
		return false
	}
	if e.profile.Tokens() && e.nextITL(all) >= e.itl*dynamoSensitivity {
		return false
	}
	own := e.nextTTFT(0, kv, e.mix)
	room := (e.ttft - own) * dynamoSensitivity
	return room > 0 && e.nextTTFT(l.queued*more, kv, e.mix)-own < room
}

// bestRate is the requests/s that one engine serves within both targets at such
// a mix, by the largest batch that holds them; at a batch of one where none
// does; 0 when it cannot be told. The batch is bound by KV cache, max_num_seqs
// and by the prefill that must keep up.
func (e *dynamoEngine) bestRate(mix tokenMix) float64 {
	if !e.profile.Tokens() {
		if seconds := e.factor * e.profile.Service.Mean.Seconds(); seconds > 0 {
			return e.capacity / seconds
		}
		return 0
	}
	if mix.input <= 0 || mix.output <= 0 || e.profile.PrefillChunk <= 0 {
		return 0
	}
	chunk := float64(e.profile.PrefillChunk)
	most := min(e.capacity/math.Max(1, e.context(mix)), float64(e.profile.MaxBatch), chunk-1)
	most = math.Min(most, chunk-mix.input/mix.output)
	best := 0.0
	for batch := 1.0; batch <= math.Max(1, most); batch++ {
		prefill, kv := e.steady(batch, mix)
		wall := e.wall(prefill, kv, mix)
		rate := batch / (mix.output * wall)
		if wall > e.itl || e.nextTTFT(prefill, kv, mix) > e.ttft {
			if batch == 1 {
				best = rate
			}
			break
		}
		best = rate
	}
	return best
}
