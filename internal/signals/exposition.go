package signals

import (
	"bytes"
	"fmt"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// maxSeries bounds the series that one text may hold of the wanted families.
const maxSeries = 20_000

// series is one sample line of a family: its value, and its own time if the
// server gave one.
type series struct {
	value float64
	at    time.Time
}

// parseFamilies reads the sample lines of the wanted families and skips all
// others unread. Types and help are dropped, so that what a server forgets to
// declare, or declares wrongly, does not matter, and exemplars are cut off.
func parseFamilies(text []byte, wanted map[string]bool) (map[string][]series, error) {
	var lines bytes.Buffer
	count := 0
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if !wanted[string(line[:nameLength(line)])] {
			continue
		}
		if count++; count > maxSeries {
			return nil, fmt.Errorf("more than %d series", maxSeries)
		}
		lines.Write(bytes.TrimSpace(withoutExemplar(line)))
		lines.WriteByte('\n')
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	parsed, err := parser.TextToMetricFamilies(&lines)
	if err != nil {
		return nil, fmt.Errorf("parse exposition: %w", err)
	}
	families := make(map[string][]series, len(parsed))
	for name, family := range parsed {
		for _, metric := range family.GetMetric() {
			one := series{value: metric.GetUntyped().GetValue()}
			if metric.TimestampMs != nil {
				one.at = time.UnixMilli(metric.GetTimestampMs())
			}
			families[name] = append(families[name], one)
		}
	}
	return families, nil
}

// nameLength returns how many bytes of a sample line are the metric's name. A
// comment has none.
func nameLength(line []byte) int {
	if i := bytes.IndexAny(line, "{ \t#"); i >= 0 {
		return i
	}
	return len(line)
}

// withoutExemplar cuts what OpenMetrics allows after the value: a number sign
// outside quotes. Inside a quoted label value it is text.
func withoutExemplar(line []byte) []byte {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch {
		case quoted && line[i] == '\\':
			i++
		case line[i] == '"':
			quoted = !quoted
		case !quoted && line[i] == '#':
			return line[:i]
		}
	}
	return line
}
