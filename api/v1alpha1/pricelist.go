package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PriceList says what accelerators cost, in place of the catalogue's prices.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster
type PriceList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata.name is the object's name.
	metav1.ObjectMeta `json:"metadata"`

	// What accelerators cost.
	Spec PriceListSpec `json:"spec"`
}

// PriceListSpec says what accelerators cost.
type PriceListSpec struct {
	// One entry per accelerator type.
	// +kubebuilder:validation:MinItems=1
	Prices []Price `json:"prices"`
}

// Price is what one accelerator costs per hour. For a machine of your own it is
// what an hour of it costs you.
type Price struct {
	// Type of the accelerator, as variants name it.
	// +kubebuilder:validation:MinLength=1
	Accelerator string `json:"accelerator"`

	// US dollars per accelerator and hour, on demand.
	// +kubebuilder:validation:Minimum=0
	OnDemand float64 `json:"onDemand"`

	// US dollars per accelerator and hour, spot. Left out, the type cannot be
	// had as spot.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Spot float64 `json:"spot,omitempty"`
}
