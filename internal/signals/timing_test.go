package signals_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/signals"
)

var earlier = now.Add(-5 * time.Second)

// distribution is one with buckets up to 0.1, 1 and +Inf seconds.
func distribution(at time.Time, sum float64, upTo ...float64) signals.Distribution {
	return signals.Distribution{
		At: at, Sum: sum, Count: upTo[2],
		Buckets: []signals.Bucket{{Bound: 0.1, Count: upTo[0]}, {Bound: 1, Count: upTo[1]}, {Bound: math.Inf(1), Count: upTo[2]}},
	}
}

func TestBetweenTwoReadings(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		before, after signals.Distribution
		want          scale.Timing
	}{
		"only what ended between counts": {
			distribution(earlier, 100, 90, 100, 100), distribution(now, 104, 90, 110, 110),
			scale.Timing{At: now, Count: 10, Mean: 0.4, Median: 0.55, P95: 0.955},
		},
		"nothing ended": {distribution(earlier, 100, 90, 100, 100), distribution(now, 100, 90, 100, 100), scale.Timing{}},
		"the process is a new one": {
			distribution(earlier, 100, 90, 100, 100), distribution(now, 0.5, 10, 10, 10),
			scale.Timing{At: now, Count: 10, Mean: 0.05, Median: 0.05, P95: 0.095},
		},
		"a new process that counted more is told by a bucket that fell": {
			distribution(earlier, 1, 10, 10, 10), distribution(now, 12, 0, 20, 20),
			scale.Timing{At: now, Count: 20, Mean: 0.6, Median: 0.55, P95: 0.955},
		},
		"or by bounds that changed": {
			signals.Distribution{At: earlier, Sum: 1, Count: 2, Buckets: []signals.Bucket{{Bound: 0.2, Count: 1}, {Bound: 1, Count: 2}, {Bound: math.Inf(1), Count: 2}}},
			distribution(now, 12, 0, 20, 20),
			scale.Timing{At: now, Count: 20, Mean: 0.6, Median: 0.55, P95: 0.955},
		},
		"beyond the last bound is at least that bound": {
			distribution(earlier, 0, 0, 0, 0), distribution(now, 90, 0, 0, 3),
			scale.Timing{At: now, Count: 3, Mean: 30, Median: 1, P95: 1},
		},
		"without buckets there is a mean": {
			signals.Distribution{At: earlier, Sum: 1, Count: 2},
			signals.Distribution{At: now, Sum: 2, Count: 4},
			scale.Timing{At: now, Count: 2, Mean: 0.5},
		},
		"a summary's quantiles are its own": {
			signals.Distribution{At: earlier, Sum: 1, Count: 2},
			signals.Distribution{At: now, Sum: 2, Count: 4, Quantiles: []signals.Quantile{{Of: 0.5, Value: 0.4}, {Of: 0.95, Value: 0.7}}},
			scale.Timing{At: now, Count: 2, Mean: 0.5, Median: 0.4, P95: 0.7},
		},
		"no reading before": {signals.Distribution{}, distribution(now, 1, 1, 1, 1), scale.Timing{}},
		"none after":        {distribution(earlier, 1, 1, 1, 1), signals.Distribution{}, scale.Timing{}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, signals.Between(tc.before, tc.after)); diff != "" {
				t.Errorf("timing (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTimingsOfEnginesSideBySide(t *testing.T) {
	t.Parallel()
	const one = "vllm:time_to_first_token_seconds_sum{engine=\"0\"} 1\nvllm:time_to_first_token_seconds_count{engine=\"0\"} 2\n" +
		"vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"1\"} 2\nvllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"+Inf\"} 2\n"
	tests := map[string]struct {
		text string
		want signals.Timed
	}{
		"add up, by the number that le means": {
			one + "vllm:time_to_first_token_seconds_sum{engine=\"1\"} 8\nvllm:time_to_first_token_seconds_count{engine=\"1\"} 2\n" +
				"vllm:time_to_first_token_seconds_bucket{engine=\"1\",le=\"1.0\"} 0\nvllm:time_to_first_token_seconds_bucket{engine=\"1\",le=\"+Inf\"} 2\n",
			signals.Timed{Distribution: signals.Distribution{At: now, Count: 4, Sum: 9, Buckets: []signals.Bucket{{Bound: 1, Count: 2}, {Bound: math.Inf(1), Count: 4}}}},
		},
		"with other bounds have a mean only": {
			one + "vllm:time_to_first_token_seconds_sum{engine=\"1\"} 8\nvllm:time_to_first_token_seconds_count{engine=\"1\"} 2\n" +
				"vllm:time_to_first_token_seconds_bucket{engine=\"1\",le=\"2\"} 0\nvllm:time_to_first_token_seconds_bucket{engine=\"1\",le=\"+Inf\"} 2\n",
			signals.Timed{Distribution: signals.Distribution{At: now, Count: 4, Sum: 9}},
		},
		"buckets that fall spoil it": {
			strings.Replace(one, "+Inf\"} 2", "+Inf\"} 1", 1), signals.Timed{Absent: "has buckets that fall: 2 up to 1 s, and 1 up to +Inf s"},
		},
		"a bound that is no number spoils it": {
			strings.Replace(one, "le=\"1\"", "le=\"one\"", 1), signals.Timed{Absent: `has a bucket le="one"`},
		},
		"without a sum there is none": {
			strings.Replace(one, "_sum", "_total", 1), signals.Timed{Absent: "not exposed: vllm:time_to_first_token_seconds_sum"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, read(t, tc.text).Timings[scale.SignalTTFT]); diff != "" {
				t.Errorf("timing (-want +got):\n%s", diff)
			}
		})
	}
}

// TestBetweenIsWhatWasAdded draws observations, counts them in buckets, some
// before a reading and some after, with and without a restart, and holds the
// window against the observations themselves.
func TestBetweenIsWhatWasAdded(t *testing.T) {
	t.Parallel()
	bounds := []float64{0.01, 0.05, 0.1, 0.5, 1, 5, math.Inf(1)}
	count := func(at time.Time, observed []float64) signals.Distribution {
		d := signals.Distribution{At: at, Count: float64(len(observed))}
		for _, bound := range bounds {
			b := signals.Bucket{Bound: bound}
			for _, x := range observed {
				if x <= bound {
					b.Count++
				}
			}
			d.Buckets = append(d.Buckets, b)
		}
		for _, x := range observed {
			d.Sum += x
		}
		return d
	}
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.Float64Range(0, 10), 0, 40)
		before, between := times.Draw(t, "before"), times.Draw(t, "between")
		got := signals.Between(count(earlier, before), count(now, append(slices.Clip(before), between...)))
		if len(between) == 0 {
			if got.Known() {
				t.Fatalf("nothing ended, and %+v was measured", got)
			}
			return
		}
		sum := 0.0
		for _, x := range between {
			sum += x
		}
		if mean := sum / float64(len(between)); got.Count != float64(len(between)) || math.Abs(got.Mean-mean) > 1e-3*mean+1e-9 {
			t.Fatalf("%d between with a mean of %v: %+v", len(between), mean, got)
		}
		if got.Median > got.P95 || got.P95 > 5 {
			t.Fatalf("quantiles out of order or of the buckets: %+v", got)
		}
	})
}
