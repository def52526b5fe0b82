package scale

import (
	"fmt"
	"time"
)

// Profile is what serving costs one Replica in time and memory. It is the
// truth of an emulated or simulated engine and the prior of a learned one.
//
// A Profile either describes continuous batching (Linear is set) or a plain
// service time (Service is set), never both.
type Profile struct {
	Name string

	// Linear is the time of all linear operators of one engine iteration by
	// tokens in the iteration, ascending; linear between the points and beyond
	// the last. Source of the form: Vidur (MLSys 2024), MLP and attention
	// projections per layer × layers.
	Linear    []LinearPoint
	Overhead  time.Duration // per iteration: sampling, scheduling, launch
	Bandwidth float64       // bytes/s at which KV cache is read, efficiency included

	KVBytesPerToken   float64
	WeightBytes       float64
	MemoryBytes       float64 // of all accelerators of one Replica
	MemoryUtilisation float64 // 0..1, share of MemoryBytes that the engine may use
	PrefillChunk      int     // tokens of prompt that one iteration may take (chunked prefill)
	MaxBatch          int     // requests in the batch, the engine's own limit

	Service ServiceTime // for models without tokens
}

// LinearPoint is one measured point of Profile.Linear.
type LinearPoint struct {
	Tokens int
	Time   time.Duration
}

// ServiceTime is a lognormal service time, Concurrency requests at a time.
type ServiceTime struct {
	Mean        time.Duration
	CV          float64 // coefficient of variation
	Concurrency int
}

// Tokens says whether the Profile describes continuous batching over tokens.
func (p Profile) Tokens() bool { return len(p.Linear) > 0 }

// LinearTime returns the seconds that the linear operators of an iteration
// over so many tokens take: linear between the points, and never below the
// first, since the weights are read once however few tokens there are.
func (p Profile) LinearTime(tokens float64) float64 { return linearTime(p.Linear, tokens) }

func linearTime(points []LinearPoint, tokens float64) float64 {
	if len(points) == 0 {
		return 0
	}
	i, after := 0, len(points)
	for i < after { // sort.Search, without a call per probe: this is where a tick spends its time
		if middle := (i + after) / 2; float64(points[middle].Tokens) < tokens {
			i = middle + 1
		} else {
			after = middle
		}
	}
	switch {
	case i == 0:
		return points[0].Time.Seconds()
	case len(points) == 1:
		return points[0].Time.Seconds() * tokens / float64(points[0].Tokens)
	case i == len(points):
		i = len(points) - 1
	}
	a, b := points[i-1], points[i]
	slope := (b.Time - a.Time).Seconds() / float64(b.Tokens-a.Tokens)
	return a.Time.Seconds() + slope*(tokens-float64(a.Tokens))
}

// IterationTime returns the seconds of one engine iteration: linear operators
// over tokens, one read of the KV cache of contextTokens, and overhead.
func (p Profile) IterationTime(tokens, contextTokens float64) float64 {
	return p.IterationTimeOver(p.LinearTime(tokens), contextTokens)
}

// IterationTimeOver is IterationTime for linear operators whose seconds are
// known already.
func (p Profile) IterationTimeOver(linear, contextTokens float64) float64 {
	kv := 0.0
	if p.Bandwidth > 0 {
		kv = contextTokens * p.KVBytesPerToken / p.Bandwidth
	}
	return linear + kv + p.Overhead.Seconds()
}

// KVCapacity returns how many tokens of KV cache fit beside the weights. It is
// zero or negative when the weights alone do not fit.
func (p Profile) KVCapacity() int {
	if p.KVBytesPerToken <= 0 {
		return 0
	}
	return int((p.MemoryBytes*p.MemoryUtilisation - p.WeightBytes) / p.KVBytesPerToken)
}

// MemoryArithmetic shows, for people, how KVCapacity comes about.
func (p Profile) MemoryArithmetic() string {
	unit, name := 1e9, "GB"
	if p.MemoryBytes < unit {
		unit, name = 1e6, "MB"
	}
	return fmt.Sprintf("%.1f %s × %.2f − %.1f %s weights = %.1f %s for KV cache ÷ %.0f bytes/token = %d tokens",
		p.MemoryBytes/unit, name, p.MemoryUtilisation, p.WeightBytes/unit, name,
		(p.MemoryBytes*p.MemoryUtilisation-p.WeightBytes)/unit, name, p.KVBytesPerToken, p.KVCapacity())
}
