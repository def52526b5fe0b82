package slo

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"time"
)

// MarshalBinary writes counts compactly, as variable-length integers:
// a month of hours and a day of minutes are most of what is remembered of a
// Model. Each number is its float64 with the bytes reversed, so that small whole
// numbers are short; times are nanoseconds since the previous one.
func (cs Counts) MarshalBinary() ([]byte, error) {
	if len(cs.Closed) == 0 && cs.Open == (Count{}) {
		return nil, nil
	}
	raw := make([]byte, 0, 8*len(cs.Closed)+32)
	last := int64(0)
	for i := range len(cs.Closed) + 1 {
		c := cs.Open
		if i < len(cs.Closed) {
			c = cs.Closed[i]
		}
		at := c.Start.UnixNano()
		raw = binary.AppendVarint(raw, at-last)
		raw = binary.AppendUvarint(raw, bits.ReverseBytes64(math.Float64bits(c.Good)))
		raw = binary.AppendUvarint(raw, bits.ReverseBytes64(math.Float64bits(c.Bad)))
		last = at
	}
	return raw, nil
}

// UnmarshalBinary reads what MarshalBinary wrote.
func (cs *Counts) UnmarshalBinary(raw []byte) error {
	*cs = Counts{}
	last := int64(0)
	for len(raw) > 0 {
		if !cs.Open.Start.IsZero() {
			cs.Closed = append(cs.Closed, cs.Open)
		}
		since, a := binary.Varint(raw)
		good, b := binary.Uvarint(raw[max(0, a):])
		bad, c := binary.Uvarint(raw[max(0, a)+max(0, b):])
		if a <= 0 || b <= 0 || c <= 0 {
			return errors.New("read counts: they are cut short")
		}
		raw, last = raw[a+b+c:], last+since
		cs.Open = Count{
			Start: time.Unix(0, last).UTC(),
			Good:  math.Float64frombits(bits.ReverseBytes64(good)), Bad: math.Float64frombits(bits.ReverseBytes64(bad)),
		}
	}
	return nil
}
