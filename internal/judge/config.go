package judge

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

const (
	// bootSigma and bootFails are the benchmark's: starts are lognormal around
	// the configured cold start, and one in a hundred fails at its end.
	bootSigma = 0.25
	bootFails = 0.01
	// sharedSlots is the pool of on-demand and spot accelerators of one type:
	// they are the same ones.
	sharedSlots = "slots"
)

// AskConfig makes a Question of one's own models as a file configures them. Of
// about it takes what is no model's: Name, What, Open, Begin, CV and Truth.
// Every model is as the file says, but that its mode is auto: what is asked is
// what deciding would have done.
func AskConfig(c config.Config, about Question) Question {
	q := about
	q.Models, q.Offerings = slices.Clone(c.Models), slices.Clone(c.Offerings)
	q.Fleet, q.Tick = c.Fleet, c.Server.Tick
	for i := range q.Models {
		q.Models[i].Mode = scale.Auto
	}
	for i := range q.Offerings {
		if q.Offerings[i].Limited {
			q.Offerings[i].Pool = sharedSlots
		}
	}
	q.Boot = func(v scale.Variant) sim.Boot {
		return sim.Boot{Mixture: []sim.Mode{{Share: 1, Mean: v.ColdStart, Sigma: bootSigma}}, Fails: bootFails}
	}
	return q
}

// Namer returns what says which of some models a request is for that calls it
// so, by its name or an alias. Where there is one model, a request need not say.
func Namer(models []scale.Model) func(called string) (string, error) {
	names := map[string]string{}
	var all []string
	for _, m := range models {
		all = append(all, m.Name)
		for _, name := range append([]string{m.Name}, m.Aliases...) {
			names[name] = m.Name
		}
	}
	if len(models) == 1 {
		names[""] = models[0].Name
	}
	return func(called string) (string, error) {
		name, known := names[called]
		switch {
		case known:
			return name, nil
		case called == "":
			return "", fmt.Errorf("the request names no model, and there are %d: %s", len(all), strings.Join(all, ", "))
		}
		return "", fmt.Errorf("model %q is served by nothing; these are: %s", called, strings.Join(all, ", "))
	}
}

// Faster is a source whose times, and nothing else, are divided by a factor.
type Faster struct {
	sim.Source
	Factor float64 // above 0
}

// Next returns the next request.
func (f *Faster) Next() (scale.Request, error) {
	r, err := f.Source.Next()
	r.At = trace.Epoch().Add(time.Duration(float64(r.At.Sub(trace.Epoch())) / f.Factor))
	return r, err
}

// Close closes the source.
func (f *Faster) Close() error { return trace.Close(f.Source) }
