package config

import (
	"encoding"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/penstock/penstock/api/v1alpha1"
	"github.com/penstock/penstock/internal/scale"
)

// Names, as Kubernetes allows them.
var (
	objectNamePattern  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
	variantNamePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
)

// orDefault returns the value, or the default where it was left out.
func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// text is the written form of a value.
func text(value encoding.TextMarshaler) string {
	written, err := value.MarshalText()
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(written)
}

// seconds is a time for people, in as many digits as matter.
func seconds(s float64) string {
	span := time.Duration(s * float64(time.Second))
	if span < time.Second {
		return span.Round(100 * time.Microsecond).String()
	}
	return span.Round(10 * time.Millisecond).String()
}

// positive returns a duration or its default, and refuses a written zero.
func (o *object) positive(path string, value v1alpha1.Duration, otherwise time.Duration) time.Duration {
	if value == 0 && o.has(path) {
		o.fault(path, "is 0, where a time is wanted. Leave it out for %s.", text(v1alpha1.Duration(otherwise)))
	}
	return orDefault(time.Duration(value), otherwise)
}

// atLeastOne returns a number or its default, and refuses a written one below
// 1.
func (o *object) atLeastOne(path string, value, otherwise int) int {
	if value < 1 && o.has(path) {
		o.fault(path, "is %d. Set it to 1 or more.", value)
	}
	return orDefault(value, otherwise)
}

// checkName refuses a metadata.name that a cluster would refuse.
func (o *object) checkName(name string) {
	if name == "" {
		return // noted as missing
	}
	if len(name) > 253 || !objectNamePattern.MatchString(name) {
		o.fault("metadata.name", "is %q. Use lower-case letters, digits, dashes and dots only.", name)
	}
}

// checkLimits turns limits into values. A written zero is refused: it reads
// like a prohibition and would mean no limit.
func (o *object) checkLimits(l v1alpha1.Limits) scale.Limits {
	for path, value := range map[string]float64{
		"spec.limits.upPerMinute":   float64(l.UpPerMinute),
		"spec.limits.downPerMinute": float64(l.DownPerMinute),
		"spec.limits.costPerHour":   l.CostPerHour,
	} {
		if value <= 0 && o.has(path) {
			o.fault(path, "is %v. Set it above 0, or leave it out for no limit.", value)
		}
	}
	return scale.Limits{UpPerMinute: int(l.UpPerMinute), DownPerMinute: int(l.DownPerMinute), CostPerHour: l.CostPerHour}
}

// oneOf maps a written word to its value, and refuses others.
func oneOf[T any](o *object, path, word string, values map[string]T, otherwise string) T {
	value, found := values[orDefault(word, otherwise)]
	if !found {
		known := make([]string, 0, len(values))
		for name := range values {
			known = append(known, name)
		}
		o.fault(path, "is %q. %s", word, didYouMean(word, sorted(known)))
	}
	return value
}

// capacityTypes are the words for capacity types.
func capacityTypes() map[string]scale.CapacityType {
	return map[string]scale.CapacityType{"onDemand": scale.OnDemand, "spot": scale.Spot}
}

// modes are the words for modes.
func modes() map[string]scale.Mode {
	return map[string]scale.Mode{"auto": scale.Auto, "advise": scale.Advise, "paused": scale.Paused}
}

// checkServedName refuses a name that no request could carry.
func (o *object) checkServedName(path, name string) {
	if name == "" && o.has(path) {
		o.fault(path, "is empty.")
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		o.fault(path, "is %q: blanks and control characters can not be part of a name.", name)
	}
}
