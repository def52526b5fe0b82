package scale

import (
	"fmt"
	"slices"
)

// enumName returns the text of value v of an enumeration that starts at 1.
func enumName[T ~int](names []string, v T) string {
	if v < 1 || int(v) > len(names) {
		return fmt.Sprintf("unknown(%d)", int(v))
	}
	return names[v-1]
}

// enumText is enumName for encoders: an unknown value is an error, and the
// zero value is the empty text, so that an absent field survives a round trip.
func enumText[T ~int](names []string, v T) ([]byte, error) {
	if v == 0 {
		return nil, nil
	}
	if v < 1 || int(v) > len(names) {
		return nil, fmt.Errorf("encode %T: no such value %d", v, int(v))
	}
	return []byte(names[v-1]), nil
}

// enumParse is the inverse of enumText.
func enumParse[T ~int](names []string, text []byte, v *T) error {
	if len(text) == 0 {
		*v = 0
		return nil
	}
	i := slices.Index(names, string(text))
	if i < 0 {
		return fmt.Errorf("%q is none of %v", text, names)
	}
	*v = T(i + 1)
	return nil
}
