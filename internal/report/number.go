package report

import (
	"encoding/json"
	"fmt"
	"math"
)

// Number is a figure in a result. One that is not known, or not defined, is
// NaN; JSON has it as null, and tables as None.
type Number float64

// Unknown is the Number that stands for no figure.
func Unknown() Number { return Number(math.NaN()) }

// Known says whether there is a figure: infinity is none.
func (n Number) Known() bool { return !math.IsNaN(float64(n)) && !math.IsInf(float64(n), 0) }

// MarshalJSON encodes the number, or null where it is not known.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.Known() {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (n *Number) UnmarshalJSON(text []byte) error {
	var v *float64
	if err := json.Unmarshal(text, &v); err != nil {
		return fmt.Errorf("decode a number: %w", err)
	}
	*n = Unknown()
	if v != nil {
		*n = Number(*v)
	}
	return nil
}
