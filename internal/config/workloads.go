package config

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// WorkloadsFile is the file that LoadWorkloads looks for in a folder.
const WorkloadsFile = "workloads.yaml"

// Workloads is what a workloads.yaml says: what policies are judged on. It is
// validated, with defaults filled in, and the files that it names exist.
type Workloads struct {
	Dir       string            // absolute: the folder of the trace files; "" for GeneratedWorkloads
	Profiles  []WorkloadVariant // of the file itself, sorted by name
	Workloads []Workload        // in the order of the file
	Files     []string          // absolute, sorted: every file that is named
}

// Workload is one series of requests, what serves it, and what is promised.
type Workload struct {
	Name      string
	What      string // in a few words
	Source    Source
	Variants  []WorkloadVariant // at least one
	Capacity  []scale.CapacityType
	ColdStart ColdStart
	Min       int       // replicas that always run, over all variants
	GPUs      int       // accelerators in all; 0 means no bound
	SLO       scale.SLO // complete: Window and MaxHold have their defaults
	Spot      []SpotZone
	Notice    time.Duration // from a reclaim's notice to its deadline; 0 without spot
	Faults    WorkloadFaults
}

// WorkloadVariant is one way to serve a workload: a profile at its price. Its
// accelerator's type is the profile's name, for each profile is for sale on
// its own.
type WorkloadVariant struct {
	Name        string // of the profile
	Profile     scale.Profile
	Accelerator scale.Accelerator // of one replica
	OnDemand    float64           // US dollars per hour and replica
	Spot        float64           // US dollars per hour and replica; 0 where it is not for sale
}

// SourceKind is where a workload's requests come from.
type SourceKind int

// The kinds of sources.
const (
	FromRequests SourceKind = iota + 1 // a file of requests: t_ms,in_tokens,out_tokens
	FromCounts                         // a file of counts per bin: t_s,<column>
	FromCurve                          // a file whose column is a shape, scaled to a mean rate
	FromClients                        // ServeGen's clients: rate and law of each by window
	FromShape                          // drawn by a family of shapes, without any file
)

// Source says where a workload's requests come from. Files are absolute.
type Source struct {
	Kind           SourceKind
	File           string   // "" where Kind is FromShape
	Column         string   // of File, where Kind is FromCounts or FromCurve
	Scale          float64  // factor on the rate, where Kind is FromCounts or FromClients; 1 for as published
	CV             float64  // coefficient of variation of the gaps between arrivals; 1 is Poisson
	FromDay        float64  // days of File that are left out before the first request
	Days           float64  // how long, from FromDay; 0 means to the end, and where Kind is FromShape Generate says it
	MeanRPS        float64  // requests/s over the whole series, where Kind is FromCurve
	Tokens         string   // a file of requests whose token counts are drawn; "" where nothing is said
	TokensByWindow string   // ServeGen's quantiles of token counts by window; "" where nothing is said
	Generate       Generate // where Kind is FromShape
}

// Generate is a family of shapes with its parameters. What the shape takes has
// its default, package trace's; what it does not take is zero.
type Generate struct {
	Shape       string // one of Shapes
	Days        float64
	MeanRPS     float64       // over the whole series and all models
	Ratio       float64       // enterprise, enterprise-peaky, steps, flash-crowd: highest to lowest rate
	Weekend     float64       // enterprise, enterprise-peaky: how much of a weekday's rise there is at the weekend
	Peak        float64       // flash-crowd: how many times as many a crowd is
	Every       time.Duration // flash-crowd: from the end of a crowd to the next, on average
	Models      int           // sparse-fleet
	Zipf        float64       // sparse-fleet: exponent of the models' popularity
	ActiveShare float64       // sparse-fleet: of the time, for which a model is asked anything
	Diurnal     bool          // sparse-fleet: whether rates follow the day
	Outlier     Outlier       // any shape; zero for none
}

// Outlier makes a share of the prompts very long.
type Outlier struct {
	Share    float64 // 0..1
	InTokens int
}

// ColdStart is how long a boot takes and how often it fails.
type ColdStart struct {
	Name    string
	Mixture []ColdStartMode // shares add up to 1
	Fails   float64         // 0..1, share of boots that fail at their end
}

// Mean is the mean time of a boot.
func (c ColdStart) Mean() time.Duration {
	mean := 0.0
	for _, m := range c.Mixture {
		mean += m.Share * float64(m.Mean)
	}
	return time.Duration(mean)
}

// ColdStartMode is one way that a boot can go: lognormal around its mean.
type ColdStartMode struct {
	Share float64 // 0..1
	Mean  time.Duration
	Sigma float64 // of the logarithm
}

// SpotZone is how many spot replicas a zone holds over time. After Period it
// begins anew.
type SpotZone struct {
	Name    string
	Changes []SpotChange // ascending from 0
	Period  time.Duration
}

// SpotChange is an instant at which a zone's capacity changes.
type SpotChange struct {
	At    time.Duration
	Nodes int
}

// WorkloadFaults is what goes wrong during a workload. A share of boots that
// fail is in its ColdStart.
type WorkloadFaults struct {
	MetricsMissing []FaultSpan // no signal arrives
	MetricsStale   []FaultSpan // signals keep their old values and times
	MetricsZero    []FaultSpan // signals say 0
	Quota          []QuotaFault
	Restarts       []time.Duration // ascending: the autoscaler's process dies and comes back
}

// FaultSpan is a time in which something is wrong.
type FaultSpan struct {
	From, For time.Duration
}

// QuotaFault is a time in which only a share of the fleet may run.
type QuotaFault struct {
	FaultSpan
	Share float64 // 0..1, of the replicas that run when it begins
}

// LoadWorkloads reads and checks a workloads.yaml, or the one in a folder. A
// folder of traces without one has no workloads listed, only those of Default.
// An error is either FaultsError, all of them, or says why the file could not
// be read.
func LoadWorkloads(path string) (Workloads, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Workloads{}, fmt.Errorf("read workloads: %w", err)
	}
	dir, err := filepath.Abs(path)
	if err != nil {
		return Workloads{}, fmt.Errorf("read workloads: find %s: %w", path, err)
	}
	if !info.IsDir() {
		dir = filepath.Dir(dir)
	} else {
		path = filepath.Join(path, WorkloadsFile)
	}
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) && info.IsDir() {
		w := Workloads{Dir: dir}
		if unlisted, err := w.Unlisted(); err != nil || len(unlisted) > 0 {
			return w, err
		}
		return Workloads{}, fmt.Errorf("read workloads: %s holds neither a %s nor a trace file (t_ms,in_tokens,out_tokens or t_s,<column>; .csv or .csv.gz)", dir, WorkloadsFile)
	}
	if err != nil {
		return Workloads{}, fmt.Errorf("read workloads: %w", err)
	}
	return Catalogue().workloads(path, dir, data)
}

// generatedYAML holds the built-in workloads.
//
//go:embed generated.yaml
var generatedYAML []byte

// GeneratedWorkloads returns the built-in workloads, which need no files. It
// panics if the embedded file is broken, which is a defect of the build and not
// of any input.
func GeneratedWorkloads() Workloads {
	w, err := Catalogue().workloads("generated.yaml", "", generatedYAML)
	if err != nil {
		panic("embedded workloads: " + err.Error())
	}
	return w
}

// Workload returns the workload of that name.
func (w Workloads) Workload(name string) (Workload, bool) {
	i := slices.IndexFunc(w.Workloads, func(l Workload) bool { return l.Name == name })
	if i < 0 {
		return Workload{}, false
	}
	return w.Workloads[i], true
}

// Names returns the names of all workloads, in the order of the file.
func (w Workloads) Names() []string {
	all := make([]string, len(w.Workloads))
	for i, l := range w.Workloads {
		all[i] = l.Name
	}
	return all
}

// workloads reads a file's bytes. Trace files are looked for in dir.
func (b Builtin) workloads(path, dir string, data []byte) (Workloads, error) {
	r := workloadsReader{dir: dir, catalogue: b, files: map[string]traceFile{}, measured: map[string]map[measuredKey][]scale.LinearPoint{}}
	r.object = &object{file: path, line: 1, lines: map[string]int{}, faults: &r.found}
	documents, faults := readDocuments(path, data)
	r.found = append(r.found, faults...)
	switch {
	case len(faults) > 0:
	case len(documents) != 1:
		r.fault("", "holds %d YAML documents, where one with workloads is wanted.", len(documents))
	default:
		r.line = documents[0].line
		r.decode(documents[0], reflect.ValueOf(&r.written).Elem(), "")
	}
	w := r.workloads()
	if len(r.found) > 0 {
		return Workloads{}, r.found.inOrder()
	}
	return w, nil
}
