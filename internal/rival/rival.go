// Package rival holds the algorithms of other autoscalers, each in its own
// file and held to its documented behaviour by tests: what Penstock is measured
// against. A Policy sees the same Snapshot as Penstock does and says how many
// replicas it wants; admission, routing and batch limits are the same for all.
package rival

import (
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Policy is one rival's controller for one model. It keeps its own state,
// which a restart of the controller loses. It reads no clock.
type Policy interface {
	// Every is the control interval: Decide is called once in it, and the spans
	// of what was measured (arrivals, latency, busy) begin at the call before.
	Every() time.Duration
	// Decide returns the wanted count of every target that is to have one; what
	// it leaves out is wanted at 0.
	Decide(now time.Time, m scale.ModelState) []Want
}

// Want is how many serving replicas (Starting and Ready) a target should have.
type Want struct {
	Target   scale.ScaleTarget
	Replicas int
}

// Setting is what whoever deploys the rival would write down or know.
type Setting struct {
	Model     scale.Model
	Offerings []scale.Offering
	// Knob is the rival's target in its own unit; 0 takes the one that it ships with.
	Knob float64
	// Batch and PerReplica are what one replica of Target carries by the profile
	// that everybody is told: requests at once, and requests/s.
	Target     scale.ScaleTarget // the one that a rival for a single target scales
	Batch      int
	PerReplica float64
}

// Rival is an entry of the list.
type Rival struct {
	Name   string // as in `penstock bench scaling --policy`
	What   string // one sentence
	Source string // whose code or documentation, at which version
	// Knob names what Setting.Knob is, and Grid the values among which hindsight
	// chooses; both empty where there is nothing to tune.
	Knob string
	Grid []float64
	Spot bool // it is about spot, and is compared only where that is for sale
	New  func(Setting) Policy
}
