package config

import (
	"fmt"
	"math"
	"time"

	"github.com/penstock/penstock/api/v1alpha1"
)

// workloadsForm is the form of a workloads.yaml. What may be left out, and
// whose zero means something, is a pointer: a workload that is like another
// inherits what is not said.
type workloadsForm struct {
	Profiles   map[string]profileForm   `json:"profiles,omitempty"`
	ColdStarts map[string]coldStartForm `json:"cold_starts,omitempty"`
	Workloads  []workloadForm           `json:"workloads"`
}

type profileForm struct {
	LinearOps            *linearOpsForm `json:"linear_ops,omitempty"`
	KVBytesPerToken      *float64       `json:"kv_bytes_per_token,omitempty"`
	WeightsGB            *float64       `json:"weights_gb,omitempty"`
	GPUMemoryGB          *float64       `json:"gpu_memory_gb,omitempty"` // of all accelerators of a replica
	MemoryUtilisation    *float64       `json:"memory_utilisation,omitempty"`
	MemoryBandwidthGBs   *float64       `json:"memory_bandwidth_gb_s,omitempty"` // of all accelerators of a replica
	BandwidthEfficiency  *float64       `json:"bandwidth_efficiency,omitempty"`
	OverheadMS           *float64       `json:"overhead_ms,omitempty"`
	ChunkedPrefillTokens *int           `json:"chunked_prefill_tokens,omitempty"`
	MaxBatch             *int           `json:"max_batch,omitempty"`
	ServiceTime          *serviceForm   `json:"service_time,omitempty"`
	PricePerHour         priceForm      `json:"price_per_hour"`
}

type linearOpsForm struct {
	File    string   `json:"file"`
	Model   string   `json:"model"`
	GPU     string   `json:"gpu"`
	TP      int      `json:"tp"`
	Scale   *float64 `json:"scale,omitempty"`
	FloorMS *float64 `json:"floor_ms,omitempty"`
}

type serviceForm struct {
	Mean        span     `json:"mean"`
	CV          *float64 `json:"cv,omitempty"`
	Concurrency int      `json:"concurrency"`
}

type priceForm struct {
	OnDemand float64  `json:"on_demand"`
	Spot     *float64 `json:"spot,omitempty"`
}

type coldStartForm struct {
	Mean    *span      `json:"mean,omitempty"`
	Sigma   *float64   `json:"sigma,omitempty"`
	Mixture []modeForm `json:"mixture,omitempty"`
}

type modeForm struct {
	Share float64  `json:"share"`
	Mean  span     `json:"mean"`
	Sigma *float64 `json:"sigma,omitempty"`
}

type workloadForm struct {
	Name       string `json:"name"`
	What       string `json:"what,omitempty"`
	Like       string `json:"like,omitempty"`
	sourceForm `json:",inline"`
	Variants   []string    `json:"variants,omitempty"`
	Capacity   []string    `json:"capacity,omitempty"`
	ColdStart  string      `json:"cold_start,omitempty"`
	Min        *int        `json:"min,omitempty"`
	GPUs       *int        `json:"gpus,omitempty"`
	SLO        sloForm     `json:"slo,omitzero"`
	SpotNodes  []nodesForm `json:"spot_nodes,omitempty"`
	Notice     *span       `json:"notice,omitempty"`
	Faults     *faultsForm `json:"faults,omitempty"`
}

type sourceForm struct {
	Requests       string        `json:"requests,omitempty"`
	Counts         string        `json:"counts,omitempty"`
	Curve          *curveForm    `json:"curve,omitempty"`
	Clients        string        `json:"clients,omitempty"`
	Generate       *generateForm `json:"generate,omitempty"`
	Column         string        `json:"column,omitempty"`
	Scale          *float64      `json:"scale,omitempty"`
	CV             *float64      `json:"cv,omitempty"`
	FromDay        *float64      `json:"from_day,omitempty"`
	Days           *float64      `json:"days,omitempty"`
	Tokens         string        `json:"tokens,omitempty"`
	TokensByWindow string        `json:"tokens_by_window,omitempty"`
}

type curveForm struct {
	File    string  `json:"file"`
	Column  string  `json:"column,omitempty"`
	MeanRPS float64 `json:"mean_rps"`
}

type generateForm struct {
	Shape       string       `json:"shape,omitempty"`
	MeanRPS     float64      `json:"mean_rps"`
	Days        float64      `json:"days"`
	Ratio       *float64     `json:"ratio,omitempty"`
	Weekend     *float64     `json:"weekend,omitempty"`
	Peak        *float64     `json:"peak,omitempty"`
	Every       *span        `json:"every,omitempty"`
	Models      *int         `json:"models,omitempty"`
	Zipf        *float64     `json:"zipf,omitempty"`
	ActiveShare *float64     `json:"active_share,omitempty"`
	Diurnal     *bool        `json:"diurnal,omitempty"`
	Outlier     *outlierForm `json:"outlier,omitempty"`
}

type outlierForm struct {
	Share    float64 `json:"share"`
	InTokens int     `json:"in_tokens"`
}

type sloForm struct {
	TTFT      *span    `json:"ttft,omitempty"`
	TPOT      *span    `json:"tpot,omitempty"`
	Latency   *span    `json:"latency,omitempty"`
	Objective *float64 `json:"objective,omitempty"`
	Window    *span    `json:"window,omitempty"`
	MaxHold   *span    `json:"max_hold,omitempty"`
}

type faultsForm struct {
	MetricsMissing []numbers `json:"metrics_missing,omitempty"`
	MetricsStale   []numbers `json:"metrics_stale,omitempty"`
	MetricsZero    []numbers `json:"metrics_zero,omitempty"`
	FailedBoots    *float64  `json:"failed_boots,omitempty"`
	Quota          []numbers `json:"quota,omitempty"`
	Restarts       []span    `json:"restarts,omitempty"`
}

// numbers is a short list: a fault's or a change's.
type numbers []float64

// span is a time: seconds, or text with a unit such as 30s.
type span time.Duration

const longestSpan = 36500 * 24 * time.Hour

func (s *span) decode(o *object, n node, path string) {
	if n.kind != scalar {
		o.fault(path, "is %s, where a time is wanted: seconds, or text such as 30s.", n.what())
		return
	}
	if number, ok := numberOf(n.value); ok {
		switch {
		case number < 0:
			o.fault(path, "is %v, where a time is wanted: it can not be negative.", number)
		case number > longestSpan.Seconds():
			o.fault(path, "is %v seconds. Set it below a hundred years.", number)
		default:
			*s = spanOf(number)
		}
		return
	}
	var written v1alpha1.Duration
	if err := written.UnmarshalText([]byte(fmt.Sprint(n.value))); err != nil {
		o.fault(path, "is %s, where a time is wanted: a number of seconds, or text such as 800ms, 30s or 5m.", n.what())
		return
	}
	*s = span(written)
}

// spanOf is that many seconds.
func spanOf(seconds float64) span { return span(math.Round(seconds * float64(time.Second))) }

func (s span) String() string { return text(v1alpha1.Duration(s)) }

// nodesForm is one spot zone: a file, or its changes as they are.
type nodesForm struct {
	file    string
	changes changesForm
}

type changesForm struct {
	Name    string    `json:"name"`
	Changes []numbers `json:"changes"`
}

func (z *nodesForm) decode(o *object, n node, path string) {
	if name, ok := n.value.(string); ok {
		z.file = name
		return
	}
	if n.kind != mapping {
		o.fault(path, "is %s, where a file (t_s,nodes) or {name, changes} is wanted.", n.what())
		return
	}
	o.decode(n, valueOf(&z.changes), path)
}
