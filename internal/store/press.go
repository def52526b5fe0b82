package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Ticks differ little from one to the next, so many of them are pressed
// together: documents of compact JSON are taken apart, and each place in them
// (a path of keys and indices) becomes a column of what stood there, document
// by document. What stays the same costs next to nothing, a counter costs its
// step, and a time costs nothing where it is the one that the document named
// last. docs/decisions/0017 has the figures.

// kind is what stands at a place of one document. Objects are kindObject plus
// the number of the place's list of keys.
type kind = byte

const (
	kindNull kind = iota + 1
	kindTrue
	kindFalse
	kindSame     // what stood here last
	kindNow      // the time that the document named last
	kindTime     // another time; its distance to that one follows
	kindInteger  // a number without point and exponent
	kindDecimal  // digits, a point and digits
	kindText     // a string, split into what is between runs of digits and these
	kindLiteral  // any other value, as it is written
	kindArray    // its length follows
	kindObject   // and above
	maxShapes    = 256 - int(kindObject)
	maxDepth     = 64
	maxDigits    = 15 // of a run of digits that counts as a number
	maxDocuments = 1 << 16
)

// place is one place in the documents, with all that ever stood there.
type place struct {
	kinds    []kind
	numbers  column // of integers, times, lengths and, without the point, decimals
	points   column // how many digits of a decimal are behind the point
	literals []string
	last     string // as written

	shapes   []shape // of objects
	keys     map[string]*place
	order    []string // of keys, as they were first met
	elements []*place // of arrays
	wordings []*wording
	worded   map[string]int

	shaped map[string]int // shapes by their keys
}

// shape is a list of keys.
type shape []string

// wording is a string without its runs of digits, which are columns.
type wording struct {
	text string // \x00 stands for a run
	runs []column
	uses column // which wording each string has; only of the place's first
}

func newPlace() *place {
	return &place{keys: map[string]*place{}, worded: map[string]int{}, shaped: map[string]int{}}
}

func (p *place) key(name []byte) *place {
	at, known := p.keys[string(name)]
	if !known {
		at = newPlace()
		p.keys[string(name)] = at
		p.order = append(p.order, string(name))
	}
	return at
}

func (p *place) element(i int) *place {
	for len(p.elements) <= i {
		p.elements = append(p.elements, newPlace())
	}
	return p.elements[i]
}

// errPlain says that a document is not compact JSON, or too odd to be taken
// apart.
var errPlain = errors.New("not compact JSON of the journal's own")

// dissector takes documents apart.
type dissector struct {
	text []byte
	at   int
	now  stamp
}

// stamp is a time as it is written: nanoseconds since 1970 and the offset of
// its zone in seconds.
type stamp struct{ nanos, offset int64 }

// dissect adds one document to the places below root.
func dissect(root *place, document []byte) error {
	d := dissector{text: document}
	if err := d.value(root, 0); err != nil {
		return err
	}
	if d.at != len(document) {
		return errPlain
	}
	return nil
}

func (d *dissector) next() byte {
	if d.at < len(d.text) {
		return d.text[d.at]
	}
	return 0
}

func (d *dissector) value(p *place, depth int) error {
	if depth > maxDepth {
		return errPlain
	}
	switch d.next() {
	case '{':
		return d.object(p, depth)
	case '[':
		return d.array(p, depth)
	}
	begin := d.at
	if err := d.skip(); err != nil {
		return err
	}
	d.leaf(p, d.text[begin:d.at])
	return nil
}

// skip passes over a string, number or word.
func (d *dissector) skip() error {
	if d.next() == '"' {
		for i := d.at + 1; i < len(d.text); i++ {
			switch d.text[i] {
			case '\\':
				i++
			case '"':
				d.at = i + 1
				return nil
			case 0:
				return errPlain
			}
		}
		return errPlain
	}
	begin := d.at
	for d.at < len(d.text) && !bytes.ContainsRune([]byte("{}[]:,\"\\ \t\r\n\x00"), rune(d.text[d.at])) {
		d.at++
	}
	if d.at == begin {
		return errPlain
	}
	return nil
}

func (d *dissector) object(p *place, depth int) error {
	at := len(p.kinds)
	p.kinds = append(p.kinds, 0)
	d.at++
	var keys []string
	var joined []byte
	for d.next() != '}' {
		if len(keys) > 0 {
			if d.next() != ',' {
				return errPlain
			}
			d.at++
		}
		begin := d.at
		if d.next() != '"' {
			return errPlain
		}
		if err := d.skip(); err != nil {
			return err
		}
		name := d.text[begin:d.at]
		if slices.Contains(keys, string(name)) || d.next() != ':' {
			return errPlain
		}
		d.at++
		keys = append(keys, string(name))
		joined = append(append(joined, name...), ',')
		if err := d.value(p.key(name), depth+1); err != nil {
			return err
		}
	}
	d.at++
	known, found := p.shaped[string(joined)]
	if !found {
		if known = len(p.shapes); known == maxShapes {
			return errPlain
		}
		p.shaped[string(joined)] = known
		p.shapes = append(p.shapes, keys)
	}
	p.kinds[at] = kindObject + kind(known)
	return nil
}

func (d *dissector) array(p *place, depth int) error {
	p.kinds = append(p.kinds, kindArray)
	d.at++
	n := 0
	for d.next() != ']' {
		if n > 0 {
			if d.next() != ',' {
				return errPlain
			}
			d.at++
		}
		if err := d.value(p.element(n), depth+1); err != nil {
			return err
		}
		n++
	}
	d.at++
	p.numbers.add(int64(n))
	return nil
}

func (d *dissector) leaf(p *place, text []byte) {
	k := d.weigh(p, text)
	p.kinds = append(p.kinds, k)
}

// weigh says of what kind a leaf is, and adds what it is to the columns.
func (d *dissector) weigh(p *place, text []byte) kind {
	if t, ok := readStamp(text); ok {
		same := p.last == string(text)
		p.last = string(text)
		before := d.now
		d.now = t
		switch {
		case t == before:
			return kindNow
		case same:
			return kindSame
		}
		p.numbers.add(t.nanos - before.nanos)
		p.points.add(t.offset)
		return kindTime
	}
	switch {
	case p.last == string(text):
		return kindSame
	case string(text) == "null":
		return kindNull
	case string(text) == "true":
		return kindTrue
	case string(text) == "false":
		return kindFalse
	}
	p.last = string(text)
	if text[0] == '"' {
		p.text(text)
		return kindText
	}
	if digits, point, ok := readDecimal(text); ok {
		p.numbers.add(digits)
		if point == 0 {
			return kindInteger
		}
		p.points.add(int64(point))
		return kindDecimal
	}
	p.literals = append(p.literals, string(text))
	return kindLiteral
}

// text adds a string, quotes included.
func (p *place) text(text []byte) {
	var between []byte
	var runs []int64
	for i := 0; i < len(text); {
		n := 0
		for i+n < len(text) && n < maxDigits && text[i+n] >= '0' && text[i+n] <= '9' {
			n++
		}
		if n == 0 {
			between = append(between, text[i])
			i++
			continue
		}
		value, _ := strconv.ParseInt(string(text[i:i+n]), 10, 64) // digits alone, and few
		runs = append(runs, value<<4|int64(n))
		between = append(between, 0)
		i += n
	}
	which, known := p.worded[string(between)]
	if !known {
		which = len(p.wordings)
		p.worded[string(between)] = which
		p.wordings = append(p.wordings, &wording{text: string(between), runs: make([]column, len(runs))})
	}
	p.wordings[0].uses.add(int64(which))
	for i, run := range runs {
		p.wordings[which].runs[i].add(run)
	}
}

// readStamp reads a quoted time, if it is written as we would write it.
func readStamp(text []byte) (stamp, bool) {
	if len(text) < len(`"2006-01-02T15:04:05Z"`) || len(text) > 40 || text[0] != '"' || text[5] != '-' || text[11] != 'T' {
		return stamp{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(text[1:len(text)-1]))
	if err != nil || t.Year() < 1700 || t.Year() > 2200 {
		return stamp{}, false
	}
	_, offset := t.Zone()
	s := stamp{t.UnixNano(), int64(offset)}
	return s, string(s.text()) == string(text)
}

// text is the time, quoted.
func (s stamp) text() []byte {
	t := time.Unix(0, s.nanos).UTC()
	if s.offset != 0 {
		t = t.In(time.FixedZone("", int(s.offset)))
	}
	return fmt.Appendf(nil, "%q", t.Format(time.RFC3339Nano))
}

// readDecimal reads a number that has at most 18 digits and no exponent. point
// is how many digits are behind the point.
func readDecimal(text []byte) (digits int64, point int, ok bool) {
	plain := text
	if i := bytes.IndexByte(text, '.'); i >= 0 {
		point = len(text) - i - 1
		plain = append(bytes.Clone(text[:i]), text[i+1:]...)
	}
	if len(plain) > 19 {
		return 0, 0, false
	}
	digits, err := strconv.ParseInt(string(plain), 10, 64)
	if err != nil || string(decimal(digits, point)) != string(text) {
		return 0, 0, false
	}
	return digits, point, true
}

// decimal is the inverse of readDecimal.
func decimal(digits int64, point int) []byte {
	text := strconv.AppendInt(nil, digits, 10)
	if point == 0 {
		return text
	}
	sign := 0
	if digits < 0 {
		sign = 1
	}
	for len(text)-sign <= point {
		text = slices.Insert(text, sign, '0')
	}
	return slices.Insert(text, len(text)-point, '.')
}
