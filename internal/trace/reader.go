// Package trace turns request series into scale.Requests: files as published
// (requests; counts; curves; clients with their rates), plain or gzip, and
// series that it generates itself. What is drawn is a function of its seed,
// what is read is streamed, and memory is bounded whatever the length.
// docs/reference/traces.md has a table of the formats.
package trace

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Source is a stream of requests in order of arrival, whose OutputTokens are
// the truth. Next returns io.EOF after the last one. An error is final.
type Source interface {
	Next() (scale.Request, error)
}

// Series is a Source to range over. After an error it ends.
type Series = iter.Seq2[scale.Request, error]

// Epoch is the instant 0 of every Source and Series.
func Epoch() time.Time { return time.Unix(0, 0).UTC() }

// All returns what is left of a Source as a Series.
func All(source Source) Series {
	return func(yield func(scale.Request, error) bool) {
		for {
			request, err := source.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(request, err) || err != nil {
				return
			}
		}
	}
}

const (
	// maxMillis bounds arrival times as maxSeconds does.
	maxMillis = maxSeconds * 1000
	// maxWords bounds how many names of models and tenants are kept to be
	// shared by all rows; further ones cost an allocation a row.
	maxWords = 1 << 16
)

// The columns that are read. Others are passed over: published traces carry
// their own, such as cache hits (in_tokens includes those).
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

// Reader reads one file of requests. It is strict: what is not plainly a
// series of requests is an error that names file and line.
type Reader struct {
	// Rename, where it is set, says what a model is called that a row names, or
	// "" where it names none. Its error is the row's fault.
	Rename func(model string) (string, error)

	table *table
	at    [columns]int // index of each column in a row, −1 where absent
	read  scale.RequestID
	last  time.Duration
	words map[string]string // models and tenants seen, so that each is held once
	err   error
}

// Open opens a trace file and reads its header. A name of any ending will do:
// gzip is told by its first bytes.
func Open(path string) (*Reader, error) {
	t, err := openTable(path)
	if err != nil {
		return nil, err
	}
	r, err := newReader(t)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return r, nil
}

// NewReader reads a trace from a stream; name stands for it in errors.
func NewReader(name string, from io.Reader) (*Reader, error) {
	t, err := newTable(name, from)
	if err != nil {
		return nil, err
	}
	return newReader(t)
}

func newReader(t *table) (*Reader, error) {
	r := &Reader{table: t, words: make(map[string]string)}
	var missing []string
	for c, name := range columnNames() {
		r.at[c] = t.find(name)
		if r.at[c] < 0 && c < columnModel {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("read trace %s:1: column %s is missing; found %s",
			t.name, strings.Join(missing, ", "), strings.Join(t.header, ","))
	}
	return r, nil
}

// Close closes the file.
func (r *Reader) Close() error { return r.table.Close() }

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
func (r *Reader) All() Series { return All(r) }

func (r *Reader) next() (scale.Request, error) {
	err := r.table.next()
	switch {
	case errors.Is(err, io.EOF) && r.read == 0:
		return scale.Request{}, fmt.Errorf("read trace %s:2: there is no request after the header", r.table.name)
	case err != nil:
		return scale.Request{}, err
	}
	at, err := r.arrival()
	if err != nil {
		return scale.Request{}, r.table.faultAt(r.at[columnTime], err)
	}
	request := scale.Request{At: Epoch().Add(at)}
	if request.PromptTokens, err = r.table.tokens(r.at[columnIn]); err != nil {
		return scale.Request{}, err
	}
	if request.OutputTokens, err = r.table.tokens(r.at[columnOut]); err != nil {
		return scale.Request{}, err
	}
	request.Model = r.word(columnModel)
	if r.Rename != nil {
		if request.Model, err = r.Rename(request.Model); err != nil {
			return scale.Request{}, r.table.fault(err)
		}
	}
	request.Tenant = r.word(columnTenant)
	r.read++
	r.last = at
	request.ID = r.read
	return request, nil
}

// arrival reads the current row's time.
func (r *Reader) arrival() (time.Duration, error) {
	text := r.table.fields[r.at[columnTime]]
	ms, err := parseNumber(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is no number of milliseconds", text)
	case ms < 0:
		return 0, fmt.Errorf("%s is negative", text)
	case ms > maxMillis:
		return 0, fmt.Errorf("%s is above %.0f", text, float64(maxMillis))
	}
	at := time.Duration(math.Round(ms * float64(time.Millisecond)))
	if at < r.last {
		return 0, fmt.Errorf("%s is earlier than the %d ms of the request before; sort the file by t_ms", text, r.last.Milliseconds())
	}
	return at, nil
}

// word returns an optional column's text, kept once for all rows.
func (r *Reader) word(column int) string {
	i := r.at[column]
	if i < 0 || len(r.table.fields[i]) == 0 {
		return ""
	}
	if w, ok := r.words[string(r.table.fields[i])]; ok {
		return w
	}
	w := string(r.table.fields[i])
	if len(r.words) < maxWords {
		r.words[w] = w
	}
	return w
}
