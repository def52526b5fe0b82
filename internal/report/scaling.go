package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/penstock/penstock/internal/scale"
)

// Penstock is the name of the product's own policy. A name that begins with it
// and a hyphen is one of its ablations, such as penstock-reactive.
const Penstock = "penstock"

// Scaling is what a comparison of scaling policies found: workloads, and every
// policy on each. Figures are means over the seeds and counts are sums over
// them, unless their comment says otherwise.
type Scaling struct {
	Workloads []Workload `json:"workloads"`
	Targets   []Target   `json:"targets,omitempty"`
	Failures  []Failure  `json:"failures,omitempty"`
	Title     string     `json:"title"`             // what this is, such as "Scaling benchmark"
	Command   string     `json:"command,omitempty"` // what repeats it
	Seeds     int        `json:"seeds"`             // of Penstock; a rival may have had fewer
	Wall      Number     `json:"wall_s"`
}

// Workload is one trace with its SLO, and what every policy made of it.
type Workload struct {
	Name      string   `json:"name"` // unique in a Scaling
	What      string   `json:"what"`
	Objective Number   `json:"objective"` // 0..1, share of judged requests that must be good
	Days      Number   `json:"days"`      // the span of the trace
	Requests  int      `json:"requests"`  // in one run, not over the seeds
	Seeds     []uint64 `json:"seeds"`
	Truths    []Truth  `json:"truths,omitempty"` // one a seed
	Bound     Bound    `json:"bound"`
	Policies  []Policy `json:"policies"`
}

// Truth is how much longer serving really took than every policy was told.
type Truth struct {
	Seed    uint64            `json:"seed"`
	Factors map[string]Number `json:"factors"` // by variant; 1 is as told
}

// Bound is what those who know the future would pay, in US dollars. Each is
// Unknown where it does not apply.
type Bound struct {
	Cost        Number `json:"cost"`         // the clairvoyant fleet: the SLO met in every minute, boots paid; the denominator of Policy.Ratio
	WorkCost    Number `json:"work_cost"`    // of the work alone at the objective: provably nobody is cheaper
	BudgetCost  Number `json:"budget_cost"`  // the clairvoyant fleet that uses up the error budget
	RelaxedCost Number `json:"relaxed_cost"` // linear relaxation over several variants
}

// Policy is one policy on one workload.
type Policy struct {
	Name           string    `json:"name"` // unique in a Workload; Penstock, or a rival's
	Attainment     Number    `json:"attainment"`
	Cost           Number    `json:"cost"`                  // US dollars
	Ratio          Number    `json:"ratio"`                 // Cost over Bound.Cost
	RatioSame      Number    `json:"ratio_same_attainment"` // over what the work alone costs at the policy's own attainment
	Outcomes       Tally     `json:"outcomes"`
	GPUHours       Hours     `json:"gpu_hours"`
	ActionsPerHour Number    `json:"actions_per_hour"`
	Reversals      Number    `json:"reversals"` // within a cold start
	Decision       Latencies `json:"decision_us"`

	ObjectiveMet    bool   `json:"objective_met"` // in every seed
	Good            int    `json:"good"`
	Judged          int    `json:"judged"`
	Goodput         Number `json:"goodput_rps"`       // good requests/s
	WorstTenMinutes Number `json:"worst_ten_minutes"` // the least attainment of any ten minutes, over all seeds
	CostPer1kGood   Number `json:"cost_per_1k_good"`  // US dollars
	Knob            Knob   `json:"knob"`
	MemoryBytes     int    `json:"memory_bytes"`    // the largest, of one model; 0 where it is not measured
	PeakReplicas    int    `json:"peak_replicas"`   // the largest
	DownsInFaults   int    `json:"downs_in_faults"` // scale-downs while signals were absent, stale or lying
	Seeds           []Seed `json:"seeds"`
	Wall            Number `json:"wall_s"`         // all seeds together
	RequestsPerS    Number `json:"requests_per_s"` // simulated, for each second of Wall
}

// Own says whether the policy is Penstock or one of its ablations.
func (p Policy) Own() bool { return p.Name == Penstock || strings.HasPrefix(p.Name, Penstock+"-") }

// Tally counts requests by how they ended.
type Tally map[scale.Outcome]int

// Hours are GPU-hours by what they were spent on.
type Hours struct {
	Total    Number `json:"total"`
	Serving  Number `json:"serving"`
	Idle     Number `json:"idle"`
	Loading  Number `json:"loading"`
	Draining Number `json:"draining"`
}

// Latencies are of one decision for one model, in microseconds.
type Latencies struct {
	Mean Number `json:"mean"`
	P99  Number `json:"p99"`
}

// Knob is the setting of a policy that can be tuned; its Name is empty where
// there is none.
type Knob struct {
	Name  string `json:"name"`
	Value Number `json:"value"`
	Tuned bool   `json:"tuned"` // for this workload in hindsight, and not as it ships
}

// Seed is one run of a policy.
type Seed struct {
	Seed            uint64 `json:"seed"`
	Requests        int    `json:"requests"`
	Good            int    `json:"good"`
	Judged          int    `json:"judged"`
	Attainment      Number `json:"attainment"`
	WorstTenMinutes Number `json:"worst_ten_minutes"`
	Cost            Number `json:"cost"`
	Ratio           Number `json:"ratio"`
	RatioSame       Number `json:"ratio_same_attainment"`
	GPUHours        Hours  `json:"gpu_hours"`
	ActionsPerHour  Number `json:"actions_per_hour"`
	Reversals       int    `json:"reversals"`
	Outcomes        Tally  `json:"outcomes"`
	PeakReplicas    int    `json:"peak_replicas"`
	Wall            Number `json:"wall_s"`
}

// Target is one figure held against what was aimed at.
type Target struct {
	Name    string `json:"name"`
	Target  Number `json:"target"`
	AtLeast bool   `json:"at_least"` // Target is the least that is wanted, and not the most
	Value   Number `json:"value"`    // Unknown where nothing was measured: not met
	Unit    string `json:"unit,omitempty"`
	Met     bool   `json:"met"`
	Note    string `json:"note,omitempty"` // what the value is without, such as workloads that did not run
}

// Failure is a run that ended with an error.
type Failure struct {
	Workload string `json:"workload"`
	Policy   string `json:"policy"` // empty where the whole workload failed
	Seed     uint64 `json:"seed"`
	Error    string `json:"error"`
}

// WriteScalingJSON writes the result as one line of JSON.
func WriteScalingJSON(w io.Writer, s Scaling) error {
	if err := json.NewEncoder(w).Encode(s); err != nil {
		return fmt.Errorf("write the result as JSON: %w", err)
	}
	return nil
}
