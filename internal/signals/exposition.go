package signals

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// maxSeries bounds the series that one text may hold of the wanted families.
const maxSeries = 20_000

// label is one label of a series.
type label struct{ name, value string }

// series is one sample line of a family: its labels, its value, and its own time
// if the server gave one.
type series struct {
	labels []label
	value  float64
	at     time.Time
}

// of returns the value of a label; "" where there is none, as for Prometheus.
func (s series) of(name string) string {
	for _, l := range s.labels {
		if l.name == name {
			return l.value
		}
	}
	return ""
}

// family is all that a text says under one name. One malformed line of it makes
// all of it unbelievable: a sum without a part would look idler than the server
// is.
type family struct {
	series []series
	fault  string // what is wrong with it; "" for nothing
}

// parseFamilies reads the sample lines of the wanted families and skips all
// others unread. Types and help are dropped, so that what a server forgets to
// declare, or declares wrongly, does not matter, and exemplars are cut off.
func parseFamilies(text []byte, wanted map[string]bool) (map[string]family, error) {
	if err := recognise(text); err != nil {
		return nil, err
	}
	openMetrics := bytes.HasSuffix(bytes.TrimRight(text, " \t\r\n"), []byte("\n# EOF"))
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
		line = bytes.TrimSpace(withoutExemplar(line))
		if openMetrics {
			line = withMilliseconds(line)
		}
		lines.Write(line)
		lines.WriteByte('\n')
	}
	families := make(map[string]family, len(wanted))
	if count == 0 || parse(lines.Bytes(), families) == nil {
		return families, nil
	}
	clear(families) // one by one, to tell who is at fault
	for line := range bytes.Lines(lines.Bytes()) {
		name := string(line[:nameLength(line)])
		if err := parse(line, families); err != nil {
			all := families[name]
			all.fault = fmt.Sprintf("malformed: %.80q", bytes.TrimSpace(line))
			families[name] = all
		}
	}
	return families, nil
}

// recognise refuses what is plainly no exposition, which a server may well
// answer with status 200.
func recognise(text []byte) error {
	start := bytes.TrimSpace(text)
	switch {
	case len(start) == 0:
		return errors.New("the answer is empty")
	case start[0] == '<':
		return errors.New("the answer is a page (HTML or XML), no exposition: is this the path of the metrics?")
	case (start[0] == '{' || start[0] == '[') && json.Valid(start):
		return errors.New("the answer is JSON, no exposition: is this the path of the metrics?")
	case bytes.IndexByte(start, 0) >= 0:
		return errors.New("the answer is binary, no exposition")
	}
	return nil
}

// parse adds lines to families, all of them or none.
func parse(lines []byte, families map[string]family) error {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	parsed, err := parser.TextToMetricFamilies(bytes.NewReader(lines))
	if err != nil {
		return err
	}
	for name, one := range parsed {
		all := families[name]
		all.series = slices.Grow(all.series, len(one.GetMetric()))
		for _, metric := range one.GetMetric() {
			s := series{value: metric.GetUntyped().GetValue(), labels: make([]label, len(metric.GetLabel()))}
			for i, pair := range metric.GetLabel() {
				s.labels[i] = label{pair.GetName(), pair.GetValue()}
			}
			if metric.TimestampMs != nil {
				s.at = time.UnixMilli(metric.GetTimestampMs())
			}
			all.series = append(all.series, s)
		}
		families[name] = all
	}
	return nil
}

// nameLength returns how many bytes of a sample line are the metric's name. A
// comment has none.
func nameLength(line []byte) int {
	if i := bytes.IndexAny(line, "{ \t#\n"); i >= 0 {
		return i
	}
	return len(line)
}

// withoutExemplar cuts what OpenMetrics allows after the value: a number sign
// outside quotes. Inside a quoted label value it is text.
func withoutExemplar(line []byte) []byte {
	if i := outsideQuotes(line, '#'); i >= 0 {
		return line[:i]
	}
	return line
}

// outsideQuotes returns where a byte first stands outside of quotes, or −1.
func outsideQuotes(line []byte, wanted byte) int {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch {
		case quoted && line[i] == '\\':
			i++
		case line[i] == '"':
			quoted = !quoted
		case !quoted && line[i] == wanted:
			return i
		}
	}
	return -1
}

// withMilliseconds rewrites an OpenMetrics timestamp, in seconds, as the older
// format has it. What is no such line is left as it is.
func withMilliseconds(line []byte) []byte {
	head := nameLength(line)
	if end := outsideQuotes(line, '}'); end >= 0 {
		head = end + 1
	}
	fields := bytes.Fields(line[head:])
	if len(fields) != 2 {
		return line
	}
	const most = 1e12 // seconds, beyond which milliseconds have no room
	seconds, err := strconv.ParseFloat(string(fields[1]), 64)
	if err != nil || !(math.Abs(seconds) < most) {
		return line
	}
	return fmt.Appendf(nil, "%s %s %d", line[:head], fields[0], int64(math.Round(seconds*1000)))
}
