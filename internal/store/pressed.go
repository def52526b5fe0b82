package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// The first byte of what is pressed says how.
const (
	pressedColumns = 1 // columns, each stream compressed on its own
	pressedPlain   = 2 // the documents one after the other, compressed
)

// zipper compresses and decompresses. It is made on first use, for it holds
// tables of some megabytes, and may be used concurrently.
type zipper struct {
	once  sync.Once
	write *zstd.Encoder
	best  *zstd.Encoder
	read  *zstd.Decoder
}

func (z *zipper) open() {
	z.once.Do(func() {
		options := []zstd.EOption{
			zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1 << 20), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true),
		}
		// The options are valid, so there is no error to have.
		z.write, _ = zstd.NewWriter(nil, append(options[:4:4], zstd.WithEncoderLevel(zstd.SpeedFastest))...)
		z.best, _ = zstd.NewWriter(nil, append(options[:4:4], zstd.WithEncoderLevel(zstd.SpeedBetterCompression))...)
		z.read, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(4), zstd.WithDecoderMaxMemory(maxBody),
			zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
	})
}

// errEmpty says that not even the frame of what was packed is there.
var errEmpty = errors.New("unpack: nothing is there")

// pack compresses quickly, with a checksum.
func (z *zipper) pack(raw []byte) []byte {
	z.open()
	return z.write.EncodeAll(raw, nil)
}

// packSmall compresses as well as it can, with a checksum.
func (z *zipper) packSmall(raw []byte) []byte {
	z.open()
	return z.best.EncodeAll(raw, nil)
}

// unpack is the inverse of both. The checksum in zip catches damage.
func (z *zipper) unpack(zip []byte) ([]byte, error) {
	z.open()
	if len(zip) == 0 {
		return nil, errEmpty
	}
	raw, err := z.read.DecodeAll(zip, nil)
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	return raw, nil
}

// press makes documents small. Any will do; those that are compact JSON and
// alike become smallest.
func (z *zipper) press(documents [][]byte) []byte {
	z.open()
	root := newPlace()
	for _, document := range documents {
		if err := dissect(root, document); err != nil {
			return z.pressPlain(documents)
		}
	}
	var s streams
	s.count(len(documents))
	root.write(&s)
	out := []byte{pressedColumns}
	for _, stream := range s.all() {
		packed := z.best.EncodeAll(*stream, nil)
		out = append(binary.AppendUvarint(out, uint64(len(packed))), packed...)
	}
	return out
}

func (s *streams) all() []*[]byte {
	all := []*[]byte{&s.about, &s.kinds}
	for i := range s.planes {
		all = append(all, &s.planes[i])
	}
	return all
}

func (z *zipper) pressPlain(documents [][]byte) []byte {
	var raw []byte
	for _, document := range documents {
		raw = append(binary.AppendUvarint(raw, uint64(len(document))), document...)
	}
	return z.best.EncodeAll(raw, []byte{pressedPlain})
}

// errDamaged says that what was pressed can not be read.
var errDamaged = errors.New("what was pressed together can not be taken apart")

// release is the inverse of press. Whatever the bytes, it returns what was
// pressed or an error.
func (z *zipper) release(pressed []byte) ([][]byte, error) {
	z.open()
	if len(pressed) == 0 {
		return nil, errDamaged
	}
	switch rest := pressed[1:]; pressed[0] {
	case pressedPlain:
		return z.releasePlain(rest)
	case pressedColumns:
		return z.releaseColumns(rest)
	}
	return nil, fmt.Errorf("%w: of kind %d", errDamaged, pressed[0])
}

func (z *zipper) releasePlain(packed []byte) ([][]byte, error) {
	raw, err := z.unpack(packed)
	if err != nil {
		return nil, err
	}
	var documents [][]byte
	for len(raw) > 0 {
		n, used := binary.Uvarint(raw)
		if used <= 0 || n > uint64(len(raw)-used) {
			return nil, errDamaged
		}
		raw = raw[used:]
		documents = append(documents, raw[:n:n])
		raw = raw[n:]
	}
	return documents, nil
}

func (z *zipper) releaseColumns(packed []byte) ([][]byte, error) {
	var s streams
	for _, stream := range s.all() {
		n, used := binary.Uvarint(packed)
		if used <= 0 || n > uint64(len(packed)-used) {
			return nil, errDamaged
		}
		raw, err := z.unpack(packed[used : used+int(n)])
		if err != nil {
			return nil, err
		}
		*stream, packed = raw, packed[used+int(n):]
	}
	count := s.number()
	if len(packed) > 0 || s.fault || count > maxDocuments {
		return nil, errDamaged
	}
	root := readPlace(&s, 0)
	if s.fault {
		return nil, errDamaged
	}
	w := writer{left: maxBody}
	documents := make([][]byte, 0, count)
	for range count {
		w.out, w.now = nil, stamp{}
		if !w.value(root, 0) {
			return nil, errDamaged
		}
		documents = append(documents, w.out)
	}
	return documents, nil
}

// write adds a place, and all below it, to the streams.
func (p *place) write(s *streams) {
	s.count(len(p.kinds))
	s.kinds = append(s.kinds, p.kinds...)
	s.write(&p.numbers)
	s.write(&p.points)
	s.count(len(p.literals))
	for _, text := range p.literals {
		s.word(text)
	}
	s.count(len(p.wordings))
	for i, w := range p.wordings {
		s.word(w.text)
		for j := range w.runs {
			s.write(&w.runs[j])
		}
		if i == 0 {
			s.write(&w.uses)
		}
	}
	s.count(len(p.order))
	for _, name := range p.order {
		s.word(name)
	}
	s.count(len(p.shapes))
	for _, keys := range p.shapes {
		s.count(len(keys))
		for _, name := range keys {
			s.count(slices.Index(p.order, name))
		}
	}
	s.count(len(p.elements))
	for _, name := range p.order {
		p.keys[name].write(s)
	}
	for _, e := range p.elements {
		e.write(s)
	}
}

// readPlace is the inverse of write. What could not be read is a fault of s.
func readPlace(s *streams, depth int) *place {
	p := newPlace()
	if depth > maxDepth+1 {
		s.fault = true
		return p
	}
	p.kinds = s.take(&s.kinds, s.number())
	p.numbers, p.points = s.column(), s.column()
	for range s.number() {
		if s.fault {
			return p
		}
		p.literals = append(p.literals, s.text())
	}
	p.readWordings(s)
	for range s.number() {
		if s.fault {
			return p
		}
		p.order = append(p.order, s.text())
	}
	p.readShapes(s)
	elements := s.number()
	for _, name := range p.order {
		p.keys[name] = readPlace(s, depth+1)
		if s.fault {
			return p
		}
	}
	for range elements {
		if s.fault {
			return p
		}
		p.elements = append(p.elements, readPlace(s, depth+1))
	}
	return p
}

func (p *place) readWordings(s *streams) {
	for i := range s.number() {
		w := &wording{text: s.text()}
		for _, b := range []byte(w.text) {
			if b == 0 && !s.fault {
				w.runs = append(w.runs, s.column())
			}
		}
		if i == 0 {
			w.uses = s.column()
		}
		if s.fault {
			return
		}
		p.wordings = append(p.wordings, w)
	}
}

func (p *place) readShapes(s *streams) {
	for range s.number() {
		var keys shape
		for range s.number() {
			which := s.number()
			if s.fault || which >= len(p.order) {
				s.fault = true
				return
			}
			keys = append(keys, p.order[which])
		}
		p.shapes = append(p.shapes, keys)
	}
}

// writer puts documents together again.
type writer struct {
	out  []byte
	now  stamp
	left int // bytes that may still be written
}

func (w *writer) put(text string) bool {
	if w.left -= len(text); w.left < 0 {
		return false
	}
	w.out = append(w.out, text...)
	return true
}

// value writes what stands next at a place; false where there is nothing.
func (w *writer) value(p *place, depth int) bool {
	if len(p.kinds) == 0 || depth > maxDepth+1 {
		return false
	}
	k := p.kinds[0]
	p.kinds = p.kinds[1:]
	switch {
	case k == kindArray:
		return w.array(p, depth)
	case k >= kindObject:
		return w.object(p, int(k-kindObject), depth)
	}
	text, ok := w.leaf(p, k)
	return ok && w.put(text)
}

func (w *writer) array(p *place, depth int) bool {
	n, ok := p.numbers.next()
	if !ok || n < 0 || n > int64(len(p.elements)) || !w.put("[") {
		return false
	}
	for i := range int(n) {
		if i > 0 && !w.put(",") || !w.value(p.elements[i], depth+1) {
			return false
		}
	}
	return w.put("]")
}

func (w *writer) object(p *place, which, depth int) bool {
	if which >= len(p.shapes) || !w.put("{") {
		return false
	}
	for i, name := range p.shapes[which] {
		if i > 0 && !w.put(",") || !w.put(name+":") || !w.value(p.keys[name], depth+1) {
			return false
		}
	}
	return w.put("}")
}

func (w *writer) leaf(p *place, k kind) (string, bool) {
	switch k {
	case kindNull:
		return "null", true
	case kindTrue:
		return "true", true
	case kindFalse:
		return "false", true
	case kindSame:
		if t, ok := readStamp([]byte(p.last)); ok {
			w.now = t
		}
		return p.last, p.last != ""
	case kindNow:
		p.last = string(w.now.text())
		return p.last, true
	case kindTime:
		step, ok := p.numbers.next()
		offset, also := p.points.next()
		if !ok || !also || offset < -86400 || offset > 86400 {
			return "", false
		}
		w.now = stamp{w.now.nanos + step, offset}
		p.last = string(w.now.text())
		return p.last, true
	case kindInteger, kindDecimal:
		digits, ok := p.numbers.next()
		point := int64(0)
		if k == kindDecimal {
			var also bool
			if point, also = p.points.next(); !also || point < 1 || point > 20 {
				return "", false
			}
		}
		p.last = string(decimal(digits, int(point)))
		return p.last, ok
	case kindText:
		text, ok := p.reword()
		p.last = text
		return text, ok
	case kindLiteral:
		if len(p.literals) == 0 {
			return "", false
		}
		p.last, p.literals = p.literals[0], p.literals[1:]
		return p.last, true
	}
	return "", false
}

// reword puts the next string of a place together.
func (p *place) reword() (string, bool) {
	if len(p.wordings) == 0 {
		return "", false
	}
	which, ok := p.wordings[0].uses.next()
	if !ok || which < 0 || which >= int64(len(p.wordings)) {
		return "", false
	}
	used := p.wordings[which]
	var text []byte
	run := 0
	for _, b := range []byte(used.text) {
		if b != 0 {
			text = append(text, b)
			continue
		}
		v, ok := used.runs[run].next()
		run++
		digits := strconv.FormatInt(v>>4, 10)
		long := int(v & 15)
		if !ok || v < 0 || len(digits) > long {
			return "", false
		}
		for range long - len(digits) {
			text = append(text, '0')
		}
		text = append(text, digits...)
	}
	return string(text), true
}
