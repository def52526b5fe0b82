// Package trace turns request series into scale.Requests: files as published
// (columns t_ms, in_tokens, out_tokens and optionally model and tenant, plain
// or gzip) and series that it generates itself from a seed.
package trace

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Series is a stream of requests in order of arrival, whose OutputTokens are
// the truth. After an error it ends.
type Series = iter.Seq2[scale.Request, error]

// Epoch is the instant 0 of every Series.
func Epoch() time.Time { return time.Unix(0, 0).UTC() }

const (
	// maxMillis bounds arrival times to what a time.Duration holds with room
	// to spare: 31 years.
	maxMillis = 1e12
	// maxTokens bounds one request; contexts of ten million tokens exist on
	// paper only.
	maxTokens = 10_000_000
)

// The columns that are read. Others are passed over: published traces carry
// their own, such as cache hits.
const (
	columnTime = iota
	columnIn
	columnOut
	columnModel
	columnTenant
	columns
)

// columnNames are the columns' names; those before columnModel are required.
func columnNames() [columns]string {
	return [columns]string{"t_ms", "in_tokens", "out_tokens", "model", "tenant"}
}

// Reader reads one file of requests, streamed. It is strict: what is not
// plainly a series of requests is an error that names file and line.
type Reader struct {
	name  string
	close func() error
	csv   *csv.Reader
	at    [columns]int // index of each column in a row, −1 where absent
	read  scale.RequestID
	last  time.Time
	words map[string]string // models and tenants seen, so that each is held once
	err   error
}

// Open opens a trace file and reads its header. A name of any ending will do:
// gzip is told by its first bytes.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open trace: %w", err)
	}
	r, err := NewReader(path, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r.close = f.Close
	return r, nil
}

// NewReader reads a trace from a stream; name stands for it in errors.
func NewReader(name string, from io.Reader) (*Reader, error) {
	buffered := bufio.NewReaderSize(from, 1<<16)
	var plain io.Reader = buffered
	if magic, err := buffered.Peek(2); err == nil && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("read trace %s: %w", name, err)
		}
		buffered = bufio.NewReaderSize(z, 1<<16)
		plain = buffered
	}
	// Spreadsheets put a byte order mark in front.
	if mark, err := buffered.Peek(3); err == nil && string(mark) == "\ufeff" {
		_, _ = buffered.Discard(len(mark)) // cannot fail: it has been peeked
	}
	r := &Reader{
		name:  name,
		csv:   csv.NewReader(plain),
		close: func() error { return nil },
		words: make(map[string]string),
		last:  Epoch(),
	}
	r.csv.ReuseRecord = true
	if err := r.readHeader(); err != nil {
		return nil, err
	}
	return r, nil
}

// Close closes the file.
func (r *Reader) Close() error { return r.close() }

// Next returns the next request, or io.EOF after the last. An error is final.
func (r *Reader) Next() (scale.Request, error) {
	if r.err != nil {
		return scale.Request{}, r.err
	}
	request, err := r.next()
	r.err = err
	return request, err
}

// All returns what is left as a Series.
func (r *Reader) All() Series {
	return func(yield func(scale.Request, error) bool) {
		for {
			request, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(request, err) || err != nil {
				return
			}
		}
	}
}

func (r *Reader) readHeader() error {
	header, err := r.csv.Read()
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("read trace %s:1: the file is empty; its first line should be t_ms,in_tokens,out_tokens", r.name)
	case err != nil:
		return r.fault(err)
	}
	var missing []string
	for c, name := range columnNames() {
		r.at[c] = slices.IndexFunc(header, func(h string) bool { return strings.TrimSpace(h) == name })
		if r.at[c] < 0 && c < columnModel {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("read trace %s:1: column %s is missing; found %s",
			r.name, strings.Join(missing, ", "), strings.Join(header, ","))
	}
	return nil
}

func (r *Reader) next() (scale.Request, error) {
	row, err := r.csv.Read()
	switch {
	case errors.Is(err, io.EOF) && r.read == 0:
		return scale.Request{}, fmt.Errorf("read trace %s:2: there is no request after the header", r.name)
	case errors.Is(err, io.EOF):
		return scale.Request{}, io.EOF
	case err != nil:
		return scale.Request{}, r.fault(err)
	}
	offset, err := parseMillis(row[r.at[columnTime]])
	if err != nil {
		return scale.Request{}, r.faultAt(columnTime, err)
	}
	request := scale.Request{At: Epoch().Add(offset)}
	if request.At.Before(r.last) {
		return scale.Request{}, r.faultAt(columnTime, fmt.Errorf("%s is earlier than the %d ms of the request before; sort the file by t_ms",
			row[r.at[columnTime]], r.last.Sub(Epoch()).Milliseconds()))
	}
	if request.PromptTokens, err = parseTokens(row[r.at[columnIn]]); err != nil {
		return scale.Request{}, r.faultAt(columnIn, err)
	}
	if request.OutputTokens, err = parseTokens(row[r.at[columnOut]]); err != nil {
		return scale.Request{}, r.faultAt(columnOut, err)
	}
	request.Model = r.word(row, columnModel)
	request.Tenant = r.word(row, columnTenant)
	r.read++
	r.last = request.At
	request.ID = r.read
	return request, nil
}

// word returns an optional column's text, kept once for all rows.
func (r *Reader) word(row []string, column int) string {
	i := r.at[column]
	if i < 0 || row[i] == "" {
		return ""
	}
	if w, ok := r.words[row[i]]; ok {
		return w
	}
	w := strings.Clone(row[i]) // the row's memory is one string for all its fields
	r.words[w] = w
	return w
}

// faultAt is an error about one field of the row just read.
func (r *Reader) faultAt(column int, err error) error {
	line, _ := r.csv.FieldPos(r.at[column])
	return fmt.Errorf("read trace %s:%d: %s: %w", r.name, line, columnNames()[column], err)
}

// fault is an error of reading the file or taking its lines apart.
func (r *Reader) fault(err error) error {
	if parse := new(csv.ParseError); errors.As(err, &parse) {
		return fmt.Errorf("read trace %s:%d: %w", r.name, parse.Line, parse.Err)
	}
	line := 1
	if r.read > 0 {
		line, _ = r.csv.FieldPos(0)
		line++
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("read trace %s:%d: the file is cut short: %w", r.name, line, err)
	}
	return fmt.Errorf("read trace %s:%d: %w", r.name, line, err)
}

func parseMillis(text string) (time.Duration, error) {
	ms, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	switch {
	case err != nil || math.IsNaN(ms) || math.IsInf(ms, 0):
		return 0, fmt.Errorf("%q is no number of milliseconds", text)
	case ms < 0:
		return 0, fmt.Errorf("%s is negative", text)
	case ms > maxMillis:
		return 0, fmt.Errorf("%s is above %.0f", text, float64(maxMillis))
	}
	return time.Duration(math.Round(ms * float64(time.Millisecond))), nil
}

func parseTokens(text string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is no whole number of tokens", text)
	case n < 0:
		return 0, fmt.Errorf("%d is negative", n)
	case n > maxTokens:
		return 0, fmt.Errorf("%d is above %d", n, maxTokens)
	}
	return n, nil
}
