package v1alpha1

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	durationPattern = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?d)?([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))*$`)
	keyPattern      = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|file:.+|env:[A-Za-z_][A-Za-z0-9_]*)$`)
	numberPattern   = regexp.MustCompile(`^[0-9]{1,18}(\.[0-9]{1,18})?$`)
)

// Duration is a span of time such as 800ms, 90s, 15m, 1h30m or 28d. A day is
// 24 hours.
//
// +kubebuilder:validation:Type=string
// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h|d))+$`
type Duration time.Duration

// MarshalText writes whole days as days, and no zero parts.
func (d Duration) MarshalText() ([]byte, error) {
	const day = 24 * time.Hour
	span := time.Duration(d)
	if span > 0 && span%day == 0 {
		return fmt.Appendf(nil, "%dd", span/day), nil
	}
	written := span.String()
	if strings.HasSuffix(written, "m0s") {
		written = strings.TrimSuffix(written, "0s")
	}
	if strings.HasSuffix(written, "h0m") {
		written = strings.TrimSuffix(written, "0m")
	}
	return []byte(written), nil
}

// UnmarshalText reads a Duration. Negative ones and bare numbers are errors.
func (d *Duration) UnmarshalText(text []byte) error {
	wrong := fmt.Errorf("%q is no duration: write it like 800ms, 90s, 15m, 10h or 28d", text)
	if !durationPattern.Match(text) || len(text) == 0 {
		return wrong
	}
	days, rest, found := strings.Cut(string(text), "d")
	if !found {
		days, rest = "0", days
	}
	if rest == "" {
		rest = "0s"
	}
	count, err := strconv.ParseFloat(days, 64)
	if err != nil {
		return wrong
	}
	span, err := time.ParseDuration(rest)
	if err != nil || count > 36500 || span > math.MaxInt64/4 {
		return fmt.Errorf("%q is no duration below a hundred years", text)
	}
	*d = Duration(span + time.Duration(count*float64(24*time.Hour)))
	return nil
}

// Percent is a share such as 99% or 99.9%.
//
// +kubebuilder:validation:Type=string
// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?%$`
type Percent float64 // 0..1

// MarshalText writes the share with a percent sign.
func (p Percent) MarshalText() ([]byte, error) {
	return append(strconv.AppendFloat(nil, math.Round(float64(p)*1e8)/1e6, 'f', -1, 64), '%'), nil
}

// UnmarshalText reads a Percent between 0% and 100%.
func (p *Percent) UnmarshalText(text []byte) error {
	number, found := strings.CutSuffix(string(text), "%")
	if !found || !plainNumber(number) {
		return fmt.Errorf("%q is no percentage: write it like 99%% or 99.9%%", text)
	}
	value, err := strconv.ParseFloat(number+"e-2", 64) // and not ÷ 100, which would not be exact
	if err != nil || value > 1 {
		return fmt.Errorf("%q is no percentage between 0%% and 100%%", text)
	}
	*p = Percent(value)
	return nil
}

// Bytes is an amount of memory such as 16.1GB (10⁹ bytes each) or 32MiB (2²⁰
// bytes each).
//
// +kubebuilder:validation:Type=string
// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$`
type Bytes int64

// byteUnits returns the units of Bytes, longest suffix first.
func byteUnits() []struct {
	suffix string
	size   float64
} {
	return []struct {
		suffix string
		size   float64
	}{
		{"KiB", 1 << 10},
		{"MiB", 1 << 20},
		{"GiB", 1 << 30},
		{"TiB", 1 << 40},
		{"kB", 1e3},
		{"MB", 1e6},
		{"GB", 1e9},
		{"TB", 1e12},
		{"B", 1},
	}
}

// MarshalText writes the amount in the largest unit that divides it.
func (b Bytes) MarshalText() ([]byte, error) {
	best, text := int64(0), strconv.FormatInt(int64(b), 10)+"B"
	for _, unit := range byteUnits() {
		size := int64(unit.size)
		if b > 0 && int64(b)%size == 0 && size > best {
			best, text = size, strconv.FormatInt(int64(b)/size, 10)+unit.suffix
		}
	}
	return []byte(text), nil
}

// UnmarshalText reads a Bytes.
func (b *Bytes) UnmarshalText(text []byte) error {
	for _, unit := range byteUnits() {
		number, found := strings.CutSuffix(string(text), unit.suffix)
		if !found || !plainNumber(number) {
			continue
		}
		value, err := strconv.ParseFloat(number, 64)
		if err != nil || value*unit.size > 1<<60 {
			return fmt.Errorf("%q is more memory than can be counted", text)
		}
		*b = Bytes(math.Round(value * unit.size))
		return nil
	}
	return fmt.Errorf("%q is no amount of memory: write it like 16GB, 32MiB or 512kB", text)
}

// KeyReference says which an API key is without saying it: by its digest
// (sha256:…, as `penstock key new` prints it), or by where it is (file:PATH,
// relative to the configuration, one key a line; or env:NAME).
//
// +kubebuilder:validation:Type=string
// +kubebuilder:validation:Pattern=`^(sha256:[0-9a-f]{64}|file:.+|env:[A-Za-z_][A-Za-z0-9_]*)$`
type KeyReference string

// UnmarshalText reads a KeyReference. What is none may be a key, so that the
// error does not repeat it.
func (k *KeyReference) UnmarshalText(text []byte) error {
	if !keyPattern.Match(text) {
		return errors.New("it is no reference to a key: write sha256:… as `penstock key new` prints it, file:PATH or env:NAME; a key itself has no place in this file")
	}
	*k = KeyReference(text)
	return nil
}

// plainNumber says whether the text is digits with at most one point between
// them, so that signs, exponents, "inf" and "nan" stay out.
func plainNumber(text string) bool {
	return numberPattern.MatchString(text)
}
