package toll

import (
	"runtime"
)

// Result is what a Bench measured. Times are in microseconds, where a name does
// not say otherwise.
type Result struct {
	Machine    Machine      `json:"machine"`
	Fixed      []Fixed      `json:"fixed_rate"`
	Saturated  []Saturated  `json:"saturated"`
	Streams    []Way        `json:"streams"` // of each event
	Held       Held         `json:"held"`
	Routing    Routing      `json:"routing"`
	Inspection []Inspection `json:"inspection"`
}

// Machine is where that was.
type Machine struct {
	Go         string  `json:"go"`
	CPUs       int     `json:"cpus"`
	LoadBefore float64 `json:"load_before"` // average over the minute before
	LoadAfter  float64 `json:"load_after"`
}

func (m *Machine) describe() { m.Go, m.CPUs = runtime.Version(), runtime.NumCPU() }

// Fixed is one size of body at one rate.
type Fixed struct {
	Body int   `json:"body_bytes"`
	Rate int   `json:"requests_per_s"`
	Ways []Way `json:"ways"`
}

// Way is what one way took, and added to another.
type Way struct {
	Name       string  `json:"name"`
	Samples    int     `json:"samples"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	AddedP50   float64 `json:"added_p50_us"` // to Direct
	AddedP99   float64 `json:"added_p99_us"`
	OverHopP50 float64 `json:"over_tcp_p50_us"` // to TCP
	OverHopP99 float64 `json:"over_tcp_p99_us"`
	CPU        float64 `json:"cpu_us"` // of the proxy, for each sample
	Failures
}

// Failures counts replies that were not whole.
type Failures struct {
	Failed int    `json:"failed"`
	Why    string `json:"why,omitempty"` // of one of them
}

func (f *Failures) fail(t timings) {
	f.Failed += t.Failed
	if t.Why != "" {
		f.Why = t.Why
	}
}

// Saturated is what one way can do with all that the others leave of the
// machine.
type Saturated struct {
	Name      string  `json:"name"`
	PerSecond float64 `json:"requests_per_s"`
	CPU       float64 `json:"cpu_us"`
	Failures
}

// Held is what became of requests that waited for a replica.
type Held struct {
	Requests   int     `json:"requests"`
	BytesEach  float64 `json:"bytes_each"` // of resident memory, connection and goroutines included
	ReleasedIn float64 `json:"released_in_s"`
	Lost       int     `json:"lost"` // not answered
	Why        string  `json:"why,omitempty"`
	NotOnce    int     `json:"not_once"`     // did not reach the upstream once
	OutOfOrder int     `json:"out_of_order"` // behind one that came in a later wave
}

// Routing is the price of one routing decision.
type Routing struct {
	Replicas    int     `json:"replicas"`
	Nanoseconds float64 `json:"ns"`
	Allocs      float64 `json:"allocs"`
}

// Inspection is the price of finding the model in a body.
type Inspection struct {
	Body   int     `json:"body_bytes"`
	Micros float64 `json:"us"`
	Allocs float64 `json:"allocs"`
}

// Of returns a way by its name; false where it was left out.
func Of(ways []Way, name string) (Way, bool) {
	for _, w := range ways {
		if w.Name == name {
			return w, true
		}
	}
	return Way{}, false
}

// Saturation returns what a way can do; false where it was left out.
func (r Result) Saturation(name string) (Saturated, bool) {
	for _, s := range r.Saturated {
		if s.Name == name {
			return s, true
		}
	}
	return Saturated{}, false
}

// FailuresOf returns what failed of a way, in all.
func (r Result) FailuresOf(name string) int {
	failed := 0
	for _, f := range r.Fixed {
		w, _ := Of(f.Ways, name)
		failed += w.Failed
	}
	w, _ := Of(r.Streams, name)
	s, _ := r.Saturation(name)
	return failed + w.Failed + s.Failed
}
