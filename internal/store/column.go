package store

import (
	"encoding/binary"
	"math/bits"
)

// column is what stood at one place, in the order in which it stood there.
type column struct {
	values []int64
	read   int
}

func (c *column) add(v int64) { c.values = append(c.values, v) }

// next returns the next value, and false after the last.
func (c *column) next() (int64, bool) {
	if c.read >= len(c.values) {
		return 0, false
	}
	c.read++
	return c.values[c.read-1], true
}

// planes is how many bytes a value has. The same bytes of all values lie
// together, for the high ones hardly ever differ and the low ones are noise.
const planes = 8

// streams are what columns are written to and read from: what says how, kinds,
// and the bytes of values.
type streams struct {
	about  []byte
	kinds  []byte
	planes [planes][]byte
	fault  bool // of reading: something was missing or could not be
}

// Whether a column holds its values or their steps.
const (
	plainValues = iota
	stepped
)

// write adds a column: values or their steps, whichever are shorter, divided by
// the largest power of ten that divides all.
func (s *streams) write(c *column) {
	s.count(len(c.values))
	if len(c.values) == 0 {
		return
	}
	tens := commonTens(c.values)
	scale := power(tens)
	var size [2]int
	before := int64(0)
	for _, v := range c.values {
		v /= scale
		size[plainValues] += width(zigzag(v))
		size[stepped] += width(zigzag(v - before))
		before = v
	}
	how := plainValues
	if size[stepped] < size[plainValues] {
		how = stepped
	}
	widest, before := 0, int64(0)
	coded := make([]uint64, len(c.values))
	for i, v := range c.values {
		v /= scale
		coded[i] = zigzag(v)
		if how == stepped {
			coded[i] = zigzag(v - before)
		}
		before = v
		widest = max(widest, width(coded[i]))
	}
	s.count(tens<<5 | widest<<1 | how)
	for plane := range widest {
		for _, v := range coded {
			s.planes[plane] = append(s.planes[plane], byte(v>>(8*plane)))
		}
	}
}

// column is the inverse of write.
func (s *streams) column() column {
	n := s.number()
	if n == 0 || s.fault {
		return column{}
	}
	head := s.number()
	how, widest, tens := head&1, head>>1&15, head>>5
	if widest > planes || tens > maxTens || n > maxValues {
		s.fault = true
		return column{}
	}
	coded := make([]uint64, 0, min(n, 1<<12))
	for plane := range widest {
		part := s.take(&s.planes[plane], n)
		if s.fault {
			return column{}
		}
		if plane == 0 {
			coded = make([]uint64, n)
		}
		for i, b := range part {
			coded[i] |= uint64(b) << (8 * plane)
		}
	}
	if widest == 0 { // all are 0, and only their number is known
		coded = make([]uint64, n)
	}
	values, scale, before := make([]int64, n), power(tens), int64(0)
	for i, v := range coded {
		values[i] = unzigzag(v)
		if how == stepped {
			values[i] += before
		}
		before = values[i]
		values[i] *= scale
	}
	return column{values: values}
}

// count writes a number that is not negative.
func (s *streams) count(n int) { s.about = binary.AppendUvarint(s.about, uint64(n)) }

// number is the inverse of count.
func (s *streams) number() int {
	v, n := binary.Uvarint(s.about)
	if n <= 0 || v > 1<<40 {
		s.fault = true
		return 0
	}
	s.about = s.about[n:]
	return int(v)
}

// word writes a string.
func (s *streams) word(text string) {
	s.count(len(text))
	s.about = append(s.about, text...)
}

// text is the inverse of word.
func (s *streams) text() string { return string(s.take(&s.about, s.number())) }

// take cuts n bytes off the front of a stream.
func (s *streams) take(from *[]byte, n int) []byte {
	if s.fault || n > len(*from) {
		s.fault = true
		return nil
	}
	part := (*from)[:n:n]
	*from = (*from)[n:]
	return part
}

const (
	// maxTens is the largest power of ten in an int64.
	maxTens = 18
	// maxValues bounds a column whose values are all 0 and so have no bytes.
	maxValues = 1 << 22
)

// commonTens is the power of ten that divides all values.
func commonTens(values []int64) int {
	tens := maxTens
	for _, v := range values {
		for tens > 0 && v%power(tens) != 0 {
			tens--
		}
		if tens == 0 {
			break
		}
	}
	return tens
}

func power(tens int) int64 {
	p := int64(1)
	for range tens {
		p *= 10
	}
	return p
}

// width is how many bytes hold a value.
func width(v uint64) int { return (bits.Len64(v) + 7) / 8 }

// zigzag makes small numbers of either sign small ones without a sign.
func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }

func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
