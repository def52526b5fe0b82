package config

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/penstock/penstock/api/v1alpha1"
	"github.com/penstock/penstock/internal/scale"
)

// How much of the published bandwidth and arithmetic engines reach. Fitted to
// the catalogue's measured profiles, which a test holds them against; the
// bandwidth figure is also aiconfigurator's.
const (
	weightsEfficiency    = 0.80
	kvEfficiency         = 0.85
	arithmeticEfficiency = 0.72
)

// Defaults of a Profile, vLLM's.
const (
	defaultUtilisation  = 0.90
	defaultPrefillChunk = 2048
	defaultMaxBatch     = 256
	defaultOverheadOne  = 3 * time.Millisecond
	defaultOverheadMany = 4 * time.Millisecond // all-reduce between accelerators included
)

// What a lone, ordinary request is, for checks of what can never work.
const (
	typicalTokens = 4096 // prompt and output, for KV cache
	typicalPrompt = 1024 // for the time to the first token
)

// hardware is what one replica runs on.
type hardware struct {
	scale.Accelerator
	memory, bandwidth, flops float64 // of all its accelerators: bytes, bytes/s, operations/s
	custom                   bool    // the file says something else than the catalogue
}

func (h hardware) String() string { return fmt.Sprintf("%d × %s", h.Count, h.Type) }

// hardwareOf lays what a file says of an accelerator over the catalogue.
func (f *file) hardwareOf(a v1alpha1.Accelerator) hardware {
	known, _ := f.catalogue.Accelerator(a.Type)
	count := max(1, float64(a.Count))
	return hardware{
		Accelerator: scale.Accelerator{Type: a.Type, Count: int(count)},
		memory:      orDefault(float64(a.Memory), known.MemoryBytes) * count,
		bandwidth:   orDefault(float64(a.Bandwidth), known.Bandwidth) * count,
		flops:       orDefault(a.TFLOPS*1e12, known.FLOPS) * count,
		custom:      a.Memory != 0 || a.Bandwidth != 0 || a.TFLOPS != 0,
	}
}

// profiling is the making of one variant's profile.
type profiling struct {
	modelObject
	catalogue Builtin
	on        hardware
	at        string // path of the variant
	written   v1alpha1.Profile
}

func (p profiling) path(name string) string { return join(join(p.at, "profile"), name) }

// checkProfile makes the profile of a variant. The second result is false
// where there is none, and then a fault says why.
func (f *file) checkProfile(m modelObject, v v1alpha1.Variant, at string) (scale.Profile, bool) {
	p := profiling{modelObject: m, catalogue: f.catalogue, on: f.hardwareOf(v.Accelerator), at: at}
	if v.Profile != nil {
		p.written = *v.Profile
	}
	before := len(*m.faults)
	var profile scale.Profile
	switch {
	case p.written.Name != "":
		profile = p.named()
	case p.written.Service != nil:
		profile = p.service()
	case m.Spec.SLO.Latency > 0:
		m.fault(join(at, "profile"), "gives no service time, which a model with spec.slo.latency needs. Add profile: {service: {mean: 2s, concurrency: 4}}, or set spec.slo.ttft and tpot for a model that streams tokens.")
	default:
		profile = p.sized()
	}
	return profile, len(*m.faults) == before
}

// named takes a catalogue entry.
func (p profiling) named() scale.Profile {
	entry, found := p.catalogue.entry(p.written.Name)
	if !found {
		p.fault(p.path("name"), "is %q, which is no catalogue profile. %s", p.written.Name, didYouMean(p.written.Name, p.catalogue.ProfileNames()))
		return scale.Profile{}
	}
	if entry.Accelerator.Type != "" && (entry.Accelerator != p.on.Accelerator || p.on.custom) {
		p.fault(p.path("name"), "is %s, which was measured on %d × %s as published, and the variant has %s. Give profile.weights and profile.kvBytesPerToken instead.",
			p.written.Name, entry.Accelerator.Count, entry.Accelerator.Type, p.on)
	}
	p.refuse("belongs to the catalogue's "+p.written.Name+". Leave it out, or leave out name.",
		"weights", "kvBytesPerToken", "billionParameters", "linear", "service")
	if !entry.Profile.Tokens() {
		p.refuse("has no effect on a model without tokens.", "memoryUtilisation", "prefillChunk", "maxBatch", "overhead")
		return entry.Profile
	}
	return p.tuned(entry.Profile)
}

// service takes a written service time.
func (p profiling) service() scale.Profile {
	p.refuse("has no effect beside service, which is for models without tokens.",
		"weights", "kvBytesPerToken", "billionParameters", "linear", "memoryUtilisation", "prefillChunk", "maxBatch", "overhead")
	service := serviceTime(*p.written.Service)
	if service.Mean <= 0 {
		p.fault(p.path("service.mean"), "is 0, where a time is wanted.")
	}
	if service.CV < 0 || service.CV > 10 {
		p.fault(p.path("service.cv"), "is %v. Set it between 0 and 10.", service.CV)
	}
	if p.written.Service.Concurrency < 1 && p.has(p.path("service.concurrency")) {
		p.fault(p.path("service.concurrency"), "is %d. Set it to 1 or more.", p.written.Service.Concurrency)
	}
	return scale.Profile{Name: "service time", Service: service}
}

// sized makes a profile from the model's size, by roofline or from measured
// times.
func (p profiling) sized() scale.Profile {
	size, known := p.size()
	if !known {
		return scale.Profile{}
	}
	if p.on.memory <= 0 {
		p.fault(join(p.at, "accelerator"), "is %s, whose memory the catalogue does not know. Add memory (such as 24GB).", p.on.Type)
		return scale.Profile{}
	}
	profile := scale.Profile{
		Name:            "roofline on " + p.on.String(),
		Overhead:        defaultOverheadOne,
		Bandwidth:       p.on.bandwidth * kvEfficiency,
		KVBytesPerToken: size.KVBytesPerToken, WeightBytes: size.WeightBytes,
		MemoryBytes: p.on.memory, MemoryUtilisation: defaultUtilisation,
		PrefillChunk: defaultPrefillChunk, MaxBatch: defaultMaxBatch,
	}
	if p.on.Count > 1 {
		profile.Overhead = defaultOverheadMany
	}
	if p.on.bandwidth <= 0 || p.on.flops <= 0 && len(p.written.Linear) == 0 {
		p.fault(join(p.at, "accelerator"), "is %s, whose bandwidth and arithmetic the catalogue does not know. Add bandwidth (per second, such as 1008GB) and tflops (such as 165).", p.on.Type)
		return scale.Profile{}
	}
	if len(p.written.Linear) > 0 {
		profile.Name = "measured on " + p.on.String()
		profile.Linear = p.linear()
	} else if entry, found := p.measured(size); found {
		profile = entry
	} else {
		profile.Linear = roofline(size, p.on)
	}
	return p.tuned(profile)
}

// size returns the model's size as written, or by its name.
func (p profiling) size() (Size, bool) {
	w := p.written
	known, found := p.catalogue.SizeOf(p.Spec.Model)
	if w.Weights == 0 && w.KVBytesPerToken == 0 && found {
		if w.BillionParameters > 0 {
			known.BillionParameters = w.BillionParameters
		}
		return known, true
	}
	if w.Weights <= 0 || w.KVBytesPerToken <= 0 {
		p.fault(join(p.at, "profile"), "does not say how large %s is. Set profile.weights and profile.kvBytesPerToken (2 × layers × KV heads × head size × bytes per value), or profile.name to one of %s.",
			orDefault(p.Spec.Model, "the model"), strings.Join(p.catalogue.ProfileNames(), ", "))
		return Size{}, false
	}
	if w.BillionParameters < 0 {
		p.fault(p.path("billionParameters"), "is %v. Set it above 0.", w.BillionParameters)
	}
	return Size{
		WeightBytes: float64(w.Weights), KVBytesPerToken: float64(w.KVBytesPerToken),
		BillionParameters: orDefault(w.BillionParameters, float64(w.Weights)/2/1e9),
	}, true
}

// measured returns the catalogue's profile of a model of that size on that
// hardware, if there is one.
func (p profiling) measured(size Size) (scale.Profile, bool) {
	for _, e := range p.catalogue.Entries {
		same := e.Profile.WeightBytes == size.WeightBytes && e.Profile.KVBytesPerToken == size.KVBytesPerToken
		if same && e.Accelerator == p.on.Accelerator && !p.on.custom && p.written.BillionParameters == 0 {
			return e.Profile, true
		}
	}
	return scale.Profile{}, false
}

// roofline is the time of the linear operators by tokens. Reading the weights
// once and doing the arithmetic bound it from below; near the knee, where both
// take as long, it is the root of their squares, as measured profiles are.
func roofline(size Size, on hardware) []scale.LinearPoint {
	read := size.WeightBytes / (on.bandwidth * weightsEfficiency)
	perToken := 2 * size.BillionParameters * 1e9 / (on.flops * arithmeticEfficiency)
	knee := min(max(read/perToken, 1), 1<<20)
	var points []scale.LinearPoint
	for _, share := range []float64{0, 0.25, 0.5, 1, 2, 4, 16} {
		tokens := max(1, int(math.Round(share*knee)))
		if len(points) > 0 && tokens <= points[len(points)-1].Tokens {
			continue
		}
		took := math.Hypot(read, float64(tokens)*perToken)
		points = append(points, scale.LinearPoint{
			Tokens: tokens, Time: time.Duration(took * float64(time.Second)).Round(time.Microsecond),
		})
	}
	return points
}

// linear takes measured times.
func (p profiling) linear() []scale.LinearPoint {
	var points []scale.LinearPoint
	for i, point := range p.written.Linear {
		at := fmt.Sprintf("%s[%d]", p.path("linear"), i)
		if point.Tokens < 1 || i > 0 && point.Tokens <= p.written.Linear[i-1].Tokens {
			p.fault(join(at, "tokens"), "is %d. Points ascend by tokens, from 1.", point.Tokens)
		}
		if point.Time <= 0 || i > 0 && point.Time < p.written.Linear[i-1].Time {
			p.fault(join(at, "time"), "is %s. Times are above 0 and do not fall.", text(point.Time))
		}
		points = append(points, scale.LinearPoint{Tokens: int(point.Tokens), Time: time.Duration(point.Time)})
	}
	return points
}

// tuned applies the engine's own settings.
func (p profiling) tuned(profile scale.Profile) scale.Profile {
	w := p.written
	for name, value := range map[string]float64{
		"memoryUtilisation": float64(w.MemoryUtilisation), "prefillChunk": float64(w.PrefillChunk),
		"maxBatch": float64(w.MaxBatch), "overhead": float64(w.Overhead),
	} {
		if value <= 0 && p.has(p.path(name)) {
			p.fault(p.path(name), "is not above 0. Leave it out for the default.")
		}
	}
	profile.MemoryUtilisation = orDefault(float64(w.MemoryUtilisation), profile.MemoryUtilisation)
	profile.PrefillChunk = orDefault(int(w.PrefillChunk), profile.PrefillChunk)
	profile.MaxBatch = orDefault(int(w.MaxBatch), profile.MaxBatch)
	profile.Overhead = orDefault(time.Duration(w.Overhead), profile.Overhead)
	return profile
}

// refuse notes each of the named fields that is written.
func (p profiling) refuse(why string, fields ...string) {
	for _, name := range fields {
		if p.has(p.path(name)) {
			p.fault(p.path(name), "%s", why)
		}
	}
}

// loneTTFT is the seconds until the first token of a lone request.
func loneTTFT(p scale.Profile, prompt int) float64 {
	total := 0.0
	for done := 0; done < prompt; {
		chunk := min(prompt-done, max(1, p.PrefillChunk))
		done += chunk
		total += p.IterationTime(float64(chunk), float64(done))
	}
	return total
}
