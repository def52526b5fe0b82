package trace

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

const (
	// maxMinutes bounds the bins of one model: two weeks of minutes. When they
	// are full, bins become twice as long.
	maxMinutes = 20_160
	// maxAllBins bounds those of all models together, at 100 MB.
	maxAllBins = 1 << 22
)

// Minutes is what arrives in a Source by time, model by model.
type Minutes struct {
	Bin    time.Duration // a minute, or a minute times a power of two
	Span   time.Duration // Epoch → last arrival
	Models []ModelMinutes
}

// ModelMinutes is one model's arrivals.
type ModelMinutes struct {
	Model string
	Bins  []Minute // from the Epoch; all models have as many
}

// Minute is what arrived in one bin.
type Minute struct {
	Requests     int
	PromptTokens float64 // mean of a request; 0 where there is none
	OutputTokens float64
}

// RPS returns the mean rate in a bin of that length.
func (m Minute) RPS(bin time.Duration) float64 { return float64(m.Requests) / bin.Seconds() }

// ReadMinutes reads a Source to its end. Models are sorted by name.
func ReadMinutes(source Source) (Minutes, error) {
	out := Minutes{Bin: time.Minute}
	index := make(map[string]int)
	for {
		request, err := source.Next()
		switch {
		case errors.Is(err, io.EOF):
			out.finish()
			return out, nil
		case err != nil:
			return Minutes{}, err
		}
		who, known := index[request.Model]
		if !known {
			if len(out.Models) == maxStreams {
				return Minutes{}, fmt.Errorf("count requests by minute: there are more than %d models", maxStreams)
			}
			who = len(out.Models)
			index[request.Model] = who
			out.Models = append(out.Models, ModelMinutes{Model: request.Model})
		}
		out.Span = request.At.Sub(Epoch())
		out.add(who, request.PromptTokens, request.OutputTokens)
	}
}

// add counts a request at Span. Until finish, a Minute holds sums.
func (m *Minutes) add(who, prompt, output int) {
	for int(m.Span/m.Bin) >= min(maxMinutes, maxAllBins/len(m.Models)) {
		m.double()
	}
	one := &m.Models[who]
	for at := int(m.Span / m.Bin); len(one.Bins) <= at; {
		one.Bins = append(one.Bins, Minute{})
	}
	bin := &one.Bins[m.Span/m.Bin]
	bin.Requests++
	bin.PromptTokens += float64(prompt)
	bin.OutputTokens += float64(output)
}

func (m *Minutes) double() {
	m.Bin *= 2
	for i := range m.Models {
		bins := m.Models[i].Bins
		for from := range bins {
			if into := &bins[from/2]; from%2 == 1 {
				into.Requests += bins[from].Requests
				into.PromptTokens += bins[from].PromptTokens
				into.OutputTokens += bins[from].OutputTokens
			} else {
				*into = bins[from]
			}
		}
		m.Models[i].Bins = bins[:(len(bins)+1)/2]
	}
}

func (m *Minutes) finish() {
	for i := range m.Models {
		one := &m.Models[i]
		for len(one.Bins) <= int(m.Span/m.Bin) {
			one.Bins = append(one.Bins, Minute{})
		}
		for j := range one.Bins {
			if b := &one.Bins[j]; b.Requests > 0 {
				b.PromptTokens /= float64(b.Requests)
				b.OutputTokens /= float64(b.Requests)
			}
		}
	}
	slices.SortFunc(m.Models, func(a, b ModelMinutes) int { return cmp.Compare(a.Model, b.Model) })
}
