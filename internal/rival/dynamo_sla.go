package rival

import (
	"math"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Dynamo's defaults (planner/config/planner_config.py).
const (
	dynamoThroughputInterval = 180 * time.Second // throughput_adjustment_interval
	dynamoSensitivity        = 0.80              // load_scaling_down_sensitivity
	dynamoSamples            = 64                // max_num_fpm_samples
	dynamoLeastSamples       = 5                 // load_min_observations
)

// dynamoSLA is Dynamo's planner with optimization_target "sla" and both loops.
func dynamoSLA() Rival {
	return Rival{
		Name:   "dynamo-sla",
		What:   "Dynamo planner for TTFT and ITL targets: every 180 s a floor from an ARIMA forecast and the performance model, every 5 s one replica more when ALL engines are predicted to miss a target, one fewer when the others could bear N/(N−1) of the load.",
		Source: "ai-dynamo/dynamo, planner/core at 0c6da1ec, throughput_scaling.py at 0c9050c9, perf_model/agg.py at 518a7027",
		Knob:   "targets as a share of the SLO",
		Grid:   []float64{0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2},
		New: func(s Setting) Policy {
			return &sla{dynamo: newDynamo(s), engine: newDynamoEngine(s, knobOr(s, 1)), floor: 1}
		},
	}
}

// sla runs both loops; as shipped for this target only the slow one is on,
// which leaves nothing to catch a burst. The floor is used from the next fast
// loop on, and only when that one runs: while a replica loads, nothing does.
type sla struct {
	dynamo
	engine dynamoEngine

	forecast  time.Time // of the slow loop
	counted   time.Time // the newest arrivals that were counted
	requests  float64   // since the slow loop
	over      time.Duration
	perPeriod arima // requests
	prompt    arima // tokens, mean
	output    arima // tokens, mean
	floor     int
}

func (p *sla) Decide(now time.Time, m scale.ModelState) []Want {
	if p.forecast.IsZero() {
		p.forecast = now
	}
	p.count(m.Demand)
	loads, settled := p.engines(m)
	p.engine.observe(fleetOf(m, p.target).ready, p.mix(m.Demand))
	if settled && p.engine.ready() {
		n := p.want + p.engine.step(loads)
		p.decided(max(n, p.floor))
	}
	if now.Sub(p.forecast) >= dynamoThroughputInterval {
		p.forecast = now
		p.throughput(p.mix(m.Demand))
	}
	return p.wants()
}

// mix is what recent requests are made of. Models without tokens have requests
// of one.
func (p *sla) mix(d scale.Demand) tokenMix {
	if !p.profile.Tokens() {
		return tokenMix{input: 1, output: 1}
	}
	w := tokenMix{input: p.promptTokens(d)}
	if n, ok := measured(d.OutputTokens); ok {
		w.output = math.Max(0, n)
	}
	return w
}

func (p *sla) count(d scale.Demand) {
	rate, ok := measured(d.Arrivals)
	if !ok || !d.Arrivals.At.After(p.counted) {
		return
	}
	over := d.ArrivalsOver
	if over <= 0 {
		over = dynamoLoadInterval
	}
	p.counted = d.Arrivals.At
	p.requests += math.Max(0, rate) * over.Seconds()
	p.over += over
}

// throughput sets the floor from one period's traffic. A period in which none
// was measured is unknown, not zero, and skipped; one that was measured in part
// is extrapolated, as increase() does.
func (p *sla) throughput(mix tokenMix) {
	requests, over := p.requests, p.over
	p.requests, p.over = 0, 0
	if over <= 0 {
		return
	}
	period := dynamoThroughputInterval.Seconds()
	p.perPeriod.add(requests / over.Seconds() * period)
	if requests > 0 { // the mean of no request is no number
		p.prompt.add(mix.input)
		p.output.add(mix.output)
	}
	rate := p.engine.bestRate(tokenMix{input: p.prompt.next(), output: p.output.next()})
	if rate <= 0 {
		return // the model is not ready
	}
	p.floor = max(ceil(p.perPeriod.next()/period/rate), p.bounds.Min)
}
