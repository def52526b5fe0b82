package scale

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Packed is a series of numbers that is written compactly, as little-endian
// float32. It keeps Memory small where history is long.
type Packed []float32

// MarshalBinary writes the series; every value comes back as it was.
func (p Packed) MarshalBinary() ([]byte, error) {
	raw := make([]byte, 4*len(p))
	for i, v := range p {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(v))
	}
	return raw, nil
}

// UnmarshalBinary reads what MarshalBinary wrote.
func (p *Packed) UnmarshalBinary(raw []byte) error {
	if len(raw)%4 != 0 {
		return fmt.Errorf("read packed numbers: %d bytes are no whole number of them", len(raw))
	}
	*p = nil
	if len(raw) > 0 {
		*p = make(Packed, len(raw)/4)
	}
	for i := range *p {
		(*p)[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return nil
}
