package sim_test

import (
	"io"
	"math"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/sim"
	"github.com/penstock/penstock/internal/trace"
)

// a100 is Llama-3-8B on one A100, as Vidur measured it, in a few points.
func a100() scale.Profile {
	point := func(tokens int, t float64) scale.LinearPoint {
		return scale.LinearPoint{Tokens: tokens, Time: time.Duration(t * float64(ms))}
	}
	return scale.Profile{
		Name: "8b-a100",
		Linear: []scale.LinearPoint{
			point(1, 9.632), point(8, 9.92), point(32, 10.848), point(64, 11.136), point(128, 13.088), point(256, 19.36),
			point(512, 34.432), point(1024, 74.72), point(2048, 144.704), point(4096, 271.776),
		},
		Overhead: 3 * ms, Bandwidth: 2039e9 * 0.85, KVBytesPerToken: 131072,
		WeightBytes: 16.1e9, MemoryBytes: 80e9, MemoryUtilisation: 0.9, PrefillChunk: 2048, MaxBatch: 256,
	}
}

// chat is an 8B model that is served on A100s with 60 s to boot.
func chat() sim.Service {
	return sim.Service{
		Model: scale.Model{
			Name: "chat", SLO: scale.SLO{TTFT: time.Second, TPOT: 50 * ms, Objective: 0.99, Window: 24 * time.Hour, MaxHold: time.Minute},
			Replicas: scale.Range{Min: 1, Max: 64}, ScaleDownWindow: 2 * time.Minute, Mode: scale.Auto,
			Variants: []scale.Variant{{
				Name: "8b-a100", Accelerator: scale.Accelerator{Type: "a100", Count: 1}, Capacities: []scale.CapacityType{scale.OnDemand}, Max: 64,
				ColdStart: time.Minute, Profile: a100(),
			}},
		},
		Truths: []sim.Truth{{Profile: a100(), Boot: sim.Boot{Mixture: []sim.Mode{{Share: 1, Mean: time.Minute, Sigma: 0.25}}, Fails: 0.01}}},
	}
}

// poissons is a Poisson stream whose tokens are drawn from a table, as a
// bootstrap of the Azure 2023 conversation trace would.
type poissons struct {
	model   string
	rate    float64 // requests/s
	left    int
	random  *rand.Rand
	at      float64
	id      scale.RequestID
	prompts []int
	outputs []int
}

func newPoissons(seed uint64, rate float64, n int) *poissons {
	p := &poissons{model: "chat", rate: rate, left: n, random: rand.New(rand.NewPCG(seed, 1))}
	for range 4096 {
		p.prompts = append(p.prompts, 1+int(math.Min(7000, 1020*math.Exp(0.9*p.random.NormFloat64()-0.25))))
		p.outputs = append(p.outputs, 1+int(math.Min(1000, 129*math.Exp(0.9*p.random.NormFloat64()))))
	}
	return p
}

// Next implements sim.Source.
func (p *poissons) Next() (scale.Request, error) {
	if p.left == 0 {
		return scale.Request{}, io.EOF
	}
	p.left--
	p.id++
	p.at += p.random.ExpFloat64() / p.rate
	i := p.random.IntN(len(p.prompts))
	return scale.Request{
		ID: p.id, At: trace.Epoch().Add(time.Duration(p.at * 1e9)), Model: p.model,
		PromptTokens: p.prompts[i], OutputTokens: p.outputs[i],
	}, nil
}

func w1(n int) sim.World {
	s := chat()
	s.Start = 8
	return sim.World{
		Services: []sim.Service{s}, Offerings: []scale.Offering{{Accelerator: "a100", Capacity: scale.OnDemand, PricePerHour: 2}},
		Source: newPoissons(1, 45, n), Governor: sim.Static(8), Begin: trace.Epoch(),
	}
}

// cpu is the time that this process has computed: on a machine that is shared,
// the clock on the wall says more about others.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkWorldW1 is W1's load, 45 requests/s of an 8B model on A100s.
func BenchmarkWorldW1(b *testing.B) {
	for name, govern := range map[string]func() sim.Governor{
		"static":   func() sim.Governor { return sim.Static(8) },
		"penstock": func() sim.Governor { return sim.Penstock(15 * time.Second) },
	} {
		b.Run(name, func(b *testing.B) {
			const n = 1_000_000
			began := cpu(b)
			b.ReportAllocs()
			for b.Loop() {
				w := w1(n)
				w.Governor = govern()
				out, err := w.Run(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				at, _ := out.Attainment()
				b.ReportMetric(100*at, "%good")
				b.ReportMetric(float64(out.Peak), "replicas")
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "requests/s")
			b.ReportMetric(float64(n*b.N)/(cpu(b)-began).Seconds(), "requests/cpu-s")
		})
	}
}
