package torture

import (
	"fmt"
	"time"

	"github.com/penstock/penstock/internal/load"
	"github.com/penstock/penstock/internal/scale"
)

// abortTarget is P5.
const abortTarget = 50 * time.Millisecond

// Check is one promise held against what came.
type Check struct {
	Name   string  `json:"name"`
	Target float64 `json:"target"` // the most that is allowed
	Value  float64 `json:"value"`
	Met    bool    `json:"met"`
	Of     int     `json:"of"`             // how often it could have been broken
	Note   string  `json:"note,omitempty"` // why it is not judged, or what the value does not say
}

// Report is how a run went.
type Report struct {
	Requests   int            `json:"requests"`
	Outcomes   load.Outcomes  `json:"outcomes"`
	Verified   int            `json:"verified"`
	Load       load.Report    `json:"load"`
	Faults     Faults         `json:"faults"`
	Replicas   int            `json:"replicas_started"`
	Moved      int64          `json:"refused_by_a_draining_gateway_and_sent_on"`
	Unreached  int64          `json:"connections_refused_and_tried_again"`
	Closed     int64          `json:"idle_connections_closed_as_they_were_used"`
	ByKill     int            `json:"lost_as_their_gateway_was_killed"`
	Left       int            `json:"clients_that_went_away"`
	AbortP50   float64        `json:"abort_p50_ms"`
	Memory     []MemorySample `json:"memory"`
	Goroutines [2]int         `json:"goroutines"` // before and after
	Files      [2]int         `json:"files"`
	Checks     []Check        `json:"checks"`
	Examples   []string       `json:"examples,omitempty"`
}

// MemorySample is what penstock serve had at one moment.
type MemorySample struct {
	At         float64 `json:"at_s"`
	MiB        float64 `json:"mib"`
	Goroutines int     `json:"goroutines"`
	Files      int     `json:"files"`
}

// Kept says whether every promise was.
func (r Report) Kept() bool {
	for _, c := range r.Checks {
		if !c.Met {
			return false
		}
	}
	return true
}

func atMost(name string, target, value float64, of int) Check {
	return Check{Name: name, Target: target, Value: value, Met: value <= target, Of: of}
}

func (r *run) report(loaded load.Report, before, after sample, saw seen) Report {
	c := r.crowd
	aborts := c.aborts(saw)
	out := Report{
		Requests: loaded.Requests, Outcomes: loaded.Outcomes, Verified: loaded.Verified, Load: loaded, Faults: r.done, Replicas: saw.Replicas,
		Moved: c.balance.refused.Load(), Unreached: c.balance.dead.Load(), Closed: c.balance.closed.Load(), ByKill: c.byKill, Left: len(c.left), AbortP50: millis(at(aborts, 0.5)),
		Goroutines: [2]int{before.goroutines, after.goroutines}, Files: [2]int{before.files, after.files}, Examples: c.examples,
	}
	if len(r.samples) > 0 {
		from := r.samples[0].at
		for i := 0; i < len(r.samples); i += 1 + len(r.samples)/60 {
			s := r.samples[i]
			out.Memory = append(out.Memory, MemorySample{At: s.at.Sub(from).Seconds(), MiB: s.memory / (1 << 20), Goroutines: s.goroutines, Files: s.files})
		}
	}
	out.Checks = []Check{
		atMost("P1 streams that broke off unsaid", 0, float64(c.silent), loaded.Requests),
		atMost("P1 replies with wrong tokens", 0, float64(c.outcomes[scale.Corrupted]), loaded.Verified),
		atMost("P2 requests lost at scale-downs, notices and SIGTERMs", 0, float64(c.lost), loaded.Requests),
		r.survival(loaded.Requests),
		atMost("P4 deaths of replicas that clients were not told", 0, float64(c.silent+c.lost), r.done.Killed),
		timed(loaded, atMost("P5 client gone to replica free, p99, ms", millis(abortTarget), millis(at(aborts, 0.99)), len(aborts))),
		atMost("P5 requests left in flight or held at the end", 0, float64(after.inFlight+after.held), 1),
		timed(loaded, atMost("P8 longest time above a replica's limit, ms", millis(abortTarget), millis(saw.Over), saw.Replicas)),
		atMost("P10 requests held past their deadline", 0, float64(c.late), loaded.Requests),
		atMost("goroutines more than before", leak, float64(after.goroutines-before.goroutines), 1),
		atMost("files more than before", leak, float64(after.files-before.files), 1),
		r.growth(),
	}
	return out
}

// timed leaves a time unjudged where the machine could not even send requests
// when they were due: then it is the machine's.
func timed(loaded load.Report, c Check) Check {
	if !loaded.KeptUp() {
		c.Met, c.Note = true, fmt.Sprintf("not judged: the machine was too busy, 1 %% of requests went out %.0f ms late or more", millis(loaded.Lag.P99))
	}
	return c
}

// survival is P3, which needs a gateway that stays.
func (r *run) survival(requests int) Check {
	const target = 0.1
	c := atMost("P3 requests lost as their gateway was killed, %", target, 100*float64(r.crowd.byKill)/float64(max(1, requests)), r.done.Kills)
	if len(r.gateways) < 2 {
		c.Met, c.Note = true, "not judged: there was no second gateway"
	}
	return c
}

// growth is whether memory is flat.
func (r *run) growth() Check {
	const target = 2 // MiB/h
	perHour, known := slope(r.samples, warmUp)
	c := atMost("memory grows, MiB/h", target, perHour/(1<<20), len(longest(r.samples)))
	if life := longest(r.samples); !known || life[len(life)-1].at.Sub(life[0].at) < warmUp+slopeOf {
		c.Met, c.Note = true, "not judged: no process lived for half an hour"
	}
	return c
}

func at(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
