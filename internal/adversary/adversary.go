// Package adversary draws worlds from seeds — models, configuration, traffic,
// faults — plays them in virtual time with the product's own core, admission and
// loop, and holds each to Penstock's promises, at every event. What breaks one
// is made smaller until nothing can be left out, and comes with the one command
// that repeats it.
package adversary

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
)

// Case is one world: all of it follows from its Seed and its Cut.
type Case struct {
	Seed uint64
	Cut  Cut

	Begin     time.Time
	Span      time.Duration // of arrivals
	Tick      time.Duration
	Models    []Model // sorted by name
	Offerings []scale.Offering
	Fleet     scale.FleetPolicy
	Nodes     []int // of each spot zone; none: spot is never reclaimed
	Notice    time.Duration
	Faults    []Fault // sorted by name
	Disk      bool    // the journal is the product's, on a disk

	whole time.Duration // Span, before a Cut

	// tamper is a fault planted by a test between the loop and the world.
	tamper func(scale.Decision) scale.Decision
}

// Model is one model as it is served, and its traffic.
type Model struct {
	sim.Service

	Traffic Traffic
}

// Cut makes a Case smaller and leaves what stays as it was. The zero Cut leaves
// all.
type Cut struct {
	Without  []string      // faults, by kind ("crash") or by name ("crash.2")
	For      time.Duration // only so much of Span, from its beginning; 0 for all
	Models   int           // only the first so many; 0 for all
	Variants int           // only the first so many of each model; 0 for all
	Rate     float64       // multiplies how much is asked; 0 for 1
}

// None says whether the Cut leaves all.
func (c Cut) None() bool { return c.arguments() == "" }

// arguments are the Cut as flags of penstock simulate --fuzz.
func (c Cut) arguments() string {
	var b strings.Builder
	if len(c.Without) > 0 {
		b.WriteString(" --without " + strings.Join(c.Without, ","))
	}
	if c.For > 0 {
		fmt.Fprintf(&b, " --for %v", c.For)
	}
	if c.Models > 0 {
		fmt.Fprintf(&b, " --models %d", c.Models)
	}
	if c.Variants > 0 {
		fmt.Fprintf(&b, " --variants %d", c.Variants)
	}
	if c.Rate > 0 {
		fmt.Fprintf(&b, " --rate %v", c.Rate)
	}
	return b.String()
}

// Command is what repeats the Case.
func (c Case) Command() string {
	return fmt.Sprintf("penstock simulate --fuzz --seed %d%s", c.Seed, c.Cut.arguments())
}

// Draw returns the Case of a seed.
func Draw(seed uint64) Case {
	d := newDice(seed, purposeWorld, 0)
	c := Case{Seed: seed, Begin: beginning(d)}
	c.Tick = pick(d, time.Second, 5*time.Second, 10*time.Second, 15*time.Second, 30*time.Second, 30*time.Second)
	c.Span = c.Tick * time.Duration(d.between(leastTicks, mostTicks))
	c.whole = c.Span
	c.Disk = d.chance(0.02)
	c.offer(d)
	for i := range pick(d, 1, 1, 1, 2, 2, 2, 3, 4) {
		c.Models = append(c.Models, c.model(i))
	}
	c.start()
	c.limit(d)
	c.Faults = c.faults()
	c.Notice = pick(d, 30*time.Second, 30*time.Second, 2*time.Minute)
	return c
}

// Apply makes the Case smaller. A fault that it does not have is an error, unless
// it is the name of a kind.
func (c Case) Apply(cut Cut) (Case, error) {
	if cut.For < 0 || cut.Models < 0 || cut.Variants < 0 || !(cut.Rate >= 0) {
		return Case{}, fmt.Errorf("cut seed %d: %+v: nothing of it may be negative", c.Seed, cut)
	}
	for _, name := range cut.Without {
		_, kind := kindOf(name)
		if !kind && !slices.ContainsFunc(c.Faults, func(f Fault) bool { return f.Name == name }) {
			return Case{}, fmt.Errorf("cut seed %d: it has no fault %q; it has %s", c.Seed, name, strings.Join(c.names(), ", "))
		}
	}
	c.Cut = cut
	c.Faults = slices.DeleteFunc(slices.Clone(c.Faults), func(f Fault) bool {
		return slices.Contains(cut.Without, f.Name) || slices.Contains(cut.Without, f.Kind.String())
	})
	if cut.For > 0 {
		c.Span = min(c.Span, cut.For)
	}
	c.Models = slices.Clone(c.Models)
	if cut.Models > 0 {
		c.Models = c.Models[:min(cut.Models, len(c.Models))]
	}
	for i := range c.Models {
		m := &c.Models[i]
		if cut.Variants > 0 {
			n := min(cut.Variants, len(m.Model.Variants))
			m.Model.Variants, m.Truths = m.Model.Variants[:n:n], m.Truths[:n:n]
		}
		if cut.Rate > 0 {
			m.Traffic.MeanRPS *= cut.Rate
		}
	}
	return c, nil
}

func (c Case) names() []string {
	out := make([]string, len(c.Faults))
	for i, f := range c.Faults {
		out[i] = f.Name
	}
	return out
}
