package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// InferenceAutoscaler is one served AI model: what it promises, how it can be
// served, and how far the autoscaler may go with it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=ias
type InferenceAutoscaler struct {
	metav1.TypeMeta `json:",inline"`

	// metadata.name is the object's name and counts as an alias of the model.
	metav1.ObjectMeta `json:"metadata"`

	// What the model promises and may do.
	Spec InferenceAutoscalerSpec `json:"spec"`
}

// InferenceAutoscalerSpec says what one model promises and may do. Model, one
// variant and an SLO are enough.
type InferenceAutoscalerSpec struct {
	// The served name: what requests carry in "model", what reports, metrics and
	// the console show, and what engines are told.
	// +kubebuilder:validation:MinLength=1
	Model string `json:"model"`

	// Other names that the same replicas serve, such as LoRA adapters. Requests
	// are passed on as they are, so that the engine must know these names too
	// (vLLM's --served-model-name). A name belongs to one model only.
	// +optional
	Aliases []string `json:"aliases,omitempty"`

	// Beginnings of request paths that are this model's, such as /detect, for
	// engines that speak neither OpenAI's API nor the Open Inference Protocol. A
	// request to one of them or below is held, sent and measured like any other,
	// but nothing of it is looked into: whatever the engine serves there can be
	// reached. /v1 and /v2 are the gateway's own.
	// +optional
	Paths []string `json:"paths,omitempty"`

	// Host names that are this model's: a request with such a Host header goes to
	// it, whatever its path, and can name no other model. All that the engine
	// serves can be reached then.
	// +optional
	Hosts []string `json:"hosts,omitempty"`

	// Sends comments to event streams that are held for 10 s or longer, so that no
	// proxy between takes the connection for dead. They commit status 200: what goes
	// wrong later, an expired hold too, is told in an error event.
	// +kubebuilder:default=false
	// +optional
	Heartbeats bool `json:"heartbeats,omitempty"`

	// Who gets scarce accelerators: higher first.
	// +kubebuilder:default=0
	// +optional
	Priority int32 `json:"priority,omitempty"`

	// Who pays for standing costs.
	// +optional
	Owner Owner `json:"owner,omitzero"`

	// What a good request is, and how many of them there must be.
	SLO SLO `json:"slo"`

	// The ways to serve the model, at least one. Which of them runs, and how
	// often, is Penstock's choice.
	// +kubebuilder:validation:MinItems=1
	Variants []Variant `json:"variants"`

	// Bounds over all variants together.
	// +optional
	Replicas Replicas `json:"replicas,omitzero"`

	// Replicas that stay, also when nothing is asked.
	// +optional
	WarmFloor *WarmFloor `json:"warmFloor,omitempty"`

	// When the model falls asleep. Only meaningful with replicas.min 0.
	// +optional
	ScaleToZero ScaleToZero `json:"scaleToZero,omitzero"`

	// Stabilisation: replicas never fall below the largest wish of this span. Where
	// it is not given, as long as a cold start takes, and 30s at least.
	// +optional
	ScaleDownWindow Duration `json:"scaleDownWindow,omitempty"`

	// Recurring windows with a minimum of their own.
	// +optional
	Schedules []Schedule `json:"schedules,omitempty"`

	// Figures from outside, such as open carts, that call for replicas before
	// requests do.
	// +optional
	Signals []Signal `json:"signals,omitempty"`

	// How fast and how dear changes may be.
	// +optional
	Limits Limits `json:"limits,omitzero"`

	// How far Penstock may go: auto decides and acts; advise decides and shows;
	// paused keeps what runs.
	// +kubebuilder:default=auto
	// +kubebuilder:validation:Enum=auto;advise;paused
	// +optional
	Mode string `json:"mode,omitempty"`
}

// Owner is who pays for a model's standing costs: its warm floor and its idle
// time.
type Owner struct {
	// The business unit on the bill.
	// +optional
	BusinessUnit string `json:"businessUnit,omitempty"`
}

// SLO is what a model promises: either ttft and tpot, or latency for models
// that produce no tokens.
type SLO struct {
	// Time to the first token, measured at the gateway, time held included.
	// +optional
	TTFT Duration `json:"ttft,omitempty"`

	// Mean time per output token after the first.
	// +optional
	TPOT Duration `json:"tpot,omitempty"`

	// End-to-end time of a request to a model without tokens, time held included.
	// +optional
	Latency Duration `json:"latency,omitempty"`

	// Share of good requests over the window. What is left is the error budget.
	// +kubebuilder:default="99%"
	// +optional
	Objective Percent `json:"objective,omitempty"`

	// Rolling span over which the objective holds.
	// +kubebuilder:default="28d"
	// +optional
	Window Duration `json:"window,omitempty"`

	// Longest time that a request may be held, and what judges requests that
	// waited for a wake from zero. Default: twice the longest cold start of the
	// variants, and at least 60s.
	// +optional
	MaxHold Duration `json:"maxHold,omitempty"`
}

// Variant is one way to serve a model: accelerator, count, parallelism.
type Variant struct {
	// Name of the variant, unique within the model: lower-case letters, digits
	// and dashes.
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`
	Name string `json:"name"`

	// What one replica occupies.
	Accelerator Accelerator `json:"accelerator"`

	// What serving costs in time and memory: the prior from which learning
	// starts. Default: derived from the accelerator where the catalogue knows the
	// model by its name.
	// +optional
	Profile *Profile `json:"profile,omitempty"`

	// Prior for the time from start to ready; what is measured replaces it.
	// +kubebuilder:default="60s"
	// +optional
	ColdStart Duration `json:"coldStart,omitempty"`

	// How the capacity is bought, which sets its price.
	// +kubebuilder:default=onDemand
	// +kubebuilder:validation:Enum=onDemand;spot
	// +optional
	Capacity string `json:"capacity,omitempty"`

	// How a replica is run as a process on this machine. `penstock serve` needs
	// it.
	// +optional
	Run *Run `json:"run,omitempty"`

	// Bound on the replicas of this variant.
	// +optional
	Replicas VariantReplicas `json:"replicas,omitzero"`
}

// Accelerator is what one replica occupies.
type Accelerator struct {
	// Type, as in the catalogue or a PriceList, such as nvidia-l4.
	// +kubebuilder:validation:MinLength=1
	Type string `json:"type"`

	// Accelerators per replica.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +optional
	Count int32 `json:"count,omitempty"`

	// Memory of one accelerator. Default: from the catalogue.
	// +optional
	Memory Bytes `json:"memory,omitempty"`

	// Memory bandwidth of one accelerator, per second. Default: from the
	// catalogue.
	// +optional
	Bandwidth Bytes `json:"bandwidth,omitempty"`

	// Dense arithmetic of one accelerator at the precision of the weights, in
	// 10¹² operations per second. Default: bfloat16, from the catalogue.
	// +kubebuilder:validation:Minimum=0
	// +optional
	TFLOPS float64 `json:"tflops,omitempty"`
}

// Profile is what serving costs one replica in time and memory. It names a
// catalogue entry, or gives the model's size (times then follow from the
// accelerator's bandwidth and arithmetic, a roofline), or gives measured times.
// Beside a name only the engine's own settings may stand: memoryUtilisation,
// prefillChunk, maxBatch and overhead.
type Profile struct {
	// Entry of the catalogue to start from, such as 8b-a100.
	// +optional
	Name string `json:"name,omitempty"`

	// Size of the weights in accelerator memory, over all accelerators of a
	// replica.
	// +optional
	Weights Bytes `json:"weights,omitempty"`

	// KV cache of one token, in bytes: 2 × layers × KV heads × head size × bytes
	// per value.
	// +kubebuilder:validation:Minimum=1
	// +optional
	KVBytesPerToken int64 `json:"kvBytesPerToken,omitempty"`

	// Parameters that one token passes through, in 10⁹ (the active ones of a
	// mixture of experts). Default: weights at two bytes each.
	// +kubebuilder:validation:Minimum=0
	// +optional
	BillionParameters float64 `json:"billionParameters,omitempty"`

	// Share of the memory that the engine may use; vLLM's
	// --gpu-memory-utilization. Default: 90%, or the named entry's.
	// +optional
	MemoryUtilisation Percent `json:"memoryUtilisation,omitempty"`

	// Prompt tokens that one engine iteration may take (chunked prefill); vLLM's
	// --max-num-batched-tokens. Default: 2048, or the named entry's.
	// +kubebuilder:validation:Minimum=1
	// +optional
	PrefillChunk int32 `json:"prefillChunk,omitempty"`

	// Requests in the batch, the engine's own limit; vLLM's --max-num-seqs.
	// Default: 256, or the named entry's.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MaxBatch int32 `json:"maxBatch,omitempty"`

	// Time per iteration for scheduling, launch and sampling. Default: 3ms for
	// one accelerator and 4ms for more, or the named entry's.
	// +optional
	Overhead Duration `json:"overhead,omitempty"`

	// Measured time of the linear operators of one iteration by the tokens in
	// it, ascending. Given, it takes the place of the roofline.
	// +optional
	Linear []LinearPoint `json:"linear,omitempty"`

	// Service time of a model without tokens.
	// +optional
	Service *ServiceTime `json:"service,omitempty"`
}

// LinearPoint is one measured point of profile.linear.
type LinearPoint struct {
	// Tokens in the iteration.
	// +kubebuilder:validation:Minimum=1
	Tokens int32 `json:"tokens"`

	// Time of its linear operators.
	Time Duration `json:"time"`
}

// ServiceTime is how long a model without tokens takes for one request.
type ServiceTime struct {
	// Mean time for one request.
	Mean Duration `json:"mean"`

	// Coefficient of variation: standard deviation by mean.
	// +kubebuilder:default=0.5
	// +kubebuilder:validation:Minimum=0
	// +optional
	CV *float64 `json:"cv,omitempty"`

	// Requests that a replica serves at a time.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +optional
	Concurrency int32 `json:"concurrency,omitempty"`
}

// Run says how a replica is run as a process on this machine. In command and
// env, {{port}} is the port to listen on (on 127.0.0.1), {{gpus}} the indices of
// its accelerators (0,1), {{model}} the served name, {{replica}} the replica's ID
// and {{penstock}} the running penstock executable.
type Run struct {
	// Program and arguments, run without a shell.
	// +kubebuilder:validation:MinItems=1
	Command []string `json:"command"`

	// Variables added to Penstock's own environment.
	// +optional
	Env map[string]string `json:"env,omitempty"`

	// Working directory, relative to the file. Default: the file's directory.
	// +optional
	Dir string `json:"dir,omitempty"`

	// HTTP path that answers 200 once the replica can serve.
	// +kubebuilder:default="/health"
	// +kubebuilder:validation:Pattern=`^/`
	// +optional
	Ready string `json:"ready,omitempty"`

	// HTTP path of the engine's Prometheus metrics.
	// +kubebuilder:default="/metrics"
	// +kubebuilder:validation:Pattern=`^/`
	// +optional
	Metrics string `json:"metrics,omitempty"`

	// Longest time from start to ready; a replica that takes longer is stopped
	// and counts as a failed boot.
	// +kubebuilder:default="10m"
	// +optional
	ReadyTimeout Duration `json:"readyTimeout,omitempty"`

	// Longest time that requests in flight may take to finish when a replica is
	// drained; what is left then ends with an error event.
	// +kubebuilder:default="10m"
	// +optional
	DrainTimeout Duration `json:"drainTimeout,omitempty"`

	// Time from SIGTERM to SIGKILL. A replica is drained before SIGTERM.
	// +kubebuilder:default="30s"
	// +optional
	Grace Duration `json:"grace,omitempty"`
}

// VariantReplicas bounds the replicas of one variant.
type VariantReplicas struct {
	// Most replicas of the variant. Default: as many as the declared GPUs hold,
	// or 8 where none are declared.
	// +kubebuilder:validation:Minimum=1
	// +optional
	Max int32 `json:"max,omitempty"`
}

// Replicas bounds the replicas of a model, both ends included.
type Replicas struct {
	// Fewest replicas. With 0 the model may fall asleep.
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +optional
	Min int32 `json:"min,omitempty"`

	// Most replicas. Default: the sum over the variants.
	// +kubebuilder:validation:Minimum=1
	// +optional
	Max int32 `json:"max,omitempty"`
}

// WarmFloor keeps replicas warm whatever the demand.
type WarmFloor struct {
	// Replicas kept.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +optional
	Replicas int32 `json:"replicas,omitempty"`

	// Capacity that the floor is kept on.
	// +kubebuilder:default=onDemand
	// +kubebuilder:validation:Enum=onDemand;spot
	// +optional
	Capacity string `json:"capacity,omitempty"`

	// Name of the schedule during which the floor holds. Default: always.
	// +optional
	During string `json:"during,omitempty"`
}

// ScaleToZero says when an idle model falls asleep.
type ScaleToZero struct {
	// Time without any request after which the last replica goes.
	// +kubebuilder:default="15m"
	// +optional
	After Duration `json:"after,omitempty"`

	// Keeps the last replica once there is one, whatever replicas.min says.
	// +kubebuilder:default=false
	// +optional
	Disabled bool `json:"disabled,omitempty"`
}

// Schedule is a recurring window during which a model keeps at least min
// replicas. It is right on the days when clocks change.
type Schedule struct {
	// Name, unique within the model.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`

	// When windows begin: a cron expression of five fields (minute, hour, day of
	// month, month, day of week) in local wall time.
	Start string `json:"start"`

	// How long each window lasts.
	Duration Duration `json:"duration"`

	// IANA time zone, such as Europe/Berlin.
	// +kubebuilder:default=UTC
	// +optional
	TimeZone string `json:"timeZone,omitempty"`

	// Fewest replicas during the window. Default: 0, for a schedule that only a
	// warm floor refers to.
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +optional
	Min int32 `json:"min,omitempty"`
}

// Limits bound how fast and how dear changes may be. What is left out is not
// limited.
type Limits struct {
	// Replicas started per minute.
	// +kubebuilder:validation:Minimum=1
	// +optional
	UpPerMinute int32 `json:"upPerMinute,omitempty"`

	// Replicas drained per minute.
	// +kubebuilder:validation:Minimum=1
	// +optional
	DownPerMinute int32 `json:"downPerMinute,omitempty"`

	// US dollars per hour for all replicas.
	// +kubebuilder:validation:Minimum=0
	// +optional
	CostPerHour float64 `json:"costPerHour,omitempty"`
}
