package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// None stands where there is nothing to say: absent is not zero.
const None = "–"

// Share writes a part of a whole as a percentage, cut off rather than rounded,
// so that one bad request among many never shows as 100 %.
func Share(part, whole int) string {
	if whole == 0 {
		return None
	}
	return fmt.Sprintf("%.2f %%", float64(part*10_000/whole)/100)
}

// Percent writes a share of 1 as a percentage, cut off as Share does.
func Percent(n Number) string {
	if !n.Known() {
		return None
	}
	return percents(n) + " %"
}

func percents(n Number) string {
	if !n.Known() {
		return None
	}
	if math.Abs(float64(n)) > 10 { // no share
		return short(n * 100)
	}
	const float = 1e-6 // 0.57 × 10,000 falls short of 5,700 by less
	return fmt.Sprintf("%.2f", math.Floor(float64(n)*10_000+float)/100)
}

// Dollars writes an amount of US dollars, small ones to a tenth of a cent.
func Dollars(v float64) string {
	if v < 1 && v > -1 {
		return fmt.Sprintf("$%.3f", v)
	}
	return fmt.Sprintf("$%.2f", v)
}

// amount writes US dollars in few columns: from a thousand on without cents.
func amount(n Number) string {
	switch v := math.Abs(float64(n)); {
	case !n.Known():
		return None
	case v < 999.995:
		return Dollars(float64(n))
	case v < 999_999.5:
		return fmt.Sprintf("$%.0f", float64(n))
	default:
		return "$" + short(n)
	}
}

// times writes a ratio.
func times(n Number) string {
	if n.Known() && math.Abs(float64(n)) < 99.995 {
		return fmt.Sprintf("%.2f", float64(n))
	}
	return short(n)
}

// short writes a figure in about five columns.
func short(n Number) string {
	if !n.Known() {
		return None
	}
	v, size := float64(n), math.Abs(float64(n))
	switch {
	case size == 0:
		return "0"
	case size < 0.005:
		return fmt.Sprintf("%.0e", v)
	case size < 99_999.5 && v == math.Trunc(v), size >= 99.95 && size < 99_999.5:
		return fmt.Sprintf("%.0f", v)
	case size < 9.995:
		return fmt.Sprintf("%.2f", v)
	case size < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	for _, unit := range []string{"k", "M", "G", "T"} {
		if v /= 1000; math.Abs(v) < 999.5 {
			return fmt.Sprintf("%.3g%s", v, unit)
		}
	}
	return fmt.Sprintf("%.0e", float64(n))
}

// count writes a whole number with its thousands apart.
func count(n int) string {
	digits := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return sign + strings.Join(append([]string{digits}, groups...), ",")
}

// aim writes what a target wants.
func aim(t Target) string {
	sign := "≤ "
	if t.AtLeast {
		sign = "≥ "
	}
	return sign + withUnit(short(t.Target), t.Unit)
}

// found writes what was measured for a target, with more digits where a miss
// would look like a hit.
func found(t Target) string {
	text := short(t.Value)
	if !t.Value.Known() {
		return text
	}
	if !t.Met && text == short(t.Target) {
		text = strconv.FormatFloat(float64(t.Value), 'g', 6, 64)
	}
	return withUnit(text, t.Unit)
}

func withUnit(text, unit string) string {
	if unit == "" {
		return text
	}
	return text + " " + clip(plain(unit), 12)
}

// Latency writes a time as it is compared with an objective.
func Latency(d time.Duration) string {
	switch ms := float64(d) / float64(time.Millisecond); {
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 10_000:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return fmt.Sprintf("%.1f s", ms/1000)
	}
}

// Duration writes a length of time in whole seconds.
func Duration(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", d/time.Minute, d%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%d h %02d min", d/time.Hour, d%time.Hour/time.Minute)
	}
}

// days writes the span of a trace.
func days(n Number) string {
	switch {
	case !n.Known() || n < 0:
		return None
	case n < 1:
		return Duration(time.Duration(float64(n) * 24 * float64(time.Hour)))
	default:
		return short(n) + " d"
	}
}
