package policy

import (
	"fmt"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

func reason(code scale.ReasonCode, format string, args ...any) scale.Reason {
	return scale.Reason{Code: code, Text: fmt.Sprintf(format, args...)}
}

// clock prints an instant for people.
func clock(t time.Time) string { return t.Format("15:04:05") }

// span prints a duration for people: whole seconds are enough.
func span(d time.Duration) string { return d.Round(time.Second).String() }
