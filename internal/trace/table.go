package trace

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const (
	// maxLine bounds a line, and with it the memory that a file can take
	// before it is told to be none of ours.
	maxLine = 1 << 16
	// maxSeconds bounds times to what a time.Duration holds with room to
	// spare: 31 years.
	maxSeconds = 1e9
	// maxTokens bounds one request; contexts of ten million tokens exist on
	// paper only.
	maxTokens = 10_000_000
)

// table reads comma-separated rows below a line of column names, streamed, and
// knows where it is. A field may be quoted, but holds no line end.
type table struct {
	name   string
	file   io.Closer // nil where there is nothing to close
	lines  *bufio.Reader
	header []string
	fields [][]byte // of the current row, valid until the next
	line   int
}

// openTable opens a file of any ending: gzip is told by its first bytes.
func openTable(path string) (*table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open trace: %w", err)
	}
	t, err := newTable(path, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	t.file = f
	return t, nil
}

// newTable reads the header; name stands for the stream in errors.
func newTable(name string, from io.Reader) (*table, error) {
	t := &table{name: name, lines: bufio.NewReaderSize(from, maxLine)}
	if magic, err := t.lines.Peek(2); err == nil && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(t.lines)
		if err != nil {
			return nil, fmt.Errorf("read trace %s: %w", name, err)
		}
		t.lines = bufio.NewReaderSize(z, maxLine)
	}
	// Spreadsheets put a byte order mark in front.
	if mark, err := t.lines.Peek(3); err == nil && string(mark) == "\ufeff" {
		_, _ = t.lines.Discard(len(mark)) // cannot fail: it has been peeked
	}
	err := t.next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("read trace %s:1: the file is empty; its first line should name its columns", name)
	case err != nil:
		return nil, err
	}
	for _, field := range t.fields {
		t.header = append(t.header, strings.TrimSpace(string(field)))
	}
	return t, nil
}

// Close closes the file; a second time it does nothing.
func (t *table) Close() error {
	if t.file == nil {
		return nil
	}
	file := t.file
	t.file = nil
	if err := file.Close(); err != nil {
		return fmt.Errorf("close trace %s: %w", t.name, err)
	}
	return nil
}

// next reads the next row that is not empty, or returns io.EOF.
func (t *table) next() error {
	for {
		line, err := t.lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			t.line++
			return t.torn(err)
		}
		t.line++
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			continue
		}
		if err := t.split(line); err != nil {
			return t.fault(err)
		}
		if t.header != nil && len(t.fields) != len(t.header) {
			return t.fault(csv.ErrFieldCount)
		}
		return nil
	}
}

func (t *table) split(line []byte) error {
	t.fields = t.fields[:0]
	if bytes.IndexByte(line, '"') < 0 {
		for {
			i := bytes.IndexByte(line, ',')
			if i < 0 {
				t.fields = append(t.fields, line)
				return nil
			}
			t.fields, line = append(t.fields, line[:i]), line[i+1:]
		}
	}
	row, err := csv.NewReader(bytes.NewReader(line)).Read()
	if parse := new(csv.ParseError); errors.As(err, &parse) {
		return parse.Err
	} else if err != nil {
		return err
	}
	for _, field := range row {
		t.fields = append(t.fields, []byte(field))
	}
	return nil
}

// torn is an error of reading the current line.
func (t *table) torn(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return t.fault(fmt.Errorf("the file is cut short: %w", err))
	case errors.Is(err, bufio.ErrBufferFull):
		return t.fault(fmt.Errorf("the line is longer than %d bytes", maxLine))
	}
	return t.fault(err)
}

// fault is an error about the current row.
func (t *table) fault(err error) error {
	return fmt.Errorf("read trace %s:%d: %w", t.name, t.line, err)
}

// faultAt is an error about one field of the current row.
func (t *table) faultAt(column int, err error) error {
	return t.fault(fmt.Errorf("%s: %w", t.header[column], err))
}

// find returns where a column is, −1 where it is not.
func (t *table) find(column string) int { return slices.Index(t.header, column) }

// column returns where a column is; where it is not, an error that says what
// there is and what was probably meant.
func (t *table) column(name string) (int, error) {
	if i := t.find(name); i >= 0 {
		return i, nil
	}
	nearest := slices.MinFunc(t.header, func(a, b string) int {
		return scale.EditDistance(name, a) - scale.EditDistance(name, b)
	})
	return 0, fmt.Errorf("read trace %s:1: column %s is missing; found %s; the nearest is %s",
		t.name, name, strings.Join(t.header, ","), nearest)
}

// number reads a field of the current row as a finite number in [0, most].
func (t *table) number(column int, most float64) (float64, error) {
	v, err := parseNumber(t.fields[column])
	switch {
	case err != nil:
		return 0, t.faultAt(column, err)
	case v < 0:
		return 0, t.faultAt(column, fmt.Errorf("%s is negative", t.fields[column]))
	case v > most:
		return 0, t.faultAt(column, fmt.Errorf("%s is above %s", t.fields[column], strconv.FormatFloat(most, 'f', -1, 64)))
	}
	return v, nil
}

// seconds reads a field of the current row as a time since the beginning.
func (t *table) seconds(column int) (time.Duration, error) {
	s, err := t.number(column, maxSeconds)
	return time.Duration(math.Round(s * float64(time.Second))), err
}

// tokens reads a field of the current row as a count of tokens.
func (t *table) tokens(column int) (int, error) {
	v, err := parseNumber(t.fields[column])
	switch {
	case err != nil || v != math.Trunc(v):
		return 0, t.faultAt(column, fmt.Errorf("%q is no whole number of tokens", t.fields[column]))
	case v < 0:
		return 0, t.faultAt(column, fmt.Errorf("%s is negative", t.fields[column]))
	case v > maxTokens:
		return 0, t.faultAt(column, fmt.Errorf("%s is above %d", t.fields[column], maxTokens))
	}
	return int(v), nil
}

// parseNumber reads a finite number; plain digits, which is what files hold,
// the short way.
func parseNumber(field []byte) (float64, error) {
	const exact = 15 // digits that a float64 holds whatever they are
	if len(field) <= exact {
		n, digits := 0, len(field) > 0
		for _, c := range field {
			n = n*10 + int(c-'0')
			digits = digits && c >= '0' && c <= '9'
		}
		if digits {
			return float64(n), nil
		}
	}
	field = bytes.TrimSpace(field)
	v, err := strconv.ParseFloat(string(field), 64)
	if math.IsNaN(v) || math.IsInf(v, 0) || err != nil {
		return 0, fmt.Errorf("%q is no number", field)
	}
	return v, nil
}
