package trace

import (
	"fmt"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Of returns requests held in memory as a Series.
func Of(requests []scale.Request) Series {
	return func(yield func(scale.Request, error) bool) {
		for _, r := range requests {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Speed divides arrival times, and nothing else, by factor. It panics unless
// factor is above zero.
func Speed(series Series, factor float64) Series {
	if !(factor > 0) {
		panic(fmt.Sprintf("trace.Speed: factor %v is not above zero", factor))
	}
	return func(yield func(scale.Request, error) bool) {
		for r, err := range series {
			r.At = Epoch().Add(time.Duration(float64(r.At.Sub(Epoch())) / factor))
			if !yield(r, err) {
				return
			}
		}
	}
}

// Window keeps the arrivals in [from, to) and moves them so that from becomes
// the Epoch. A to of zero means to the end.
func Window(series Series, from, to time.Duration) Series {
	return func(yield func(scale.Request, error) bool) {
		for r, err := range series {
			offset := r.At.Sub(Epoch())
			switch {
			case err == nil && offset < from:
				continue
			case err == nil && to > 0 && offset >= to:
				return
			}
			r.At = Epoch().Add(offset - from)
			if !yield(r, err) {
				return
			}
		}
	}
}

// Limit keeps the first n requests.
func Limit(series Series, n int) Series {
	return func(yield func(scale.Request, error) bool) {
		left := n
		for r, err := range series {
			if left--; left < 0 || !yield(r, err) {
				return
			}
		}
	}
}

// Summary is what a whole Series comes to.
type Summary struct {
	Requests     int
	Span         time.Duration // Epoch → last arrival
	PromptTokens int
	OutputTokens int
	Models       []string // as named by the requests, in order of appearance; "" where a request names none
}

// Summarise reads a Series to its end.
func Summarise(series Series) (Summary, error) {
	var s Summary
	seen := make(map[string]bool)
	for r, err := range series {
		if err != nil {
			return Summary{}, err
		}
		s.Requests++
		s.Span = r.At.Sub(Epoch())
		s.PromptTokens += r.PromptTokens
		s.OutputTokens += r.OutputTokens
		if !seen[r.Model] {
			seen[r.Model] = true
			s.Models = append(s.Models, r.Model)
		}
	}
	return s, nil
}
