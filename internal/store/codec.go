package store

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/penstock/penstock/internal/scale"
)

// maxBody bounds what one row may unpack to, so that a damaged length can not
// take the machine's memory.
const maxBody = 256 << 20

// body is the part of a Record that is kept as JSON; Memory has a column.
type body struct {
	Snapshot scale.Snapshot
	Decision scale.Decision
}

// codec turns values into compressed JSON and back. Encoding keeps its buffers
// and belongs to one goroutine at a time; decoding may be concurrent.
//
// Fields that are zero are left out, which makes a row several times smaller:
// in package scale the zero value of every field means absent. Durations are
// nanoseconds, a time zone is its name, and numbers that JSON lacks are the
// strings "NaN", "+Inf" and "-Inf".
type codec struct {
	zip     *gzip.Writer
	options json.Options
}

func newCodec() *codec {
	// The level is valid, so there is no error to have.
	zip, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	return &codec{zip: zip, options: json.JoinOptions(
		json.OmitZeroStructFields(true),
		json.WithMarshalers(json.JoinMarshalers(
			json.MarshalToFunc(func(e *jsontext.Encoder, d time.Duration) error {
				return e.WriteToken(jsontext.Int(int64(d)))
			}),
			json.MarshalToFunc(func(e *jsontext.Encoder, l *time.Location) error {
				if l == nil {
					return e.WriteToken(jsontext.Null)
				}
				return e.WriteToken(jsontext.String(l.String()))
			}),
			json.MarshalToFunc(func(e *jsontext.Encoder, f float64) error {
				if math.IsNaN(f) || math.IsInf(f, 0) {
					return e.WriteToken(jsontext.String(strconv.FormatFloat(f, 'g', -1, 64)))
				}
				return e.WriteToken(jsontext.Float(f))
			}),
		)),
		json.WithUnmarshalers(json.JoinUnmarshalers(
			json.UnmarshalFromFunc(decodeDuration),
			json.UnmarshalFromFunc(decodeLocation),
			json.UnmarshalFromFunc(decodeFloat),
		)),
	)}
}

func decodeDuration(d *jsontext.Decoder, into *time.Duration) error {
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(token.String(), 10, 64)
	if err != nil {
		return fmt.Errorf("a duration: %w", err)
	}
	*into = time.Duration(n)
	return nil
}

func decodeLocation(d *jsontext.Decoder, into **time.Location) error {
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() == 'n' {
		*into = nil
		return nil
	}
	location, err := time.LoadLocation(token.String())
	if err != nil {
		return fmt.Errorf("a schedule's time zone: %w", err)
	}
	*into = location
	return nil
}

func decodeFloat(d *jsontext.Decoder, into *float64) error {
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	f, err := strconv.ParseFloat(token.String(), 64)
	if err != nil {
		return fmt.Errorf("a number: %w", err)
	}
	*into = f
	return nil
}

// encode returns the compressed JSON of v.
func (c *codec) encode(v any) ([]byte, error) {
	var out bytes.Buffer
	c.zip.Reset(&out)
	if err := json.MarshalWrite(c.zip, v, c.options); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	if err := c.zip.Close(); err != nil {
		return nil, fmt.Errorf("compress %T: %w", v, err)
	}
	return out.Bytes(), nil
}

// packed is a value beside its compressed form.
type packed struct {
	raw, zip []byte
}

// holds says whether p is the compressed form of raw.
func (p packed) holds(raw []byte) bool { return p.zip != nil && bytes.Equal(p.raw, raw) }

// pack returns raw, compressed, and a copy of it.
func (c *codec) pack(raw []byte) (packed, error) {
	var out bytes.Buffer
	c.zip.Reset(&out)
	if _, err := c.zip.Write(raw); err != nil {
		return packed{}, fmt.Errorf("compress: %w", err)
	}
	if err := c.zip.Close(); err != nil {
		return packed{}, fmt.Errorf("compress: %w", err)
	}
	return packed{raw: bytes.Clone(raw), zip: out.Bytes()}, nil
}

// decode is the inverse of encode.
func (c *codec) decode(zip []byte, into any) error {
	raw, err := unpack(zip)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into, c.options); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}

// unpack is the inverse of pack. The checksum in zip catches damage.
func unpack(zip []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(zip))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(reader, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	if len(raw) > maxBody {
		return nil, fmt.Errorf("unpack: more than %d bytes", maxBody)
	}
	return raw, nil
}
