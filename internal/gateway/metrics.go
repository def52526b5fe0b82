package gateway

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock/penstock/internal/scale"
)

// metrics are the penstock_* metrics of the data plane; package console has
// those of the loop, B* among them. Labels are bounded:
// models and variants come from the configuration, codes from this package.
type metrics struct {
	requests *prometheus.CounterVec
	rejected *prometheus.CounterVec
	retries  *prometheus.CounterVec
	ttft     *prometheus.HistogramVec
	tpot     *prometheus.HistogramVec
	hold     *prometheus.HistogramVec
	held     *prometheus.GaugeVec
	inFlight *prometheus.GaugeVec

	tenantRequests *prometheus.CounterVec
	tenantTokens   *prometheus.CounterVec
}

func newMetrics(to prometheus.Registerer) (*metrics, error) {
	model := []string{"model"}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, model)
	}
	m := &metrics{
		requests: counter("penstock_requests_total", "Requests that ended, by outcome.", "model", "outcome"),
		rejected: counter("penstock_rejected_requests_total", "Requests refused before admission, by error code.", "code"),
		retries:  counter("penstock_retries_total", "Requests sent to a second replica as the first failed before its reply began.", "model"),
		ttft: histogram("penstock_ttft_seconds", "Arrival to first byte of a streamed reply, time held included.",
			[]float64{.01, .025, .05, .1, .2, .4, .6, .8, 1, 1.5, 2, 3, 5, 10, 20, 40, 80, 160}),
		tpot: histogram("penstock_tpot_seconds", "Mean time per output token after the first of a streamed reply.",
			[]float64{.0025, .005, .01, .015, .02, .025, .03, .04, .05, .075, .1, .15, .2, .4, .8}),
		hold: histogram("penstock_hold_seconds", "Time that a request was held, of those that were.",
			[]float64{.001, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300}),
		held:     gauge("penstock_held_requests", "Requests that wait for a replica.", model...),
		inFlight: gauge("penstock_inflight_requests", "Requests at replicas.", model...),

		tenantRequests: counter("penstock_tenant_requests_total", "Requests of a tenant, by outcome, refused ones included.", "tenant", "outcome"),
		tenantTokens:   counter("penstock_tenant_tokens_total", "Tokens of a tenant: of prompts, as estimated, and of output.", "tenant", "kind"),
	}
	if to == nil {
		return m, nil
	}
	return m, errors.Join(
		to.Register(m.requests), to.Register(m.rejected), to.Register(m.retries), to.Register(m.ttft), to.Register(m.tpot),
		to.Register(m.hold), to.Register(m.held), to.Register(m.inFlight),
		to.Register(m.tenantRequests), to.Register(m.tenantTokens),
	)
}

// gauges are the metrics of one model.
type gauges struct {
	model    string
	retries  prometheus.Counter
	ttft     prometheus.Observer
	tpot     prometheus.Observer
	hold     prometheus.Observer
	held     prometheus.Gauge
	inFlight prometheus.Gauge
	outcomes map[scale.Outcome]prometheus.Counter
}

func (m *metrics) of(model string) gauges {
	g := gauges{
		model: model, retries: m.retries.WithLabelValues(model), ttft: m.ttft.WithLabelValues(model),
		tpot: m.tpot.WithLabelValues(model), hold: m.hold.WithLabelValues(model), held: m.held.WithLabelValues(model),
		inFlight: m.inFlight.WithLabelValues(model), outcomes: map[scale.Outcome]prometheus.Counter{},
	}
	for _, outcome := range scale.Outcomes() {
		if outcome != scale.Lost && outcome != scale.Corrupted { // not to be seen from here
			g.outcomes[outcome] = m.requests.WithLabelValues(model, outcome.String())
		}
	}
	return g
}

func (g gauges) ended(s scale.Served) {
	g.outcomes[s.Outcome].Inc()
	if s.Outcome != scale.OK || !s.Streamed {
		return
	}
	g.ttft.Observe(s.TTFT.Seconds())
	if s.OutputTokens > 1 {
		g.tpot.Observe(s.TPOT().Seconds())
	}
}

// tenantGauges are the metrics of one tenant, or of those that share a label.
type tenantGauges struct {
	outcomes       map[scale.Outcome]prometheus.Counter
	prompt, output prometheus.Counter
}

func (m *metrics) ofTenant(label string) tenantGauges {
	g := tenantGauges{
		outcomes: map[scale.Outcome]prometheus.Counter{},
		prompt:   m.tenantTokens.WithLabelValues(label, "prompt"), output: m.tenantTokens.WithLabelValues(label, "output"),
	}
	for _, outcome := range scale.Outcomes() {
		if outcome != scale.Lost && outcome != scale.Corrupted { // not to be seen from here
			g.outcomes[outcome] = m.tenantRequests.WithLabelValues(label, outcome.String())
		}
	}
	return g
}
