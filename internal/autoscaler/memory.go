package autoscaler

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/penstock/penstock/internal/capacity"
	"github.com/penstock/penstock/internal/forecast"
	"github.com/penstock/penstock/internal/policy"
	"github.com/penstock/penstock/internal/slo"
)

// memoryVersion changes when an older Memory can no longer be read.
const memoryVersion = 2

// Memory is everything that outlives a tick. It is a value: Step returns the
// next one and never changes the one that it was given.
type Memory struct {
	Version int
	Models  []ModelMemory // sorted by name
}

// ModelMemory is what is remembered of one Model.
type ModelMemory struct {
	Name     string
	Variants []VariantMemory // sorted by name
	Forecast forecast.State
	Trend    forecast.Trend
	Replay   Replay
	Mix      capacity.Mix // a mean over some minutes; parts never known are zero
	Prompts  Weighed      // what the mix is a mean over
	Outputs  Weighed
	Presence Presence
	Short    bool // all that may run is too little, see enough
	SLO      slo.State
	Policy   policy.Memory
}

// VariantMemory is what was learned of one Variant.
type VariantMemory struct {
	Name    string
	Learned capacity.Learned
	Boots   capacity.Boots
	Flow    capacity.Flow
}

// Encode writes the Memory for the journal, as CBOR (RFC 8949): it is written
// every tick, and most of it is numbers.
func (m Memory) Encode() ([]byte, error) {
	m.Version = memoryVersion
	mode, err := writing().EncMode()
	if err != nil {
		return nil, fmt.Errorf("encode memory: %w", err)
	}
	raw, err := mode.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode memory: %w", err)
	}
	return raw, nil
}

// DecodeMemory reads what Encode wrote. Nothing at all is the empty Memory.
func DecodeMemory(raw []byte) (Memory, error) {
	var m Memory
	if len(raw) == 0 {
		return m, nil
	}
	var version struct{ Version int }
	if err := cbor.Unmarshal(raw, &version); err != nil {
		return Memory{}, fmt.Errorf("decode memory: %w", err)
	}
	if version.Version != memoryVersion {
		return Memory{}, fmt.Errorf("decode memory: it is of version %d, this is version %d; it cannot be carried over", version.Version, memoryVersion)
	}
	if err := cbor.Unmarshal(raw, &m); err != nil {
		return Memory{}, fmt.Errorf("decode memory: %w", err)
	}
	return m, nil
}

// writing is how Memory is written: what is no number is refused, so that it is
// found where it came in.
func writing() cbor.EncOptions {
	return cbor.EncOptions{
		Time: cbor.TimeRFC3339NanoUTC, NaNConvert: cbor.NaNConvertReject, InfConvert: cbor.InfConvertReject, ShortestFloat: cbor.ShortestFloat16,
	}
}

// model returns what is remembered of a Model.
func (m *Memory) model(name string) ModelMemory {
	i, found := slices.BinarySearchFunc(m.Models, name, func(a ModelMemory, name string) int { return cmp.Compare(a.Name, name) })
	if !found {
		return ModelMemory{Name: name}
	}
	return m.Models[i]
}

// variant returns what was learned of a Variant.
func (m *ModelMemory) variant(name string) VariantMemory {
	for _, v := range m.Variants {
		if v.Name == name {
			return v
		}
	}
	return VariantMemory{Name: name}
}
