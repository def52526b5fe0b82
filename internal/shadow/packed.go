package shadow

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// packed is a list of records that is written compactly and quickly: every tick
// of every Model is written. Records are of one size, and little-endian.
type packed[T any, P record[T]] []T

// record is what can be packed.
type record[T any] interface {
	*T
	appendTo(raw []byte) []byte
	read(raw []byte)
}

// MarshalBinary writes the list.
func (p packed[T, P]) MarshalBinary() ([]byte, error) {
	var raw []byte
	for i := range p {
		raw = P(&p[i]).appendTo(raw)
		if i == 0 {
			raw = slices.Grow(raw, len(raw)*len(p))
		}
	}
	return raw, nil
}

// UnmarshalBinary reads what MarshalBinary wrote.
func (p *packed[T, P]) UnmarshalBinary(raw []byte) error {
	size := len(P(new(T)).appendTo(nil))
	if len(raw)%size != 0 {
		return fmt.Errorf("read packed records: %d bytes are no whole number of %d", len(raw), size)
	}
	*p = nil
	if len(raw) > 0 {
		*p = make(packed[T, P], len(raw)/size)
	}
	for i := range *p {
		P(&(*p)[i]).read(raw[size*i:])
	}
	return nil
}

func appendFloats(raw []byte, values ...float64) []byte {
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(v))
	}
	return raw
}

func readFloats(raw []byte, values ...*float64) []byte {
	for _, v := range values {
		*v = math.Float64frombits(binary.LittleEndian.Uint64(raw))
		raw = raw[8:]
	}
	return raw
}

func appendShorts(raw []byte, values ...int16) []byte {
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint16(raw, uint16(v))
	}
	return raw
}

func readShorts(raw []byte, values []int16) []byte {
	for i := range values {
		values[i] = int16(binary.LittleEndian.Uint16(raw))
		raw = raw[2:]
	}
	return raw
}

func (f *fleet) appendTo(raw []byte) []byte {
	raw = appendFloats(raw, f.Work.Fresh, f.Work.Late)
	return appendShorts(appendShorts(appendShorts(raw, f.Ready), f.Totals[:]...), f.Wishes[:]...)
}

func (f *fleet) read(raw []byte) {
	raw = readFloats(raw, &f.Work.Fresh, &f.Work.Late)
	ready := [1]int16{}
	raw = readShorts(raw, ready[:])
	f.Ready = ready[0]
	readShorts(readShorts(raw, f.Totals[:]), f.Wishes[:])
}

func (c *score) appendTo(raw []byte) []byte { return appendFloats(raw, c.Cost, c.Late) }

func (c *score) read(raw []byte) { readFloats(raw, &c.Cost, &c.Late) }

func (c *scores) appendTo(raw []byte) []byte {
	for _, s := range c {
		raw = s.appendTo(raw)
	}
	return raw
}

func (c *scores) read(raw []byte) {
	for h := range c {
		raw = readFloats(raw, &c[h].Cost, &c[h].Late)
	}
}

func (s *Sample) appendTo(raw []byte) []byte {
	return appendFloats(raw, s.Span, s.Rate, float64(s.Ready), s.Missed)
}

func (s *Sample) read(raw []byte) {
	ready := 0.0
	readFloats(raw, &s.Span, &s.Rate, &ready, &s.Missed)
	s.Ready = int(ready)
}
