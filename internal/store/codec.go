package store

import (
	"fmt"
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

// body is a tick as it is kept; what it decides from beside the Snapshot, the
// Memory, stands at the beginning of its segment.
type body struct {
	At       time.Time
	Snapshot scale.Snapshot
	Decision scale.Decision
}

// codec turns values into JSON and compresses. It may be used concurrently.
//
// Fields that are zero are left out, which makes a tick several times smaller:
// in package scale the zero value of every field means absent. Durations are
// nanoseconds, a time zone is its name, and numbers that JSON lacks are the
// strings "NaN", "+Inf" and "-Inf".
type codec struct {
	zipper  zipper
	options json.Options
}

func newCodec() *codec { return &codec{options: options()} }

func options() json.Options {
	return json.JoinOptions(
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
	)
}

// Text is a Decision as the journal keeps it: equal texts are equal Decisions,
// to the last bit.
func Text(d scale.Decision) ([]byte, error) { return newCodec().text(d) }

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

// text returns the JSON of v.
func (c *codec) text(v any) ([]byte, error) {
	raw, err := json.Marshal(v, c.options)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return raw, nil
}

// encode returns the compressed JSON of v.
func (c *codec) encode(v any) ([]byte, error) {
	raw, err := c.text(v)
	if err != nil {
		return nil, err
	}
	return c.zipper.pack(raw), nil
}

// parse is the inverse of text.
func (c *codec) parse(raw []byte, into any) error {
	if err := json.Unmarshal(raw, into, c.options); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}

// decode is the inverse of encode.
func (c *codec) decode(zip []byte, into any) error {
	raw, err := c.zipper.unpack(zip)
	if err != nil {
		return err
	}
	return c.parse(raw, into)
}
