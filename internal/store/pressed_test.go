package store

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// document draws compact JSON such as ticks are made of.
func document(t *rapid.T, depth int) any {
	kinds := 6
	if depth > 3 {
		kinds = 4
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return rapid.SampledFrom([]any{nil, true, false, 0, -1, 7, 100, 1e6, 0.5, 12.25, -0.001, 1e-9, 1e300, json.Number("-0"), json.Number("-0.0"), json.Number("1.50"), json.Number("12345678901234567890")}).Draw(t, "number")
	case 1:
		return rapid.Float64().Draw(t, "float")
	case 2:
		at := time.Unix(rapid.Int64Range(-1e9, 4e9).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns"))
		return at.In(rapid.SampledFrom([]*time.Location{time.UTC, time.FixedZone("", 3600), time.FixedZone("", -12600)}).Draw(t, "zone"))
	case 3:
		return rapid.OneOf(rapid.StringMatching(`[a-z0-9 .:%]{0,30}`), rapid.String(), rapid.SampledFrom([]string{"\x00", "2026-03-02T09:00:00Z", "007", "1234567890123456789"})).Draw(t, "text")
	case 4:
		list := make([]any, rapid.IntRange(0, 4).Draw(t, "n"))
		for i := range list {
			list[i] = document(t, depth+1)
		}
		return list
	default:
		object := map[string]any{}
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			object[rapid.SampledFrom([]string{"At", "Value", "Models", "x", "a\"b", ""}).Draw(t, "key")] = document(t, depth+1)
		}
		return object
	}
}

// Whatever was pressed comes back, to the last byte.
func TestWhatWasPressedComesBack(t *testing.T) {
	var z zipper
	columns := 0
	rapid.Check(t, func(t *rapid.T) {
		var documents [][]byte
		for range rapid.IntRange(0, 12).Draw(t, "documents") {
			text, err := json.Marshal(document(t, 0))
			if err != nil {
				t.Fatal(err)
			}
			documents = append(documents, text)
		}
		if rapid.IntRange(0, 9).Draw(t, "odd") == 0 {
			documents = append(documents, []byte(rapid.SampledFrom([]string{"", "{", `{"a":1,"a":2}`, "{ }", "\x00", `"`, `[1,]`, "1 2", strings.Repeat("[", 99)}).Draw(t, "text")))
		}
		pressed := z.press(documents)
		if pressed[0] == pressedColumns {
			columns++
		}
		again, err := z.release(pressed)
		if err != nil || !equal(again, documents) {
			t.Fatalf("%v\n%q\n%q", err, documents, again)
		}
	})
	if columns < 50 {
		t.Errorf("only %d were columns", columns)
	}
}

// Whatever the bytes, the journal's decoders return something or an error, and
// take no more memory than they may. What they return is pressed to the same.
func FuzzRelease(f *testing.F) {
	var z zipper
	var documents [][]byte
	c := newCodec()
	for i := range 3 {
		r := tick1(f, i)
		text, err := c.text(body{At: r.At, Snapshot: r.Snapshot, Decision: r.Decision})
		if err != nil {
			f.Fatal(err)
		}
		documents = append(documents, text)
	}
	pressed := z.press(documents)
	f.Add(pressed)
	f.Add(z.pressPlain(documents))
	f.Add(z.pack(documents[0]))
	f.Add(pressed[:len(pressed)/2])
	f.Add([]byte{pressedColumns})
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := z.release(data); err == nil {
			if again, err := z.release(z.press(got)); err != nil || !equal(again, got) {
				t.Errorf("%q\n%q, %v", got, again, err)
			}
		}
		// The same bytes as the inside of a frame, past its checksum.
		s := streams{about: data, kinds: data}
		for i := range s.planes {
			s.planes[i] = data
		}
		if n := s.number(); n < 100 {
			root := readPlace(&s, 0)
			w := writer{left: 1 << 20}
			for range n {
				if s.fault || !w.value(root, 0) {
					break
				}
			}
		}
		var b body
		if raw, err := z.unpack(data); err == nil {
			_ = c.parse(raw, &b)
		}
		_ = c.parse(data, &b)
		_ = instant(data)
	})
}

// Every bit of a segment that is flipped, and every place at which it is cut
// off, is an error or changes nothing.
func TestAFlippedBitOrATornSegmentIsNoticed(t *testing.T) {
	var z zipper
	c := newCodec()
	var documents [][]byte
	for i := range 20 {
		r := tick1(t, i)
		text, err := c.text(body{At: r.At, Snapshot: r.Snapshot, Decision: r.Decision})
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, text)
	}
	pressed := z.press(documents)
	for i := range len(pressed) * 8 {
		if raceDetector && i%13 != 0 {
			continue
		}
		broken := bytes.Clone(pressed)
		broken[i/8] ^= 1 << (i % 8)
		if got, err := z.release(broken); err == nil && !equal(got, documents) {
			t.Fatalf("bit %d: something else was read, and no error", i)
		}
	}
	for n := range pressed {
		if got, err := z.release(pressed[:n]); err == nil && !equal(got, documents) {
			t.Fatalf("torn after %d bytes: something else was read, and no error", n)
		}
	}
}
