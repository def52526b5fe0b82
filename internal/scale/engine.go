package scale

import "time"

// Signal names one canonical measurement. Its unit is the same whoever measured
// it.
type Signal int

// The signals that model servers and accelerators give.
const (
	SignalRunning        Signal = iota + 1 // requests in the batch now
	SignalWaiting                          // requests in the server's own queue now
	SignalKVCacheUsage                     // 0..1 of the KV cache
	SignalPreemptions                      // requests thrown out of the batch, since the server began
	SignalFinished                         // requests answered, since the server began
	SignalFailed                           // requests failed or refused, since the server began
	SignalPromptTokens                     // tokens read, since the server began
	SignalOutputTokens                     // tokens written, since the server began
	SignalTTFT                             // seconds from arrival at the server to the first token
	SignalTPOT                             // seconds for an output token after the first
	SignalEndToEnd                         // seconds from arrival at the server to the last byte
	SignalQueueTime                        // seconds in the server's own queue
	SignalGPUUsage                         // 0..1 of the time in which the accelerator worked
	SignalGPUMemoryUsed                    // bytes
	SignalGPUMemoryTotal                   // bytes
	SignalAsleep                           // 1 while the server has given its weights away, else 0
)

var signalNames = []string{
	"running", "waiting", "kv-cache-usage", "preemptions", "finished", "failed", "prompt-tokens", "output-tokens",
	"ttft", "tpot", "end-to-end", "queue-time", "gpu-usage", "gpu-memory-used", "gpu-memory-total", "asleep",
}

func (s Signal) String() string { return enumName(signalNames, s) }

// MarshalText encodes the signal by name.
func (s Signal) MarshalText() ([]byte, error) { return enumText(signalNames, s) }

// UnmarshalText decodes a signal by name.
func (s *Signal) UnmarshalText(text []byte) error { return enumParse(signalNames, text, s) }

// Signals returns every signal, for docs and tests.
func Signals() []Signal {
	all := make([]Signal, len(signalNames))
	for i := range all {
		all[i] = Signal(i + 1)
	}
	return all
}

// Unit is what the signal counts.
func (s Signal) Unit() string {
	switch s {
	case SignalRunning, SignalWaiting, SignalPreemptions, SignalFinished, SignalFailed:
		return "requests"
	case SignalKVCacheUsage, SignalGPUUsage, SignalAsleep:
		return "0..1"
	case SignalPromptTokens, SignalOutputTokens:
		return "tokens"
	case SignalTTFT, SignalTPOT, SignalEndToEnd, SignalQueueTime:
		return "seconds"
	case SignalGPUMemoryUsed, SignalGPUMemoryTotal:
		return "bytes"
	}
	return ""
}

// Counts says whether the signal is counted since its server began, so that only
// its increase says something of now.
func (s Signal) Counts() bool {
	switch s {
	case SignalPreemptions, SignalFinished, SignalFailed, SignalPromptTokens, SignalOutputTokens:
		return true
	case SignalRunning, SignalWaiting, SignalKVCacheUsage, SignalTTFT, SignalTPOT, SignalEndToEnd, SignalQueueTime,
		SignalGPUUsage, SignalGPUMemoryUsed, SignalGPUMemoryTotal, SignalAsleep:
	}
	return false
}

// Timing is how long something took, over the time between two readings of a
// server's metrics. The zero Timing was never measured.
type Timing struct {
	At    time.Time // the later reading
	Count float64   // how many ended between
	Mean  float64   // seconds
	// Median and P95 are quantiles in seconds; 0 where the server counts no
	// buckets. One that lies beyond the last bucket is that bucket's bound, which
	// is less than it was.
	Median, P95 float64
}

// Known says whether anything was measured.
func (t Timing) Known() bool { return !t.At.IsZero() }

// Engine is what a Replica's own server said of its work. All requests are in
// it, also those that did not come through the gateway.
type Engine struct {
	Name     string // whose names its metrics have, such as "vllm"; "" while not known
	TTFT     Timing
	TPOT     Timing
	EndToEnd Timing
	Asleep   bool // it gave its weights away, and serves nothing until it is woken
}
