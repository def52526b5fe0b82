package report

import (
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Series is one workload over time, in bins of even length, for charts. A
// policy with several seeds shows the first.
type Series struct {
	Workload string        // as in Scaling
	Bin      time.Duration // from one value to the next
	Demand   []float64     // requests/s that arrived
	Need     []float64     // replicas that the clairvoyant fleet has; empty where there is none
	Policies []PolicySeries
	// Decisions are Penstock's, those that changed something, in order of time.
	Decisions []Told
	Untold    int // decisions that changed something and are not in Decisions
}

// PolicySeries is what one policy did with a workload.
type PolicySeries struct {
	Name   string    // as in Scaling
	Ready  []float64 // replicas that can take requests, at the bin's end
	Good   []float64 // requests of those that arrived in the bin; attainment is Good over Judged
	Judged []float64
	Held   []float64 // requests that wait for a replica, at the bin's end
	Cost   []float64 // US dollars spent in the bin
}

// Told is one change that was decided, and why.
type Told struct {
	At       time.Duration // since the trace began
	Target   scale.ScaleTarget
	From, To int // replicas, Starting and Ready
	Reasons  []scale.Reason
}
