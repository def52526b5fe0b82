package scale

import "time"

// BusinessSignal is a figure from outside, such as open carts, that calls for
// replicas before requests do.
type BusinessSignal struct {
	Name       string
	PerReplica float64       // of the figure, what one replica is enough for; above 0
	FreshFor   time.Duration // how old an Observation may be to count
}

// Figure is what a BusinessSignal read.
type Figure struct {
	Name string
	Observation
}
