package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// FleetPolicy limits all models together. There is at most one.
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

// FleetPolicySpec limits all models together.
type FleetPolicySpec struct {
	// How fast and how dear changes of all models together may be.
	// +optional
	Limits Limits `json:"limits,omitzero"`
}
