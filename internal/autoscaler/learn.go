package autoscaler

import (
	"time"

	"github.com/penstock/penstock/internal/capacity"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/shadow"
)

const (
	// mixOver is how many requests the token mix is a mean over; leastMix and
	// mostMix bound the time in which they come. A mix that follows every
	// measurement makes the wish jump, and the largest wish of a window counts.
	mixOver  = 2000.0
	leastMix = time.Minute
	mostMix  = 30 * time.Minute
	// mostRate is more requests/s than any gateway sees.
	mostRate = 1e9
)

// mixOf is what requests are made of: as measured, else as remembered, else
// the prior, which a client's own limit on the reply corrects downwards.
func (t *tick) mixOf(d scale.Demand) capacity.Mix {
	now, tick, rate := t.snapshot.Now, t.snapshot.Tick, d.Arrivals.Value
	if d.PromptTokens.Known() && d.PromptTokens.Value > 0 {
		gain := t.steadily(t.memory.Prompts.gain(now, tick, rate))
		follow(&t.memory.Mix.Prompt, d.PromptTokens.Value, gain)
		follow(&t.memory.Mix.LongPrompt, max(d.LongPrompt.Value, d.PromptTokens.Value), gain)
	}
	if d.OutputTokens.Known() && d.OutputTokens.Value > 0 {
		follow(&t.memory.Mix.Output, d.OutputTokens.Value, t.steadily(t.memory.Outputs.gain(now, tick, rate)))
	}
	mix, prior := t.memory.Mix, priorMix()
	if mix.Prompt == 0 {
		mix.Prompt, mix.LongPrompt = prior.Prompt, prior.LongPrompt
	}
	if mix.Output == 0 {
		mix.Output = prior.Output
		if limit := d.OutputLimit; limit.Known() && limit.Value > 0 {
			mix.Output = min(mix.Output, limit.Value)
		}
	}
	return mix
}

// learn takes in what was measured since the last tick.
func (t *tick) learn() {
	d := t.state.Demand
	variants := make([]VariantMemory, 0, len(t.state.Model.Variants))
	for _, v := range t.state.Model.Variants {
		vm := t.memory.variant(v.Name)
		for _, boot := range t.state.ColdStarts {
			if boot.Target.Variant == v.Name {
				vm.Boots = vm.Boots.Observe(boot.Took)
			}
		}
		for _, r := range t.state.Replicas {
			if r.Target.Variant == v.Name && settled(r) {
				server := capacity.Server{Profile: v.Profile, Learned: vm.Learned, Mix: t.mix}
				server.Learned = server.Learn(r.Load.Latency)
				vm.Learned = server.LearnTail(r.Load.Latency, t.state.Model.SLO)
			}
		}
		vm.Flow = t.flow(v, vm.Flow)
		variants = append(variants, vm)
	}
	t.memory.Variants = variants
	missed := t.memory.SLO.Bad
	if d.Good.Known() && d.Bad.Known() {
		t.memory.SLO = t.memory.SLO.Observe(t.snapshot.Now, d.Good.Value, d.Bad.Value)
	}
	if t.fresh {
		before := t.memory.Trend.Until
		t.memory.Forecast = t.memory.Forecast.Observe(d.Arrivals.At, d.ArrivalsOver, d.Arrivals.Value, t.horizon())
		t.memory.Trend, _ = t.memory.Trend.Observe(d.Arrivals.At, d.ArrivalsOver, d.Arrivals.Value, t.horizon())
		if span := t.memory.Trend.Until.Sub(before); !before.IsZero() && span > 0 {
			t.memory.Replay.Shadow = t.memory.Replay.Shadow.Observe(shadow.Sample{
				Span: min(span, max(d.ArrivalsOver, time.Second)).Seconds(), Rate: d.Arrivals.Value, Ready: t.ready(),
				Missed: max(0, t.memory.SLO.Bad-missed),
			})
		}
	}
}

// settling is how long a fresh replica is not typical: it gets all that was
// held at once, which then queue for prefill together.
const settling = 10 * time.Second

// settled says whether a replica's sample may teach: requests that began while
// it was Ready and no longer fresh.
func settled(r scale.Replica) bool {
	l := r.Load.Latency
	return r.Phase == scale.Ready && l.Requests > 0 && l.At.Add(-l.Service).After(r.Since.Add(settling))
}

// Weighed is how many requests a mean of the token mix is over.
type Weighed struct {
	Requests float64
	At       time.Time // when the newest came
}

// gain counts the requests since then, and returns their share of all that the
// mean is over.
func (w *Weighed) gain(now time.Time, tick time.Duration, rate float64) float64 {
	since := now.Sub(w.At)
	if since < 0 || since > mostMix {
		since = tick
	}
	rate = min(rate, mostRate)
	newest := rate * since.Seconds()
	most := min(max(mixOver, rate*leastMix.Seconds()), rate*mostMix.Seconds())
	w.Requests, w.At = min(w.Requests+newest, max(newest, most)), now
	if w.Requests <= 0 {
		return 0
	}
	return newest / w.Requests
}

// steadily is the weight of the newest measurement: all, before the virtual fleets
// are followed, for a first mean over few requests would stay for long.
func (t *tick) steadily(gain float64) float64 {
	if !t.follows {
		return 1
	}
	return gain
}

// follow moves a mean towards a value; the first value is the mean.
func follow(mean *float64, value, gain float64) {
	if *mean == 0 {
		gain = 1
	}
	*mean += gain * (value - *mean)
}

// flow adds what is at the replicas of a variant now, and what ended there.
func (t *tick) flow(v scale.Variant, f capacity.Flow) capacity.Flow {
	requests, replicas, ended := 0.0, 0, 0
	for _, r := range t.state.Replicas {
		if r.Target.Variant == v.Name && r.Phase != scale.Starting && r.Load.InFlight.Known() {
			requests += r.Load.InFlight.Value
			replicas++
			ended += r.Load.Latency.Requests
		}
	}
	return f.Observe(t.snapshot.Now, requests, replicas, ended)
}
