// Package v1alpha1 is Penstock's one schema, penstock.dev/v1alpha1: what a file
// for `penstock serve` says and what a cluster stores are the same objects.
//
// The comment of a field is its reference: it says what the field does, its
// unit and its default. docs/guide/configuration.md and the JSON Schema that
// `penstock schema` prints are generated from these comments and markers.
//
// +groupName=penstock.dev
package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// APIVersion is the apiVersion of every object in this package.
const APIVersion = "penstock.dev/v1alpha1"

// The kinds.
const (
	KindInferenceAutoscaler = "InferenceAutoscaler"
	KindPriceList           = "PriceList"
	KindFleetPolicy         = "FleetPolicy"
)

// TypeMeta is apiVersion and kind. Kubernetes' own type, named here so that
// those who read a file need not know Kubernetes.
type TypeMeta = metav1.TypeMeta

// ObjectMeta is the metadata of an object, likewise.
type ObjectMeta = metav1.ObjectMeta
