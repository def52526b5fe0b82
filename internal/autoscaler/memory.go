package autoscaler

import (
	"encoding/json"
	"fmt"

	"github.com/penstock/penstock/internal/capacity"
	"github.com/penstock/penstock/internal/forecast"
	"github.com/penstock/penstock/internal/policy"
	"github.com/penstock/penstock/internal/slo"
)

// memoryVersion changes when an older Memory can no longer be read.
const memoryVersion = 1

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
	Mix      capacity.Mix // last known; parts never known are zero
	Short    bool         // all that may run is too little, see enough
	SLO      slo.State
	Policy   policy.Memory
}

// VariantMemory is what was learned of one Variant.
type VariantMemory struct {
	Name    string
	Learned capacity.Learned
	Boots   capacity.Boots
}

// Encode writes the Memory for the journal.
func (m Memory) Encode() ([]byte, error) {
	m.Version = memoryVersion
	text, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode memory: %w", err)
	}
	return text, nil
}

// DecodeMemory reads what Encode wrote. No text at all is the empty Memory.
func DecodeMemory(text []byte) (Memory, error) {
	var m Memory
	if len(text) == 0 {
		return m, nil
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return Memory{}, fmt.Errorf("decode memory: %w", err)
	}
	if m.Version != memoryVersion {
		return Memory{}, fmt.Errorf("decode memory: it is of version %d, this is version %d; it cannot be carried over", m.Version, memoryVersion)
	}
	return m, nil
}

// model returns what is remembered of a Model.
func (m Memory) model(name string) ModelMemory {
	for _, mm := range m.Models {
		if mm.Name == name {
			return mm
		}
	}
	return ModelMemory{Name: name}
}

// variant returns what was learned of a Variant.
func (m ModelMemory) variant(name string) VariantMemory {
	for _, v := range m.Variants {
		if v.Name == name {
			return v
		}
	}
	return VariantMemory{Name: name}
}
