package report

import (
	"fmt"
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

// Dollars writes an amount of US dollars, small ones to a tenth of a cent.
func Dollars(v float64) string {
	if v < 1 && v > -1 {
		return fmt.Sprintf("$%.3f", v)
	}
	return fmt.Sprintf("$%.2f", v)
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
