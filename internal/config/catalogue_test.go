package config

import (
	"compress/gzip"
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// The benchmark's accelerator prices per replica, which the catalogue must
// give for its own profiles.
func TestCatalogueProfilesHaveTheBenchmarksFigures(t *testing.T) {
	c := Catalogue()
	for name, want := range map[string]struct {
		price, spot float64
		kv          int
		idle        time.Duration // one iteration over one token, no context
	}{
		"8b-a100":    {2.00, 0.60, 426483, 12632 * time.Microsecond},
		"8b-h100":    {3.50, 2.20, 426483, 7126 * time.Microsecond},
		"8b-l4":      {0.75, 0.30, 41961, 66 * time.Millisecond},
		"70b-h100x4": {14.00, 8.80, 448608, 18160 * time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			e, found := c.entry(name)
			a, known := c.Accelerator(e.Accelerator.Type)
			if !found || !known {
				t.Fatal("not in the catalogue")
			}
			count := float64(e.Accelerator.Count)
			if a.OnDemand*count != want.price || math.Abs(a.Spot*count-want.spot) > 1e-9 {
				t.Errorf("price %.2f and %.2f, want %.2f and %.2f", a.OnDemand*count, a.Spot*count, want.price, want.spot)
			}
			if got := e.Profile.KVCapacity(); got != want.kv {
				t.Errorf("KV cache of %d tokens, want %d", got, want.kv)
			}
			if got := e.Profile.IterationTime(1, 0); math.Abs(got-want.idle.Seconds()) > 1e-5 {
				t.Errorf("an iteration takes %s, want %s", seconds(got), want.idle)
			}
		})
	}
	p, _ := c.Profile("generic-4s")
	if want := (scale.ServiceTime{Mean: 4 * time.Second, CV: 0.6, Concurrency: 8}); p.Tokens() || p.Service != want {
		t.Errorf("generic-4s is %+v", p)
	}
}

// ITL = 7 + 0.044 b ms at 600 tokens of context is the line that llm-d's WVA
// measured for an 8B model on an H100.
func TestH100ProfileIsNearThePublishedLine(t *testing.T) {
	p, _ := Catalogue().Profile("8b-h100")
	for _, b := range []float64{1, 8, 16, 32, 64, 128} {
		got, want := p.IterationTime(b, 600*b)*1e3, 7+0.044*b
		if math.Abs(got/want-1) > 0.15 {
			t.Errorf("at %v requests an iteration takes %.2f ms, the line says %.2f ms", b, got, want)
		}
	}
}

// The roofline stands in where nothing was measured, and so must come near
// where something was.
func TestRooflineIsNearWhatWasMeasured(t *testing.T) {
	c := Catalogue()
	for _, name := range []string{"8b-a100", "8b-h100", "70b-h100x4"} {
		e, _ := c.entry(name)
		a, _ := c.Accelerator(e.Accelerator.Type)
		count := float64(e.Accelerator.Count)
		on := hardware{Accelerator: e.Accelerator, memory: a.MemoryBytes * count, bandwidth: a.Bandwidth * count, flops: a.FLOPS * count}
		size := Size{WeightBytes: e.Profile.WeightBytes, BillionParameters: e.Profile.WeightBytes / 2e9}
		line := scale.Profile{Linear: roofline(size, on)}
		for _, tokens := range []float64{1, 16, 64, 256, 512, 1024, 2048, 4096} {
			got, want := line.LinearTime(tokens), e.Profile.LinearTime(tokens)
			if got < want/1.3 || got > want*1.3 {
				t.Errorf("%s at %v tokens: roofline %.2f ms, measured %.2f ms", name, tokens, got*1e3, want*1e3)
			}
		}
	}
}

// The points of the catalogue are those of the file that they were taken from.
func TestCatalogueHoldsTheMeasuredPoints(t *testing.T) {
	traces := os.Getenv("PENSTOCK_TRACES")
	if traces == "" {
		t.Skip("PENSTOCK_TRACES names no folder of trace files")
	}
	f, err := os.Open(filepath.Join(traces, "service_time_vidur_linear_ops.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(unzipped).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]struct {
		model, gpu, tp string
		scale, floor   float64
	}{
		"8b-a100":    {"Meta-Llama-3-8B", "a100", "1", 1, 0},
		"8b-h100":    {"Llama-2-7b-hf", "h100", "1", 1.19, 0},
		"8b-l4":      {"Llama-2-7b-hf", "a40", "1", 1.47, 63},
		"70b-h100x4": {"Llama-2-70b-hf", "h100", "4", 1, 0},
	} {
		p, _ := Catalogue().Profile(name)
		i := 0
		for _, row := range rows {
			if row[0] != from.model || row[1] != from.gpu || row[2] != from.tp {
				continue
			}
			tokens, _ := strconv.Atoi(row[3])
			ms, _ := strconv.ParseFloat(row[4], 64)
			want := max(ms*from.scale, from.floor)
			if i >= len(p.Linear) || p.Linear[i].Tokens != tokens || math.Abs(p.Linear[i].Time.Seconds()*1e3-want) > 0.001 {
				t.Fatalf("%s point %d: want %d tokens in %.3f ms, have %+v", name, i, tokens, want, p.Linear)
			}
			i++
		}
		if i != len(p.Linear) {
			t.Errorf("%s has %d points, the file %d", name, len(p.Linear), i)
		}
	}
}

func TestProductNamesBecomeTypes(t *testing.T) {
	for product, want := range map[string]string{
		"NVIDIA A100-SXM4-80GB":         "nvidia-a100-80gb",
		"NVIDIA A100 80GB PCIe":         "nvidia-a100-80gb",
		"NVIDIA A100-SXM4-40GB":         "nvidia-a100-40gb",
		"NVIDIA H100 80GB HBM3":         "nvidia-h100-80gb",
		"NVIDIA H200":                   "nvidia-h200-141gb",
		"NVIDIA L4":                     "nvidia-l4",
		"NVIDIA L40S":                   "nvidia-l40s",
		"NVIDIA L40":                    "nvidia-l40",
		"Tesla T4":                      "nvidia-t4",
		"NVIDIA A10G":                   "nvidia-a10g",
		"NVIDIA GeForce RTX 4090":       "nvidia-geforce-rtx-4090",
		"NVIDIA RTX PRO 6000 Blackwell": "nvidia-rtx-pro-6000",
	} {
		if got := Catalogue().TypeOfProduct(product); got != want {
			t.Errorf("%s is %s, want %s", product, got, want)
		}
	}
}

func TestModelsAreKnownByName(t *testing.T) {
	for model, want := range map[string]float64{
		"meta-llama/Llama-3.1-8B-Instruct":         16.1e9,
		"meta-llama/Meta-Llama-3-70B":              141e9,
		"Qwen/Qwen3-30B-A3B":                       61e9,
		"hugging-quants/Llama-3.1-8B-Instruct-AWQ": 0,
		"org/unheard-of":                           0,
		"":                                         0,
	} {
		size, found := Catalogue().SizeOf(model)
		if found != (want > 0) || size.WeightBytes != want {
			t.Errorf("%q weighs %v, want %v", model, size.WeightBytes, want)
		}
	}
}

func TestKnownModelOnAnyAcceleratorNeedsNoProfile(t *testing.T) {
	for kind, want := range map[string]string{"nvidia-a100-80gb": "8b-a100", "nvidia-l40s": "roofline on 1 × nvidia-l40s"} {
		objects := base()
		put(objects["InferenceAutoscaler"], "spec.model", "meta-llama/Llama-3.1-8B-Instruct")
		put(objects["InferenceAutoscaler"], variant0+".profile", nil)
		put(objects["InferenceAutoscaler"], variant0+".accelerator.type", kind)
		c, err := Parse("p.yaml", write(t, objects))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Models[0].Variants[0].Profile.Name; got != want {
			t.Errorf("on %s: profile %s, want %s", kind, got, want)
		}
	}
}
