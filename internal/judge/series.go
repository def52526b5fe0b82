package judge

import (
	"fmt"
	"io"
	"math"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

const (
	// A crowd comes, stays and goes as in package trace's own family.
	crowdRise = 10 * time.Minute
	crowdHold = 30 * time.Minute
	crowdFall = 30 * time.Minute
	// stepsDwell is how long a level stays, on average.
	stepsDwell = 45 * time.Minute
	// apiClients are as many as have nearly all of ServeGen's traffic.
	apiClients = 40
)

// open opens the requests of a workload, drawn with a seed.
func open(w config.Workload, seed uint64) (sim.Source, error) {
	s := w.Source
	part := trace.Days(s.FromDay, s.Days)
	if s.Kind == config.FromRequests {
		return requests(s)
	}
	draw := trace.Draw{Seed: seed, CV: s.CV, Model: w.Name}
	switch {
	case s.TokensByWindow != "":
		tokens, err := trace.OpenWindows(s.TokensByWindow)
		if err != nil {
			return nil, err
		}
		draw.Tokens = tokens
	case s.Tokens != "":
		tokens, err := trace.OpenSample(s.Tokens)
		if err != nil {
			return nil, err
		}
		draw.Tokens = tokens
	case w.Variants[0].Profile.Tokens():
		draw.Tokens = trace.Conversation()
	}
	switch s.Kind {
	case config.FromCounts:
		return trace.Counts{Column: s.Column, Scale: s.Scale, Part: part, Draw: draw}.Open(s.File)
	case config.FromCurve:
		return trace.Curve{Column: s.Column, MeanRPS: s.MeanRPS, Part: part, Draw: draw}.Open(s.File)
	case config.FromClients:
		return trace.Clients{Scale: s.Scale, Part: part, Seed: seed, Tokens: draw.Tokens, Model: w.Name}.Open(s.File)
	case config.FromShape:
		return generate(s.Generate, draw)
	case config.FromRequests:
	}
	return nil, fmt.Errorf("workload %s: requests of kind %d cannot be opened", w.Name, s.Kind)
}

// requests opens a file that says every request, or the part of it.
func requests(s config.Source) (sim.Source, error) {
	r, err := trace.Open(s.File)
	if err != nil {
		return nil, err
	}
	part := trace.Days(s.FromDay, s.Days)
	to := time.Duration(math.MaxInt64)
	if part.For > 0 {
		to = part.From + part.For
	}
	return &excerpt{Source: unnamed{r}, from: part.From, to: to}, nil
}

// generate draws a family of shapes.
func generate(g config.Generate, d trace.Draw) (sim.Source, error) {
	span := time.Duration(g.Days * float64(24*time.Hour))
	if g.Outlier.Share > 0 {
		d.Tokens = trace.Outliers{Tokens: d.Tokens, Share: g.Outlier.Share, PromptTokens: g.Outlier.InTokens}
	}
	switch g.Shape {
	case "enterprise", "enterprise-peaky":
		return trace.Enterprise{Span: span, MeanRPS: g.MeanRPS, Ratio: g.Ratio, Weekend: g.Weekend}.Source(d)
	case "api":
		return trace.API{Span: span, MeanRPS: g.MeanRPS, Clients: apiClients}.Source(d)
	case "steps":
		return trace.Steps{Span: span, MeanRPS: g.MeanRPS, Ratio: g.Ratio, Dwell: stepsDwell}.Source(d)
	case "flash-crowd":
		return trace.FlashCrowd{
			Span: span, MeanRPS: g.MeanRPS, Ratio: g.Ratio, Peak: g.Peak,
			Every: g.Every, Rise: crowdRise, Hold: crowdHold, Fall: crowdFall,
		}.Source(d)
	case "sparse-fleet":
		d.Model = ""
		return sparse(g).Source(d)
	case "flat":
		return trace.Flat{Span: span, MeanRPS: g.MeanRPS}.Source(d)
	}
	return nil, fmt.Errorf("there is no shape %q", g.Shape)
}

func sparse(g config.Generate) trace.Fleet {
	return trace.Fleet{
		Span: time.Duration(g.Days * float64(24*time.Hour)), MeanRPS: g.MeanRPS, Models: g.Models,
		Zipf: g.Zipf, ActiveShare: g.ActiveShare, Diurnal: g.Diurnal,
	}
}

// modelNames are those of a fleet's models.
func modelNames(g config.Generate) []string { return sparse(g).Names("") }

// excerpt is a part of a series, which begins at the Epoch.
type excerpt struct {
	trace.Source
	from, to time.Duration
}

// Next returns the next request of the part.
func (e *excerpt) Next() (scale.Request, error) {
	for {
		r, err := e.Source.Next()
		if err != nil {
			return r, err
		}
		switch at := r.At.Sub(trace.Epoch()); {
		case at >= e.to:
			return scale.Request{}, io.EOF
		case at >= e.from:
			r.At = r.At.Add(-e.from)
			return r, nil
		}
	}
}

// Close closes the file.
func (e *excerpt) Close() error { return trace.Close(e.Source) }

// unnamed forgets what a file says of models: one serves them all.
type unnamed struct{ trace.Source }

// Next returns the next request.
func (u unnamed) Next() (scale.Request, error) {
	r, err := u.Source.Next()
	r.Model = ""
	return r, err
}

// Close closes the file.
func (u unnamed) Close() error { return trace.Close(u.Source) }
