package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// FleetPolicy limits all models together, and says who may use them. There is
// at most one.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster
type FleetPolicy struct {
	metav1.TypeMeta `json:",inline"`

	// metadata.name is the object's name.
	metav1.ObjectMeta `json:"metadata"`

	// Limits over all models.
	Spec FleetPolicySpec `json:"spec"`
}

// FleetPolicySpec limits all models together, and says who may use them.
type FleetPolicySpec struct {
	// How fast and how dear changes of all models together may be.
	// +optional
	Limits Limits `json:"limits,omitzero"`

	// Who may ask. With none, whoever reaches the gateway may, and nobody is told
	// apart; with one, every request needs a key (Authorization: Bearer KEY).
	// +optional
	Tenants []Tenant `json:"tenants,omitempty"`
}

// Tenant is somebody who may ask, known by API keys.
type Tenant struct {
	// Name in metrics, logs and bills: letters, digits, dashes, dots and underscores.
	Name string `json:"name"`

	// The business unit on the bill.
	// +optional
	BusinessUnit string `json:"businessUnit,omitempty"`

	// API keys, at least one; several let one be replaced without a pause.
	// +kubebuilder:validation:MinItems=1
	Keys []KeyReference `json:"keys"`

	// Models that the tenant may see and use, by any of their names. Default: all.
	// +optional
	Models []string `json:"models,omitempty"`

	// Which of the requests that wait go first: those of a higher priority.
	// +kubebuilder:default=0
	// +optional
	Priority int32 `json:"priority,omitempty"`

	// The tenant's share of what there is, beside other tenants of the same
	// priority that wait.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +optional
	Weight int32 `json:"weight,omitempty"`

	// What the tenant may ask of all models together. What is beyond is answered
	// 429 at once.
	// +optional
	Limits TenantLimits `json:"limits,omitzero"`
}

// TenantLimits bound what one tenant may ask of all models together. What is
// left out is not limited.
type TenantLimits struct {
	// Requests per second.
	// +optional
	RequestsPerSecond float64 `json:"requestsPerSecond,omitempty"`

	// Requests that may come at once after a rest. Default: those of one second,
	// at least 1.
	// +optional
	RequestBurst int32 `json:"requestBurst,omitempty"`

	// Tokens per minute: those of prompts, estimated from their size, and of
	// replies, which count when they have come.
	// +optional
	TokensPerMinute int64 `json:"tokensPerMinute,omitempty"`

	// Tokens that may be used at once after a rest. Default: those of one minute.
	// +optional
	TokenBurst int64 `json:"tokenBurst,omitempty"`

	// Requests at once, held ones included.
	// +optional
	MaxInFlight int32 `json:"maxInFlight,omitempty"`
}
