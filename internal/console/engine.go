package console

import (
	"fmt"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// EngineView is what a replica's own server says of its work; what it does not
// say is null. All requests are in it, also those that did not come through the
// gateway.
type EngineView struct {
	Name     string  `json:"name"` // of its metrics; "" while they are not understood
	Asleep   bool    `json:"asleep,omitempty"`
	Running  *Value  `json:"running"`
	Waiting  *Value  `json:"waiting"`
	KVCache  *Value  `json:"kv_cache"` // 0..1
	TTFT     *Timing `json:"ttft"`     // as the server counts it: without the time held at the gateway
	TPOT     *Timing `json:"tpot"`
	EndToEnd *Timing `json:"end_to_end"`
}

// Timing is how long something took between two readings of a server's metrics,
// in seconds.
type Timing struct {
	Count  float64  `json:"count"`
	Mean   float64  `json:"mean_seconds"`
	Median *float64 `json:"median_seconds"` // null where the server counts no buckets
	P95    *float64 `json:"p95_seconds"`
	Age    float64  `json:"age_seconds"`
}

// SignalView is a business signal of a model.
type SignalView struct {
	Name       string  `json:"name"`
	Value      *Value  `json:"value"` // null when it was never read
	PerReplica float64 `json:"per_replica"`
	FreshFor   float64 `json:"fresh_for_seconds"`
	Fresh      bool    `json:"fresh"` // false holds what runs
}

func engineView(l scale.Load, now time.Time) EngineView {
	return EngineView{
		Name: l.Engine.Name, Asleep: l.Engine.Asleep,
		Running: value(l.Running, now), Waiting: value(l.Waiting, now), KVCache: value(l.KVCacheUsage, now),
		TTFT: timing(l.Engine.TTFT, now), TPOT: timing(l.Engine.TPOT, now), EndToEnd: timing(l.Engine.EndToEnd, now),
	}
}

func timing(t scale.Timing, now time.Time) *Timing {
	if !t.Known() {
		return nil
	}
	view := &Timing{Count: t.Count, Mean: t.Mean, Age: seconds(now.Sub(t.At))}
	if t.P95 > 0 {
		view.Median, view.P95 = &t.Median, &t.P95
	}
	return view
}

func signalViews(m scale.ModelState, now time.Time) []SignalView {
	all := make([]SignalView, 0, len(m.Model.Signals))
	for _, s := range m.Model.Signals {
		o := m.Signal(s.Name)
		all = append(all, SignalView{
			Name: s.Name, Value: value(o, now), PerReplica: s.PerReplica, FreshFor: seconds(s.FreshFor), Fresh: o.Fresh(now, s.FreshFor),
		})
	}
	return all
}

// mean is a Timing as an Observation.
func mean(t scale.Timing) scale.Observation {
	return scale.Observation{Value: t.Mean, At: t.At}
}

// share is one for a table; "" where it is not known.
func share(v *Value) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*v.Value)
}

// text is the mean for a table; "" where it is not known.
func (t *Timing) text() string {
	if t == nil {
		return ""
	}
	return span(time.Duration(t.Mean * float64(time.Second)))
}
