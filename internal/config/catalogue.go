package config

import (
	_ "embed"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/api/v1alpha1"
	"github.com/penstock/penstock/internal/scale"
)

// catalogueYAML is the built-in catalogue. Every number in it has its source
// beside it.
//
//go:embed catalogue.yaml
var catalogueYAML []byte

// Builtin is what Penstock knows without being told: accelerators with their
// prices, measured profiles, and the sizes of well-known models.
type Builtin struct {
	Accelerators []Accelerator
	Entries      []Entry
	Sizes        []Size
}

// Accelerator is one accelerator type of the catalogue.
type Accelerator struct {
	Type         string
	Products     []string // words of the names by which nvidia-smi calls it
	MemoryBytes  float64
	Bandwidth    float64 // bytes/s, as published
	FLOPS        float64 // operations/s, dense, bfloat16 (float16 where there is none)
	OnDemand     float64 // US dollars per hour
	Spot         float64 // US dollars per hour; 0 where no price is known
	PricesSource string
}

// Entry is one profile of the catalogue with the accelerators that it holds
// for.
type Entry struct {
	Accelerator scale.Accelerator // Type is "" where it holds for any
	Profile     scale.Profile
}

// Size is what a well-known model weighs.
type Size struct {
	Names             []string // last element of the model's name, lower case, without -instruct and the like
	WeightBytes       float64
	KVBytesPerToken   float64
	BillionParameters float64 // that one token passes through
}

// Catalogue returns the built-in catalogue. It panics if the embedded file is
// broken, which is a defect of the build and not of any input.
func Catalogue() Builtin {
	documents, faults := readDocuments("catalogue.yaml", catalogueYAML)
	if len(documents) != 1 {
		panic("embedded catalogue: " + faults.Error())
	}
	var file catalogueFile
	o := object{file: "catalogue.yaml", lines: map[string]int{}, faults: &faults}
	o.decode(documents[0], reflect.ValueOf(&file).Elem(), "")
	if len(faults) > 0 {
		panic("embedded catalogue: " + faults.Error())
	}
	return file.builtin()
}

// Profile returns the catalogue's profile of that name.
func (b Builtin) Profile(name string) (scale.Profile, bool) {
	entry, found := b.entry(name)
	return entry.Profile, found
}

// ProfileNames returns the names of all profiles, in the catalogue's order.
func (b Builtin) ProfileNames() []string {
	all := make([]string, len(b.Entries))
	for i, e := range b.Entries {
		all[i] = e.Profile.Name
	}
	return all
}

// Accelerator returns the accelerator of that type.
func (b Builtin) Accelerator(kind string) (Accelerator, bool) {
	for _, a := range b.Accelerators {
		if a.Type == kind {
			return a, true
		}
	}
	return Accelerator{}, false
}

// AcceleratorTypes returns the types of all accelerators, in the catalogue's
// order.
func (b Builtin) AcceleratorTypes() []string {
	all := make([]string, len(b.Accelerators))
	for i, a := range b.Accelerators {
		all[i] = a.Type
	}
	return all
}

// TypeOfProduct returns the accelerator type for a product name as nvidia-smi
// prints it ("NVIDIA A100-SXM4-80GB"). One that the catalogue does not know
// becomes its name in lower case with dashes ("nvidia-geforce-rtx-4090").
func (b Builtin) TypeOfProduct(product string) string {
	words := strings.FieldsFunc(strings.ToLower(product), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	joined := " " + strings.Join(words, " ") + " "
	for _, a := range b.Accelerators {
		if len(a.Products) == 0 {
			continue
		}
		all := true
		for _, word := range a.Products {
			all = all && strings.Contains(joined, " "+word+" ")
		}
		if all {
			return a.Type
		}
	}
	return strings.Join(words, "-")
}

// SizeOf returns the size of a model known by its name, such as
// "meta-llama/Llama-3.1-8B-Instruct". Quantised editions have other names and
// are not known.
func (b Builtin) SizeOf(model string) (Size, bool) {
	name := strings.ToLower(model[strings.LastIndex(model, "/")+1:])
	for _, suffix := range []string{"-instruct", "-chat", "-it", "-base", "-hf"} {
		name = strings.TrimSuffix(name, suffix)
	}
	for _, size := range b.Sizes {
		if slices.Contains(size.Names, name) {
			return size, true
		}
	}
	return Size{}, false
}

func (b Builtin) entry(name string) (Entry, bool) {
	for _, e := range b.Entries {
		if e.Profile.Name == name {
			return e, true
		}
	}
	return Entry{}, false
}

// catalogueFile is the form of catalogue.yaml.
type catalogueFile struct {
	Accelerators []struct {
		Type      string         `json:"type"`
		Products  []string       `json:"products,omitempty"`
		Memory    v1alpha1.Bytes `json:"memory"`
		Bandwidth v1alpha1.Bytes `json:"bandwidth"` // per second
		TFLOPS    float64        `json:"tflops"`
		OnDemand  float64        `json:"onDemand"`
		Spot      float64        `json:"spot,omitempty"`
		Prices    string         `json:"prices"`
		Source    string         `json:"source"`
	} `json:"accelerators"`
	Profiles []catalogueProfile `json:"profiles"`
	Models   []struct {
		Names             []string       `json:"names"`
		Weights           v1alpha1.Bytes `json:"weights"`
		KVBytesPerToken   int64          `json:"kvBytesPerToken"`
		BillionParameters float64        `json:"billionParameters"`
		Source            string         `json:"source"`
	} `json:"models"`
}

type catalogueProfile struct {
	Name                string                 `json:"name"`
	Source              string                 `json:"source"`
	Accelerator         v1alpha1.Accelerator   `json:"accelerator,omitzero"`
	Weights             v1alpha1.Bytes         `json:"weights,omitempty"`
	KVBytesPerToken     int64                  `json:"kvBytesPerToken,omitempty"`
	Memory              v1alpha1.Bytes         `json:"memory,omitempty"` // of all accelerators
	MemoryUtilisation   v1alpha1.Percent       `json:"memoryUtilisation,omitempty"`
	Bandwidth           v1alpha1.Bytes         `json:"bandwidth,omitempty"` // of all accelerators, per second
	BandwidthEfficiency v1alpha1.Percent       `json:"bandwidthEfficiency,omitempty"`
	Overhead            v1alpha1.Duration      `json:"overhead,omitempty"`
	PrefillChunk        int                    `json:"prefillChunk,omitempty"`
	MaxBatch            int                    `json:"maxBatch,omitempty"`
	Scale               float64                `json:"scale,omitempty"` // factor on the times of linear; 1 if left out
	Floor               v1alpha1.Duration      `json:"floor,omitempty"` // no time of linear is below it
	Linear              []v1alpha1.LinearPoint `json:"linear,omitempty"`
	Service             *v1alpha1.ServiceTime  `json:"service,omitempty"`
}

func (f catalogueFile) builtin() Builtin {
	var b Builtin
	for _, a := range f.Accelerators {
		b.Accelerators = append(b.Accelerators, Accelerator{
			Type: a.Type, Products: a.Products,
			MemoryBytes: float64(a.Memory), Bandwidth: float64(a.Bandwidth), FLOPS: a.TFLOPS * 1e12,
			OnDemand: a.OnDemand, Spot: a.Spot, PricesSource: a.Prices,
		})
	}
	for _, p := range f.Profiles {
		b.Entries = append(b.Entries, Entry{
			Accelerator: scale.Accelerator{Type: p.Accelerator.Type, Count: int(p.Accelerator.Count)},
			Profile:     p.profile(),
		})
	}
	for _, m := range f.Models {
		b.Sizes = append(b.Sizes, Size{
			Names: m.Names, WeightBytes: float64(m.Weights),
			KVBytesPerToken: float64(m.KVBytesPerToken), BillionParameters: m.BillionParameters,
		})
	}
	return b
}

func (p catalogueProfile) profile() scale.Profile {
	profile := scale.Profile{
		Name:     p.Name,
		Overhead: time.Duration(p.Overhead), Bandwidth: float64(p.Bandwidth) * float64(p.BandwidthEfficiency),
		KVBytesPerToken: float64(p.KVBytesPerToken), WeightBytes: float64(p.Weights),
		MemoryBytes: float64(p.Memory), MemoryUtilisation: float64(p.MemoryUtilisation),
		PrefillChunk: p.PrefillChunk, MaxBatch: p.MaxBatch,
	}
	factor := p.Scale
	if factor == 0 {
		factor = 1
	}
	for _, point := range p.Linear {
		span := max(time.Duration(float64(point.Time)*factor), time.Duration(p.Floor))
		profile.Linear = append(profile.Linear, scale.LinearPoint{Tokens: int(point.Tokens), Time: span.Round(time.Microsecond)})
	}
	if p.Service != nil {
		profile.Service = serviceTime(*p.Service)
	}
	return profile
}

// serviceTime fills in the defaults of a service time.
func serviceTime(s v1alpha1.ServiceTime) scale.ServiceTime {
	service := scale.ServiceTime{Mean: time.Duration(s.Mean), CV: 0.5, Concurrency: max(1, int(s.Concurrency))}
	if s.CV != nil {
		service.CV = *s.CV
	}
	return service
}
